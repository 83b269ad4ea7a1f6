//! A session on plans of our own kernels.

use super::operators::PlanOperators;
use super::plan::arena::Arena;
use super::plan::{Packs, Plan, StepReport, make_plan, pair_folds, unpaired};
use super::session::{Gradient, Session, Tap};
use super::simd::Isa;
use crate::error::{Error, Result};
use crate::gradient::GradientGraph;
use crate::onnx::{Graph, TypedGraph, inline::inline_some, type_graph};

/// Forward and gradient plan over one arena.
pub struct PlanSession {
    shape: Vec<usize>,
    classes: usize,
    forward: Plan,
    gradient: Plan,
    arena: Arena,
    tap_shapes: Vec<Vec<usize>>,
    input_gradient: bool,
}

impl PlanSession {
    /// Prepares a gradient graph and the forward graph inside it, for the best instruction set of this machine.
    pub fn new(derived: &GradientGraph) -> Result<PlanSession> {
        Self::with_isa(derived, Isa::best())
    }

    /// Prepares for one instruction set, which this machine must have.
    pub fn with_isa(derived: &GradientGraph, isa: Isa) -> Result<PlanSession> {
        let mut wanted = vec![derived.logits.clone()];
        wanted.extend(derived.input_gradient.clone());
        for tap in &derived.taps {
            wanted.extend([tap.value.clone(), tap.gradient.clone()]);
        }
        let mut graph = derived.graph.clone();
        graph.outputs = wanted.clone();
        let left = unpaired(&graph);
        inline_some(&mut graph, |node| left.contains(&node.name))?;
        pair_folds(&mut graph);
        graph.prune();
        let typed = type_graph(graph, &PlanOperators::default())?;
        let shape_of = |name: &str| match typed.facts.get(name) {
            Some(fact) => Ok(fact.shape.clone()),
            None => Err(Error::Plan { reason: format!("'{name}' is not typed") }),
        };
        let mut packs = Packs::default();
        let inputs = [derived.input.as_str(), derived.seed.as_str()];
        let gradient = make_plan(&typed, &inputs, &wanted, isa, &mut packs)?;
        let forward = make_plan(&forward_part(&typed, &wanted[..1]), &inputs[..1], &wanted[..1], isa, &mut packs)?;
        let arena = Arena::new(gradient.arena_floats().max(forward.arena_floats()));
        Ok(PlanSession {
            shape: shape_of(&derived.input)?,
            classes: shape_of(&derived.seed)?.iter().product(),
            tap_shapes: derived.taps.iter().map(|t| shape_of(&t.gradient)).collect::<Result<_>>()?,
            input_gradient: derived.input_gradient.is_some(),
            forward,
            gradient,
            arena,
        })
    }

    /// Bytes of the arena: forward pass alone, and gradient pass.
    pub fn arena_bytes(&self) -> (usize, usize) {
        (4 * self.forward.arena_floats(), 4 * self.gradient.arena_floats())
    }

    /// Nodes of the gradient plan that have no kernel of ours.
    pub fn fallbacks(&self) -> Vec<&str> {
        self.gradient.fallbacks()
    }

    /// One gradient pass, with each step's time.
    pub fn profile(&mut self, input: &[f32], seed: &[f32]) -> Result<Vec<StepReport>> {
        self.check(input)?;
        self.gradient.profile(&mut self.arena, &[input, seed])
    }

    fn check(&self, input: &[f32]) -> Result<()> {
        match input.len() == self.shape.iter().product::<usize>() {
            true => Ok(()),
            false => {
                let reason = format!("it has {} values, but the model wants {:?}", input.len(), self.shape);
                Err(Error::bad_input(reason))
            }
        }
    }
}

/// The part of a graph that gives `outputs`.
fn forward_part(typed: &TypedGraph, outputs: &[String]) -> TypedGraph {
    let nodes = typed.graph.nodes.clone();
    let mut graph = Graph { nodes, outputs: outputs.to_vec(), ..Graph::default() };
    graph.opset = typed.graph.opset;
    graph.constants = typed.graph.constants.clone();
    graph.prune();
    TypedGraph { graph, facts: typed.facts.clone() }
}

impl Session for PlanSession {
    fn input_shape(&self) -> &[usize] {
        &self.shape
    }

    fn forward(&mut self, input: &[f32]) -> Result<Vec<f32>> {
        self.check(input)?;
        self.forward.run(&mut self.arena, &[input])?;
        Ok(self.forward.output(&mut self.arena, 0).to_vec())
    }

    fn gradient(&mut self, input: &[f32], seed: &[f32]) -> Result<Gradient> {
        self.check(input)?;
        if seed.len() != self.classes {
            let reason = format!("the cotangent has {} values, but the model wants {}", seed.len(), self.classes);
            return Err(Error::bad_input(reason));
        }
        self.gradient.run(&mut self.arena, &[input, seed])?;
        let mut outputs = 0..;
        let mut next = || outputs.next().map(|i| self.gradient.output(&mut self.arena, i).to_vec()).unwrap_or_default();
        let logits = next();
        let input = if self.input_gradient { next() } else { vec![] };
        let taps = self.tap_shapes.iter().map(|s| Tap { shape: s.clone(), value: next(), gradient: next() }).collect();
        Ok(Gradient { logits, input, taps })
    }
}
