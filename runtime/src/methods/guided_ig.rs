//! Guided integrated gradients (Kapishnikov et al. 2021): the gradient integrated along a path that moves, at each step,
//! only the features with the smallest gradients, and keeps every feature near the straight path. Noise that the straight
//! path collects where the target is steep in what does not matter is avoided.

use super::baseline::{self, Baseline};
use super::path::{LEAST, MAX_STEPS, Path, Step, Visit, integrate, passes};
use super::{Entry, Extents, Method, Outcome, Parameter, Params, Passes, Properties, Task};
use crate::error::Result;

pub(super) const ENTRY: Entry = Entry {
    name: "guided-ig",
    aliases: &["guided-integrated-gradients"],
    summary: "the gradient integrated along a path that moves what has the smallest gradients first",
    paper: "Kapishnikov et al. 2021",
    properties: Properties { complete: true, linear_exact: true, stochastic: false, signed: true },
    parameters: &[
        Parameter { name: "steps", default: "200", help: "gradients along the path" },
        Parameter { name: "fraction", default: "0.25", help: "the share of features that may move at a time" },
        Parameter { name: "max-distance", default: "0.02", help: "from the straight path, as a part of it" },
        baseline::PARAMETER,
    ],
    build: |params| Ok(Box::new(GuidedIg(Guided::parse(params)?))),
};

struct GuidedIg(Guided);

impl Method for GuidedIg {
    fn passes(&self, _model: Extents) -> Passes {
        passes(&self.0)
    }

    fn least(&self, _model: Extents) -> Passes {
        LEAST
    }

    fn explain(&self, task: &mut Task) -> Result<Outcome> {
        integrate(&self.0, task)
    }
}

/// The path.
pub(super) struct Guided {
    steps: u32,
    fraction: f64,
    max_distance: f64,
    baseline: Baseline,
}

impl Guided {
    /// From the parameters of the method.
    pub fn parse(params: &Params) -> Result<Guided> {
        let share = |name: &str| match params.size(name)? {
            share if share <= 1.0 => Ok(share),
            _ => Err(params.refuse(name, "from 0 to 1")),
        };
        Ok(Guided {
            steps: params.whole("steps", 1, MAX_STEPS)?,
            fraction: share("fraction")?,
            max_distance: share("max-distance")?,
            baseline: Baseline::parse(params)?,
        })
    }
}

impl Path for Guided {
    fn steps(&self) -> u32 {
        self.steps
    }

    fn start(&self, task: &Task) -> Result<Vec<f32>> {
        self.baseline.values(task)
    }

    fn walk(&self, task: &mut Task, start: &[f32], steps: u32, visit: Visit) -> Result<bool> {
        let (input, seed) = (task.input, task.seed);
        let mut walker = Walker::new(start, input);
        let (mut point, mut moved) = (start.to_vec(), vec![0.0; input.len()]);
        for step in 1..=steps {
            point.iter_mut().zip(&walker.at).for_each(|(point, &at)| *point = at as f32);
            // With the last gradient that there is room for, all the rest of the way is made.
            let last = task.session.room() <= 1;
            let along = if last { 1.0 } else { step as f64 / steps as f64 };
            let pass = task.gradient_at(&point)?;
            moved.copy_from_slice(&walker.at);
            walker.step(pass.input, along, self.max_distance, self.fraction);
            moved.iter_mut().zip(&walker.at).for_each(|(moved, at)| *moved = at - *moved);
            visit(Step { value: pass.target(seed), gradient: pass.input, moved: &moved });
            if last {
                return Ok(step == steps);
            }
        }
        Ok(true)
    }
}

/// A point on its way, in f64 so that features that have arrived are where they belong exactly.
struct Walker {
    from: Vec<f64>,
    to: Vec<f64>,
    at: Vec<f64>,
    /// The gradient's magnitudes; infinite for features that may not move.
    sizes: Vec<f64>,
    sorted: Vec<f64>,
}

impl Walker {
    fn new(baseline: &[f32], input: &[f32]) -> Walker {
        let wide = |values: &[f32]| values.iter().map(|&v| v as f64).collect::<Vec<f64>>();
        let (from, to) = (wide(baseline), wide(input));
        Walker { at: from.clone(), from, to, sizes: vec![0.0; input.len()], sorted: vec![] }
    }

    /// Where a feature is when it is so far along the straight path.
    fn place(&self, i: usize, along: f64) -> f64 {
        if along == 1.0 { self.to[i] } else { self.from[i] + (self.to[i] - self.from[i]) * along }
    }

    /// How far all features together are from the input.
    fn left(&self) -> f64 {
        self.at.iter().zip(&self.to).map(|(at, to)| (at - to).abs()).sum()
    }

    /// Moves until as much of the way is left as on the straight path at `along`.
    fn step(&mut self, gradient: &[f32], along: f64, max_distance: f64, fraction: f64) {
        let (least, most) = ((along - max_distance).max(0.0), (along + max_distance).min(1.0));
        let whole: f64 = self.from.iter().zip(&self.to).map(|(from, to)| (to - from).abs()).sum();
        let wanted = whole * (1.0 - along);
        self.sizes.iter_mut().zip(gradient).for_each(|(size, g)| *size = g.abs() as f64);
        // What lags too far behind catches up, whatever its gradient.
        for i in 0..self.at.len() {
            let way = self.to[i] - self.from[i];
            if way != 0.0 && (self.at[i] - self.from[i]) / way < least {
                self.at[i] = self.place(i, least);
            }
        }
        loop {
            let excess = self.left() - wanted;
            if excess <= 1e-9 * wanted.max(1.0) {
                return;
            }
            for i in 0..self.at.len() {
                if self.at[i] == self.place(i, most) {
                    self.sizes[i] = f64::INFINITY;
                }
            }
            let threshold = self.threshold(fraction);
            let chosen = |i: usize| self.sizes[i] <= threshold && self.sizes[i].is_finite();
            let chosen: Vec<usize> = (0..self.at.len()).filter(|&i| chosen(i)).collect();
            let room: f64 = chosen.iter().map(|&i| (self.place(i, most) - self.at[i]).abs()).sum();
            let part = excess / room;
            for &i in &chosen {
                let most = self.place(i, most);
                self.at[i] = if part >= 1.0 { most } else { self.at[i] + part * (most - self.at[i]) };
            }
            // Either all the way that was wanted is made, or nothing is left that may move.
            if part <= 1.0 || chosen.is_empty() {
                return;
            }
        }
    }

    /// The magnitude below which a share of all features lies. Those that have arrived count, as in the authors' program;
    /// where the share holds no other, the smallest may move.
    fn threshold(&mut self, fraction: f64) -> f64 {
        self.sorted.clone_from(&self.sizes);
        let at = (fraction * (self.sorted.len() - 1) as f64) as usize;
        let (_, &mut threshold, _) = self.sorted.select_nth_unstable_by(at, f64::total_cmp);
        threshold
    }
}
