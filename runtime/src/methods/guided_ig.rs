//! Guided integrated gradients (Kapishnikov et al. 2021): the gradient integrated along a path that moves, at each step,
//! only the features with the smallest gradients, and keeps every feature near the straight path. Noise that the straight
//! path collects where the target is steep in what does not matter is avoided.
//!
//! Where the path goes depends on every gradient before, so that none can be put between two others later. Within a tolerance
//! the length of each step goes by how much the one before it missed, one that missed far too much is taken back, and each
//! counts with the mean of the gradients at both its ends.
//!
//! By default 200 steps of a quarter of the features, at most 0.02 of the way from the straight path. Map: the input's
//! shape, in the target's unit; it adds up to `f(x) - f(x')`. Cost: `steps` gradients one after the other, on one
//! thread, and one or two forward passes.

use super::path::{LEAST, MAX_STEPS, Path, Step, Visit, integrate, outcome, passes};
use super::{Entry, Extents, Family, Method, Outcome, Parameter, Params, Passes, Properties, Status, Task};
use crate::baseline::{self, Baseline};
use crate::error::Result;

pub(super) const ENTRY: Entry = Entry {
    name: "guided-ig",
    aliases: &["guided-integrated-gradients"],
    family: Family::Path,
    summary: "the gradient integrated along a path that moves what has the smallest gradients first",
    paper: "Kapishnikov et al. 2021",
    properties: Properties { complete: true, linear_exact: true, stochastic: false, signed: true },
    parameters: &[
        Parameter { name: "steps", default: "200", help: "gradients along the path" },
        Parameter { name: "fraction", default: "0.25", help: "the share of features that may move at a time" },
        Parameter { name: "max-distance", default: "0.02", help: "from the straight path, as a part of it" },
        Parameter {
            name: "tolerance",
            default: "0",
            help: "steps as long as this completeness gap allows, as a share of what is explained, and up to as many as steps",
        },
        baseline::PARAMETER,
    ],
    build: |params| {
        let tolerance = params.size("tolerance")?;
        if tolerance > 0.0 {
            params.whole("steps", 2, MAX_STEPS)?;
        }
        Ok(Box::new(GuidedIg { path: Guided::parse(params)?, tolerance }))
    },
};

struct GuidedIg {
    path: Guided,
    tolerance: f64,
}

impl Method for GuidedIg {
    fn passes(&self, _model: Extents) -> Passes {
        match self.tolerance > 0.0 {
            true => Passes { forward: 1, gradient: self.path.steps as u64 },
            false => passes(&self.path),
        }
    }

    fn least(&self, _model: Extents) -> Passes {
        if self.tolerance > 0.0 { Passes { forward: 1, gradient: 2 } } else { LEAST }
    }

    fn explain(&self, task: &mut Task) -> Result<Outcome> {
        match self.tolerance > 0.0 {
            true => self.path.paced(task, self.tolerance),
            false => integrate(&self.path, task),
        }
    }
}

/// How much longer or shorter than the one before a step may be.
const PACE: f64 = 2.0;

/// Of its share of the gap that is left to the rest of the way, what a step should make. One that makes more than its whole
/// share is taken back.
const CAUTION: f64 = 0.5;

/// Steps of equal length that a path begins with.
const FIRST: f64 = 16.0;

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

/// How long steps are, so that what they miss stays within a gap.
struct Pace {
    /// The gap that all steps together may leave.
    allowed: f64,
    /// What they have left so far.
    gap: f64,
    /// Of the next step.
    length: f64,
}

impl Pace {
    /// Goes by what a step of length `made`, a `part` of the way that was left, has missed, of which `unsure` may be rounding.
    /// Says whether it was short enough.
    fn accepts(&mut self, made: f64, part: f64, missed: f64, unsure: f64) -> bool {
        // Of many steps the misses are of both signs, and add up as a random walk does.
        let share = CAUTION * (self.allowed - self.gap.abs()).max(0.0) * part.sqrt();
        let sure = missed.abs() - unsure;
        let better = if sure > 0.0 { (share / sure).sqrt() } else { PACE };
        self.length = made * better.clamp(1.0 / PACE, PACE);
        better * better >= CAUTION
    }
}

impl Guided {
    /// In steps that are short where the gradients at their ends miss the target's change.
    fn paced(&self, task: &mut Task, tolerance: f64) -> Result<Outcome> {
        let (input, seed) = (task.input, task.seed);
        let start = self.start(task)?;
        let end = task.target_at(input)?;
        let pass = task.gradient_at(&start)?;
        let (first, mut value, mut gradient) = (pass.target(seed), pass.target(seed), pass.input.to_vec());
        // A little is left to rounding.
        let mut pace = Pace { allowed: 0.9 * tolerance * (end - first).abs(), gap: 0.0, length: 1.0 / FIRST };
        let mut walker = Walker::new(&start, input);
        let (mut point, mut sum, mut shares) = (start, vec![0.0; input.len()], vec![0.0; input.len()]);
        let (mut along, mut taken) = (0.0, 1);
        while along < 1.0 {
            let (left, room) = (1.0 - along, task.session.room().min((self.steps - taken) as u64));
            // With few gradients left, as much of the way is made as lets them reach the end; without any, all of it.
            let least = left / room.max(1) as f64;
            let made = if room == 0 { left } else { pace.length.max(least).min(left) };
            let (from, to) = (walker.at.clone(), if made >= left { 1.0 } else { along + made });
            walker.step(&gradient, to, self.max_distance, self.fraction);
            let moved = walker.at.iter().zip(&from).map(|(to, from)| to - from);
            if room == 0 {
                let parts = moved.zip(&gradient).map(|(moved, &g)| moved * g as f64);
                sum.iter_mut().zip(parts).for_each(|(sum, part)| *sum += part);
                break;
            }
            point.iter_mut().zip(&walker.at).for_each(|(point, &at)| *point = at as f32);
            let pass = task.gradient_at(&point)?;
            taken += 1;
            let mean = gradient.iter().zip(pass.input).map(|(&a, &b)| 0.5 * (a as f64 + b as f64));
            shares.iter_mut().zip(moved.zip(mean)).for_each(|(share, (moved, mean))| *share = moved * mean);
            let after = pass.target(seed);
            let missed = shares.iter().sum::<f64>() - (after - value);
            // What float32 values are unsure of says nothing of the step.
            let sizes = shares.iter().map(|share| share.abs()).sum::<f64>() + value.abs() + after.abs();
            let unsure = 4.0 * f32::EPSILON as f64 * sizes;
            if !pace.accepts(made, made / left, missed, unsure) && made > least {
                walker.at = from;
                continue;
            }
            pace.gap += missed;
            sum.iter_mut().zip(&shares).for_each(|(sum, share)| *sum += share);
            (along, value) = (to, after);
            gradient.copy_from_slice(pass.input);
        }
        let outcome = outcome(task, &sum, end - first);
        let within = outcome.completeness.is_some_and(|c| c.relative_gap <= tolerance);
        Ok(Outcome { status: if within { Status::Complete } else { Status::Degraded }, ..outcome })
    }
}

impl Path for Guided {
    fn steps(&self) -> u32 {
        self.steps
    }

    fn start(&self, task: &Task) -> Result<Vec<f32>> {
        self.baseline.values(&task.origin())
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
