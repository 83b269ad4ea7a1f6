//! The forward and the gradient plan of a model.

use std::collections::BTreeMap;

use serde::Serialize;

use super::operators::{PlanOperators, Types};
use super::plan::arena::Arena;
use super::plan::{Bands, Even, Numbers, Packs, Plan, Reads, Slopes};
use super::plan::{apart_from, fold_scales, hoist_slopes, make_plan, pair_folds, unpaired};
use super::precision::Precision;
use super::resources::Memory;
use super::session::Gradient;
use crate::error::{Error, Result};
use crate::gradient::GradientGraph;
use crate::onnx::{Graph, TypedGraph, inline::inline_some, type_graph};
use crate::simd::Isa;

/// How many steps with weights of a gradient pass do what in half precision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Halves {
    /// Steps that multiply halves.
    pub multiplied: usize,
    /// Steps that multiply floats, with weights kept as halves.
    pub kept: usize,
    /// Steps that do neither, by node: they are faster or more exact with floats, and their weights are few.
    pub floats: Vec<String>,
}

/// The forward and the gradient plan of a model. They hold the packed weights but no memory to work in, so that
/// threads share them.
pub struct Plans {
    pub(super) shape: Vec<usize>,
    pub(super) classes: usize,
    pub(super) forward: Plan,
    pub(super) gradient: Plan,
    pub(super) tap_shapes: Vec<Vec<usize>>,
    pub(super) input_gradient: bool,
    pub(super) has_baseline: bool,
    precision: Precision,
    types: Types,
    bands: Bands,
    /// Of weights and constants, each counted once.
    weight_bytes: usize,
}

impl Plans {
    /// Plans a gradient graph and the forward graph inside it, for the best instruction set of this machine.
    pub fn new(derived: &GradientGraph, precision: Precision) -> Result<Plans> {
        Self::sharing(derived, &mut Packs::new(precision, Isa::best()))
    }

    /// Plans of the same model with other weights, made in the same way.
    pub fn again(&self, derived: &GradientGraph) -> Result<Plans> {
        let packs = Packs::new(self.precision, self.gradient.isa());
        Self::sharing(derived, &mut packs.knowing(self.types.clone()).with_bands(self.bands))
    }

    /// Plans that share packed weights with those made before.
    pub fn sharing(derived: &GradientGraph, packs: &mut Packs) -> Result<Plans> {
        Self::make(derived, packs, false)
    }

    /// Plans whose forward passes at points in a row ([`super::Session::forwards`]) keep what does not change from one to the
    /// next: as much as fits into an arena twice as large as else.
    pub fn keeping(derived: &GradientGraph, packs: &mut Packs) -> Result<Plans> {
        Self::make(derived, packs, true)
    }

    fn make(derived: &GradientGraph, packs: &mut Packs, keeps: bool) -> Result<Plans> {
        let mut wanted = vec![derived.logits.clone()];
        wanted.extend(derived.input_gradient.clone());
        for tap in &derived.taps {
            wanted.extend([tap.value.clone(), tap.gradient.clone()]);
        }
        let mut graph = derived.graph.clone();
        graph.outputs = wanted.clone();
        graph.prune();
        let left = unpaired(&graph);
        inline_some(&mut graph, |node| left.contains(&node.name))?;
        pair_folds(&mut graph);
        fold_scales(&mut graph, &mut packs.folds);
        graph.prune();
        let slopes = hoist_slopes(&mut graph, &derived.seed, &derived.logits);
        let typed = type_graph(graph, &PlanOperators::remembering(packs.types.clone()))?;
        let shape_of = |name: &str| match typed.facts.get(name) {
            Some(fact) => Ok(fact.shape.clone()),
            None => Err(Error::Plan { reason: format!("'{name}' is not typed") }),
        };
        let mut inputs = vec![derived.input.as_str(), derived.seed.as_str()];
        inputs.extend(derived.baseline.as_deref());
        // The maximum of a window that is all alike, as in a constant baseline, is then its first and not what rounding says.
        let pools = derived.baseline.is_some() && typed.graph.nodes.iter().any(|node| node.op == "MaxPool");
        let even = if pools { apart_from(&typed.graph, &derived.seed) } else { Even::new() };
        let gradient = make_plan(&typed, (slopes, &even), &inputs, &wanted, packs, 0)?;
        let room = if keeps { 2 * gradient.arena_floats() } else { 0 };
        let forward = forward_part(&typed, &wanted[..1]);
        let forward = make_plan(&forward, (Slopes::new(), &even), &inputs[..1], &wanted[..1], packs, room)?;
        Ok(Plans {
            weight_bytes: weights_of(&forward, &gradient).values().sum(),
            shape: shape_of(&derived.input)?,
            classes: shape_of(&derived.seed)?.iter().product(),
            tap_shapes: derived.taps.iter().map(|t| shape_of(&t.gradient)).collect::<Result<_>>()?,
            input_gradient: derived.input_gradient.is_some(),
            has_baseline: derived.baseline.is_some(),
            forward,
            gradient,
            precision: packs.precision(),
            types: packs.types.clone(),
            bands: packs.bands,
        })
    }

    /// Where the weights and constants lie, and the bytes of each.
    pub fn weights(&self) -> BTreeMap<usize, usize> {
        weights_of(&self.forward, &self.gradient)
    }

    /// What a session needs.
    pub fn memory(&self) -> Memory {
        Memory {
            weights: self.weight_bytes,
            forward_arena: 4 * self.forward.arena_floats(),
            gradient_arena: self.arena_bytes(),
        }
    }

    pub(super) fn arena_floats(&self) -> usize {
        self.gradient.arena_floats().max(self.forward.arena_floats())
    }

    /// Bytes of the arena that each thread needs.
    pub fn arena_bytes(&self) -> usize {
        4 * self.arena_floats()
    }

    /// Nodes that no kernel of ours covers: tract runs them, and they allocate.
    pub fn fallbacks(&self) -> Vec<String> {
        self.gradient.fallbacks().map(str::to_string).collect()
    }

    /// Steps of a forward pass that compute only what has changed where inputs come in a row that differ in a part.
    pub fn incremental_steps(&self) -> usize {
        self.forward.incremental_steps()
    }

    /// How far gradient passes go before a step may read the parameters of each of the model's layers.
    pub fn reads(&self, model: &Graph, layers: &[Vec<String>]) -> Reads {
        Reads::of(&self.gradient, model, layers)
    }

    /// A number that others hardly have whose gradient passes take other steps, or in other places.
    pub fn outline(&self) -> u64 {
        self.gradient.outline()
    }

    pub(super) fn zero_baseline(&self) -> Vec<f32> {
        vec![0.0; if self.has_baseline { self.shape.iter().product() } else { 0 }]
    }

    /// What the gradient plan has left in an arena.
    pub(super) fn handed_out<'a>(&'a self, arena: &'a Arena<'_>) -> Gradient<'a> {
        let output = |i: usize| self.gradient.output(arena, i);
        Gradient { logits: output(0), input: if self.input_gradient { output(1) } else { &[] } }
    }

    /// Multiplications and additions of the steps of a forward and of a gradient pass, padding included, in fewer
    /// where Winograd's algorithm serves.
    pub fn flops(&self) -> [u64; 2] {
        [self.forward.flops(), self.gradient.flops()]
    }

    /// What the steps do in half precision, if any: how many multiply halves, how many only keep their weights as
    /// halves, and which steps with weights do neither.
    pub fn halves(&self) -> Halves {
        let mut halves = Halves::default();
        for (node, numbers) in self.gradient.numbers() {
            match numbers {
                Numbers::Halves => halves.multiplied += 1,
                Numbers::HalfWeights => halves.kept += 1,
                Numbers::Floats => halves.floats.push(node.to_string()),
            }
        }
        halves
    }

    /// How numbers are kept and multiplied here.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Instruction set of the kernels.
    pub fn isa(&self) -> Isa {
        self.gradient.isa()
    }
}

/// Where the weights and constants of two plans lie, and the bytes of each.
fn weights_of(forward: &Plan, gradient: &Plan) -> BTreeMap<usize, usize> {
    forward.weights().chain(gradient.weights()).collect()
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
