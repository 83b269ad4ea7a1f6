//! Methods' parameters, each seen to do what it says: on a polynomial, by values that are known.

mod common;
#[path = "common/polynomial.rs"]
mod polynomial;

use std::sync::atomic::{AtomicBool, Ordering};

use common::normal;
use polynomial::*;
use whyline_runtime::Result;
use whyline_runtime::engine::{Counting, Gradient, Limit, Session, Tap};
use whyline_runtime::gradient::{Bounds, Settings};
use whyline_runtime::image::blur::{Border, gaussian};
use whyline_runtime::methods::{METHODS, Outcome, Status, Task, find};
use whyline_runtime::onnx::Layout;

/// What two noisy copies' gradients deviate by is known from those of one, and of both.
#[test]
fn the_variance_is_the_mean_square_of_what_draws_deviate_by() {
    let of = |name: &str, samples: &str| map(name, &[("samples", samples), ("sigma", "0.2")], 0.3);
    let (first, mean) = (of("smoothgrad", "1"), of("smoothgrad", "2"));
    let squares: Vec<f32> = first.iter().zip(&mean).map(|(first, mean)| (first - mean).powi(2)).collect();
    assert_close(&of("vargrad", "2"), &squares, 1e-4);
    let both: Vec<f32> = mean.iter().zip(&squares).map(|(mean, square)| mean * mean + square).collect();
    assert_close(&of("smoothgrad-squared", "2"), &both, 1e-4);
    assert!(squares.iter().any(|v| *v > 1e-3));
}

/// Where weights have next to no noise, copies of the model are so many more copies of the input, and not the same ones again.
#[test]
fn noise_of_the_input_is_drawn_anew_for_every_noisy_model() {
    let of = |models: &str| {
        let given = [("models", models), ("samples", "2"), ("weight-sigma", "1e-7"), ("sigma", "0.2")];
        map("fusiongrad", &given, 0.3)
    };
    let (one, two) = (of("1"), of("2"));
    let apart = one.iter().zip(&two).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(apart > 1e-2, "{apart}");
}

/// Of a linear model the map of one draw is its weights times the noisy input less the baseline.
#[test]
fn the_noise_of_gradient_shap_is_a_part_of_the_inputs_range() {
    let (w, x) = (Polynomial::new(0.0).w, normal(LEN, 3));
    let deviation = |sigma: &str| {
        let of = |seed| [("samples", "1"), ("baseline", "zero"), ("sigma", sigma), ("seed", seed)];
        let maps = ["1", "2", "3", "4", "5", "6", "7", "8"].map(|seed| map("gradient-shap", &of(seed), 0.0));
        let seen: Vec<usize> = (0..LEN).filter(|&i| w[i].abs() > 0.1).collect();
        let noise = |map: &[f32], i: usize| (map[i] / w[i] - x[i]) as f64;
        let squares = maps.iter().flat_map(|map| seen.iter().map(|&i| noise(map, i).powi(2)));
        (squares.sum::<f64>() / (maps.len() * seen.len()) as f64).sqrt()
    };
    let range = x.iter().fold(f32::MIN, |a, b| a.max(*b)) - x.iter().fold(f32::MAX, |a, b| a.min(*b));
    for sigma in [0.05, 0.2] {
        let found = deviation(&sigma.to_string()) / (sigma * range as f64);
        assert!((found - 1.0).abs() < 0.15, "{sigma}: {found} of what it should be");
    }
    assert!(deviation("0") < 1e-5);
}

/// One step of an ascent of a model of two classes: `2 p q |g|` of the step, with probabilities and gradient where it begins.
#[test]
fn a_step_of_an_adversarial_ascent_is_a_part_of_the_inputs_range() {
    let (x, mut polynomial) = (normal(LEN, 3), Polynomial::new(0.3));
    let gradient = polynomial.gradient(&x, &[1.0, 0.0]).unwrap();
    let p = 1.0 / (1.0 + (gradient.logits[1] - gradient.logits[0]).exp());
    // The tests' inputs are bounded by 9 on either side.
    let step = 0.004 * 18.0;
    let expected: Vec<f32> = gradient.input.iter().map(|g| 2.0 * p * (1.0 - p) * g.abs() * step).collect();
    assert_close(&map("agi", &[("steps", "1"), ("step-size", "0.004")], 0.3), &expected, 1e-5);
}

/// Whatever the path, the map adds up to what is lost on the way to the baseline that was asked for.
#[test]
fn idgi_begins_at_the_baseline_that_is_asked_for() {
    let (x, mut polynomial) = (normal(LEN, 3), Polynomial::new(0.3));
    let mut value = |x: &[f32]| polynomial.forward(x).unwrap()[0];
    for path in ["straight", "guided"] {
        for (baseline, at) in [("zero", 0.0), ("0.75", 0.75)] {
            let found = map("idgi", &[("path", path), ("baseline", baseline), ("steps", "20")], 0.3);
            let (sum, lost) = (found.iter().sum::<f32>(), value(&x) - value(&[at; LEN]));
            assert!((sum - lost).abs() < 1e-3 * lost.abs(), "{path} from {baseline}: {sum} for {lost}");
        }
    }
}

#[test]
fn score_cam_keeps_what_is_negative_where_it_is_told_to() {
    let of = |relu: &str| map("score-cam", &[("relu", relu)], 0.3);
    let (all, positive) = (of("false"), of("true"));
    assert!(all.iter().any(|v| *v < 0.0));
    assert_close(&positive, &all.iter().map(|v| v.max(0.0)).collect::<Vec<f32>>(), 1e-6);
}

/// What a rule goes by is asked of the model's preparation.
#[test]
fn parameters_of_rules_reach_the_backward_pass() {
    let settings = |name: &str, given: &[(&str, &str)]| build(find(name).unwrap(), given).needs().settings;
    let plain = Settings::default();
    let lrp = settings("lrp", &[("epsilon", "0.5"), ("gamma", "0.75"), ("alpha", "3")]);
    assert_eq!((lrp.epsilon, lrp.gamma, lrp.alpha), (0.5, 0.75, 3.0));
    assert!(plain.epsilon != 0.5 && plain.gamma != 0.75 && plain.alpha != 3.0);
    assert_eq!(settings("rectgrad", &[("percentile", "40")]).percentile, 40.0);
    let composite = |name: &str, given: &[(&str, &str)]| build(find(name).unwrap(), given).needs().composite.name;
    let guided = |ops: &str| composite("guided-backprop", &[("ops", ops)]);
    assert_eq!((guided("relu"), guided("rectifiers")), ("guided", "guided-rectifiers"));
    assert_eq!(["deep-taylor", "excitation-backprop"].map(|name| composite(name, &[])), ["deep-taylor", "excitation"]);
}

/// Whether somebody wants no more.
static IS_OVER: AtomicBool = AtomicBool::new(false);

/// A path's explanation of a linear model that was ended after so many gradients.
fn cut_short(name: &str, given: &[(&str, &str)], gradients: u64) -> Outcome {
    let method = build(find(name).unwrap(), given);
    let mut session = Counting::new(Polynomial::new(0.0));
    IS_OVER.store(false, Ordering::Relaxed);
    session.reset(Limit { interrupt: Some(&IS_OVER), ..Limit::default() });
    session.watch(Box::new(move |taken| IS_OVER.store(taken.gradient >= gradients, Ordering::Relaxed)));
    explain_with(method.as_ref(), &mut session, &normal(LEN, 3))
}

/// Gradients of a linear model are the same everywhere: what was seen of the path says what the rest gives.
#[test]
fn paths_that_are_cut_short_count_what_is_left_of_them() {
    let rules =
        ["gauss-legendre", "trapezoid", "left", "midpoint"].map(|rule| ("integrated-gradients", [("rule", rule)]));
    let bent = ["straight", "guided", "blur"].map(|path| ("idgi", [("path", path)]));
    let others = [("blur-ig", [("max-sigma", "2")]), ("guided-ig", [("steps", "40")])];
    for (name, given) in rules.into_iter().chain(bent).chain(others) {
        let (all, few) = (cut_short(name, &given, 1000), cut_short(name, &given, 5));
        assert_eq!((all.status, few.status), (Status::Complete, Status::Degraded), "{name} {given:?}");
        assert_close(&few.attribution.values, &all.attribution.values, 1e-4);
    }
}

/// The points of a path of so many steps from the most blurred.
fn blurs(sigma: impl Fn(f64) -> f64, steps: usize) -> impl Fn(f64) -> Vec<f32> {
    move |place| {
        gaussian(&normal(LEN, 3), Layout::ChannelsFirst, (3, 4, 5), sigma(place / steps as f64), Border::Reflect)
    }
}

/// The deviation's square goes down evenly.
#[test]
fn equal_steps_of_the_variance_are_equal_steps_of_the_variance() {
    let (mut polynomial, point) = (Polynomial::new(0.3), blurs(|part| 6.0 * (1.0 - part).sqrt(), 3));
    let mut expected = vec![0.0f32; LEN];
    for step in [0.0, 1.0, 2.0] {
        let gradient = polynomial.gradient(&point(step + 0.5), &[1.0, 0.0]).unwrap().input.to_vec();
        let moved = point(step + 1.0).into_iter().zip(point(step)).map(|(to, from)| to - from);
        expected.iter_mut().zip(gradient.iter().zip(moved)).for_each(|(sum, (g, moved))| *sum += g * moved);
    }
    assert_close(
        &map("blur-ig", &[("schedule", "variance"), ("max-sigma", "6"), ("steps", "3")], 0.3),
        &expected,
        1e-5,
    );
}

/// Each change of the target goes by the gradient where it begins.
#[test]
fn idgi_shares_out_by_the_gradients_at_the_paths_own_points() {
    let (mut polynomial, point) = (Polynomial::new(0.3), blurs(|part| 50.0 * (1.0 - part), 50));
    let mut expected = vec![0.0f32; LEN];
    for step in (0..50).map(f64::from) {
        let gradient = polynomial.gradient(&point(step), &[1.0, 0.0]).unwrap().input.to_vec();
        let change = polynomial.forward(&point(step + 1.0)).unwrap()[0] - polynomial.forward(&point(step)).unwrap()[0];
        let size: f32 = gradient.iter().map(|g| g * g).sum();
        expected.iter_mut().zip(&gradient).for_each(|(sum, g)| *sum += change * g * g / size);
    }
    assert_close(&map("idgi", &[("path", "blur")], 0.3), &expected, 1e-4);
}

/// The map is an eigenvector of how pixels vary together, also where another direction varies nearly as much.
#[test]
fn eigen_cam_goes_on_until_it_has_the_main_direction() {
    let patterns = [normal(20, 31), normal(20, 32), normal(20, 33)].map(|p| {
        let mean = p.iter().sum::<f32>() / 20.0;
        p.iter().map(|v| v - mean).collect::<Vec<f32>>()
    });
    let x: Vec<f32> = (0..LEN).map(|i| patterns[i / 20][i % 20]).collect();
    let method = build(find("eigen-cam").unwrap(), &[("relu", "false")]);
    let map = explain_with(method.as_ref(), &mut Polynomial::new(0.3), &x).attribution.values;
    let along = [0, 1, 2].map(|channel| common::dot(&patterns[channel], &map));
    let again: Vec<f64> =
        (0..20).map(|i| (0..3).map(|channel| along[channel] * patterns[channel][i] as f64).sum()).collect();
    let size = |v: &mut dyn Iterator<Item = f64>| v.map(|v| v * v).sum::<f64>().sqrt();
    let stretch = size(&mut again.iter().copied()) / size(&mut map.iter().map(|v| *v as f64));
    let off = size(&mut again.iter().zip(&map).map(|(a, m)| a / stretch - *m as f64))
        / size(&mut map.iter().map(|v| *v as f64));
    assert!(off < 1e-5, "{off}");
}

/// With one pass for covered inputs the channel with the largest magnitudes decides alone.
#[test]
fn score_cam_begins_with_the_strongest_channels() {
    let mut x = normal(LEN, 3);
    x[20..40].iter_mut().for_each(|v| *v *= 5.0);
    let method = build(find("score-cam").unwrap(), &[("relu", "false")]);
    let mut session = Counting::new(Polynomial::new(0.3));
    session.reset(Limit { passes: Some(2), ..Limit::default() });
    let outcome = explain_with(method.as_ref(), &mut session, &x);
    assert_eq!(outcome.status, Status::Degraded);
    assert_close(&outcome.attribution.values, &x[20..40], 1e-6);
}

/// Every pixel is a region here, and what speaks against the target is as strong as what speaks for it.
#[test]
fn the_top_region_is_the_one_with_the_largest_magnitude() {
    let w = Polynomial::new(0.0).w;
    let mut x: Vec<f32> = w.iter().map(|w| 0.1 * w.signum()).collect();
    let pixel = [0, 1, 2].map(|channel| channel * 20 + 7);
    pixel.iter().for_each(|&i| x[i] = -3.0 * w[i].signum());
    let method = build(find("integrated-hessians").unwrap(), &[]);
    let found = explain_with(method.as_ref(), &mut Polynomial::new(0.0), &x).attribution.values;
    let expected: Vec<f32> = (0..LEN).map(|i| if pixel.contains(&i) { w[i] * x[i] } else { 0.0 }).collect();
    assert_close(&found, &expected, 1e-3);
}

/// The polynomial of images whose channels come last, inputs as well as layers.
struct ChannelsLast {
    inner: Polynomial,
    slopes: Vec<f32>,
    at: Vec<f32>,
}

const SHAPE_LAST: [usize; 4] = [1, 4, 5, 3];

/// From channels first.
fn turned(x: &[f32]) -> Vec<f32> {
    (0..LEN).map(|i| x[i % 3 * 20 + i / 3]).collect()
}

/// To channels first.
fn turned_back(x: &[f32]) -> Vec<f32> {
    (0..LEN).map(|i| x[i % 20 * 3 + i / 20]).collect()
}

impl Session for ChannelsLast {
    fn input_shape(&self) -> &[usize] {
        &SHAPE_LAST
    }

    fn forward(&mut self, x: &[f32]) -> Result<&[f32]> {
        self.inner.forward(&turned_back(x))
    }

    fn gradient(&mut self, x: &[f32], seed: &[f32]) -> Result<Gradient<'_>> {
        let gradient = self.inner.gradient(&turned_back(x), seed)?;
        (self.slopes, self.at) = (turned(gradient.input), x.to_vec());
        Ok(Gradient { logits: &self.inner.logits, input: &self.slopes })
    }

    fn set_baseline(&mut self, baseline: &[f32]) -> Result<()> {
        self.inner.set_baseline(&turned_back(baseline))
    }

    fn tap(&self, index: usize) -> Option<Tap<'_>> {
        (index == 0).then_some(Tap { shape: &SHAPE_LAST, value: &self.at, gradient: &self.slopes })
    }
}

/// Of methods that draw nothing: draws go by the place of a value.
#[test]
fn channels_may_come_last() {
    let by_default = METHODS.iter().filter(|entry| !entry.properties.stochastic).map(|entry| (*entry, vec![]));
    for (entry, given) in by_default.chain([(find("fullgrad").unwrap(), vec![("scale", "channel")])]) {
        let (method, x) = (build(entry, &given), normal(LEN, 3));
        let first = explain_with(method.as_ref(), &mut Polynomial::new(0.3), &x).attribution;
        let last = |curve| ChannelsLast { inner: Polynomial::new(curve), slopes: vec![], at: vec![] };
        let (x, mut session, mut other) = (turned(&x), last(0.3), last(0.3));
        let layout = Some(Layout::ChannelsLast);
        let bounds = Bounds { low: vec![-9.0], high: vec![9.0], axis: 3 };
        let other = Some(&mut other as &mut dyn Session);
        let task = Task::new(&mut session, &x, &[1.0, 0.0]);
        let mut task = Task { layout, layer_layout: layout, other, bounds, ..task };
        let found = method.explain(&mut task).unwrap().attribution;
        let expected = if first.values.len() == LEN { turned(&first.values) } else { first.values };
        assert!(expected.iter().any(|v| *v != 0.0), "{}", entry.name);
        let most = expected.iter().fold(0.0f32, |most, v| most.max(v.abs()));
        let off = found.values.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(found.values.len() == expected.len() && off <= 1e-4 * most, "{}: {off} of {most}", entry.name);
    }
}
