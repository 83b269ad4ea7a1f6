//! Metrics where their scores are known: linear models, constant ones, maps that are the mask. What is worked out on paper is in
//! `metric_values.rs` and `metric_copies.rs`.

#[path = "common/linear.rs"]
mod linear;

use linear::*;
use whyline_runtime::metrics::{Explained, METRICS, Undefined, Wants};
use whyline_runtime::params::Given;

#[test]
fn of_a_linear_model_contributions_are_faithful() {
    for metric in ["faithfulness-correlation", "faithfulness-estimate", "sensitivity-n"] {
        let score = exact(metric, &[("size", "30")][..(metric == "faithfulness-correlation") as usize], &product);
        assert!((score - 1.0).abs() < 1e-5, "{metric}: {score}");
        let reversed = |w: &[f32], x: &[f32]| product(w, x).iter().map(|v| -v).collect();
        let score = exact(metric, &[("size", "30")][..(metric == "faithfulness-correlation") as usize], &reversed);
        assert!((score + 1.0).abs() < 1e-5, "{metric}: {score}");
    }
    // Squares of what a block's noise does follow the block's size.
    assert!(exact("monotonicity-correlation", &[("draws", "40")], &product) > 0.5);
    assert_eq!(exact("non-sensitivity", &[], &product), 0.0);
    let halved = |w: &[f32], x: &[f32]| {
        let mut map = product(w, x);
        map[..FEATURES / 2].fill(0.0);
        map
    };
    for epsilon in ["0.001", "0"] {
        let score = exact("non-sensitivity", &[("epsilon", epsilon)], &halved);
        assert!((score - 0.5).abs() < 0.01, "half of them are said to do nothing: {score}");
    }
    assert!(exact("infidelity", &[], &product) < 1e-8);
    assert!(exact("completeness", &[], &product) < 1e-5);
    let double = |w: &[f32], x: &[f32]| product(w, x).iter().map(|v| 2.0 * v).collect();
    assert!((exact("completeness", &[], &double) - 1.0).abs() < 1e-5);
    assert!(exact("infidelity", &[], &double) > 0.1, "twice as much is no forecast");
    assert!(exact("infidelity", &[("scaled", "true")], &double) < 1e-8, "but its scale is fitted");
}

/// Steps have as many features as they are told to, and the last one counts as wide as it is: of a linear model's logit, whose
/// curve is a line wherever contributions are all the same.
#[test]
fn the_axis_of_a_curve_is_the_share_of_features() {
    let (w, x) = (vec![1.0; LEN], vec![1.0; LEN]);
    // Not constant, as the map of a constant would be, but of no other order than by place.
    let map: Vec<f32> = (0..FEATURES).map(|i| -(i as f32)).collect();
    let mut subject = Linear::of(&w, &product);
    for step in ["1", "7", "100", "359", "360", "5000"] {
        let given = [("step", step), ("output", "logit"), ("baseline", "zero")];
        let score = score_of(&mut subject, "pixel-flipping", &given, (&x, &map, None)).unwrap();
        assert!((score - 0.5 * LEN as f64).abs() < 1e-3, "steps of {step}: {score}");
        let steps = FEATURES.div_ceil(step.parse().unwrap()) as u64;
        assert_eq!(subject.forwards, steps + 1, "steps of {step}");
    }
}

/// What says nothing has no score, whatever blocks there are and whatever the model's output is.
#[test]
fn what_says_nothing_has_no_score() {
    let (w, x) = (drawn(1, LEN), drawn(2, LEN));
    let (own, flat) = (product(&w, &x), vec![0.5; FEATURES]);
    let lower: Vec<f32> = w.iter().zip(&x).map(|(w, x)| -w.abs() * x.signum()).collect();
    let mut subject = Linear::of(&lower, &product);
    let mut score =
        |metric: &str, given: &[(&str, &str)], map: &[f32]| score_of(&mut subject, metric, given, (&x, map, None));
    assert_eq!(score("monotonicity-correlation", &[("step", "50")], &flat), Err(Undefined::ConstantMap));
    assert_eq!(score("effective-complexity", &[("form", "model")], &flat), Err(Undefined::ConstantMap));
    assert_eq!(score("irof", &[("output", "logit")], &own), Err(Undefined::NothingToLose));
    assert!(score("irof", &[], &own).is_ok(), "a probability is positive");
    // Noise that is a share of a range of nothing moves nothing, and that a map stays says nothing.
    let x = vec![0.25; LEN];
    let still = [
        "local-lipschitz",
        "max-sensitivity",
        "avg-sensitivity",
        "relative-input-stability",
        "relative-output-stability",
        "relative-representation-stability",
    ];
    for metric in still {
        let score = score_of(&mut subject, metric, &[], (&x, &own, None));
        assert_eq!(score, Err(Undefined::ConstantInput), "{metric}");
    }
}

/// A margin is the score of a model whose class has the difference of the weights, and whose other class has none: so is every
/// metric's score of it. What looks at all logits, or for another class, sees another model.
#[test]
fn of_a_margin_metrics_see_what_the_map_explains() {
    let (a, b, x) = (drawn(1, LEN), drawn(3, LEN), drawn(2, LEN));
    let difference: Vec<f32> = a.iter().zip(&b).map(|(a, b)| a - b).collect();
    let mask: Vec<bool> = (0..FEATURES).map(|place| place % 7 == 0).collect();
    let map = product(&difference, &x);
    let of = |weights| Linear { weights, map: &product, forwards: 0, explanations: 0 };
    // A third class, ahead of both wherever there is anything, is no matter.
    let third = x.iter().map(|v| 9.0 * v).collect();
    let (mut margin, mut alone) = (of(vec![a, b, third]), of(vec![difference, vec![0.0; LEN]]));
    for entry in METRICS.iter().filter(|m| !["random-logit", "relative-output-stability"].contains(&m.name)) {
        if ["consistency", "sufficiency"].contains(&entry.name) {
            continue;
        }
        let explained = Explained { class: 0, against: Some(1) };
        let of = (&x[..], &map[..], Some(&mask[..]));
        let own = score_explaining(explained, &mut margin, entry.name, &[], of, None);
        let same = score_of(&mut alone, entry.name, &[], of);
        match (own, same) {
            (Ok(own), Ok(same)) => {
                assert!((own - same).abs() <= 1e-3 * same.abs().max(1e-3), "{}: {own} and {same}", entry.name)
            }
            (own, same) => assert_eq!(own, same, "{}", entry.name),
        }
    }
}

/// With a tolerance, curves take the steps where they bend.
#[test]
fn curves_from_few_steps_are_near_those_of_all() {
    let w: Vec<f32> = drawn(1, LEN).iter().map(|v| 0.2 * v).collect();
    let x = drawn(2, LEN);
    let map = product(&w, &x);
    let mut subject = Linear::of(&w, &product);
    for (metric, own) in [
        ("deletion", ("step", "2")),
        ("insertion", ("step", "2")),
        ("pixel-flipping", ("step", "2")),
        ("region-perturbation", ("size", "2")),
        ("selectivity", ("size", "2")),
        ("irof", ("segments", "90")),
    ] {
        let exact = score_of(&mut subject, metric, &[own], (&x, &map, None)).unwrap();
        let all = subject.forwards;
        let near = score_of(&mut subject, metric, &[own, ("tolerance", "0.01")], (&x, &map, None)).unwrap();
        assert!((near - exact).abs() < 0.02, "{metric}: {near} for {exact}");
        assert!(subject.forwards < all * 3 / 4, "{metric}: {} of {all}", subject.forwards);
    }
}

/// Means of random draws end where they are as exact as is wanted, near what all draws give; other metrics take what they take.
#[test]
fn draws_end_where_their_mean_is_exact() {
    let (w, x) = (drawn(1, LEN), drawn(2, LEN));
    let bent = |w: &[f32], x: &[f32]| product(w, x).iter().map(|v| v.powi(3)).collect::<Vec<f32>>();
    let map = bent(&w, &x);
    let mut subject = Linear::of(&w, &bent);
    for (metric, given) in [
        ("faithfulness-correlation", &[("size", "30"), ("runs", "8000")][..]),
        ("avg-sensitivity", &[("draws", "300")]),
        ("max-sensitivity", &[("draws", "20")]),
    ] {
        let all = score_of(&mut subject, metric, given, (&x, &map, None)).unwrap();
        let taken = subject.forwards + subject.explanations;
        let near = score_within(&mut subject, metric, given, (&x, &map, None), Some(0.02)).unwrap();
        let less = subject.forwards + subject.explanations;
        if metric == "max-sensitivity" {
            assert_eq!((near, less), (all, taken), "{metric}");
        } else {
            let few = if metric == "avg-sensitivity" { 5 } else { 20 };
            assert!(less < taken / 2 && less >= few, "{metric}: {less} of {taken}");
            assert!((near - all).abs() < 0.08, "{metric}: {near} for {all}");
        }
    }
}

#[test]
fn curves_of_a_linear_model_are_those_of_sorted_sums() {
    // Removing the k largest contributions leaves the others' sum.
    let (w, x) = (drawn(1, LEN), drawn(2, LEN));
    let mut parts: Vec<f64> = product(&w, &x).iter().map(|v| *v as f64).collect();
    parts.sort_by(|a, b| b.total_cmp(a));
    let heights: Vec<f64> = (0..=GRID.height).map(|k| parts[k * GRID.width..].iter().sum()).collect();
    let area: f64 = heights.windows(2).map(|h| 0.5 * (h[0] + h[1])).sum::<f64>() / GRID.height as f64;
    for metric in ["pixel-flipping", "deletion"] {
        let score = exact(metric, &[("output", "logit"), ("baseline", "zero")], &product);
        assert!((score - area).abs() < 1e-4, "{metric}: {score} for {area}");
    }
    let least_first =
        exact("pixel-flipping", &[("output", "logit"), ("order", "lerf"), ("baseline", "zero")], &product);
    let inserted = exact("insertion", &[("output", "logit"), ("baseline", "zero")], &product);
    // What comes in first is what the others leave last.
    assert!((inserted - (heights[0] - area)).abs() < 1e-4, "{inserted}");
    assert!(least_first > area, "{least_first}");
    assert!(exact("region-perturbation", &[("output", "logit"), ("baseline", "zero")], &product) > 0.0);
    let size = |w: &[f32], x: &[f32]| product(w, x).iter().map(|v| v.abs()).collect::<Vec<f32>>();
    let removed = |order: &str| exact("road", &[("output", "logit"), ("order", order)], &product);
    assert!(removed("morf") < removed("lerf"), "{} and {}", removed("morf"), removed("lerf"));
    assert!(exact("road", &[], &product) < exact("road", &[("order", "lerf")], &product));
    // With every contribution positive the logit only grows.
    let positive: Vec<f32> = w.iter().zip(&x).map(|(w, x)| (w * x).abs() / x).collect();
    let mut subject = Linear::of(&positive, &size);
    let map = size(&subject.weights[0], &x);
    assert_eq!(score_of(&mut subject, "monotonicity", &[("output", "logit")], (&x, &map, None)), Ok(1.0));
}

#[test]
fn the_gradient_of_a_linear_model_does_not_change() {
    for metric in ["local-lipschitz", "max-sensitivity", "avg-sensitivity"] {
        assert_eq!(exact(metric, &[], &gradient), 0.0, "{metric}");
        assert!(exact(metric, &[], &product) > 0.0, "{metric}: contributions do");
    }
    for metric in
        ["continuity", "relative-input-stability", "relative-output-stability", "relative-representation-stability"]
    {
        assert_eq!(exact(metric, &[], &gradient), 0.0, "{metric}");
        assert!(exact(metric, &[], &product) > 0.0, "{metric}: contributions do");
    }
    let (largest, mean) = (exact("max-sensitivity", &[], &product), exact("avg-sensitivity", &[], &product));
    assert!(largest > mean && mean > 0.5 * largest, "{largest}, {mean}");
}

#[test]
fn maps_of_two_classes_alike_are_alike() {
    let (w, x) = (drawn(1, LEN), drawn(2, LEN));
    let map = product(&w, &x);
    let mut subject = Linear { weights: vec![w.clone(), w], map: &product, forwards: 0, explanations: 0 };
    assert!((score_of(&mut subject, "random-logit", &[], (&x, &map, None)).unwrap() - 1.0).abs() < 1e-9);
    subject.weights[1] = drawn(9, LEN);
    assert!(score_of(&mut subject, "random-logit", &[], (&x, &map, None)).unwrap() < 0.5);
}

#[test]
fn maps_that_do_not_depend_on_the_weights_stay_the_same() {
    let input_alone = |_: &[f32], x: &[f32]| GRID.sums(x);
    for metric in ["mprt", "smooth-mprt"] {
        assert!((exact(metric, &[], &input_alone) - 1.0).abs() < 1e-12, "{metric}");
        assert!(exact(metric, &[], &gradient).abs() < 0.3, "{metric}: other weights are another order");
    }
    assert_eq!(exact("efficient-mprt", &[], &input_alone), 0.0);
    assert!(exact("mprt", &[], &product).abs() < 0.3, "other weights are another order");
    // One weight alone is a map of one value; all alike are one of the input's many.
    let sparse = |w: &[f32], x: &[f32]| if w[0] == drawn(1, 1)[0] { one_hot() } else { GRID.sums(x) };
    assert!(exact("efficient-mprt", &[], &sparse) > 1.0);
}

#[test]
fn a_shift_that_the_model_takes_off_is_seen_by_what_multiplies_by_the_input() {
    assert_eq!(exact("input-invariance", &[], &gradient), 0.0);
    assert!(exact("input-invariance", &[], &product) > 0.1);
    assert!(exact("input-invariance", &[("shift", "0")], &product) < 1e-6);
}

/// Removing segments in the order of a linear model's contributions loses them in that order.
#[test]
fn segments_are_removed_in_their_order() {
    let given = [("output", "logit"), ("baseline", "zero")];
    for kind in ["slic", "grid"] {
        let given = [given[0], given[1], ("kind", kind)];
        // All contributions are positive: whatever goes first is a loss, the largest the most.
        let x: Vec<f32> = drawn(2, LEN).iter().map(|v| v.abs()).collect();
        let w: Vec<f32> = drawn(1, LEN).iter().map(|v| v.abs()).collect();
        let mut subject = Linear::of(&w, &product);
        let map = product(&w, &x);
        let opposite: Vec<f32> = map.iter().map(|v| -v).collect();
        let best = score_of(&mut subject, "irof", &given, (&x, &map, None)).unwrap();
        let worst = score_of(&mut subject, "irof", &given, (&x, &opposite, None)).unwrap();
        assert!(best > 0.5 && worst < 0.5, "{kind}: {best} and {worst}");
        assert!((best + worst - 1.0).abs() < 0.02, "{kind}: one is the other backwards");
    }
}

#[test]
fn explanations_alike_have_the_same_class_or_not() {
    // Four rows of the map marked, at the top or at the bottom, with a little noise.
    let marked = |top: bool, noise: u64| -> Vec<f32> {
        let rows = if top { 0..4 * 18 } else { 16 * 18..20 * 18 };
        let noise = drawn(noise, FEATURES);
        (0..FEATURES).map(|i| if rows.contains(&i) { 1.0 + 0.01 * noise[i] } else { 0.0 }).collect()
    };
    let samples = |class: fn(usize) -> usize| -> Vec<(Vec<f32>, usize)> {
        (0..8).map(|i| (marked(i % 2 == 0, 40 + i as u64), class(i))).collect()
    };
    let given: &[(&str, &str)] = &[("cells", "2"), ("top", "2")];
    for (metric, given) in [("consistency", given), ("sufficiency", &[])] {
        let alike = samples(|i| i % 2);
        assert_eq!(compared(metric, given, &alike), (Some(1.0), 0), "{metric}: every explanation has one class");
        // Of three others like it one has its class.
        let mixed = samples(|i| usize::from(i >= 4));
        let (score, undefined) = compared(metric, given, &mixed);
        assert!((score.unwrap() - 1.0 / 3.0).abs() < 1e-12 && undefined == 0, "{metric}: {score:?}");
        assert_eq!(compared(metric, given, &alike[..1]), (None, 1), "{metric}: one sample alone");
        let nothing = vec![(vec![0.0; FEATURES], 0); 3];
        assert_eq!(compared(metric, given, &nothing), (None, 3), "{metric}: maps of nothing");
    }
}

#[test]
fn a_constant_model_has_flat_curves_and_no_correlations() {
    let (x, map) = (drawn(2, LEN), drawn(3, FEATURES));
    let mut subject = Linear { weights: vec![vec![0.0; LEN]; 4], map: &product, forwards: 0, explanations: 0 };
    let mut score = |metric: &str| score_of(&mut subject, metric, &[], (&x, &map, None));
    for metric in ["pixel-flipping", "deletion", "insertion", "selectivity"] {
        assert!((score(metric).unwrap() - 0.25).abs() < 1e-12, "{metric}");
    }
    assert_eq!((score("region-perturbation"), score("monotonicity")), (Ok(0.0), Ok(1.0)));
    assert!(score("irof").unwrap().abs() < 1e-12);
    assert_eq!(score("road"), Ok(1.0), "the first of equal classes stays");
    for metric in [
        "faithfulness-correlation",
        "faithfulness-estimate",
        "sensitivity-n",
        "completeness",
        "monotonicity-correlation",
    ] {
        assert_eq!(score(metric), Err(Undefined::ConstantOutput), "{metric}");
    }
}

#[test]
fn a_map_that_is_the_mask_is_on_the_object() {
    let x = drawn(2, LEN);
    let mask: Vec<bool> = (0..FEATURES).map(|i| (i / 18) % 20 > 11 && i % 18 > 4).collect();
    let marked = mask.iter().filter(|m| **m).count();
    let map: Vec<f32> = mask.iter().map(|m| f32::from(u8::from(*m))).collect();
    let mut subject = Linear { weights: vec![vec![0.0; LEN]; 2], map: &product, forwards: 0, explanations: 0 };
    let mut score = |metric: &str, given: &[(&str, &str)], map: &[f32], mask: Option<&[bool]>| {
        score_of(&mut subject, metric, given, (&x, map, mask))
    };
    for metric in ["pointing-game", "attribution-localisation", "relevance-rank", "relevance-mass", "auc", "focus"] {
        assert_eq!(score(metric, &[], &map, Some(&mask)), Ok(1.0), "{metric}");
    }
    let k = format!("{}", 2 * marked);
    assert_eq!(score("top-k-intersection", &[("k", &k)], &map, Some(&mask)), Ok(0.5));
    assert_eq!(score("top-k-intersection", &[("k", "361")], &map, Some(&mask)), Err(Undefined::TooFewFeatures));
    let weighted = score("attribution-localisation", &[("weighted", "true")], &map, Some(&mask)).unwrap();
    assert!((weighted - FEATURES as f64 / marked as f64).abs() < 1e-12);
    let outside: Vec<f32> = map.iter().map(|v| 1.0 - v).collect();
    let given: &[(&str, &str)] = &[("tolerance", "0")];
    for (metric, given) in [("pointing-game", given), ("relevance-mass", &[]), ("auc", &[])] {
        assert_eq!(score(metric, given, &outside, Some(&mask)), Ok(0.0), "{metric}");
    }
    let near = score("pointing-game", &[("tolerance", "0.5")], &outside, Some(&mask));
    assert_eq!(near, Ok(1.0), "half a side is near enough");
    let of_samples = score("pointing-game", &[("tolerance", "0"), ("average", "samples")], &outside, Some(&mask));
    assert_eq!(of_samples, Ok(0.0));
    let nothing = vec![false; mask.len()];
    for entry in METRICS.iter().filter(|m| m.wants != Wants::Nothing) {
        assert_eq!(score(entry.name, &[], &map, None), Err(Undefined::NoMask), "{}", entry.name);
        assert_eq!(score(entry.name, &[], &map, Some(&nothing)), Err(Undefined::EmptyMask), "{}", entry.name);
    }
    assert_eq!(score("auc", &[], &map, Some(&vec![true; mask.len()])), Err(Undefined::FullMask));
    assert_eq!(score("auc", &[], &vec![0.3; mask.len()], Some(&mask)), Ok(0.5));
}

#[test]
fn complexity_has_its_extremes() {
    let x = drawn(2, LEN);
    let n = FEATURES as f64;
    let mut subject = Linear { weights: vec![vec![0.0; LEN]; 2], map: &product, forwards: 0, explanations: 0 };
    let mut score = |metric: &str, map: &[f32]| score_of(&mut subject, metric, &[], (&x, map, None));
    let (mut one, uniform) = (vec![0.0; FEATURES], vec![-0.5; FEATURES]);
    one[77] = -3.0;
    assert!((score("sparseness", &one).unwrap() - (n - 1.0) / n).abs() < 1e-12);
    assert!(score("sparseness", &uniform).unwrap().abs() < 1e-12);
    assert_eq!(score("complexity", &one), Ok(0.0));
    assert!((score("complexity", &uniform).unwrap() - n.ln()).abs() < 1e-9);
    assert_eq!(score("effective-complexity", &one), Ok(1.0));
    assert_eq!(score("effective-complexity", &uniform), Ok(n));
    for metric in ["sparseness", "complexity", "effective-complexity"] {
        assert_eq!(score(metric, &vec![0.0; FEATURES]), Err(Undefined::NothingPositive));
    }
    // One feature decides alone: it suffices.
    subject.weights[0][77] = 9.0 / x[77];
    let map = product(&subject.weights[0], &x);
    assert_eq!(score_of(&mut subject, "effective-complexity", &[("form", "model")], (&x, &map, None)), Ok(1.0));
    // What speaks against the class counts by its size: with the first of these comes less than nothing, with the last all.
    subject.weights[0] = vec![0.0; LEN];
    for (place, part) in [(78, -6.0), (10, 5.0), (11, 4.0), (12, 3.0)] {
        subject.weights[0][place] = part / x[place];
    }
    let (map, given) = (product(&subject.weights[0], &x), [("form", "model"), ("output", "logit")]);
    assert_eq!(score_of(&mut subject, "effective-complexity", &given, (&x, &map, None)), Ok(4.0));
}

/// A test that names a metric which is not in the table would pass unseen; so would a new metric without one.
#[test]
fn every_metric_is_tested_and_every_parameter_parses() {
    let text =
        [include_str!("metrics.rs"), include_str!("metric_values.rs"), include_str!("metric_copies.rs")].concat();
    for entry in METRICS {
        assert!(
            text.matches(&format!("\"{}\"", entry.name)).count() > 0,
            "{} has no test in metric_values.rs, metric_copies.rs or here",
            entry.name
        );
        assert!(entry.default().is_ok(), "{}", entry.name);
        assert_eq!(METRICS.iter().filter(|m| m.name == entry.name || m.aliases.contains(&entry.name)).count(), 1);
        // Any text may be the name of a layer.
        for parameter in entry.parameters.iter().filter(|p| p.name != "layer") {
            let given: Given = [(parameter.name.to_string(), "nonsense".to_string())].into();
            let built = entry.params(&given).and_then(|params| (entry.build)(&params).map(|_| ()));
            assert!(built.is_err(), "{} takes nonsense for {}", entry.name, parameter.name);
        }
    }
}
