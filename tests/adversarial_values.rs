//! Methods that look for inputs of other classes, on linear models: by values worked out on paper.

use whyline_runtime::Result;
use whyline_runtime::engine::{Gradient, Session, Tap};
use whyline_runtime::gradient::Bounds;
use whyline_runtime::gradient::head::{Choice, Head, Link};
use whyline_runtime::methods::{Given, Task, find};

/// Logits `w . x + b` of two values, each a channel of one pixel.
struct Linear {
    rows: Vec<([f32; 2], f32)>,
    logits: Vec<f32>,
    slopes: [f32; 2],
}

impl Linear {
    fn of(rows: &[([f32; 2], f32)]) -> Linear {
        Linear { rows: rows.to_vec(), logits: vec![], slopes: [0.0; 2] }
    }
}

impl Session for Linear {
    fn input_shape(&self) -> &[usize] {
        &[1, 2, 1, 1]
    }

    fn forward(&mut self, x: &[f32]) -> Result<&[f32]> {
        self.logits = self.rows.iter().map(|(w, b)| w[0] * x[0] + w[1] * x[1] + b).collect();
        Ok(&self.logits)
    }

    fn gradient(&mut self, x: &[f32], seed: &[f32]) -> Result<Gradient<'_>> {
        self.slopes = [0, 1].map(|i| self.rows.iter().zip(seed).map(|((w, _), seed)| w[i] * seed).sum());
        self.forward(x)?;
        Ok(Gradient { logits: &self.logits, input: &self.slopes })
    }

    fn tap(&self, _: usize) -> Option<Tap<'_>> {
        None
    }
}

/// The map of the first score, and what it says that it adds up to.
fn explained(
    name: &str,
    given: &[(&str, &str)],
    model: &[([f32; 2], f32)],
    x: [f32; 2],
    head: Head,
) -> (Vec<f32>, f64) {
    let entry = find(name).unwrap();
    let given: Given = given.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    let method = (entry.build)(&entry.params(&given).unwrap()).unwrap();
    let mut session = Linear::of(model);
    let seed: Vec<f32> = (0..model.len()).map(|class| if class == 0 { 1.0 } else { 0.0 }).collect();
    // Seven units from the least value of any channel to the largest of any.
    let bounds = Bounds { low: vec![-3.5, -2.0], high: vec![2.0, 3.5], axis: 1 };
    let mut task = Task { head, bounds, ..Task::new(&mut session, &x, &seed) };
    let outcome = method.explain(&mut task).unwrap();
    (outcome.attribution.values, outcome.completeness.unwrap().difference)
}

fn assert_close(found: &[f32], expected: &[f64]) {
    for (found, expected) in found.iter().zip(expected) {
        assert!((*found as f64 - expected).abs() < 1e-5, "{found} for {expected}");
    }
}

/// The first class is ahead. At first the second is next, and half a unit towards it the third, whose boundary is nearer from there.
const THREE: [([f32; 2], f32); 3] = [([-2.0, -1.0], 0.0), ([-1.0, -1.0], -1.0), ([-0.5, 0.5], -1.2)];

/// Steps are half of a radius long, and the first radius is 1: half a unit along (1, 0) for the second class's margin `x - 1`, and
/// then one along (1, 1) for the third's, `1.5 (x + y) - 1.2`.
#[test]
fn the_ascent_goes_after_the_class_that_is_next_where_it_stands() {
    let end = [0.5 + 0.5 * 0.5f64.sqrt(), 0.5 * 0.5f64.sqrt()];
    let part = 0.8 / (end[0] + end[1]);
    let expected = [2.0 * part * end[0], part * end[1]];
    let given = [("ascent", "5"), ("reach", "1")];
    let (map, lost) = explained("boundary-ig", &given, &THREE, [0.0; 2], Head::softmax(3));
    assert_close(&map, &expected);
    assert!((lost - expected[0] - expected[1]).abs() < 1e-5, "{lost}");
}

/// What is there, or is not, by the logistic function of one score.
#[test]
fn the_boundary_of_a_score_alone_is_where_it_changes_sign() {
    let head = Head { choice: Some(Choice::of_all(1)), link: Link::Sigmoid };
    // The nearest point of `3 x + 4 y + b = 0` to the origin is `-b (3, 4) / 25`.
    for b in [1.0, -1.0] {
        let (map, lost) = explained("boundary-ig", &[], &[([3.0, 4.0], b)], [0.0; 2], head);
        assert_close(&map, &[b as f64 * 9.0 / 25.0, b as f64 * 16.0 / 25.0]);
        assert!((lost - b as f64).abs() < 1e-5, "{lost}");
    }
}

fn softmax(x: [f64; 2]) -> Vec<f64> {
    let e = THREE.map(|(w, b)| (w[0] as f64 * x[0] + w[1] as f64 * x[1] + b as f64).exp());
    e.iter().map(|v| v / e.iter().sum::<f64>()).collect()
}

/// The derivative of a class's probability.
fn slope(class: usize, x: [f64; 2]) -> [f64; 2] {
    let p = softmax(x);
    let mean = |i: usize| p.iter().zip(THREE).map(|(p, (w, _))| p * w[i] as f64).sum::<f64>();
    [0, 1].map(|i| p[class] * (THREE[class].0[i] as f64 - mean(i)))
}

/// Two steps towards one class, a hundredth of seven units each: both derivatives are of where a step begins.
fn climbed(class: usize) -> [f64; 2] {
    let (mut at, mut sum) = ([0.0; 2], [0.0; 2]);
    for _ in 0..2 {
        let (rises, falls) = (slope(class, at), slope(0, at));
        for i in [0, 1] {
            let step = 0.07 * rises[i].signum();
            sum[i] -= falls[i] * step;
            at[i] += step;
        }
    }
    sum
}

#[test]
fn the_most_probable_classes_are_climbed_to_where_that_is_asked_for() {
    let agi = |given: &[(&str, &str)]| {
        let given = [given, &[("steps", "2"), ("step-size", "0.01")]].concat();
        explained("agi", &given, &THREE, [0.0; 2], Head::softmax(3)).0
    };
    let (second, third) = (climbed(1), climbed(2));
    assert!(softmax([0.0; 2])[1] > softmax([0.0; 2])[2] && (second[1] - third[1]).abs() > 1e-3);
    assert_close(&agi(&[("choose", "top"), ("classes", "1")]), &second);
    assert_close(&agi(&[]), &[second[0] + third[0], second[1] + third[1]]);
}
