//! What every method must hold, shown on functions whose attributions are known.

mod common;
#[path = "common/polynomial.rs"]
mod polynomial;

use common::{dot, normal};
use polynomial::*;
use whyline_runtime::Result;
use whyline_runtime::attribution::Extent;
use whyline_runtime::engine::{Counting, Gradient, Passes, Session, Tap};
use whyline_runtime::gradient::composite::Kind;
use whyline_runtime::image::blur::{Border, gaussian};
use whyline_runtime::methods::{Entry, Extents, Given, METHODS, Status, Taps, Task, find};
use whyline_runtime::onnx::Layout;
use whyline_runtime::onnx::card::StepsCard;

const MODEL: Extents = Extents { input: LEN, classes: 2, channels: 3 };
/// Of two classes there is none to choose, and climbing to one is leaving the other, so that no sign differs.
const OF_TWO: &str = "adversarial-gradient-integration";

#[test]
fn every_method_takes_the_passes_it_declares() {
    // Passes of a second session are counted on the trained models.
    for (entry, method) in METHODS.iter().map(|e| (e, build(e, &[]))).filter(|(_, m)| m.also().is_none()) {
        let mut session = Counting::new(Polynomial::new(0.3));
        explain_with(method.as_ref(), &mut session, &normal(LEN, 3));
        let (taken, most) = (session.passes(), method.passes(MODEL));
        match ["adversarial-gradient-integration", "boundary-ig"].contains(&entry.name) {
            // How far away another class is cannot be known before.
            true => assert!(taken.forward <= most.forward && taken.gradient <= most.gradient, "{}", entry.name),
            false => assert_eq!(taken, most, "{}", entry.name),
        }
        assert_ne!(session.passes(), Passes::default(), "{}", entry.name);
    }
}

#[test]
fn integrated_gradients_stop_at_their_tolerance() {
    let input = normal(LEN, 3);
    let run = |curve: f32, steps: &str, tolerance: &str| {
        let given = [("rule", "adaptive"), ("steps", steps), ("tolerance", tolerance)];
        let method = build(find("integrated-gradients").unwrap(), &given);
        let mut session = Counting::new(Cubic(Polynomial::new(curve)));
        let outcome = explain_with(method.as_ref(), &mut session, &input);
        assert!(session.passes().gradient <= method.passes(MODEL).gradient);
        (outcome, session.passes())
    };
    // The trapezoid is exact for lines: the ends suffice, and give the change as well.
    let (outcome, passes) = run(0.0, "50", "1e-5");
    assert_eq!((outcome.status, passes), (Status::Complete, Passes { forward: 0, gradient: 2 }));
    let (outcome, passes) = run(0.7, "200", "1e-3");
    assert_eq!(outcome.status, Status::Complete);
    assert!(outcome.completeness.unwrap().relative_gap <= 1e-3 + 1e-6);
    assert!((3..100).contains(&passes.gradient), "{passes:?}");
    let (outcome, passes) = run(0.7, "4", "1e-3");
    assert_eq!((outcome.status, passes.gradient), (Status::Degraded, 4));
    assert!(outcome.completeness.unwrap().relative_gap > 1e-3);
    // Without a tolerance all gradients are taken, which comes near the fixed rule.
    let (outcome, passes) = run(0.7, "300", "0");
    assert_eq!((outcome.status, passes.gradient), (Status::Complete, 300));
    let method = build(find("integrated-gradients").unwrap(), &[]);
    let exact = explain_with(method.as_ref(), &mut Cubic(Polynomial::new(0.7)), &input);
    assert_close(&outcome.attribution.values, &exact.attribution.values, 1e-3);
}

/// `f(x)` of a polynomial, cubed: its gradient along a path is no line.
struct Cubic(Polynomial);

impl Session for Cubic {
    fn input_shape(&self) -> &[usize] {
        &SHAPE
    }

    fn forward(&mut self, x: &[f32]) -> Result<&[f32]> {
        self.0.forward(x)?;
        self.0.logits[0] += self.0.curve * self.0.logits[0].powi(3) / 100.0;
        Ok(&self.0.logits)
    }

    fn gradient(&mut self, x: &[f32], seed: &[f32]) -> Result<Gradient<'_>> {
        let inner = self.0.forward(x)?[0];
        self.0.gradient(x, seed)?;
        let steep = 1.0 + 3.0 * self.0.curve * inner.powi(2) / 100.0;
        self.0.slopes.iter_mut().for_each(|slope| *slope *= steep);
        self.forward(x)?;
        Ok(Gradient { logits: &self.0.logits, input: &self.0.slopes })
    }

    fn tap(&self, index: usize) -> Option<Tap<'_>> {
        self.0.tap(index)
    }
}

#[test]
fn every_method_gives_nothing_to_what_the_model_ignores() {
    for entry in METHODS {
        let method = build(entry, &[]);
        let outcome = explain_with(method.as_ref(), &mut Polynomial::new(0.3), &normal(LEN, 3));
        if outcome.attribution.extent == Extent::Features {
            assert_eq!(outcome.attribution.values[DUMMY], 0.0, "{}", entry.name);
        }
        assert!(outcome.attribution.values.iter().any(|v| *v != 0.0), "{}", entry.name);
    }
}

#[test]
fn methods_of_magnitudes_are_never_negative_and_signed_ones_are() {
    for entry in METHODS {
        let method = build(entry, &[]);
        // The way to a boundary nearby is the gradient's, so that no sign differs there either.
        if [OF_TWO, "boundary-ig"].contains(&entry.name) || matches!(method.needs().composite.kind, Kind::Relevance(_))
        {
            continue; // Its rules decide, of which the polynomial has none.
        }
        let outcome = explain_with(method.as_ref(), &mut Polynomial::new(0.3), &normal(LEN, 3));
        let negative = outcome.attribution.values.iter().any(|v| *v < 0.0);
        assert_eq!(negative, entry.properties.signed, "{}", entry.name);
    }
}

#[test]
fn complete_methods_add_up() {
    let complete: Vec<_> = METHODS.iter().filter(|e| e.properties.complete).collect();
    assert!(!complete.is_empty());
    for entry in complete {
        // Those that follow a bent path do so in finite steps.
        let bent = ["blur-ig", "guided-ig"].contains(&entry.name);
        let (given, most) = if bent { (&[("steps", "4000")][..], 3e-3) } else { (&[][..], 1e-4) };
        let outcome = explain_with(build(entry, given).as_ref(), &mut Polynomial::new(0.3), &normal(LEN, 3));
        let completeness = outcome.completeness.expect("a complete method reports its gap");
        assert!(completeness.relative_gap < most, "{}: {completeness:?}", entry.name);
        assert!((outcome.attribution.sum() - completeness.sum).abs() < 1e-9);
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_does_not() {
    for entry in METHODS.iter().filter(|e| e.properties.stochastic && e.name != OF_TWO) {
        let bytes =
            |seed: &str| -> Vec<u32> { map(entry.name, &[("seed", seed)], 0.3).iter().map(|v| v.to_bits()).collect() };
        assert_eq!(bytes("1"), bytes("1"), "{}", entry.name);
        assert_ne!(bytes("1"), bytes("2"), "{}", entry.name);
    }
}

/// Those that say so, and no others.
#[test]
fn methods_that_are_exact_on_a_linear_model_say_so() {
    let (w, x) = (Polynomial::new(0.0).w, normal(LEN, 3));
    let products: Vec<f32> = w.iter().zip(&x).map(|(w, x)| w * x).collect();
    let mut wrong = vec![];
    for entry in METHODS {
        let needs = build(entry, &[]).needs();
        if needs.taps == Taps::Layer || matches!(needs.composite.kind, Kind::Relevance(_)) {
            continue; // The layer is the input here, and there are no rules.
        }
        let values = map(entry.name, &[], 0.0);
        let is = |exact: &[f32]| {
            values.len() == LEN && values.iter().zip(exact).all(|(a, b)| (a - b).abs() <= 1e-5 * b.abs().max(0.1))
        };
        if (is(&w) || is(&products)) != entry.properties.linear_exact {
            wrong.push(entry.name);
        }
    }
    assert_eq!(wrong, Vec::<&str>::new());
}

#[test]
fn gradients_of_a_linear_model_are_its_weights() {
    let w = Polynomial::new(0.0).w;
    for name in ["vanilla", "smoothgrad", "guided-backprop", "deconvnet"] {
        assert_close(&map(name, &[], 0.0), &w, 1e-6);
    }
    let sizes: Vec<f32> = w.iter().map(|w| w.abs()).collect();
    assert_close(&map("saliency", &[], 0.0), &sizes, 1e-6);
    let products: Vec<f32> = w.iter().zip(normal(LEN, 3)).map(|(w, x)| w * x).collect();
    assert_close(&map("gradient-x-input", &[], 0.0), &products, 1e-6);
}

#[test]
fn integrated_gradients_of_a_linear_model_are_exact_for_any_rule_and_baseline() {
    let (w, x) = (Polynomial::new(0.0).w, normal(LEN, 3));
    for rule in ["gauss-legendre", "midpoint", "left", "right", "trapezoid"] {
        for (baseline, value) in [("zero", 0.0), ("0.7", 0.7)] {
            let exact: Vec<f32> = w.iter().zip(&x).map(|(w, x)| w * (x - value)).collect();
            assert_close(&map("ig", &[("rule", rule), ("steps", "3"), ("baseline", baseline)], 0.0), &exact, 1e-5);
        }
    }
}

#[test]
fn integrated_gradients_of_a_quadratic_are_exact_with_one_gauss_legendre_node() {
    let (p, x) = (Polynomial::new(0.3), normal(LEN, 3));
    let exact: Vec<f32> = (0..LEN).map(|i| p.w[i] * x[i] + 0.3 * p.v[i] * x[i] * x[i]).collect();
    assert_close(&map("ig", &[("steps", "1")], 0.3), &exact, 1e-5);
}

#[test]
fn integrated_gradients_from_the_input_itself_are_zero() {
    let method = build(find("ig").unwrap(), &[("baseline", "0.25")]);
    let outcome = explain_with(method.as_ref(), &mut Polynomial::new(0.3), &[0.25; LEN]);
    assert!(outcome.attribution.values.iter().all(|v| *v == 0.0));
}

#[test]
fn the_mean_baseline_is_each_channels_own() {
    let mut x = vec![0.0; LEN];
    (0..LEN).for_each(|i| x[i] = (i / 20) as f32 * 10.0);
    let method = build(find("ig").unwrap(), &[("baseline", "mean")]);
    let outcome = explain_with(method.as_ref(), &mut Polynomial::new(0.3), &x);
    assert!(
        outcome.attribution.values.iter().all(|v| *v == 0.0),
        "constant channels differ from their mean by nothing"
    );
}

#[test]
fn guided_paths_that_may_not_leave_the_straight_one_are_the_left_rule() {
    let left = map("ig", &[("rule", "left"), ("steps", "20")], 0.3);
    for fraction in ["0.25", "1"] {
        let given = [("max-distance", "0"), ("fraction", fraction), ("steps", "20")];
        assert_close(&map("guided-ig", &given, 0.3), &left, 1e-5);
    }
    // Moving all features at once is straight too, however far they may go.
    let given = [("max-distance", "1"), ("fraction", "1"), ("steps", "20")];
    assert_close(&map("guided-ig", &given, 0.3), &left, 1e-5);
}

#[test]
fn guided_integrated_gradients_of_a_linear_model_are_exact() {
    let exact: Vec<f32> = Polynomial::new(0.0).w.iter().zip(normal(LEN, 3)).map(|(w, x)| w * (x - 0.7)).collect();
    for fraction in ["0", "0.1", "0.25", "0.9"] {
        for distance in ["0.02", "0.3", "1"] {
            let given = [("fraction", fraction), ("max-distance", distance), ("steps", "10"), ("baseline", "0.7")];
            assert_close(&map("guided-ig", &given, 0.0), &exact, 1e-5);
        }
    }
}

/// The same sums as a plain walk: what may move is sorted, and the gradient is asked for anew at every step.
#[test]
fn guided_paths_move_the_smallest_gradients_first() {
    let (p, x) = (Polynomial::new(0.3), normal(LEN, 3));
    // One step with a quarter of the features at a time, as far as they like: in order of their gradients at zero.
    let values = map("guided-ig", &[("max-distance", "1"), ("fraction", "0.25"), ("steps", "2")], 0.3);
    let whole: f64 = x.iter().map(|x| x.abs() as f64).sum();
    let mut order: Vec<usize> = (0..LEN).collect();
    order.sort_by(|&a, &b| p.w[a].abs().total_cmp(&p.w[b].abs()));
    let (mut at, mut left) = (vec![0.0f64; LEN], whole / 2.0);
    // Rounds of those that the quantile lets through, whose share counts what has arrived too.
    let most = (0.25 * (LEN - 1) as f64) as usize;
    let mut arrived = 0;
    while left > 1e-9 {
        let chosen = &order[arrived..arrived + most + 1];
        let room: f64 = chosen.iter().map(|&i| x[i].abs() as f64).sum();
        let part = (left / room).min(1.0);
        chosen.iter().for_each(|&i| at[i] = part * x[i] as f64);
        (left, arrived) = (left - part * room, arrived + most + 1);
    }
    let slope = |i: usize, at: f64| p.w[i] as f64 + 0.6 * p.v[i] as f64 * at;
    let second = |i: usize| slope(i, at[i] as f32 as f64) * (x[i] as f64 - at[i]);
    let expected: Vec<f32> = (0..LEN).map(|i| (slope(i, 0.0) * at[i] + second(i)) as f32).collect();
    assert_close(&values, &expected, 1e-5);
}

#[test]
fn blur_paths_of_a_linear_model_are_exact_and_a_constant_image_has_none() {
    let (p, x) = (Polynomial::new(0.0), normal(LEN, 3));
    for (border, sides) in [("reflect", Border::Reflect), ("zero", Border::Zero)] {
        let start = gaussian(&x, Layout::ChannelsFirst, (3, 4, 5), 6.0, sides);
        let exact: Vec<f32> = (0..LEN).map(|i| p.w[i] * (x[i] - start[i])).collect();
        for schedule in ["linear", "variance"] {
            let given = [("max-sigma", "6"), ("steps", "4"), ("border", border), ("schedule", schedule)];
            assert_close(&map("blur-ig", &given, 0.0), &exact, 1e-5);
        }
    }
    let method = build(find("blur-ig").unwrap(), &[("steps", "5")]);
    let outcome = explain_with(method.as_ref(), &mut Polynomial::new(0.3), &[0.25; LEN]);
    assert!(outcome.attribution.values.iter().all(|v| v.abs() < 1e-6));
    assert!(map("blur-ig", &[("max-sigma", "0")], 0.3).iter().all(|v| *v == 0.0));
    let given = [("max-sigma".to_string(), "1e300".to_string())].into_iter().collect();
    let entry = find("blur-ig").unwrap();
    let error = (entry.build)(&entry.params(&given).unwrap()).err().unwrap().to_string();
    assert!(error.contains("10000 at most"), "{error}");
}

#[test]
fn bent_paths_stop_at_their_tolerance() {
    let rules: [(&str, &[(&str, &str)]); 2] =
        [("blur-ig", &[("rule", "adaptive"), ("max-sigma", "6")]), ("guided-ig", &[])];
    for (name, given) in rules {
        let run = |curve: f32, steps: &'static str, tolerance: &'static str| {
            let given = [given, &[("steps", steps), ("tolerance", tolerance)]].concat();
            let method = build(find(name).unwrap(), &given);
            let mut session = Counting::new(Cubic(Polynomial::new(curve)));
            let outcome = explain_with(method.as_ref(), &mut session, &normal(LEN, 3));
            let (taken, most) = (session.passes(), method.passes(MODEL));
            assert!(taken.gradient <= most.gradient && taken.forward == most.forward, "{name}: {taken:?} of {most:?}");
            (outcome, taken.gradient)
        };
        // Of a linear model the ends of an adaptive path suffice; a guided one lengthens its steps.
        let (outcome, taken) = run(0.0, "50", "1e-3");
        assert!(outcome.status == Status::Complete && taken <= 10, "{name}: {taken}");
        let (outcome, taken) = run(0.7, "400", "1e-3");
        assert!(
            outcome.status == Status::Complete && (3..300).contains(&taken),
            "{name}: {taken}, {:?}",
            outcome.completeness
        );
        assert!(outcome.completeness.unwrap().relative_gap <= 1e-3 + 1e-6, "{name}");
        let (_, coarser) = run(0.7, "400", "1e-1");
        assert!(coarser < taken, "{name}: {coarser} for {taken}");
        let (outcome, taken) = run(0.7, "3", "1e-4");
        assert_eq!((outcome.status, taken), (Status::Degraded, 3), "{name}");
        // The way is made to its end all the same: a linear model's map is exact whatever the steps.
        let exact = build(find(name).unwrap(), &[given, &[("steps", "2")]].concat());
        let exact = explain_with(exact.as_ref(), &mut Polynomial::new(0.0), &normal(LEN, 3));
        let few = build(find(name).unwrap(), &[given, &[("steps", "2"), ("tolerance", "1e-3")]].concat());
        let few = explain_with(few.as_ref(), &mut Polynomial::new(0.0), &normal(LEN, 3));
        assert_close(&few.attribution.values, &exact.attribution.values, 1e-5);
    }
}

/// What is explained may be in any unit.
#[test]
fn tolerances_are_shares_of_what_is_explained() {
    let rules: [(&str, &[(&str, &str)]); 3] = [
        ("integrated-gradients", &[("rule", "adaptive")]),
        ("blur-ig", &[("rule", "adaptive"), ("max-sigma", "6")]),
        ("guided-ig", &[]),
    ];
    for (name, given) in rules {
        let method = build(find(name).unwrap(), &[given, &[("steps", "400"), ("tolerance", "1e-2")]].concat());
        let taken = [1.0, 1000.0].map(|unit| {
            let (mut session, x) = (Counting::new(Cubic(Polynomial::new(0.7))), normal(LEN, 3));
            let seed = [unit, 0.0];
            let layout = Some(Layout::ChannelsFirst);
            let outcome = method.explain(&mut Task { layout, ..Task::new(&mut session, &x, &seed) }).unwrap();
            assert_eq!(outcome.status, Status::Complete, "{name}");
            session.passes().gradient
        });
        assert!(taken[0] == taken[1] && taken[0] > 3, "{name}: {taken:?}");
    }
}

#[test]
fn calibrated_steps_are_the_cards_and_for_its_baseline_alone() {
    let explain = |baseline: &str, steps: Option<&StepsCard>, curve: f32| {
        let method = build(find("ig").unwrap(), &[("rule", "calibrated"), ("steps", "8"), ("baseline", baseline)]);
        let (mut session, input) = (Polynomial::new(curve), normal(LEN, 3));
        let mut task = Task { steps, ..Task::new(&mut session, &input, &[1.0, 0.0]) };
        method.explain(&mut task)
    };
    let card = |places: &[f32]| StepsCard { places: places.to_vec(), baseline: "0.5".into(), inputs: 3 };
    let skewed = card(&[0.0, 0.1, 0.2, 1.0]);
    // Middles of cells are exact for gradients that are lines, wherever the cells end.
    let values = explain("0.5", Some(&skewed), 0.3).unwrap().attribution.values;
    assert_close(&values, &map("ig", &[("baseline", "0.5")], 0.3), 1e-5);
    let even = explain("0.5", Some(&card(&[0.0, 0.25, 0.5, 0.75, 1.0])), 0.3).unwrap().attribution.values;
    assert_close(&even, &map("ig", &[("rule", "midpoint"), ("steps", "8"), ("baseline", "0.5")], 0.3), 1e-6);
    assert!(explain("0", Some(&skewed), 0.3).unwrap_err().to_string().contains("calibrated for the baseline '0.5'"));
    assert!(explain("0.5", None, 0.3).unwrap_err().to_string().contains("whyline calibrate finds them"));
}

/// Whoever asks for fewer passes than a method takes in steps or draws has what there is by then.
#[test]
fn methods_in_steps_and_draws_may_be_ended_before() {
    let counted = |entry: &&&'static Entry| entry.parameters.iter().any(|p| ["steps", "samples"].contains(&p.name));
    let is_whole = |entry: &&&'static Entry| {
        let method = build(entry, &[]);
        method.least(MODEL).all() == method.passes(MODEL).all()
    };
    let whole: Vec<&str> = METHODS.iter().filter(counted).filter(is_whole).map(|entry| entry.name).collect();
    // The first has no way to go before it has found its end, and of the other every step counts for all.
    assert_eq!(whole, ["boundary-ig", "integrated-hessians"], "`least` says that all passes are taken");
}

/// A method that draws does so anew in every copy: of a copy without noise to speak of its variance is that over seeds.
#[test]
fn draws_within_copies_are_of_their_own() {
    let draws = |entry: &&&Entry| entry.properties.stochastic && entry.parameters.iter().all(|p| p.name != "base");
    let mut same = vec![];
    for entry in METHODS.iter().filter(draws).filter(|entry| entry.name != OF_TWO) {
        let size: f32 = map(entry.name, &[], 0.3).iter().map(|v| v * v).sum();
        let spread = map("vargrad", &[("base", entry.name), ("samples", "4"), ("sigma", "1e-6")], 0.3);
        if spread.iter().sum::<f32>() < 1e-6 * size {
            same.push(entry.name);
        }
    }
    assert_eq!(same, Vec::<&str>::new(), "they draw the same in every copy: `task.seed_of` begins draws");
    let base = "expected-gradients samples=2";
    let spread = map("vargrad", &[("base", base), ("samples", "400"), ("sigma", "1e-6")], 0.3);
    let seeds: Vec<Vec<f32>> =
        (0..400).map(|seed| map("expected-gradients", &[("samples", "2"), ("seed", &seed.to_string())], 0.3)).collect();
    let variance = |i: usize| {
        let mean = seeds.iter().map(|map| map[i]).sum::<f32>() / 400.0;
        seeds.iter().map(|map| (map[i] - mean).powi(2)).sum::<f32>() / 400.0
    };
    let (own, expected): (f32, f32) = (spread.iter().sum(), (0..spread.len()).map(variance).sum());
    assert!(expected > 0.0 && (own / expected - 1.0).abs() < 0.3, "{own} for {expected}");
}

#[test]
fn a_base_may_be_told_its_own_parameters() {
    let quiet = [("sigma", "0"), ("samples", "3"), ("base", "ig steps=3 baseline=0.5")];
    assert_close(&map("smoothgrad", &quiet, 0.7), &map("ig", &[("steps", "3"), ("baseline", "0.5")], 0.7), 1e-6);
    for (base, wanted) in [("ig steps", "NAME=VALUE"), ("ig step=3", "no parameter 'step'"), ("", "there is no method")]
    {
        let entry = find("smoothgrad").unwrap();
        let given = Given::from([("base".to_string(), base.to_string())]);
        let refused = (entry.build)(&entry.params(&given).unwrap()).err().unwrap().to_string();
        assert!(refused.contains(wanted), "{refused}");
    }
}

#[test]
fn idgi_adds_up_exactly_whatever_the_path_and_the_steps() {
    for path in ["straight", "guided", "blur"] {
        for steps in ["1", "3", "40"] {
            let method = build(find("idgi").unwrap(), &[("path", path), ("steps", steps)]);
            let outcome = explain_with(method.as_ref(), &mut Cubic(Polynomial::new(0.7)), &normal(LEN, 3));
            let gap = outcome.completeness.unwrap().relative_gap;
            assert!(gap < 1e-5, "{path} in {steps} steps: {gap}");
        }
    }
    // Of a linear model: the change, by the squares of the weights, wherever the input is.
    let w = Polynomial::new(0.0).w;
    let change = dot(&w, &normal(LEN, 3));
    let size: f64 = w.iter().map(|w| (w * w) as f64).sum();
    let expected: Vec<f32> = w.iter().map(|w| (change * (w * w) as f64 / size) as f32).collect();
    assert_close(&map("idgi", &[("steps", "3")], 0.0), &expected, 1e-5);
}

/// Flat up to a threshold, then rising: the change where the gradient is zero goes to the next point that has one.
struct Late(Vec<f32>, Vec<f32>);

impl Session for Late {
    fn input_shape(&self) -> &[usize] {
        &SHAPE
    }

    fn forward(&mut self, x: &[f32]) -> Result<&[f32]> {
        self.0 = vec![(x[0] - 0.45).max(0.0)];
        Ok(&self.0)
    }

    fn gradient(&mut self, x: &[f32], _: &[f32]) -> Result<Gradient<'_>> {
        self.forward(x)?;
        self.1 = vec![0.0; LEN];
        self.1[0] = if x[0] > 0.45 { 1.0 } else { 0.0 };
        Ok(Gradient { logits: &self.0, input: &self.1 })
    }

    fn tap(&self, _: usize) -> Option<Tap<'_>> {
        None
    }
}

#[test]
fn idgi_loses_nothing_where_the_gradient_is_zero() {
    let method = build(find("idgi").unwrap(), &[("steps", "10")]);
    let mut input = [0.0; LEN];
    input[0] = 1.0;
    let outcome = explain_with(method.as_ref(), &mut Late(vec![], vec![]), &input);
    assert!((outcome.attribution.values[0] - 0.55).abs() < 1e-6, "{:?}", outcome.completeness);
}

#[test]
fn expected_gradients_of_a_linear_model_count_every_baseline_equally() {
    let (w, x) = (Polynomial::new(0.0).w, normal(LEN, 3));
    let baselines: Vec<Vec<f32>> = (0..3).map(|i| normal(LEN, 20 + i)).collect();
    let exact: Vec<f32> = (0..LEN).map(|i| w[i] * (x[i] - baselines.iter().map(|b| b[i]).sum::<f32>() / 3.0)).collect();
    for name in ["expected-gradients", "gradient-shap"] {
        let method = build(find(name).unwrap(), &[("samples", "6"), ("baseline", "file:set")]);
        let outcome = explain_from(method.as_ref(), &mut Polynomial::new(0.0), &x, &baselines).unwrap();
        assert_close(&outcome.attribution.values, &exact, 1e-5);
        let missing = explain_from(method.as_ref(), &mut Polynomial::new(0.0), &x, &[]).unwrap_err();
        assert!(missing.to_string().contains("none was given"));
    }
    let method = build(find("ig").unwrap(), &[("baseline", "file:set")]);
    let refused = explain_from(method.as_ref(), &mut Polynomial::new(0.0), &x, &baselines).unwrap_err();
    assert!(refused.to_string().contains("takes one baseline, not the 3"), "{refused}");
    let one = explain_from(method.as_ref(), &mut Polynomial::new(0.0), &x, &baselines[..1]).unwrap();
    let exact: Vec<f32> = (0..LEN).map(|i| w[i] * (x[i] - baselines[0][i])).collect();
    assert_close(&one.attribution.values, &exact, 1e-5);
}

#[test]
fn expected_gradients_tend_to_integrated_gradients_within_their_error() {
    let given = [("samples", "2000")];
    let method = build(find("expected-gradients").unwrap(), &given);
    let outcome = explain_with(method.as_ref(), &mut Polynomial::new(0.3), &normal(LEN, 3));
    assert_close(&outcome.attribution.values, &map("ig", &[], 0.3), 0.05);
    let sum: f64 = map("ig", &[], 0.3).iter().map(|&v| v as f64).sum();
    let error = outcome.standard_error.unwrap();
    assert!(error > 0.0 && (outcome.attribution.sum() - sum).abs() < 4.0 * error, "{error}");
    let bits = |name: &str| map(name, &[("samples", "7")], 0.3).iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits("expected-gradients"), bits("gradient-shap"), "without noise they are one");
    // Noise moves the end that the gradient is multiplied with, too.
    let noisy = map("gradient-shap", &[("samples", "3000"), ("sigma", "0.1")], 0.0);
    assert_close(&noisy, &map("ig", &[], 0.0), 0.05);
}

#[test]
fn a_point_in_every_part_of_the_way_is_nearer_to_the_mean_than_as_many_anywhere() {
    let exact = map("ig", &[], 0.3);
    let far = |places: &str| -> f32 {
        let off = |seed: &str| {
            let found = map("expected-gradients", &[("samples", "16"), ("places", places), ("seed", seed)], 0.3);
            found.iter().zip(&exact).map(|(a, b)| (a - b).powi(2)).sum::<f32>().sqrt()
        };
        ["1", "2", "3", "4", "5"].map(off).iter().sum()
    };
    assert!(far("stratified") < 0.3 * far("random"), "{} and {}", far("stratified"), far("random"));
}

#[test]
fn parts_of_the_way_are_dealt_to_every_baseline() {
    let (x, baselines) = (normal(LEN, 3), vec![vec![0.0; LEN], normal(LEN, 21)]);
    let of = |given: &[(&str, &str)], baselines: &[Vec<f32>]| {
        let method = build(find(if given.len() > 1 { "eg" } else { "ig" }).unwrap(), given);
        explain_from(method.as_ref(), &mut Polynomial::new(0.3), &x, baselines).unwrap().attribution.values
    };
    let given = [("baseline", "file:set"), ("samples", "64"), ("places", "stratified")];
    let both: Vec<f32> = of(&given[..1], &baselines[..1])
        .iter()
        .zip(of(&given[..1], &baselines[1..]))
        .map(|(a, b)| (a + b) / 2.0)
        .collect();
    assert_close(&of(&given, &baselines), &both, 0.02);
}

#[test]
fn compatible_rules_repeat_what_other_programs_do() {
    let linear = map("ig", &[], 0.0);
    let nine_tenths: Vec<f32> = linear.iter().map(|v| 0.9 * v).collect();
    let given = [("rule", "trapezoid"), ("steps", "10")];
    assert_close(&map("ig", &[&given[..], &[("compat", "captum")]].concat(), 0.0), &nine_tenths, 1e-6);
    assert_close(&map("ig", &given, 0.0), &linear, 1e-6);
    // Both ends count fully: of a quadratic, the mean over 0, 1/2 and 1 is that of the whole.
    assert_close(&map("ig", &[("steps", "3"), ("compat", "pair")], 0.3), &map("ig", &[], 0.3), 1e-5);
    assert_close(&map("ig", &[("compat", "captum")], 0.3), &map("ig", &[], 0.3), 0.0);
}

#[test]
fn baselines_are_what_they_are_called() {
    let (w, x) = (Polynomial::new(0.0).w, normal(LEN, 3));
    let of = |text: &str| -> Vec<f32> {
        let values = map("ig", &[("baseline", text), ("steps", "1")], 0.0);
        (0..LEN).map(|i| if i == DUMMY { f32::NAN } else { x[i] - values[i] / w[i] }).collect()
    };
    let same = |text: &str, expected: &dyn Fn(usize) -> f32| {
        let got = of(text);
        (0..LEN).filter(|&i| i != DUMMY).for_each(|i| {
            assert!((got[i] - expected(i)).abs() < 1e-3, "{text}: {} for {} at {i}", got[i], expected(i));
        });
    };
    // Of the element's channel.
    let range = |i: usize| x[i / 20 * 20..][..20].iter().fold((f32::MAX, f32::MIN), |(l, h), &v| (l.min(v), h.max(v)));
    let blurred = gaussian(&x, Layout::ChannelsFirst, (3, 4, 5), 0.8, Border::Reflect);
    same("-0.5", &|_| -0.5);
    same("blur:0.8", &|i| blurred[i]);
    same("max-distance", &|i| {
        let (low, high) = range(i);
        if x[i] - low > high - x[i] { low } else { high }
    });
    let (some, other) = (of("uniform"), of("uniform:1"));
    let is_inside = |(i, v): (usize, &f32)| v.is_nan() || (range(i).0 - 1e-3..=range(i).1 + 1e-3).contains(v);
    let inside = |values: &[f32]| values.iter().enumerate().all(is_inside);
    assert!(inside(&some) && inside(&other) && some[0] != other[0] && some[0] != some[1]);
}

#[test]
fn smoothgrad_without_noise_is_its_base() {
    for base in ["vanilla", "ig", "saliency"] {
        let smoothed = map("smoothgrad", &[("sigma", "0"), ("samples", "3"), ("base", base)], 0.3);
        assert_close(&smoothed, &map(base, &[], 0.3), 1e-6);
    }
}

#[test]
fn smoothgrad_of_a_quadratic_tends_to_its_gradient() {
    let noisy = map("smoothgrad", &[("samples", "4000"), ("sigma", "0.1")], 0.3);
    let clean = map("vanilla", &[], 0.3);
    assert_close(&noisy, &clean, 0.05);
}

#[test]
fn the_spread_over_noisy_copies_is_zero_without_noise_and_without_curvature() {
    for given in [&[("sigma", "0"), ("samples", "3"), ("base", "ig")][..], &[("samples", "5")]] {
        let curve = if given.len() == 3 { 0.3 } else { 0.0 };
        assert!(map("vargrad", given, curve).iter().all(|v| *v < 1e-12));
    }
    // Of a linear model's gradients times inputs, each varies as its input does.
    let range = normal(LEN, 3).iter().fold((f32::MAX, f32::MIN), |(l, h), &v| (l.min(v), h.max(v)));
    let sigma = 0.1 * (range.1 - range.0);
    let given = [("samples", "4000"), ("sigma", "0.1"), ("base", "gxi")];
    let expected: Vec<f32> = Polynomial::new(0.0).w.iter().map(|w| w * w * sigma * sigma).collect();
    for (got, expected) in map("vargrad", &given, 0.0).iter().zip(expected) {
        assert!((got - expected).abs() <= 0.15 * expected, "{got} for {expected}");
    }
}

#[test]
fn the_mean_square_is_the_variance_and_the_square_of_the_mean() {
    for base in ["vanilla", "gxi", "saliency", "ig", "grad-cam"] {
        let of = |name: &str| map(name, &[("samples", "7"), ("base", base)], 0.3);
        let (mean, squared, variance) = (of("smoothgrad"), of("smoothgrad-squared"), of("vargrad"));
        let sum: Vec<f32> = mean.iter().zip(&variance).map(|(m, v)| m * m + v).collect();
        assert_close(&squared, &sum, 1e-6);
    }
}

#[test]
fn grad_cam_weighs_channels_by_their_mean_gradient() {
    let (p, x) = (Polynomial::new(0.0), normal(LEN, 3));
    let alpha = |c: usize| p.w[c * 20..][..20].iter().sum::<f32>() / 20.0;
    let signed: Vec<f32> = (0..20).map(|i| (0..3).map(|c| alpha(c) * x[c * 20 + i]).sum()).collect();
    assert_close(&map("grad-cam", &[("relu", "false")], 0.0), &signed, 1e-5);
    let positive: Vec<f32> = signed.iter().map(|v: &f32| v.max(0.0)).collect();
    assert_close(&map("grad-cam", &[], 0.0), &positive, 1e-5);
}

/// Behind a mean over all pixels and a linear layer, a channel's gradient is the same everywhere, and then averaging,
/// weighing by activation and taking each place by itself all come to one.
#[test]
fn class_activation_maps_of_a_mean_and_a_linear_layer_are_one() {
    let x = normal(LEN, 3);
    let cam = |name: &str| {
        let mut session = Polynomial::new(0.0);
        session.w = (0..LEN).map(|i| [0.5, -1.5, 2.0][i / 20] / 20.0).collect();
        let method = build(find(name).unwrap(), &[("relu", "false")]);
        explain_with(method.as_ref(), &mut session, &x).attribution.values
    };
    let expected = cam("hires-cam");
    assert_close(&cam("grad-cam"), &expected, 1e-6);
    assert_close(&cam("xgrad-cam"), &expected, 1e-5);
    // Without the channel whose gradient is negative.
    let positive: Vec<f32> = (0..20).map(|i| (0.5 * x[i] + 2.0 * x[40 + i]) / 20.0).collect();
    assert_close(&cam("layer-cam"), &positive, 1e-6);
}

#[test]
fn class_activation_maps_that_weigh_by_activation_add_up_to_gradients_times_activations() {
    let (p, x) = (Polynomial::new(0.3), normal(LEN, 3));
    let slopes = (0..LEN).map(|i| (p.w[i] + 0.6 * p.v[i] * x[i]) as f64 * x[i] as f64);
    let expected: f64 = slopes.sum();
    for name in ["hires-cam", "xgrad-cam"] {
        let sum: f64 = map(name, &[("relu", "false")], 0.3).iter().map(|&v| v as f64).sum();
        assert!((sum - expected).abs() < 1e-4 * expected.abs().max(1.0), "{name}: {sum} for {expected}");
    }
}

#[test]
fn grad_cam_plus_plus_weighs_pixels_by_their_powers() {
    let (p, x) = (Polynomial::new(0.0), normal(LEN, 3));
    let weight = |c: usize| -> f64 {
        let total: f64 = x[c * 20..][..20].iter().map(|&v| v as f64).sum();
        let alpha = |g: f64| if g == 0.0 { 0.0 } else { g * g / (2.0 * g * g + total * g.powi(3) + 1e-6) };
        p.w[c * 20..][..20].iter().map(|&g| alpha(g as f64) * (g as f64).max(0.0)).sum()
    };
    let expected: Vec<f32> =
        (0..20).map(|i| (0..3).map(|c| weight(c) * x[c * 20 + i] as f64).sum::<f64>() as f32).collect();
    assert_close(&map("grad-cam++", &[("relu", "false")], 0.0), &expected, 1e-5);
}

/// Channels that are multiples of one pattern vary along one direction, and the map is that pattern, centred.
#[test]
fn eigen_cam_finds_the_pattern_that_channels_share() {
    let pattern = normal(20, 9);
    let mean: f32 = pattern.iter().sum::<f32>() / 20.0;
    let size: f32 = [0.5f32, -1.5, 2.0].iter().map(|v| v * v).sum::<f32>().sqrt();
    let x: Vec<f32> = (0..LEN).map(|i| [0.5, -1.5, 2.0][i / 20] * pattern[i % 20] + [3.0, 0.0, -1.0][i / 20]).collect();
    let method = build(find("eigen-cam").unwrap(), &[("relu", "false")]);
    let values = explain_with(method.as_ref(), &mut Polynomial::new(0.3), &x).attribution.values;
    let most = values.iter().fold(0.0f32, |most, v| if v.abs() > most.abs() { *v } else { most });
    assert!(most > 0.0, "the larger extreme is positive");
    let expected: Vec<f32> = pattern.iter().map(|v| (v - mean) * size).collect();
    let sign = if expected[0] * values[0] < 0.0 { -1.0 } else { 1.0 };
    assert_close(&values, &expected.iter().map(|v| v * sign).collect::<Vec<_>>(), 1e-4);
}

#[test]
fn wrong_parameters_are_refused_with_what_would_be_right() {
    let refused = |name: &str, key: &str, value: &str| -> String {
        let entry = find(name).unwrap();
        let given = Given::from([(key.to_string(), value.to_string())]);
        let built = entry.params(&given).and_then(|p| (entry.build)(&p).map(|_| ()));
        built.unwrap_err().to_string()
    };
    assert!(refused("vanilla", "steps", "3").contains("no parameter 'steps'"));
    assert!(refused("ig", "steps", "0").contains("from 1 to"));
    assert!(refused("ig", "rule", "simpson").contains("gauss-legendre"));
    assert!(refused("ig", "baseline", "nan").contains("zero, a number, mean"));
    assert!(refused("smoothgrad", "sigma", "-1").contains("not negative"));
    assert!(refused("smoothgrad", "base", "vargrad").contains("no base itself"));
    assert!(find("nonsense").err().unwrap().to_string().contains("integrated-gradients"));
}

#[test]
fn noise_on_nothing_changes_nothing() {
    let fused = |given: &[(&str, &str)]| map("fusiongrad", given, 0.3);
    let models = map("noisegrad", &[("models", "10")], 0.3);
    assert_eq!(fused(&[("weight-sigma", "0")]), map("smoothgrad", &[("samples", "10")], 0.3));
    assert_eq!(fused(&[("sigma", "0")]), models);
    assert_eq!(map("noisegrad", &[("weight-sigma", "0")], 0.3), map("vanilla", &[], 0.3));
    assert_ne!(models, map("vanilla", &[], 0.3));
}

#[test]
fn the_mean_over_noisy_linear_models_tends_to_the_weights() {
    let w = Polynomial::new(0.0).w;
    let mean = map("noisegrad", &[("models", "4000")], 0.0);
    // Deviation 0.2 |w| / sqrt(4000).
    let far = mean.iter().zip(&w).filter(|(m, w)| (*m - *w).abs() > 4.0 * 0.2 * w.abs() / 4000f32.sqrt()).count();
    assert!(far <= 1, "{far} of {LEN} are farther than four deviations");
}

#[test]
fn the_boundary_of_a_linear_model_is_met_at_a_right_angle() {
    // The margin is 2 f less a constant, which is 1 at the input: half of that is lost on the way.
    let w = Polynomial::new(0.0).w;
    let square = dot(&w, &w);
    let expected: Vec<f32> = w.iter().map(|w| (0.5 * *w as f64 * *w as f64 / square) as f32).collect();
    assert_close(&map("boundary-ig", &[], 0.0), &expected, 1e-4);
}

#[test]
fn climbing_in_small_steps_adds_up_to_the_probability_lost() {
    let run = |size: &str| {
        let method = build(find("agi").unwrap(), &[("step-size", size), ("steps", "4000")]);
        explain_with(method.as_ref(), &mut Polynomial::new(0.3), &normal(LEN, 3)).completeness.unwrap()
    };
    let (coarse, fine) = (run("1e-3"), run("1e-5"));
    assert!(fine.relative_gap < 1e-2 && fine.relative_gap < 0.1 * coarse.relative_gap, "{coarse:?} {fine:?}");
    assert!(fine.difference > 0.0);
}

/// `f(x) = sum of a_ij x_i x_j`, with the Hessian `a + a'`.
struct Quadratic {
    a: Vec<f32>,
    logits: Vec<f32>,
    slopes: Vec<f32>,
}

impl Session for Quadratic {
    fn input_shape(&self) -> &[usize] {
        &SHAPE
    }

    fn forward(&mut self, x: &[f32]) -> Result<&[f32]> {
        let along = |i: usize| dot(&self.a[i * LEN..(i + 1) * LEN], x) * x[i] as f64;
        self.logits = vec![(0..LEN).map(along).sum::<f64>() as f32, 0.0];
        Ok(&self.logits)
    }

    fn gradient(&mut self, x: &[f32], seed: &[f32]) -> Result<Gradient<'_>> {
        self.forward(x)?;
        let both = |i: usize, j: usize| (self.a[i * LEN + j] + self.a[j * LEN + i]) as f64 * x[j] as f64;
        self.slopes = (0..LEN).map(|i| seed[0] * (0..LEN).map(|j| both(i, j)).sum::<f64>() as f32).collect();
        Ok(Gradient { logits: &self.logits, input: &self.slopes })
    }

    fn tap(&self, _: usize) -> Option<Tap<'_>> {
        None
    }
}

#[test]
fn integrated_hessians_of_a_quadratic_are_known() {
    // Each product counts half for its two factors; of that a quarter each way, and a quarter for each with itself.
    let (a, x) = (normal(LEN * LEN, 8), normal(LEN, 9));
    let product = |i: usize, j: usize| (a[i * LEN + j] + a[j * LEN + i]) as f64 * x[i] as f64 * x[j] as f64;
    let pixel = 7;
    let region: Vec<usize> = [0, 1, 2].map(|channel| channel * 20 + pixel).into();
    let mut expected = vec![0.0f64; LEN];
    for &i in &region {
        for j in 0..LEN {
            expected[j] += 0.25 * product(i, j);
            expected[i] += 0.25 * product(i, j);
        }
    }
    let given = [("region", "1,2,1,1"), ("form", "differences")];
    let method = build(find("integrated-hessians").unwrap(), &given);
    let mut session = Quadratic { a: a.clone(), logits: vec![], slopes: vec![] };
    let outcome = explain_with(method.as_ref(), &mut session, &x);
    let expected: Vec<f32> = expected.iter().map(|&v| v as f32).collect();
    assert_close(&outcome.attribution.values, &expected, 5e-3);
    assert!(outcome.completeness.unwrap().relative_gap < 5e-3);
}

/// `f(x) = max(0, w . x - 1)`, whose gradient jumps once.
struct Kink(Vec<f32>, Vec<f32>, Vec<f32>);

impl Session for Kink {
    fn input_shape(&self) -> &[usize] {
        &SHAPE
    }

    fn forward(&mut self, x: &[f32]) -> Result<&[f32]> {
        self.1 = vec![(dot(&self.0, x) - 1.0).max(0.0) as f32, 0.0];
        Ok(&self.1)
    }

    fn gradient(&mut self, x: &[f32], seed: &[f32]) -> Result<Gradient<'_>> {
        let on = if self.forward(x)?[0] > 0.0 { seed[0] } else { 0.0 };
        self.2 = self.0.iter().map(|w| w * on).collect();
        Ok(Gradient { logits: &self.1, input: &self.2 })
    }

    fn tap(&self, _: usize) -> Option<Tap<'_>> {
        None
    }
}

#[test]
fn integrated_hessians_see_kinks() {
    let (w, x) = (normal(LEN, 8), normal(LEN, 8));
    let method =
        build(find("integrated-hessians").unwrap(), &[("region", "1,2,1,1"), ("form", "kinks"), ("steps", "2000")]);
    // Only the first channel of the pixel counts: the others' weights are zero.
    let w: Vec<f32> = w.iter().enumerate().map(|(i, w)| if [27, 47].contains(&i) { 0.0 } else { *w }).collect();
    let outcome = explain_with(method.as_ref(), &mut Kink(w.clone(), vec![], vec![]), &x);
    assert!(outcome.completeness.unwrap().relative_gap < 1e-6);
    // The kink is at t = 1 / (w . x): there the Hessian is w w' / (w . x), a delta.
    let (along, share) = (dot(&w, &x), |j: usize| w[j] as f64 * x[j] as f64);
    let t = 1.0 / along;
    let (mass, rest) = (-t * t.ln(), 1.0 - t * (1.0 - t.ln()));
    let own = |j: usize| if j == 7 { rest * share(j) } else { 0.0 };
    let expected: Vec<f32> = (0..LEN).map(|j| (mass * share(7) * share(j) / along + own(j)) as f32).collect();
    assert_close(&outcome.attribution.values, &expected, 2e-3);
}
