//! Metrics of other maps than the sample's own, where their scores are worked out on paper: of noisy and of moved copies, of other
//! classes, and of randomised models.

#[path = "common/linear.rs"]
mod linear;

use std::collections::BTreeSet;
use std::ops::Range;

use linear::*;
use whyline_runtime::metrics::{Observation, Sample, Undefined, find};
use whyline_stream::moments::Moments;

/// The largest value less the least.
fn range(values: &[f32]) -> f64 {
    let (low, high) = values.iter().fold((f32::MAX, f32::MIN), |(low, high), v| (low.min(*v), high.max(*v)));
    (high - low).into()
}

/// The map of eight at its first place, and of one at its second place wherever the input is not this one.
fn jumping(x: &[f32]) -> impl Fn(&[f32], &[f32]) -> Vec<f32> {
    move |_, input| marked(FEATURES, &[(0, 8.0), (1, f32::from(u8::from(input != x)))])
}

/// That a largest ratio is the expected one, where distances are those of hundreds of random numbers: known to a few in a hundred.
#[track_caller]
fn about(found: f64, wanted: f64) {
    assert!((found / wanted - 1.0).abs() < 0.1, "{found} for {wanted}");
}

#[test]
fn a_lipschitz_estimate_is_the_largest_ratio_of_distances() {
    let (w, x) = (drawn(1, LEN), drawn(2, LEN));
    let of = |given: &[(&str, &str)], map: MapOf| scored("local-lipschitz", given, (&w, &x), map).unwrap();
    // A linear map changes with the distance: the ratio is the same at twice of it.
    assert!((of(&[("sigma", "0.1")], &product) / of(&[("sigma", "0.2")], &product) - 1.0).abs() < 1e-3);
    // More draws begin with the same ones, and their largest is no less.
    let more = ["1", "2", "5", "10", "20"].map(|draws| of(&[("draws", draws)], &product));
    assert!(more.windows(2).all(|pair| pair[0] <= pair[1]) && more[4] > more[0], "{more:?}");
    // A map that jumps by one: one over the distance, which is the deviation times the root of 720.
    about(of(&[("sigma", "0.1")], &jumping(&x)), 1.0 / (0.1 * range(&x) * (LEN as f64).sqrt()));
}

#[test]
fn noise_is_uniform_to_both_sides_and_a_share_of_the_range() {
    let (w, x) = (drawn(1, LEN), drawn(2, LEN));
    let of = |given: &[(&str, &str)], map: MapOf| scored("avg-sensitivity", given, (&w, &x), map).unwrap();
    let sum = |input: &[f32]| input.iter().sum::<f32>();
    let total = |_: &[f32], input: &[f32]| marked(FEATURES, &[(0, 100.0 + sum(input) - sum(&x))]);
    // The map changes by a hundredth of the noise's sum. Of 720 numbers between -r and r that deviates by r times the root of 720
    // thirds, and in the mean over 50 draws its size is 0.8 of that, give or take 0.09. To one side it would be far from zero.
    let deviation = 0.02 * range(&x) * (LEN as f64 / 3.0).sqrt();
    let told = of(&[("draws", "50")], &total) * 100.0 / deviation;
    assert!((0.5..1.1).contains(&told), "{told}");
    assert_ne!(of(&[("seed", "1")], &product), of(&[], &product));
    // Noise of nothing moves nothing, and would call every map steady.
    let entry = find("avg-sensitivity").unwrap();
    let nothing = [("radius".to_string(), "0".to_string())].into();
    assert!((entry.build)(&entry.params(&nothing).unwrap()).is_err());
}

/// Of a mean it is known after how many draws its error is small enough, as draws are the same ones however many are wanted.
#[test]
fn draws_end_as_soon_as_their_error_is_small_enough() {
    let bent = |w: &[f32], x: &[f32]| product(w, x).iter().map(|v| v.powi(3)).collect::<Vec<f32>>();
    let (w, x) = (drawn(1, LEN), drawn(2, LEN));
    let (mut subject, map) = (Linear::of(&w, &bent), bent(&w, &x));
    let mut sums = vec![0.0];
    for draws in 1..=40 {
        let given = [("draws", &*draws.to_string())];
        sums.push(draws as f64 * score_of(&mut subject, "avg-sensitivity", &given, (&x, &map, None)).unwrap());
    }
    let errors = |draws: usize| {
        let mut mean = Moments::default();
        sums[..=draws].windows(2).for_each(|pair| mean.push(pair[1] - pair[0]));
        mean.standard_error()
    };
    for wanted in [0.7, 1.0, 1.4].map(|share| share * errors(12)) {
        let first = (5..=40).find(|&draws| errors(draws) <= wanted).unwrap();
        let given = [("draws", "40")];
        score_within(&mut subject, "avg-sensitivity", &given, (&x, &map, None), Some(wanted)).unwrap();
        assert_eq!(subject.explanations, first as u64, "{wanted}");
    }
    // Where any error is small enough a mean takes five draws, and a correlation twenty.
    let any = Some(1e9);
    score_within(&mut subject, "avg-sensitivity", &[("draws", "40")], (&x, &map, None), any).unwrap();
    assert_eq!(subject.explanations, 5);
    score_within(&mut subject, "faithfulness-correlation", &[("size", "30")], (&x, &map, None), any).unwrap();
    assert_eq!(subject.forwards, 20);
    // Of eight correlations, which all count as much, the mean is as exact as one of eight times as many sets: 3 and 100 / 8, but twenty.
    for (enough, each) in [(0.1, 20), (0.05, 53)] {
        score_within(&mut subject, "sensitivity-n", &[], (&x, &map, None), Some(enough)).unwrap();
        assert_eq!(subject.forwards, 8 * each);
    }
}

/// What ended where the correlation happens to be large, and its error small, would be too large in the mean over draws.
#[test]
fn correlations_that_end_early_are_as_large_as_others() {
    let (w, x, noise) = (drawn(1, LEN), drawn(2, LEN), drawn(3, LEN));
    let mixed: Vec<f32> = w.iter().zip(&noise).map(|(w, other)| 0.5 * w + other).collect();
    let map = product(&mixed, &x);
    let mut subject = Linear::of(&w, &product);
    let mut taken = 0;
    let mut of = |runs: &str, seed: u64, enough: Option<f64>| {
        let given = [("size", "30"), ("runs", runs), ("seed", &*seed.to_string())];
        let score = score_within(&mut subject, "faithfulness-correlation", &given, (&x, &map, None), enough);
        taken += subject.forwards;
        score.unwrap()
    };
    let truth = of("20000", 0, None);
    assert!((0.3..0.5).contains(&truth), "where what ended so was off by 0.03: {truth}");
    let mut ended = Moments::default();
    (0..500).for_each(|seed| ended.push(of("300", seed, Some(0.1))));
    assert_eq!(taken, 103 * 500 + 20_000, "three and the square of ten");
    let (off, error) = (ended.mean() - truth, ended.standard_error());
    assert!(off.abs() < 0.015 && error < 0.006, "{off} +- {error}");
    assert!(ended.variance().sqrt() < 0.1, "as exact as was wanted: {}", ended.variance().sqrt());
}

/// Divided by no less than the largest value, as with a floor of one, relative changes are distances over it.
#[test]
fn relative_stabilities_are_ratios_of_relative_changes() {
    // The first value is the largest by far, so that no copy changes the class of a model that gives back its input.
    let x: Vec<f32> = drawn(2, LEN).into_iter().enumerate().map(|(i, v)| if i == 0 { 10.0 } else { v }).collect();
    let weights = (0..LEN).map(|i| marked(LEN, &[(i, 1.0)])).collect();
    let map = jumping(&x);
    let mut subject = Linear { weights, map: &map, forwards: 0, explanations: 0 };
    // Uniform noise within r moves the input, so the logits, by r times the root of 720 thirds; and sums of two as far, as each of
    // half as many has twice the variance.
    let away = 0.02 * range(&x) * (LEN as f64 / 3.0).sqrt();
    let halves: Vec<f32> = x[..FEATURES].iter().zip(&x[FEATURES..]).map(|(a, b)| a + b).collect();
    let largest = |values: &[f32]| values.iter().fold(0.0f32, |most, v| most.max(v.abs())) as f64;
    for (metric, scale) in [
        ("relative-input-stability", largest(&x)),
        ("relative-output-stability", 1.0),
        ("relative-representation-stability", largest(&halves)),
    ] {
        let score = score_of(&mut subject, metric, &[("floor", "1")], (&x, &map(&[], &x), None)).unwrap();
        // The map's jump is an eighth of its largest value.
        about(score, scale / (8.0 * away));
    }
}

/// The first class is ahead by next to nothing of rivals that any noise above zero lets win.
#[test]
fn copies_that_change_the_class_are_passed_over() {
    let x = marked(LEN, &[(LEN - 1, 1.0)]);
    // Such a copy has another map: if it counted, the change would be a hundredfold.
    let map = |_: &[f32], input: &[f32]| {
        let jump = if input == &x[..] {
            0.0
        } else if input[1] > 0.0 {
            100.0
        } else {
            1.0
        };
        marked(FEATURES, &[(0, 8.0), (1, jump)])
    };
    let with_rivals = |rivals: usize| {
        let ahead = marked(LEN, &[(LEN - 1, 1e-6)]);
        let weights = std::iter::once(ahead).chain((1..=rivals).map(|i| marked(LEN, &[(i, 1.0)]))).collect();
        let mut subject = Linear { weights, map: &map, forwards: 0, explanations: 0 };
        let given = [("draws", "40"), ("floor", "1")];
        let score = score_of(&mut subject, "relative-input-stability", &given, (&x, &map(&[], &x), None));
        (score, subject.explanations)
    };
    // Of one rival half of the copies, and of the others the ratio is as where the class stays: an eighth over the distance.
    let (score, explained) = with_rivals(1);
    about(score.unwrap(), 1.0 / (8.0 * 0.02 * (LEN as f64 / 3.0).sqrt()));
    assert!((5..35).contains(&explained), "{explained}");
    // Of forty rivals one is above zero in every copy.
    assert_eq!(with_rivals(40), (Err(Undefined::ClassChanged), 0));
}

/// An input of one pixel alone: where it is moved to, two values are other ones than before.
#[test]
fn continuity_is_of_copies_moved_to_either_side_as_far_as_the_reach() {
    let x = marked(LEN, &[(at(5, 5), 1.0)]);
    let root = 2f64.sqrt();
    // The map follows: one value goes and one comes, over the root of two.
    near(scored("continuity", &[], (&[1.0; LEN], &x), &product), 2.0 / root);
    // Contributions that grow by one with each column, to the right or to the left alone: a tenth of 18 columns are two.
    for to_the_right in [true, false] {
        let grown = |column: usize| if to_the_right { column as f32 - 5.0 } else { 5.0 - column as f32 };
        let row: Vec<(usize, f32)> = (0..GRID.width).map(|c| (at(5, c), grown(c).max(0.0))).collect();
        near(scored("continuity", &[], (&marked(LEN, &row), &x), &product), 2.0 / root);
    }
}

/// Rows of 1 and of -1 by turns, and the opposite: each window of seven by seven has the mean 1/7 or -1/7 and the variance
/// (49 - 49/49) / 48, which is one, and the covariance is minus that. The constants are shares of the range of two.
#[test]
fn structural_similarity_is_of_every_window() {
    let row = |place: usize| place / GRID.width;
    let w: Vec<f32> = (0..LEN)
        .map(|i| match row(i) {
            row if row >= GRID.height => 0.0,
            row if row % 2 == 0 => 1.0,
            _ => -1.0,
        })
        .collect();
    let x = [1.0; LEN];
    let mut subject = Linear::of(&w, &product);
    subject.weights[1] = w.iter().map(|v| -v).collect();
    let (c1, c2) = ((0.01f64 * 2.0).powi(2), (0.03f64 * 2.0).powi(2));
    let wanted = (c1 - 2.0 / 49.0) * (c2 - 2.0) / ((2.0 / 49.0 + c1) * (2.0 + c2));
    let map = product(&w, &x);
    near(score_of(&mut subject, "random-logit", &[], (&x, &map, None)), wanted);
    // What only the last windows see counts too.
    subject.weights[1] = (0..LEN).map(|i| if row(i) == GRID.height - 1 { -w[i] } else { w[i] }).collect();
    assert!(score_of(&mut subject, "random-logit", &[], (&x, &map, None)).unwrap() < 0.999);
}

#[test]
fn the_other_class_is_any_of_them() {
    let (w, x) = (drawn(1, LEN), drawn(2, LEN));
    let (_, metric) = built("random-logit", &[]);
    let (map, mut seen) = (product(&w, &x), BTreeSet::new());
    let order = order_of(&map);
    for draw in 0..40 {
        let mut subject = Linear::of(&w, &product);
        subject.weights = (0..4u64).map(|class| if class == 0 { w.clone() } else { drawn(20 + class, LEN) }).collect();
        let logits = subject.logits(&x);
        let plain = sample(&mut subject, (&x, &map, &order), &logits);
        let score = score_in(metric.observe(&mut Sample { draw, ..plain }).unwrap()).unwrap();
        seen.insert(score.to_bits());
    }
    // Each of three others gives a score of its own.
    assert_eq!(seen.len(), 3);
}

/// A model of three layers, asked about one sample: what was noted, and which layers were shuffled with which seed.
fn asked(metric: &str, given: &[(&str, &str)], draw: u64) -> (Observation, Vec<(Range<usize>, u64)>) {
    let (w, x) = (drawn(1, LEN), drawn(2, LEN));
    let (_, metric) = built(metric, given);
    let (mut subject, map) = (Noted::of(&w, &product), product(&w, &x));
    let (logits, order) = (subject.model.logits(&x), order_of(&map));
    let plain = sample(&mut subject, (&x, &map, &order), &logits);
    let observed = metric.observe(&mut Sample { draw, ..plain }).unwrap().unwrap();
    (observed, subject.shuffled)
}

#[test]
fn layers_are_shuffled_from_the_top_from_the_bottom_or_alone() {
    let layers = |metric: &str, given: &[(&str, &str)]| {
        let mut layers: Vec<[usize; 2]> = asked(metric, given, 0).1.iter().map(|(l, _)| [l.start, l.end]).collect();
        layers.sort_unstable();
        layers
    };
    assert_eq!(layers("mprt", &[]), [[0, 3], [1, 3], [2, 3]]);
    assert_eq!(layers("mprt", &[("order", "bottom-up")]), [[0, 1], [0, 2], [0, 3]]);
    assert_eq!(layers("mprt", &[("order", "independent")]), [[0, 1], [1, 2], [2, 3]]);
    assert_eq!(layers("smooth-mprt", &[("draws", "1")]), [[0, 1], [0, 2], [0, 3]]);
    assert_eq!(layers("efficient-mprt", &[]), [[0, 3]]);
}

#[test]
fn samples_see_the_random_models_by_turns() {
    for metric in ["mprt", "efficient-mprt"] {
        let of = |models: &str| {
            let seen = (0..8).map(|draw| match asked(metric, &[("models", models)], draw) {
                (Observation::Grouped { group, .. }, shuffled) => (group, shuffled[0].1),
                (other, _) => panic!("{other:?} is of no model"),
            });
            seen.collect::<Vec<(usize, u64)>>()
        };
        let four = of("4");
        assert!(four.iter().map(|model| model.0).eq([0, 1, 2, 3, 0, 1, 2, 3]), "{metric}: {four:?}");
        assert_eq!(four[..4], four[4..], "{metric}: a model has one seed");
        assert_eq!(four.iter().map(|model| model.1).collect::<BTreeSet<_>>().len(), 4, "{metric}: and each its own");
        assert!(of("1").iter().all(|model| *model == (0, 0)), "{metric}: of one it is the one that is told");
    }
}

#[test]
fn similarity_is_of_magnitudes_in_the_mean_over_the_stages() {
    let (w, x) = (drawn(1, LEN), drawn(2, LEN));
    let is_own = |weights: &[f32]| weights == &w[..];
    let signed = |v: &[f32], x: &[f32]| product(&[if is_own(v) { 1.0 } else { -1.0 }; LEN], x);
    near(scored("mprt", &[], (&w, &x), &signed), 1.0);
    // A map that is the same everywhere is unlike every other.
    let flat = |v: &[f32], x: &[f32]| if is_own(v) { GRID.sums(x) } else { vec![0.5; FEATURES] };
    near(scored("mprt", &[], (&w, &x), &flat), 0.0);
    // Of a map and no noisy copies the smooth form is the plain one.
    let plain = scored("mprt", &[], (&w, &x), &product);
    assert_eq!(scored("smooth-mprt", &[("draws", "1")], (&w, &x), &product), plain);
    // The first layer alone turns the weights round, and with them the order of the map, which ascends: of three stages from the
    // bottom on one has the correlation -1, and two are as they were.
    let rising: Vec<f32> = (0..LEN).map(|i| 1.0 + (i % FEATURES) as f32).collect();
    let map = gradient(&rising, &[]);
    let (mut subject, order) = (Noted::of(&rising, &gradient), order_of(&map));
    let logits = subject.model.logits(&x);
    let (_, metric) = built("mprt", &[("order", "bottom-up")]);
    near(score_in(metric.observe(&mut sample(&mut subject, (&x, &map, &order), &logits)).unwrap()), 1.0 / 3.0);
}

#[test]
fn disorder_is_that_of_a_histogram_from_the_least_value_to_the_largest() {
    let (w, x) = (drawn(1, LEN), drawn(2, LEN));
    let levels = |count: usize| (0..FEATURES).map(|i| (i % count) as f32 - 1.0).collect::<Vec<f32>>();
    // Three values alike often, from -1 to 1, and nine of the shuffled model: ln 9 is twice ln 3.
    let more = |v: &[f32], _: &[f32]| levels(if v == w { 3 } else { 9 });
    near(scored("efficient-mprt", &[], (&w, &x), &more), 1.0);
    // Of two bins each has a half of 0, 0.4, 0.6 and 1. Of the shuffled model's 0, 0.6, 0.6 and 1 one has a quarter, and one three.
    let quarters = |v: &[f32], _: &[f32]| {
        let values = [0.0, if v == w { 0.4 } else { 0.6 }, 0.6, 1.0];
        (0..FEATURES).map(|i| values[i % 4]).collect::<Vec<f32>>()
    };
    let wanted = (0.25 * 4f64.ln() + 0.75 * (4.0 / 3.0f64).ln()) / 2f64.ln() - 1.0;
    near(scored("efficient-mprt", &[("bins", "2")], (&w, &x), &quarters), wanted);
}

#[test]
fn a_shift_that_counts_is_a_share_of_the_map() {
    // Squares of 3 are 9 and, shifted by -1, squares of 2 are 4: 5 of 9 everywhere. The other way it would be 7 of 9.
    let squares = |_: &[f32], x: &[f32]| product(x, x);
    near(scored("input-invariance", &[("shift", "-1")], (&[1.0; LEN], &[3.0; LEN]), &squares), 5.0 / 9.0);
}
