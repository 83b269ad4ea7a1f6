//! Paths through the input's space, walked step by step, and what methods make of the steps.

use std::ops::ControlFlow;

use super::baseline::Baseline;
use super::{Outcome, Params, Passes, Status, Task};
use crate::attribution::{Attribution, Completeness};
use crate::error::Result;

/// The point of the straight path at `t`: the baseline at zero, the input at one.
pub fn between(baseline: &[f32], input: &[f32], t: f64, point: &mut [f32]) {
    for (p, (&x, &b)) in point.iter_mut().zip(input.iter().zip(baseline)) {
        *p = (b as f64 + t * (x as f64 - b as f64)) as f32;
    }
}

/// One step of a walk.
pub struct Step<'a> {
    /// The target where the gradient was taken.
    pub value: f64,
    /// The gradient.
    pub gradient: &'a [f32],
    /// The way to the next point.
    pub moved: &'a [f64],
}

/// Is handed every step, in order.
pub type Visit<'a> = &'a mut (dyn FnMut(Step) + Send);

/// A path to the input, of a number of steps that is known before.
pub trait Path {
    /// Gradients that a walk takes.
    fn steps(&self) -> u32;
    /// Walks from the start to the input. Returns the start.
    fn walk(&self, task: &mut Task, visit: Visit) -> Result<Vec<f32>>;
}

/// The straight path, in equal steps, with the gradient at the beginning of each.
pub struct Straight {
    /// Steps.
    pub steps: u32,
    /// Where it starts.
    pub baseline: Baseline,
}

impl Straight {
    /// From the parameters `steps` and `baseline`.
    pub fn parse(params: &Params) -> Result<Straight> {
        Ok(Straight { steps: params.whole("steps", 1, MAX_STEPS)?, baseline: Baseline::parse(params)? })
    }
}

/// The most steps of a walk.
pub const MAX_STEPS: u32 = 100_000;

impl Path for Straight {
    fn steps(&self) -> u32 {
        self.steps
    }

    fn walk(&self, task: &mut Task, visit: Visit) -> Result<Vec<f32>> {
        let (input, seed) = (task.input, task.seed);
        let baseline = self.baseline.values(task)?;
        let steps = self.steps as f64;
        let moved: Vec<f64> = input.iter().zip(&baseline).map(|(&x, &b)| (x as f64 - b as f64) / steps).collect();
        let make = |i: usize, point: &mut [f32]| between(&baseline, input, i as f64 / steps, point);
        task.gradients_at(self.steps as usize, &make, &mut |_, pass| {
            visit(Step { value: pass.target(seed), gradient: pass.input, moved: &moved });
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(baseline)
    }
}

/// Passes of [`integrate`].
pub fn passes(path: &dyn Path) -> Passes {
    Passes { forward: 2, gradient: path.steps() as u64 }
}

/// The gradient integrated along a path: the sum over its steps of `gradient * moved`.
pub fn integrate(path: &dyn Path, task: &mut Task) -> Result<Outcome> {
    let mut sum = vec![0.0f64; task.input.len()];
    let start = path.walk(task, &mut |step| {
        for (sum, (&g, moved)) in sum.iter_mut().zip(step.gradient.iter().zip(step.moved)) {
            *sum += g as f64 * moved;
        }
    })?;
    let difference = task.target_at(task.input)? - task.target_at(&start)?;
    Ok(outcome(task, &sum, difference))
}

/// A map that promises to add up to the target's change.
pub fn outcome(task: &Task, sum: &[f64], difference: f64) -> Outcome {
    let attribution = Attribution::features(sum.iter().map(|&v| v as f32).collect(), task.session.input_shape());
    let completeness = Some(Completeness::new(attribution.sum(), difference));
    Outcome { attribution, completeness, standard_error: None, status: Status::Complete }
}
