//! Adversarial gradient integration (Pan et al. 2021): the class's probability integrated along paths that climb towards
//! other classes: `A = sum over j and k of -dp_c/dx(x_k) * (x_k+1 - x_k)` with `x_k+1 = clip(x_k + eps sign dp_j/dx(x_k))`, until
//! class `j` is predicted or the steps are spent. No baseline is chosen. Probabilities are explained, whatever the target's
//! score.
//!
//! By default 20 steps to each of 20 random classes. Map: the input's shape, in probability. Cost: for each step a
//! forward and two gradients, which share that forward.

use super::adversarial::{Scores, clip, range};
use super::path::outcome;
use super::{Entry, Extents, Family, Method, Outcome, Parameter, Passes, Properties, Status, Task};
use crate::error::{Error, Result};
use crate::gradient::head::{Choice, Head, Link};
use crate::rng::Rng;

pub(super) const ENTRY: Entry = Entry {
    name: "adversarial-gradient-integration",
    aliases: &["agi"],
    family: Family::Path,
    summary: "the class's probability integrated along paths that climb towards other classes",
    paper: "Pan et al. 2021",
    properties: Properties { complete: false, linear_exact: false, stochastic: true, signed: true },
    parameters: &[
        Parameter { name: "classes", default: "20", help: "other classes that are climbed to" },
        Parameter { name: "choose", default: "random", help: "which: random, or top for the most probable" },
        Parameter { name: "steps", default: "20", help: "to each class at most" },
        Parameter { name: "step-size", default: "0.05", help: "of each step, as a part of the range of inputs" },
        Parameter { name: "seed", default: "0", help: "of the choice of classes" },
    ],
    build: |params| {
        let top = match params.text("choose") {
            "random" => false,
            "top" => true,
            _ => return Err(params.refuse("choose", "random or top")),
        };
        Ok(Box::new(Agi {
            classes: params.whole("classes", 1, 100_000)?,
            top,
            steps: params.whole("steps", 1, 100_000)?,
            step_size: params.size("step-size")? as f32,
            seed: params.seed("seed")?,
        }))
    },
};

struct Agi {
    classes: u32,
    top: bool,
    steps: u32,
    step_size: f32,
    seed: u64,
}

impl Method for Agi {
    fn reads(&self, head: Head) -> Result<()> {
        match head.link {
            Link::None => Err(Error::usage("it explains probabilities, and the model's scores have none")),
            _ => head.must_have_rivals().map(drop),
        }
    }

    fn passes(&self, model: Extents) -> Passes {
        let climbs = (self.classes as u64).min(model.classes.saturating_sub(1) as u64);
        let steps = climbs * self.steps as u64;
        Passes { forward: 1 + climbs + steps, gradient: 2 * steps }
    }

    fn least(&self, _model: Extents) -> Passes {
        Passes { forward: 3, gradient: 2 }
    }

    fn wants_one_class(&self) -> bool {
        true
    }

    fn explains_probability(&self) -> bool {
        true
    }

    /// Of few classes all are climbed to.
    fn draws(&self, model: Extents) -> bool {
        !self.top && (self.classes as usize) < model.classes.saturating_sub(1)
    }

    fn explain(&self, task: &mut Task) -> Result<Outcome> {
        let (input, class) = (task.input, task.class("adversarial gradient integration")?);
        let start = Scores::at(task, input)?;
        let mut sum = vec![0.0f64; input.len()];
        let (mut difference, mut status) = (0.0, Status::Complete);
        for (number, other) in
            self.others(&start, class, task.head.must_have_rivals()?, task.seed_of(self.seed)).into_iter().enumerate()
        {
            if number > 0 && task.session.room() < 2 {
                status = Status::Degraded;
                break;
            }
            let (end, stopped) = self.climb(task, class, other, &mut sum)?;
            difference += start.probability(class) - end.probability(class);
            if stopped {
                status = Status::Degraded;
                break;
            }
        }
        Ok(Outcome { status, ..outcome(task, &sum, difference) })
    }
}

impl Agi {
    /// The classes that are climbed to.
    fn others(&self, start: &Scores, class: usize, choice: Choice, seed: u64) -> Vec<usize> {
        let mut others: Vec<usize> = choice.rivals(class).collect();
        if self.top {
            let mut likely: Vec<_> = others.iter().map(|&class| (start.probability(class), class)).collect();
            likely.sort_by(|a, b| b.0.total_cmp(&a.0));
            others = likely.into_iter().map(|(_, class)| class).collect();
        } else {
            let rng = Rng::new(seed, 0);
            others.sort_by_key(|&c| rng.bits(c as u64));
        }
        others.truncate(self.classes as usize);
        others
    }

    /// Climbs to a class. Returns what the model gives the end, and whether there was no room to go on.
    fn climb(&self, task: &mut Task, class: usize, other: usize, sum: &mut [f64]) -> Result<(Scores, bool)> {
        let step = self.step_size * range(&task.bounds);
        let mut at = task.input.to_vec();
        let mut scores = Scores::before(task, &at)?;
        for taken in 0..self.steps {
            if scores.winner(class) == other {
                return Ok((scores, false));
            }
            if taken > 0 && task.session.room() < 3 {
                return Ok((scores, true));
            }
            let mut next = at.clone();
            let rises = task.session.gradient(&at, &scores.cotangent(other))?.input;
            for (next, g) in next.iter_mut().zip(rises) {
                // The sign of zero is zero.
                *next += if *g == 0.0 { 0.0 } else { step * g.signum() };
            }
            clip(&mut next, task.input, task.session.input_shape(), &task.bounds);
            let falls = task.session.gradient(&at, &scores.cotangent(class))?.input;
            for ((sum, &g), (&to, &from)) in sum.iter_mut().zip(falls).zip(next.iter().zip(&at)) {
                *sum -= g as f64 * (to as f64 - from as f64);
            }
            at = next;
            scores = Scores::before(task, &at)?;
        }
        Ok((scores, false))
    }
}
