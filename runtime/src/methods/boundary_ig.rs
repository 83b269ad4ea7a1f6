//! Boundary-based integrated gradients (Wang, Fredrikson and Datta 2022): integrated gradients from the nearest input of
//! another class. That is looked for by ascending the margin of the best other class inside balls of growing radius, and then
//! by bisection between it and the input.
//!
//! By default seven radii of 40 steps each, 20 halvings, and 50 nodes of integrated gradients. Map: the input's shape,
//! in the target's unit; it adds up to `f(x) - f(boundary)`. Cost: at most 330 gradients and 310 forward passes, of which 280 are
//! shared with a gradient.

use super::adversarial::{Scores, clip, range};
use super::integrated_gradients::IntegratedGradients;
use super::{Entry, Extents, Family, Method, Outcome, Parameter, Passes, Properties, Task};
use crate::error::{Error, Result};
use crate::gradient::head::Head;

pub(super) const ENTRY: Entry = Entry {
    name: "boundary-ig",
    aliases: &["big"],
    family: Family::Path,
    summary: "integrated gradients from the nearest input of another class",
    paper: "Wang et al. 2022",
    properties: Properties { complete: true, linear_exact: false, stochastic: false, signed: true },
    parameters: &[
        Parameter { name: "steps", default: "50", help: "gradients along the path" },
        Parameter { name: "ascent", default: "40", help: "gradients that look for another class, for each radius" },
        Parameter {
            name: "reach",
            default: "1.1",
            help: "the largest radius, as a part of the range of inputs; there are seven, growing evenly",
        },
    ],
    build: |params| {
        Ok(Box::new(Boundary {
            path: IntegratedGradients::gauss_legendre(params)?,
            ascent: params.whole("ascent", 1, 10_000)?,
            reach: params.size("reach")?,
        }))
    },
};

/// Radii that are tried.
const RADII: u32 = 7;
/// Halvings of the way between the input and another class.
const HALVINGS: u32 = 20;
/// A step's length, times the ascent's steps, in radii.
const STRIDE: f64 = 2.5;

struct Boundary {
    path: IntegratedGradients,
    ascent: u32,
    reach: f64,
}

impl Method for Boundary {
    fn reads(&self, head: Head) -> Result<()> {
        head.must_choose().map(drop)
    }

    fn passes(&self, model: Extents) -> Passes {
        let steps = RADII as u64 * self.ascent as u64;
        let search = Passes { forward: 1 + steps + (RADII + HALVINGS) as u64, gradient: steps };
        search.plus(self.path.passes(model))
    }

    fn explain(&self, task: &mut Task) -> Result<Outcome> {
        let input = task.input;
        let class = task.ahead();
        let own = Scores::at(task, input)?.decision(class);
        let mut found = None;
        for radius in (1..=RADII).map(|i| self.reach * i as f64 / RADII as f64) {
            found = self.ascend(task, (class, own), radius * range(&task.bounds) as f64)?;
            if found.is_some() {
                break;
            }
        }
        let Some(other) = found else {
            return Err(Error::bad_input(format!(
                "keeps its class: no input of another class was found within {} of the range of inputs; look \
                 farther with -p reach=",
                self.reach
            )));
        };
        let boundary = nearest(task, (class, own), &other)?;
        self.path.along(task, &boundary)
    }
}

impl Boundary {
    /// An input of another class within a radius, if the ascent finds one.
    fn ascend(&self, task: &mut Task, (class, own): (usize, usize), radius: f64) -> Result<Option<Vec<f32>>> {
        let input = task.input;
        let stride = STRIDE * radius / self.ascent as f64;
        let mut at = input.to_vec();
        for step in 0..=self.ascent {
            let scores = Scores::before(task, &at)?;
            if scores.decision(class) != own {
                return Ok(Some(at));
            }
            if step == self.ascent {
                break;
            }
            let rises = task.session.gradient(&at, &scores.away(class))?.input;
            let size = norm(rises);
            if size == 0.0 {
                break;
            }
            for (at, &g) in at.iter_mut().zip(rises) {
                *at += (stride * g as f64 / size) as f32;
            }
            let moved: Vec<f32> = at.iter().zip(input).map(|(a, x)| a - x).collect();
            let shrink = (radius / norm(&moved).max(f64::MIN_POSITIVE)).min(1.0);
            at.iter_mut().zip(input.iter().zip(&moved)).for_each(|(a, (x, m))| *a = x + (shrink * *m as f64) as f32);
            clip(&mut at, input, task.session.input_shape(), &task.bounds);
        }
        Ok(None)
    }
}

/// Of the straight way to an input of another class, the first point that is of another class, to rounding.
fn nearest(task: &mut Task, (class, own): (usize, usize), other: &[f32]) -> Result<Vec<f32>> {
    let input = task.input;
    let between = |t: f64| -> Vec<f32> {
        input.iter().zip(other).map(|(&x, &o)| (x as f64 + t * (o as f64 - x as f64)) as f32).collect()
    };
    let (mut inside, mut outside) = (0.0, 1.0);
    for _ in 0..HALVINGS {
        let middle = (inside + outside) / 2.0;
        match Scores::at(task, &between(middle))?.decision(class) == own {
            true => inside = middle,
            false => outside = middle,
        }
    }
    Ok(between(outside))
}

fn norm(values: &[f32]) -> f64 {
    values.iter().map(|&v| v as f64 * v as f64).sum::<f64>().sqrt()
}
