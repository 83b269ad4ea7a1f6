//! Paths whose nodes are placed one round after the other, where the gradients so far differ and miss the target's change,
//! until the completeness gap is small enough. No gradient is taken twice.

use std::ops::ControlFlow;

use whyline_stream::adaptive::{Adaptive, Cell};

use super::path::MAX_STEPS;
use super::{Parameter, Params, Status, Task};
use crate::error::Result;

/// The most nodes; their gradients are kept.
pub const MAX_KEPT: usize = 1024;

/// Of methods whose nodes may be adaptive.
pub const TOLERANCE: Parameter = Parameter {
    name: "tolerance",
    default: "0",
    help: "for the adaptive rule: enough gradients, up to steps, when the completeness gap is this share of what is explained",
};

/// How many nodes, and until when they are refined.
#[derive(Clone, Copy)]
pub struct Refining {
    /// Nodes at most.
    pub steps: usize,
    /// The completeness gap, as a share of what is explained; zero takes all steps, unless there is no gap at all.
    pub tolerance: f64,
}

impl Refining {
    /// The ends of the path.
    pub const LEAST: u64 = 2;

    /// From the parameters `steps` and `tolerance`.
    pub fn parse(params: &Params) -> Result<Refining> {
        let steps = params.whole("steps", Refining::LEAST as u32, MAX_STEPS)? as usize;
        Ok(Refining { steps: steps.min(MAX_KEPT), tolerance: params.size("tolerance")? })
    }

    /// Bytes of all nodes, of which each keeps so many floats.
    pub fn keeps(&self, floats: usize) -> usize {
        self.steps.saturating_mul(floats).saturating_mul(size_of::<f32>())
    }
}

/// What is kept of the nodes, by their numbers in the order of taking: a later node changes what an earlier one counts.
pub trait Kept: Send {
    /// A node's gradient.
    fn keep(&mut self, place: f64, gradient: &[f32]);
    /// What the gradients of two nodes say of the way between them: of the target's change, and in doubt of the map how much
    /// they differ.
    fn cell(&self, from: usize, to: usize) -> Cell;
}

/// The nodes that were taken.
pub type Nodes = Adaptive<MAX_KEPT>;

/// Takes nodes along a path, whose point at a place from zero to one `point` writes.
pub fn refine(
    task: &mut Task,
    how: Refining,
    point: &(dyn Fn(f64, &mut [f32]) + Sync),
    kept: &mut dyn Kept,
) -> Result<(Nodes, Status)> {
    let (seed, Refining { steps, tolerance }) = (task.seed, how);
    let mut nodes = Nodes::new();
    let mut cut = false;
    let enough = |nodes: &Nodes| nodes.is_within(tolerance * nodes.change().abs());
    while !enough(&nodes) {
        // The ends, and then as many as there is room for.
        let room = if nodes.len() < 2 { 2 } else { task.session.room().min(steps as u64) as usize };
        let places = nodes.next((steps - nodes.len()).min(room));
        if places.is_empty() {
            cut = room == 0 && nodes.len() < steps;
            break;
        }
        let make = |i: usize, to: &mut [f32]| point(places[i], to);
        task.gradients_at(places.len(), &make, &mut |i, gradient| {
            kept.keep(places[i], gradient.input);
            // Of `next` there are never more than fit.
            let _ = nodes.tell(places[i], gradient.target(seed), |from, to| kept.cell(from, to));
            Ok(if enough(&nodes) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
    }
    let all = tolerance == 0.0 && !cut;
    let small = tolerance > 0.0 && nodes.gap().abs() <= tolerance * nodes.change().abs();
    let status = if all || small { Status::Complete } else { Status::Degraded };
    Ok((nodes, status))
}
