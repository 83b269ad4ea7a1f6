//! Shared by the tests of methods: a polynomial, whose attributions are known.
#![allow(dead_code)]

use crate::common::{dot, normal};
use whyline_runtime::Result;
use whyline_runtime::engine::{Gradient, Session, Tap};
use whyline_runtime::gradient::Bounds;
use whyline_runtime::methods::{Entry, Given, Method, Outcome, Task, find};
use whyline_runtime::onnx::{Layout, WeightNoise};
use whyline_runtime::rng::Rng;

pub const SHAPE: [usize; 4] = [1, 3, 4, 5];
pub const LEN: usize = 60;
/// An input element that no function below reads.
pub const DUMMY: usize = 17;

/// `f(x) = sum_i (w_i x_i + curve v_i x_i^2)` and a constant less `f(x)`, and their layer: the input itself.
pub struct Polynomial {
    pub w: Vec<f32>,
    pub v: Vec<f32>,
    pub curve: f32,
    pub logits: Vec<f32>,
    pub at: Vec<f32>,
    pub slopes: Vec<f32>,
    /// Which makes the first class the larger, by little, at the tests' input.
    pub rival: f32,
    /// Slopes are those of lines to here, if it is set.
    pub baseline: Option<Vec<f32>>,
}

impl Polynomial {
    pub fn new(curve: f32) -> Polynomial {
        let (mut w, mut v) = (normal(LEN, 1), normal(LEN, 2));
        (w[DUMMY], v[DUMMY]) = (0.0, 0.0);
        let (at, slopes) = (vec![], vec![]);
        let mut made = Polynomial { w, v, curve, logits: vec![], at, slopes, rival: 0.0, baseline: None };
        made.rival = 2.0 * made.forward(&normal(LEN, 3)).map_or(0.0, |logits| logits[0]) - 1.0;
        made
    }
}

impl Session for Polynomial {
    fn input_shape(&self) -> &[usize] {
        &SHAPE
    }

    fn forward(&mut self, x: &[f32]) -> Result<&[f32]> {
        let squares: Vec<f32> = x.iter().map(|x| x * x).collect();
        let value = (dot(&self.w, x) + self.curve as f64 * dot(&self.v, &squares)) as f32;
        self.logits = vec![value, self.rival - value];
        Ok(&self.logits)
    }

    fn gradient(&mut self, x: &[f32], seed: &[f32]) -> Result<Gradient<'_>> {
        let other = self.baseline.as_deref().unwrap_or(x);
        let slope = |i: usize| (seed[0] - seed[1]) * (self.w[i] + self.curve * self.v[i] * (x[i] + other[i]));
        (self.at, self.slopes) = (x.to_vec(), (0..LEN).map(slope).collect());
        self.forward(x)?;
        Ok(Gradient { logits: &self.logits, input: &self.slopes })
    }

    fn set_baseline(&mut self, baseline: &[f32]) -> Result<()> {
        self.baseline = Some(baseline.to_vec());
        Ok(())
    }

    fn perturb_weights(&mut self, noise: Option<WeightNoise>) -> Result<()> {
        let factors = noise.map(|n| (Rng::new(n.seed, n.draw), n.deviation));
        let own = normal(LEN, 1);
        for i in (0..LEN).filter(|&i| i != DUMMY) {
            self.w[i] = own[i] * factors.map_or(1.0, |(rng, deviation)| 1.0 + deviation * rng.normal(i as u64));
        }
        Ok(())
    }

    fn tap(&self, index: usize) -> Option<Tap<'_>> {
        (index == 0).then_some(Tap { shape: &SHAPE, value: &self.at, gradient: &self.slopes })
    }
}

pub fn build(entry: &'static Entry, given: &[(&str, &str)]) -> Box<dyn Method> {
    let given: Given = given.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    let params = entry.params(&given).unwrap();
    (entry.build)(&params).unwrap()
}

pub fn explain_with(method: &dyn Method, session: &mut dyn Session, input: &[f32]) -> Outcome {
    explain_from(method, session, input, &[]).unwrap()
}

pub fn explain_from(
    method: &dyn Method,
    session: &mut dyn Session,
    input: &[f32],
    baselines: &[Vec<f32>],
) -> Result<Outcome> {
    let layout = Some(Layout::ChannelsFirst);
    let mut other = Polynomial::new(0.3);
    let other = Some(&mut other as &mut dyn Session);
    let bounds = Bounds { low: vec![-9.0], high: vec![9.0], axis: 1 };
    let mut task =
        Task { layout, layer_layout: layout, baselines, other, bounds, ..Task::new(session, input, &[1.0, 0.0]) };
    method.explain(&mut task)
}

pub fn map(name: &str, given: &[(&str, &str)], curve: f32) -> Vec<f32> {
    let method = build(find(name).unwrap(), given);
    explain_with(method.as_ref(), &mut Polynomial::new(curve), &normal(LEN, 3)).attribution.values
}

pub fn assert_close(a: &[f32], b: &[f32], tolerance: f32) {
    assert_eq!(a.len(), b.len());
    for (i, (a, b)) in a.iter().zip(b).enumerate() {
        assert!((a - b).abs() <= tolerance * (1.0 + b.abs()), "element {i}: {a} for {b}");
    }
}
