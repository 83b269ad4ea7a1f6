//! Metrics of what a map marks, where their scores are worked out on paper: faithfulness, localisation, complexity and axioms.

#[path = "common/linear.rs"]
mod linear;

use linear::*;
use whyline_runtime::attribution::Completeness;
use whyline_runtime::gradient::head::{Choice, Head, Link};
use whyline_runtime::metrics::{Explained, Sample, Undefined};

/// What a metric says of a model whose input is one everywhere, of these contributions, which are its map too.
fn of_parts(metric: &str, given: &[(&str, &str)], parts: &[(usize, f32)]) -> Result<f64, Undefined> {
    scored(metric, &of_sums(given), (&marked(LEN, parts), &[1.0; LEN]), &product)
}

/// The map that ascends from the last place to the first, whatever is explained.
fn backwards(_: &[f32], _: &[f32]) -> Vec<f32> {
    (0..FEATURES).map(|i| -(i as f32)).collect()
}

/// Squares of nine pixels are six patches: four of 81 pixels, and below them two of nine by two.
#[test]
fn patches_are_removed_by_their_sums_and_segments_by_their_means() {
    let parts =
        [(at(0, 0), 6.0), (at(9, 3), 5.0), (at(0, 10), 4.0), (at(19, 1), 3.0), (at(18, 17), 2.0), (at(10, 12), 1.0)];
    let size = ("size", "9");
    // By sum 6, 5, 4, 3, 2, 1 are removed of 21. Lost are 0, 6, 11, 15, 18, 20, 21, which sum to 91; with two regions 0, 6, 11.
    near(of_parts("region-perturbation", &[size], &parts), 91.0 / 7.0);
    near(of_parts("region-perturbation", &[size, ("regions", "2")], &parts), 17.0 / 3.0);
    // What is left, 21, 15, 10, 6, 3, 1, 0, sums to 56, where the ends count half: 45.5 of six steps.
    near(of_parts("selectivity", &[size], &parts), 45.5 / 6.0);
    // By mean the two of 18 pixels are first: 3, 2, 6, 5, 4, 1. Left are 21, 18, 16, 10, 5, 1, 0: without half of the ends 60.5
    // of six steps, as a share of 21. The side that gives about four segments is the root of 90, rounded.
    near(of_parts("irof", &[("kind", "grid"), ("segments", "4")], &parts), 1.0 - 60.5 / 6.0 / 21.0);
    // Of a map of twice what each patch does the error is what it does: the mean of the squares of 1 to 6.
    let double = |w: &[f32], x: &[f32]| product(w, x).iter().map(|v| 2.0 * v).collect();
    near(scored("infidelity", &of_sums(&[size]), (&marked(LEN, &parts), &[1.0; LEN]), &double), 91.0 / 6.0);
}

/// Patches that say nothing come in the order of their places, whichever sign their zeros have.
#[test]
fn zeros_of_either_sign_are_alike() {
    let (w, x) = (drawn(1, LEN), drawn(2, LEN));
    for metric in ["region-perturbation", "selectivity"] {
        let of = |zero: f32| {
            let map = move |_: &[f32], _: &[f32]| {
                let mut map = marked(FEATURES, &[(FEATURES - 1, 1.0)]);
                map[..FEATURES / 2].fill(zero);
                map
            };
            scored(metric, &[("size", "9")], (&w, &x), &map).unwrap()
        };
        assert_eq!(of(-0.0), of(0.0), "{metric}");
    }
}

/// A tolerance is a share of the output, so that a model of a thousand times the output takes as many steps.
#[test]
fn the_tolerance_of_segments_is_a_share_of_the_output() {
    let x = [1.0; LEN];
    let given = of_sums(&[("kind", "grid"), ("segments", "90"), ("tolerance", "0.01")]);
    let taken = [1.0, 1000.0].map(|scale| {
        let w: Vec<f32> = drawn(1, LEN).iter().map(|v| scale * v.abs()).collect();
        let mut subject = Linear::of(&w, &product);
        score_of(&mut subject, "irof", &given, (&x, &product(&w, &x), None)).unwrap();
        subject.forwards
    });
    // Sides of two pixels are 90 patches: 91 passes would be all.
    assert!(taken[0] == taken[1] && taken[0] < 91, "{taken:?}");
}

#[test]
fn a_step_that_falls_is_one_of_all_steps() {
    // From the last place on a hundred at a time: nothing, nothing, -1 at place 80, and 2 among the sixty that are left. One of
    // four falls. From the first place on both come together, and nothing falls.
    let w = marked(LEN, &[(20, 2.0), (80, -1.0)]);
    near(scored("monotonicity", &of_sums(&[("step", "100")]), (&w, &[1.0; LEN]), &backwards), 0.75);
}

#[test]
fn sensitivity_n_is_the_mean_over_the_sizes_that_have_a_correlation() {
    let (w, x) = (drawn(1, LEN), drawn(2, LEN));
    let bent = |w: &[f32], x: &[f32]| product(w, x).iter().map(|v| v.powi(3)).collect::<Vec<f32>>();
    let of_size = |size: &str, model: (&[f32], &[f32]), map: MapOf| {
        scored("faithfulness-correlation", &[("runs", "10"), ("size", size)], model, map)
    };
    // Four fifths of 360 are 288, whose root is 17 to the nearest.
    let all: f64 = ["1", "17", "288"].map(|size| of_size(size, (&w, &x), &bent).unwrap()).iter().sum();
    near(scored("sensitivity-n", &[("runs", "10"), ("sizes", "3")], (&w, &x), &bent), all / 3.0);
    // Three features of 360 do anything: the ten sets of one that are drawn miss them, and sets of 288 are forecast exactly.
    let sparse = marked(LEN, &[(10, 1.0), (100, 2.0), (200, 4.0)]);
    let model = (&sparse[..], &[1.0; LEN][..]);
    assert_eq!(of_size("1", model, &product), Err(Undefined::ConstantOutput));
    near(of_size("288", model, &product), 1.0);
    near(scored("sensitivity-n", &[("runs", "10"), ("sizes", "2")], model, &product), 1.0);
}

/// The points at which a metric looks, of a model and an input that are drawn.
fn points(metric: &str, given: &[(&str, &str)], (x, map): (&[f32], &[f32]), draw: u64) -> Vec<Vec<f32>> {
    let (_, metric) = built(metric, given);
    let (mut subject, order) = (Noted::of(&drawn(1, LEN), &product), order_of(map));
    let logits = subject.model.logits(x);
    let plain = sample(&mut subject, (x, map, &order), &logits);
    metric.observe(&mut Sample { draw, ..plain }).unwrap().unwrap();
    subject.points
}

#[test]
fn features_are_replaced_in_the_order_of_the_map() {
    let x = drawn(2, LEN);
    // Sizes ascend by place and signs alternate: from the largest on these are the even places from the end, then the odd ones.
    let map: Vec<f32> = (0..FEATURES).map(|i| if i % 2 == 0 { 1.0 } else { -1.0 } * (1.0 + i as f32)).collect();
    let first = |count: usize| {
        let mut places: Vec<usize> = order_of(&map)[..count].iter().map(|place| *place as usize).collect();
        places.sort_unstable();
        places
    };
    let of = |metric: &str, given: &[(&str, &str)], draw: u64| points(metric, given, (&x, &map), draw);
    assert_eq!(first(180), (0..FEATURES).step_by(2).collect::<Vec<_>>());
    // Into the baseline of zeros come 90 at a time, the least first: what is not there yet is the first 360, 270, and so on.
    for (number, point) in of("monotonicity", &of_sums(&[("step", "90")]), 0).iter().enumerate() {
        assert_eq!(changed(point, &x), first(FEATURES - 90 * number), "step {number}");
    }
    // Blocks alone: those of the first point are the first 90, all four are every feature once.
    let blocks = of("faithfulness-estimate", &of_sums(&[("step", "90")]), 0);
    assert_eq!(changed(&blocks[0], &x), first(90));
    assert_eq!(blocks.iter().map(|point| changed(point, &x).len()).collect::<Vec<_>>(), [90; 4]);
    // Of two shares a quarter and three quarters are removed: the middles of two halves.
    for (point, count) in of("road", &[("shares", "2"), ("output", "logit")], 0).iter().zip([90, 270]) {
        assert_eq!(changed(point, &x), first(count));
    }
    // Sets are of as many as is said, and of another sample others.
    let [sets, others] = [0, 1].map(|draw| of("faithfulness-correlation", &[("size", "30")], draw));
    let set = |points: &Vec<Vec<f32>>| points.iter().map(|point| changed(point, &x)).collect::<Vec<_>>();
    assert!(set(&sets).iter().all(|set| set.len() == 30) && set(&sets) != set(&others));
}

/// An input of which one channel is near 5.5, the other near -1.5: neither's range has zero or one in it.
fn two_channels() -> Vec<f32> {
    drawn(2, LEN).iter().enumerate().map(|(i, v)| if i < FEATURES { 5.5 } else { -1.5 } + 0.1 * v).collect()
}

/// The least and the largest value of each channel.
fn ranges(values: &[f32]) -> Vec<(f32, f32)> {
    let range = |v: &[f32]| v.iter().fold((f32::MAX, f32::MIN), |(low, high), v| (low.min(*v), high.max(*v)));
    values.chunks(FEATURES).map(range).collect()
}

fn are_within(inner: &[f32], outer: &[f32]) -> bool {
    ranges(inner).into_iter().zip(ranges(outer)).all(|(inner, outer)| outer.0 <= inner.0 && inner.1 <= outer.1)
}

/// Completeness looks at the baseline itself, at no other point.
#[test]
fn baselines_are_of_each_channel() {
    let (x, map) = (two_channels(), drawn(3, FEATURES));
    let of = |baseline: &str| points("completeness", &[("baseline", baseline)], (&x, &map), 0).remove(0);
    assert!(are_within(&of("uniform"), &x));
    for (channel, (own, mean)) in x.chunks(FEATURES).zip(of("mean").chunks(FEATURES)).enumerate() {
        let wanted = own.iter().map(|v| *v as f64).sum::<f64>() / FEATURES as f64;
        assert!(mean.iter().all(|v| (*v as f64 - wanted).abs() < 1e-6), "channel {channel}");
    }
    // Each value becomes the end of its channel's range that is farther from it.
    for (i, (own, far)) in x.iter().zip(of("max-distance")).enumerate() {
        let (low, high) = ranges(&x)[i / FEATURES];
        assert_eq!(far, if own - low > high - own { low } else { high }, "element {i}");
    }
}

#[test]
fn blocks_become_noise_of_each_channels_range_by_their_magnitudes() {
    let x = two_channels();
    let map: Vec<f32> = (0..FEATURES).map(|i| if i % 2 == 0 { 1.0 } else { -1.0 } * (1.0 + i as f32)).collect();
    let found = points("monotonicity-correlation", &[("step", "90"), ("draws", "2")], (&x, &map), 0);
    for (number, point) in found.iter().enumerate() {
        assert!(are_within(point, &x), "draw {number}");
        // Two draws of each block, the last places first: whatever their signs are, these are the largest.
        let end = FEATURES - 90 * (number / 2);
        assert_eq!(changed(point, &x), (end - 90..end).collect::<Vec<_>>(), "draw {number}");
    }
    assert!(found.len() == 8 && found[0] != found[1]);
}

/// Noise is a share of the input's range: an input of a thousand times the size has a thousand times the noise, of which a
/// model of a thousandth of the weights sees as much.
#[test]
fn the_noise_of_road_follows_the_input() {
    let (w, x) = (drawn(1, LEN), drawn(2, LEN));
    let by = |values: &[f32], scale: f32| values.iter().map(|v| v * scale).collect::<Vec<f32>>();
    let of = |noise: &str, scale: f32| {
        let given = [("output", "logit"), ("noise", noise)];
        scored("road", &given, (&by(&w, 1.0 / scale), &by(&x, scale)), &product).unwrap()
    };
    let own = of("0.5", 1.0);
    assert!((of("0.5", 1000.0) - own).abs() < 1e-3 * own.abs());
    assert!((of("0", 1.0) - own).abs() > 1e-2 * own.abs());
}

#[test]
fn shares_on_the_object_are_of_positives_or_of_magnitudes() {
    let map = marked(FEATURES, &[(0, 3.0), (1, -1.0), (9, 1.0), (10, -5.0)]);
    let object = [0, 1, 2, 3];
    // 3 + 1 of 3 + 1 + 1 + 5; of what is positive 3 of 3 + 1.
    near(located("relevance-mass", &[], &map, &object), 0.4);
    near(located("attribution-localisation", &[], &map, &object), 0.75);
    near(located("focus", &[], &map, &object), 0.75);
    // Of all features the object has four.
    near(located("top-k-intersection", &[("k", "360")], &map, &object), 4.0 / 360.0);
    // The four largest are at places 4, 0, 1 and 2, and three of these are the object's.
    let map = marked(FEATURES, &[(0, 4.0), (1, 3.0), (2, 2.0), (4, 5.0)]);
    near(located("relevance-rank", &[], &map, &[0, 1, 2, 300]), 0.75);
}

#[test]
fn pointing_is_near_within_a_circle_of_a_share_of_the_larger_side() {
    let map = marked(FEATURES, &[(at(9, 8), 1.0)]);
    // 0.3 of 20 rows are 6, so that squared distances are less than 36; of 18 columns they would be less than 29.16.
    let near = [(4, 4), (5, 3), (-4, -4), (0, 5), (0, -5), (5, 0), (-5, 0)];
    let far = [(0, 6), (0, -6), (6, 0), (-6, 0), (5, 5)];
    for ((down, right), hit) in near.map(|place| (place, 1.0)).into_iter().chain(far.map(|place| (place, 0.0))) {
        let place = ((9 + down) * GRID.width as isize + 8 + right) as usize;
        let found = located("pointing-game", &[("tolerance", "0.3")], &map, &[place]);
        assert_eq!(found, Ok(hit), "{down} down, {right} to the right");
    }
    // Without a tolerance it is the place itself, and not the one beside it.
    let exact = |place: usize| located("pointing-game", &[("tolerance", "0")], &map, &[place]);
    assert_eq!([at(9, 7), at(9, 8), at(9, 9)].map(exact), [Ok(0.0), Ok(1.0), Ok(0.0)]);
}

/// Of a model that scores two classes at three places, indices 3 to 5 are of the second class.
#[test]
fn hits_at_several_places_are_of_one_class() {
    let (_, metric) = built("pointing-game", &[]);
    let (mut tally, logits, mask) = (metric.tally(), [0.0; 6], [true; FEATURES]);
    let head = Head { choice: Some(Choice::along(&[2, 3], 0)), link: Link::Softmax };
    let (map, beside): (_, Vec<bool>) = (one_hot(), (0..FEATURES).map(|place| place == 300).collect());
    let order = order_of(&map);
    for (index, mask) in [(0, &mask[..]), (3, &mask), (4, &beside), (5, &beside)] {
        let mut subject = Linear::of(&[0.0; LEN], &product);
        let explained = Explained { class: index, against: None };
        let plain = sample(&mut subject, (&[1.0; LEN], &map, &order), &logits);
        tally.push(metric.observe(&mut Sample { head, explained, mask: Some(mask), ..plain }).unwrap());
    }
    // The first class has one hit of one, the second one of three; by index it would be two of four.
    near(Ok(tally.scores().moments().mean()), (1.0 + 1.0 / 3.0) / 2.0);
}

#[test]
fn features_matter_by_their_share_of_the_largest_or_of_the_output() {
    // A tenth of the largest is one, and 0.5 is less.
    let map = |_: &[f32], _: &[f32]| (0..FEATURES).map(|i| if i == 7 { 10.0 } else { 0.5 }).collect::<Vec<f32>>();
    near(scored("effective-complexity", &[], (&[0.0; LEN], &[1.0; LEN]), &map), 1.0);
    // Of an output of -1 a tenth is 0.1, not less than nothing: -5 alone leaves -5, and with 4 nothing is lost.
    near(of_parts("effective-complexity", &[("form", "model")], &[(30, -5.0), (10, 4.0)]), 2.0);
}

/// Magnitudes are compared as shares of the largest. One cell alone varies here, so that distances are as its values differ.
#[test]
fn samples_are_similar_by_a_share_of_the_largest_distance() {
    let given: &[(&str, &str)] = &[("threshold", "0.4")];
    let of = |values: &[&[(usize, f32)]]| -> Vec<(Vec<f32>, usize)> {
        values.iter().zip([1, 1, 2]).map(|(values, class)| (marked(FEATURES, values), class)).collect()
    };
    // They differ as 1, 2 and 3: 0.4 of the largest is 1.2, so that the first two are similar and the third is alone.
    let varying = of(&[&[(350, 1.0)], &[(350, 1.0), (100, 0.1)], &[(350, 1.0), (100, 0.3)]]);
    assert_eq!(compared("sufficiency", given, &varying), (Some(1.0), 1));
    // Shares of the largest magnitude are the same for the first two.
    let scaled = of(&[&[(0, 1.0)], &[(0, -10.0)], &[(0, 0.5), (1, 1.0)]]);
    assert_eq!(compared("sufficiency", given, &scaled), (Some(1.0), 1));
}

/// Four by four cells: places 0, 180 and 340 are in different ones.
#[test]
fn explanations_are_the_same_by_their_largest_magnitudes_and_signs() {
    let given: &[(&str, &str)] = &[("cells", "4"), ("top", "1")];
    let of = |values: &[(usize, f32)]| (marked(FEATURES, values), 0);
    let opposite = [of(&[(0, 3.0)]), of(&[(0, -3.0)])];
    assert_eq!(compared("consistency", given, &opposite), (None, 2), "signs count: each is alone");
    let negative = [of(&[(0, -3.0), (340, 1.0)]), of(&[(0, -3.0), (180, 1.0)])];
    assert_eq!(compared("consistency", given, &negative), (Some(1.0), 0), "the largest is the negative one");
}

/// By which of the first five values are zero, and one that is alone has a share of nought.
#[test]
fn explanations_are_the_same_to_quantus_by_their_first_values() {
    let of = |values: &[(usize, f32)], class| (marked(FEATURES, values), class);
    let samples = [of(&[(0, 1.0)], 0), of(&[(0, -2.0), (9, 1.0)], 0), of(&[(1, 1.0)], 0)];
    assert_eq!(compared("consistency", &[("compat", "quantus")], &samples), (Some(2.0 / 3.0), 0));
    assert_eq!(compared("consistency", &[("compat", "quantus")], &samples[1..]), (Some(0.0), 0));
}

#[test]
fn completeness_is_of_what_is_promised_or_of_the_baseline() {
    // 720 elements of three times one sum to 2160.
    let (w, x) = ([1.0; LEN], [3.0; LEN]);
    let promised = Completeness { sum: 2160.0, difference: 1080.0, gap: 1080.0, relative_gap: 1.0 };
    let of = |given: &[(&str, &str)], elements: Option<&[f32]>, map: &[f32]| {
        let (_, metric) = built("completeness", given);
        let (mut subject, order) = (Linear::of(&w, &product), order_of(map));
        let logits = subject.logits(&x);
        let plain = sample(&mut subject, (&x, map, &order), &logits);
        score_in(metric.observe(&mut Sample { completeness: Some(promised), elements, ..plain }).unwrap())
    };
    let map = product(&w, &x);
    // 2160 for the 1080 promised; for the 2160 to zero; for twice 720 to one, whatever was promised.
    near(of(&[], None, &map), 1.0);
    near(of(&[("baseline", "zero")], None, &map), 0.0);
    near(of(&[("baseline", "1")], None, &map), 0.5);
    // Where there are elements they count, and not what the map makes of them.
    near(of(&[("baseline", "zero")], Some(&[3.0; LEN]), &[50.0; FEATURES]), 0.0);
}

#[test]
fn a_gradient_foretells_what_is_taken_to_the_baseline() {
    // Of a linear model that is (x - 0.5) w, and neither x w nor the map's own sums.
    let (w, x) = (drawn(1, LEN), drawn(2, LEN));
    let (_, metric) = built("infidelity", &[("kind", "gradient"), ("baseline", "0.5")]);
    let (mut subject, map) = (Linear::of(&w, &gradient), gradient(&w, &x));
    let (logits, order) = (subject.logits(&x), order_of(&map));
    let plain = sample(&mut subject, (&x, &map, &order), &logits);
    let found = score_in(metric.observe(&mut Sample { elements: Some(&w), ..plain }).unwrap());
    assert!(found.is_ok_and(|score| score < 1e-6), "{found:?}");
}

#[test]
fn features_that_disagree_are_a_share_of_those_looked_at() {
    let halved = |w: &[f32], x: &[f32]| {
        let mut map = product(w, x);
        map[..FEATURES / 2].fill(0.0);
        map
    };
    // Of a hundred drawn about a half, give or take 0.05; as a share of all 360 these would be 0.14.
    let score = exact("non-sensitivity", &[("features", "100")], &halved);
    assert!((0.3..0.7).contains(&score), "{score}");
}
