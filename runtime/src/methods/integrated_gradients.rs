//! Integrated gradients (Sundararajan, Taly and Yan 2017):
//! `A = (x - x') * integral over t in [0, 1] of df/dx at x' + t (x - x')`.
//!
//! By default at 50 nodes of Gauss and Legendre from zeros. Map: the input's shape, in the target's unit; it adds up to
//! `f(x) - f(x')` but for the gap that the record tells. Cost: `steps` gradients and two forward passes; adaptive nodes
//! keep their gradients, and take no forward pass.

use std::ops::ControlFlow;

use whyline_stream::adaptive::Cell;
use whyline_stream::quadrature::{MAX_NODES, Rule, spaced};

use super::path::{between, spread};
use super::refine::{Kept, Refining, TOLERANCE, refine};
use super::{Entry, Extents, Family, Method, Outcome, Parameter, Params, Passes, Properties, Status, Task};
use crate::attribution::{Attribution, Completeness};
use crate::baseline::{self, Baseline};
use crate::error::{Error, Result};

pub(super) const ENTRY: Entry = Entry {
    name: "integrated-gradients",
    aliases: &["ig"],
    family: Family::Path,
    summary: "the gradient integrated from a baseline to the input, times their difference",
    paper: "Sundararajan et al. 2017",
    properties: Properties { complete: true, linear_exact: true, stochastic: false, signed: true },
    parameters: &[
        Parameter { name: "steps", default: "50", help: "gradients along the path" },
        Parameter {
            name: "rule",
            default: "gauss-legendre",
            help: "where they are taken: gauss-legendre, midpoint, left, right, trapezoid; calibrated: as whyline calibrate \
                   has found for the model; or adaptive: up to 1,024 where \
                   the gradients differ",
        },
        TOLERANCE,
        Parameter {
            name: "compat",
            default: "none",
            help: "captum: the trapezoid rule's weights add up to (n - 1) / n, as Captum's do; pair: n nodes with both ends count \
                   1 / n each, as in PAIR's saliency package",
        },
        baseline::PARAMETER,
    ],
    build: |params| {
        let baseline = Baseline::parse(params)?;
        if params.text("rule") == "adaptive" && params.text("compat") == "none" {
            return Ok(Box::new(IntegratedGradients { nodes: Nodes::Adaptive(Refining::parse(params)?), baseline }));
        }
        if params.size("tolerance")? > 0.0 {
            return Err(params.refuse("tolerance", "0 for every rule but adaptive"));
        }
        let spacing = match (params.text("compat"), params.text("rule")) {
            ("captum", "trapezoid") => Spacing::CaptumTrapezoid,
            ("captum", "gauss-legendre") => Spacing::By(Rule::GaussLegendre),
            ("captum", _) => return Err(params.refuse("rule", "gauss-legendre or trapezoid with the compat captum")),
            // The parameter has its default: the package has this rule alone.
            ("pair", "gauss-legendre" | "trapezoid") => Spacing::PairEnds,
            ("pair", _) => return Err(params.refuse("rule", "trapezoid with the compat pair")),
            ("none", "calibrated") => Spacing::Calibrated,
            ("none", name) => Spacing::By(Rule::named(name).ok_or_else(|| {
                params.refuse("rule", "gauss-legendre, midpoint, left, right, trapezoid, calibrated or adaptive")
            })?),
            _ => return Err(params.refuse("compat", "none, captum or pair")),
        };
        let steps = params.whole("steps", spacing.least(), MAX_NODES)?;
        Ok(Box::new(IntegratedGradients { nodes: Nodes::Fixed { steps, spacing }, baseline }))
    },
};

/// The method.
pub(super) struct IntegratedGradients {
    nodes: Nodes,
    baseline: Baseline,
}

impl IntegratedGradients {
    /// With the parameter `steps`, for other methods that find a baseline of their own.
    pub fn gauss_legendre(params: &Params) -> Result<IntegratedGradients> {
        let spacing = Spacing::By(Rule::GaussLegendre);
        let nodes = Nodes::Fixed { steps: params.whole("steps", spacing.least(), MAX_NODES)?, spacing };
        Ok(IntegratedGradients { nodes, baseline: Baseline::Constant(0.0) })
    }
}

/// Where gradients are taken.
enum Nodes {
    /// At places that are known before.
    Fixed { steps: u32, spacing: Spacing },
    /// Where the trapezoid misses the output's change most, until the gap is small enough.
    Adaptive(Refining),
}

/// Places that are known before.
#[derive(Clone, Copy)]
enum Spacing {
    By(Rule),
    /// As the model's card has it.
    Calibrated,
    /// The trapezoid rule with weights that are too small together.
    CaptumTrapezoid,
    /// Equidistant nodes with both ends, which count as much as the others.
    PairEnds,
}

impl Spacing {
    fn least(self) -> u32 {
        match self {
            Spacing::By(rule) => rule.least(),
            Spacing::Calibrated => 1,
            Spacing::CaptumTrapezoid | Spacing::PairEnds => Rule::Trapezoid.least(),
        }
    }
}

impl Method for IntegratedGradients {
    fn passes(&self, _model: Extents) -> Passes {
        match self.nodes {
            Nodes::Fixed { steps, .. } => Passes { forward: 2, gradient: steps as u64 },
            // The ends of the path are among the nodes.
            Nodes::Adaptive(how) => Passes { forward: 0, gradient: how.steps as u64 },
        }
    }

    fn least(&self, _model: Extents) -> Passes {
        match self.nodes {
            Nodes::Fixed { spacing, .. } => Passes { forward: 2, gradient: spacing.least() as u64 },
            Nodes::Adaptive(_) => Passes { forward: 0, gradient: Refining::LEAST },
        }
    }

    fn keeps(&self, model: Extents) -> usize {
        match self.nodes {
            Nodes::Fixed { .. } => 0,
            Nodes::Adaptive(how) => how.keeps(model.input),
        }
    }

    fn explain(&self, task: &mut Task) -> Result<Outcome> {
        let baseline = self.baseline.values(&task.origin())?;
        self.along(task, &baseline)
    }
}

impl IntegratedGradients {
    /// Along the straight path from a baseline.
    pub fn along(&self, task: &mut Task, baseline: &[f32]) -> Result<Outcome> {
        let (integral, difference, status) = match self.nodes {
            Nodes::Fixed { steps, spacing } => {
                let places = self.places(spacing, task)?;
                let difference = task.target_at(task.input)? - task.target_at(baseline)?;
                // A shorter rule, where the budget has no room for this one.
                let fit = (steps as u64).min(task.session.room()).max(spacing.least() as u64) as u32;
                let (integral, status) = fixed(task, baseline, fit, &*places)?;
                (integral, difference, if fit < steps { Status::Degraded } else { status })
            }
            Nodes::Adaptive(how) => adaptive(task, baseline, how)?,
        };
        let moved = task.input.iter().zip(baseline).map(|(&x, &b)| x as f64 - b as f64);
        let values: Vec<f32> = integral.iter().zip(moved).map(|(sum, moved)| (sum * moved) as f32).collect();
        let attribution = Attribution::features(values, task.session.input_shape());
        let completeness = Some(Completeness::new(attribution.sum(), difference));
        Ok(Outcome { attribution, completeness, standard_error: None, status })
    }

    /// Place and weight of node `i` of `n`.
    fn places<'a>(&self, spacing: Spacing, task: &Task<'a>) -> Result<Box<Places<'a>>> {
        match spacing {
            Spacing::By(rule) => return Ok(Box::new(move |i, n| rule.node(i, n))),
            Spacing::CaptumTrapezoid => {
                return Ok(Box::new(|i, n| {
                    let (place, weight) = Rule::Trapezoid.node(i, n);
                    (place, weight * (n - 1) as f64 / n as f64)
                }));
            }
            Spacing::PairEnds => return Ok(Box::new(|i, n| (Rule::Trapezoid.node(i, n).0, 1.0 / n as f64))),
            Spacing::Calibrated => {}
        }
        let found = task.steps.ok_or_else(|| {
            Error::usage("the model's card has no steps for the rule 'calibrated'; whyline calibrate finds them")
        })?;
        match Baseline::named(&found.baseline).as_ref() == Some(&self.baseline) {
            true => Ok(Box::new(|i, n| spaced(i, n, &found.places))),
            false => Err(Error::usage(format!(
                "the model's steps were calibrated for the baseline '{}', and the map is to start at another",
                found.baseline
            ))),
        }
    }
}

/// Place and weight of node `i` of `n`.
type Places<'a> = dyn Fn(u32, u32) -> (f64, f64) + Sync + 'a;

/// The integral of the gradient by a rule. In f64: a sum of many float32 gradients would lose what the completeness gap
/// measures. Nodes are taken in an order in which the first ones lie all over the path, so that if the budget ends early
/// their weighted mean is a map already.
fn fixed(task: &mut Task, baseline: &[f32], steps: u32, places: &Places) -> Result<(Vec<f64>, Status)> {
    let mut integral = vec![0.0f64; task.input.len()];
    let (input, order) = (task.input, spread(steps));
    let (mut taken, mut weights) = (0, 0.0);
    let node = |i: usize| places(order[i], steps);
    let make = |i: usize, point: &mut [f32]| between(baseline, input, node(i).0, point);
    task.gradients_at(steps as usize, &make, &mut |i, gradient| {
        add(&mut integral, gradient.input, node(i).1);
        (taken, weights) = (taken + 1, weights + node(i).1);
        Ok(ControlFlow::Continue(()))
    })?;
    if taken == steps || weights <= 0.0 {
        return Ok((integral, if taken == steps { Status::Complete } else { Status::Degraded }));
    }
    integral.iter_mut().for_each(|sum| *sum /= weights);
    Ok((integral, Status::Degraded))
}

/// The integral of the gradient over nodes that are placed one round after the other, the target's change, and whether the
/// gap became small enough.
fn adaptive(task: &mut Task, baseline: &[f32], how: Refining) -> Result<(Vec<f64>, f64, Status)> {
    let input = task.input;
    let moved = input.iter().zip(baseline).map(|(&x, &b)| x as f64 - b as f64).collect();
    let mut kept = Gradients { moved, nodes: vec![], gradients: vec![] };
    let (nodes, status) = refine(task, how, &|place, point| between(baseline, input, place, point), &mut kept)?;
    let mut integral = vec![0.0f64; input.len()];
    nodes.weights().for_each(|(number, weight)| add(&mut integral, &kept.gradients[number], weight));
    Ok((integral, nodes.change(), status))
}

/// Along a straight path.
struct Gradients {
    /// The whole way.
    moved: Vec<f64>,
    /// Place and slope.
    nodes: Vec<(f64, f64)>,
    gradients: Vec<Vec<f32>>,
}

impl Kept for Gradients {
    fn keep(&mut self, place: f64, gradient: &[f32]) {
        let slope = gradient.iter().zip(&self.moved).map(|(&g, moved)| g as f64 * moved).sum();
        self.nodes.push((place, slope));
        self.gradients.push(gradient.to_vec());
    }

    fn cell(&self, from: usize, to: usize) -> Cell {
        let ((a, slope_a), (b, slope_b)) = (self.nodes[from], self.nodes[to]);
        let apart = self.gradients[from].iter().zip(&self.gradients[to]).map(|(&from, &to)| (to - from).abs() as f64);
        let doubt = (b - a) * apart.zip(&self.moved).map(|(apart, moved)| apart * moved.abs()).sum::<f64>();
        Cell { trapezoid: 0.5 * (b - a) * (slope_a + slope_b), doubt }
    }
}

fn add(sum: &mut [f64], values: &[f32], weight: f64) {
    sum.iter_mut().zip(values).for_each(|(sum, &v)| *sum += weight * v as f64);
}
