//! Integrated gradients (Sundararajan, Taly and Yan 2017):
//! `A = (x - x') * integral over t in [0, 1] of df/dx at x' + t (x - x')`.

use std::ops::ControlFlow;

use whyline_stream::adaptive::Adaptive;
use whyline_stream::quadrature::{MAX_NODES, Rule};

use super::baseline::{self, Baseline};
use super::path::between;
use super::{Entry, Extents, Method, Outcome, Parameter, Params, Passes, Properties, Status, Task};
use crate::attribution::{Attribution, Completeness};
use crate::error::Result;

/// The most nodes that are placed adaptively; their gradients are kept.
const MAX_KEPT: usize = 1024;

pub(super) const ENTRY: Entry = Entry {
    name: "integrated-gradients",
    aliases: &["ig"],
    summary: "the gradient integrated from a baseline to the input, times their difference",
    paper: "Sundararajan et al. 2017",
    properties: Properties { complete: true, linear_exact: true, stochastic: false, signed: true },
    parameters: &[
        Parameter { name: "steps", default: "50", help: "gradients along the path" },
        Parameter {
            name: "rule",
            default: "gauss-legendre",
            help: "where they are taken: gauss-legendre, midpoint, left, right, trapezoid, or adaptive: where the output \
                   changes",
        },
        Parameter {
            name: "tolerance",
            default: "0",
            help: "for the adaptive rule: enough gradients, up to steps, when the completeness gap is this share of what is \
                   explained",
        },
        baseline::PARAMETER,
    ],
    build: |params| {
        let baseline = Baseline::parse(params)?;
        let tolerance = params.size("tolerance")?;
        if params.text("rule") == "adaptive" {
            let steps = params.whole("steps", 2, MAX_KEPT as u32)? as usize;
            return Ok(Box::new(IntegratedGradients { nodes: Nodes::Adaptive { steps, tolerance }, baseline }));
        }
        if tolerance > 0.0 {
            return Err(params.refuse("tolerance", "0 for every rule but adaptive"));
        }
        let rule = Rule::named(params.text("rule"))
            .ok_or_else(|| params.refuse("rule", "gauss-legendre, midpoint, left, right, trapezoid or adaptive"))?;
        let steps = params.whole("steps", rule.least(), MAX_NODES)?;
        Ok(Box::new(IntegratedGradients { nodes: Nodes::Fixed { steps, rule }, baseline }))
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
        let rule = Rule::GaussLegendre;
        let nodes = Nodes::Fixed { steps: params.whole("steps", rule.least(), MAX_NODES)?, rule };
        Ok(IntegratedGradients { nodes, baseline: Baseline::Constant(0.0) })
    }
}

/// Where gradients are taken.
enum Nodes {
    /// At places that are known before.
    Fixed { steps: u32, rule: Rule },
    /// Where the trapezoid misses the output's change most, until the gap is small enough.
    Adaptive { steps: usize, tolerance: f64 },
}

impl Method for IntegratedGradients {
    fn passes(&self, _model: Extents) -> Passes {
        match self.nodes {
            Nodes::Fixed { steps, .. } => Passes { forward: 2, gradient: steps as u64 },
            // The ends of the path are among the nodes.
            Nodes::Adaptive { steps, .. } => Passes { forward: 0, gradient: steps as u64 },
        }
    }

    fn least(&self, _model: Extents) -> Passes {
        match self.nodes {
            Nodes::Fixed { rule, .. } => Passes { forward: 2, gradient: rule.least() as u64 },
            Nodes::Adaptive { .. } => Passes { forward: 0, gradient: 2 },
        }
    }

    fn keeps(&self, model: Extents) -> usize {
        match self.nodes {
            Nodes::Fixed { .. } => 0,
            Nodes::Adaptive { steps, .. } => steps.saturating_mul(model.input).saturating_mul(size_of::<f32>()),
        }
    }

    fn explain(&self, task: &mut Task) -> Result<Outcome> {
        let baseline = self.baseline.values(task)?;
        self.along(task, &baseline)
    }
}

impl IntegratedGradients {
    /// Along the straight path from a baseline.
    pub fn along(&self, task: &mut Task, baseline: &[f32]) -> Result<Outcome> {
        let (integral, difference, status) = match self.nodes {
            Nodes::Fixed { steps, rule } => {
                let difference = task.target_at(task.input)? - task.target_at(baseline)?;
                // A shorter rule, where the budget has no room for this one.
                let fit = (steps as u64).min(task.session.room()).max(rule.least() as u64) as u32;
                let (integral, status) = fixed(task, baseline, fit, rule)?;
                (integral, difference, if fit < steps { Status::Degraded } else { status })
            }
            Nodes::Adaptive { steps, tolerance } => adaptive(task, baseline, steps, tolerance)?,
        };
        let moved = task.input.iter().zip(baseline).map(|(&x, &b)| x as f64 - b as f64);
        let values: Vec<f32> = integral.iter().zip(moved).map(|(sum, moved)| (sum * moved) as f32).collect();
        let attribution = Attribution::features(values, task.session.input_shape());
        let completeness = Some(Completeness::new(attribution.sum(), difference));
        Ok(Outcome { attribution, completeness, standard_error: None, status })
    }
}

/// The integral of the gradient by a rule. In f64: a sum of many float32 gradients would lose what the completeness gap
/// measures. Nodes are taken in an order in which the first ones lie all over the path, so that if the budget ends early
/// their weighted mean is a map already.
fn fixed(task: &mut Task, baseline: &[f32], steps: u32, rule: Rule) -> Result<(Vec<f64>, Status)> {
    let mut integral = vec![0.0f64; task.input.len()];
    let (input, order) = (task.input, spread(steps));
    let (mut taken, mut weights) = (0, 0.0);
    let node = |i: usize| rule.node(order[i], steps);
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

/// The numbers below `count`, in the order of their bits read backwards.
fn spread(count: u32) -> Vec<u32> {
    let bits = count.next_power_of_two().trailing_zeros();
    let backwards = |i: u32| if bits == 0 { i } else { i.reverse_bits() >> (u32::BITS - bits) };
    (0..1 << bits).map(backwards).filter(|&i| i < count).collect()
}

/// The integral of the gradient over nodes that are placed one round after the other, the target's change, and whether the
/// gap became small enough.
fn adaptive(task: &mut Task, baseline: &[f32], steps: usize, tolerance: f64) -> Result<(Vec<f64>, f64, Status)> {
    let (input, seed) = (task.input, task.seed);
    let mut cells = Adaptive::<MAX_KEPT>::new();
    // Kept, because a later node changes the weights of its neighbours.
    let mut gradients: Vec<Vec<f32>> = vec![];
    let mut cut = false;
    let enough = |cells: &Adaptive<MAX_KEPT>| cells.is_within(tolerance * cells.change().abs());
    while !enough(&cells) {
        // The ends, and then as many as there is room for.
        let room = if cells.len() < 2 { 2 } else { task.session.room().min(steps as u64) as usize };
        let places = cells.next((steps - cells.len()).min(room));
        if places.is_empty() {
            cut = room == 0 && cells.len() < steps;
            break;
        }
        let make = |i: usize, point: &mut [f32]| between(baseline, input, places[i], point);
        task.gradients_at(places.len(), &make, &mut |i, gradient| {
            let along = gradient.input.iter().zip(input.iter().zip(baseline));
            let slope = along.map(|(&g, (&x, &b))| g as f64 * (x as f64 - b as f64)).sum();
            gradients.push(gradient.input.to_vec());
            // Of `next` there are never more than fit.
            let _ = cells.tell(places[i], gradient.target(seed), slope);
            Ok(if enough(&cells) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
    }
    let mut integral = vec![0.0f64; input.len()];
    cells.weights().for_each(|(number, weight)| add(&mut integral, &gradients[number], weight));
    let all = tolerance == 0.0 && !cut;
    let status = if all || enough(&cells) { Status::Complete } else { Status::Degraded };
    Ok((integral, cells.change(), status))
}

fn add(sum: &mut [f64], values: &[f32], weight: f64) {
    sum.iter_mut().zip(values).for_each(|(sum, &v)| *sum += weight * v as f64);
}
