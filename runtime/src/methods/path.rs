//! Paths through the input's space, walked step by step, and what methods make of the steps.

use std::ops::ControlFlow;

use super::{Outcome, Params, Passes, Status, Task};
use crate::attribution::{Attribution, Completeness};
use crate::baseline::Baseline;
use crate::error::Result;

/// The point of the straight path at `t`: the baseline at zero, the input at one.
pub fn between(baseline: &[f32], input: &[f32], t: f64, point: &mut [f32]) {
    for (p, (&x, &b)) in point.iter_mut().zip(input.iter().zip(baseline)) {
        *p = (b as f64 + t * (x as f64 - b as f64)) as f32;
    }
}

/// The numbers below `count`, in the order of their bits read backwards.
pub fn spread(count: u32) -> Vec<u32> {
    let bits = count.next_power_of_two().trailing_zeros();
    let backwards = |i: u32| if bits == 0 { i } else { i.reverse_bits() >> (u32::BITS - bits) };
    (0..1 << bits).map(backwards).filter(|&i| i < count).collect()
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
pub trait Path: Send {
    /// Gradients that a walk takes, unless the budget has room for fewer.
    fn steps(&self) -> u32;
    /// Where it starts.
    fn start(&self, task: &Task) -> Result<Vec<f32>>;
    /// Walks from the start to the input in so many steps; in fewer, the last one longer, where the budget ends. Says
    /// whether all were taken.
    fn walk(&self, task: &mut Task, start: &[f32], steps: u32, visit: Visit) -> Result<bool>;
}

/// Walks a path in as many steps as it has, or as the budget has room for. Says whether those were all that it has.
pub fn walk(path: &dyn Path, task: &mut Task, start: &[f32], visit: Visit) -> Result<Status> {
    let steps = (path.steps() as u64).min(task.session.room().max(1)) as u32;
    let all = path.walk(task, start, steps, visit)? && steps == path.steps();
    Ok(if all { Status::Complete } else { Status::Degraded })
}

/// The latest step's gradient, for the rest of the way where there is no room for another.
#[derive(Default)]
pub struct Last {
    value: f64,
    gradient: Vec<f32>,
    /// Steps taken.
    pub taken: u32,
}

impl Last {
    /// Notes a step.
    pub fn note(&mut self, value: f64, gradient: &[f32]) {
        (self.value, self.taken) = (value, self.taken + 1);
        self.gradient.clear();
        self.gradient.extend_from_slice(gradient);
    }

    /// The rest of the way.
    pub fn jump(&self, moved: &[f64], visit: Visit) {
        visit(Step { value: self.value, gradient: &self.gradient, moved });
    }
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

    fn start(&self, task: &Task) -> Result<Vec<f32>> {
        self.baseline.values(&task.origin())
    }

    fn walk(&self, task: &mut Task, start: &[f32], steps: u32, visit: Visit) -> Result<bool> {
        let (input, seed) = (task.input, task.seed);
        let part = |of: f64| input.iter().zip(start).map(|(&x, &b)| (x as f64 - b as f64) * of).collect::<Vec<f64>>();
        let moved = part(1.0 / steps as f64);
        let make = |i: usize, point: &mut [f32]| between(start, input, i as f64 / steps as f64, point);
        let mut last = Last::default();
        task.gradients_at(steps as usize, &make, &mut |_, pass| {
            let value = pass.target(seed);
            visit(Step { value, gradient: pass.input, moved: &moved });
            last.note(value, pass.input);
            Ok(ControlFlow::Continue(()))
        })?;
        if last.taken < steps {
            last.jump(&part((steps - last.taken) as f64 / steps as f64), visit);
        }
        Ok(last.taken == steps)
    }
}

/// Passes of [`integrate`].
pub fn passes(path: &dyn Path) -> Passes {
    Passes { forward: 2, gradient: path.steps() as u64 }
}

/// The least passes of [`integrate`].
pub const LEAST: Passes = Passes { forward: 2, gradient: 1 };

/// The gradient integrated along a path: the sum over its steps of `gradient * moved`.
pub fn integrate(path: &dyn Path, task: &mut Task) -> Result<Outcome> {
    let start = path.start(task)?;
    let difference = task.target_at(task.input)? - task.target_at(&start)?;
    let mut sum = vec![0.0f64; task.input.len()];
    let status = walk(path, task, &start, &mut |step| {
        for (sum, (&g, moved)) in sum.iter_mut().zip(step.gradient.iter().zip(step.moved)) {
            *sum += g as f64 * moved;
        }
    })?;
    Ok(Outcome { status, ..outcome(task, &sum, difference) })
}

/// A map that promises to add up to the target's change.
pub fn outcome(task: &Task, sum: &[f64], difference: f64) -> Outcome {
    let attribution = Attribution::features(sum.iter().map(|&v| v as f32).collect(), task.session.input_shape());
    let completeness = Some(Completeness::new(attribution.sum(), difference));
    Outcome { completeness, ..Outcome::of(attribution) }
}
