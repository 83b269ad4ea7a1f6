//! IDGI (Yang, Wang and Bilgic 2023): along a path, each change of the target goes to the features by the squares of the
//! gradient: `A = sum over j of (f(x_j+1) - f(x_j)) g(x_j)^2 / |g(x_j)|^2`. What the gradient does across the path, which
//! changes nothing, leaves no trace, and the map adds up to the target's change whatever the steps.
//!
//! By default 50 steps of the straight path. Map: the input's shape, in the target's unit; at each step a feature has the sign of
//! the target's change, not one of its own. Cost: `steps` gradients and one forward pass.

use super::blur_ig::{self, Blur};
use super::guided_ig::{self, Guided};
use super::path::{Path, Straight, outcome, walk};
use super::{Entry, Extents, Family, Given, Method, Outcome, Parameter, Params, Passes, Properties, Task};
use crate::baseline;
use crate::error::Result;

pub(super) const ENTRY: Entry = Entry {
    name: "idgi",
    aliases: &[],
    family: Family::Path,
    summary: "the target's changes along a path, shared out by the squares of the gradient",
    paper: "Yang et al. 2023",
    properties: Properties { complete: true, linear_exact: false, stochastic: false, signed: true },
    parameters: &[
        Parameter { name: "steps", default: "50", help: "gradients along the path" },
        Parameter { name: "path", default: "straight", help: "straight, guided (of guided-ig) or blur (of blur-ig)" },
        baseline::PARAMETER,
    ],
    build: |params| Ok(Box::new(Idgi { path: path(params)? })),
};

/// The path of that name, with its own method's defaults.
fn path(params: &Params) -> Result<Box<dyn Path>> {
    let with_steps = |entry: &'static Entry, names: &[&str]| {
        let given: Given = names.iter().map(|name| (name.to_string(), params.text(name).to_string())).collect();
        entry.params(&given)
    };
    match params.text("path") {
        "straight" => Ok(Box::new(Straight::parse(params)?)),
        "guided" => Ok(Box::new(Guided::parse(&with_steps(&guided_ig::ENTRY, &["steps", "baseline"])?)?)),
        "blur" if params.text("baseline") != baseline::PARAMETER.default => {
            Err(params.refuse("baseline", "none with path=blur, which begins at the blurred input"))
        }
        "blur" => Ok(Box::new(Blur::parse(&with_steps(&blur_ig::ENTRY, &["steps"])?)?.at_its_points())),
        _ => Err(params.refuse("path", "straight, guided or blur")),
    }
}

struct Idgi {
    path: Box<dyn Path>,
}

impl Method for Idgi {
    fn passes(&self, _model: Extents) -> Passes {
        Passes { forward: 1, gradient: self.path.steps() as u64 }
    }

    fn least(&self, _model: Extents) -> Passes {
        Passes { forward: 1, gradient: 1 }
    }

    fn explain(&self, task: &mut Task) -> Result<Outcome> {
        let end = task.target_at(task.input)?;
        let mut shares = Shares { sum: vec![0.0; task.input.len()], last: None, squares: vec![], carried: 0.0 };
        let mut first = None;
        let start = self.path.start(task)?;
        let status = walk(self.path.as_ref(), task, &start, &mut |step| {
            first.get_or_insert(step.value);
            shares.reach(step.value);
            shares.leave(step.value, step.gradient);
        })?;
        shares.reach(end);
        Ok(Outcome { status, ..outcome(task, &shares.sum, end - first.unwrap_or(end)) })
    }
}

/// What the features have been given so far.
struct Shares {
    sum: Vec<f64>,
    /// The target at the latest point.
    last: Option<f64>,
    /// The gradient's squares there, over their sum; empty where it is zero.
    squares: Vec<f64>,
    /// Changes that came where the gradient was zero, for the next point that has one.
    carried: f64,
}

impl Shares {
    /// The target has changed since the latest point.
    fn reach(&mut self, value: f64) {
        let change = self.last.map_or(0.0, |last| value - last) + self.carried;
        self.carried = 0.0;
        match self.squares.is_empty() {
            true => self.carried = change,
            false => self.sum.iter_mut().zip(&self.squares).for_each(|(sum, share)| *sum += change * share),
        }
    }

    fn leave(&mut self, value: f64, gradient: &[f32]) {
        self.last = Some(value);
        self.squares.clear();
        let size: f64 = gradient.iter().map(|&g| g as f64 * g as f64).sum();
        if size > f64::MIN_POSITIVE {
            self.squares.extend(gradient.iter().map(|&g| g as f64 * g as f64 / size));
        }
    }
}
