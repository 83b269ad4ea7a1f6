//! From a typed graph to steps.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::arena::BufferId;
use super::convert::Convert;
use super::even::Even;
use super::masks::Masks;
use super::packs::Packs;
use super::parts::Parts;
use super::run::{Plan, Step, Work};
use super::slopes::Slopes;
use super::values::{Image, Lazy, Order, Value};
use super::views::read_in_place;
use super::{dense, elementwise, fallback, indexing, pooling, products, resample, row_grads, rows, shapes, truth};
use crate::engine::kernels::layout;
use crate::error::{Error, Result};
use crate::onnx::graph::{inputs_of, outputs_of};
use crate::onnx::{DType, Fact, Facts, Graph, Node, Tensor, TypedGraph};
use crate::simd::{Isa, LANES};

/// What becomes of a node.
pub enum Lowered {
    /// Steps were emitted, or will be when its value is wanted.
    Done,
    /// This lowering does not cover the node.
    Not,
}

/// A way to lower nodes of some ops.
type Lower = fn(&mut Planner, &Node, usize) -> Result<Lowered>;

/// Tried in order; the last takes everything.
const LOWERINGS: &[Lower] = &[
    elementwise::lower,
    dense::lower,
    pooling::lower,
    resample::lower,
    products::lower,
    rows::lower,
    row_grads::lower,
    shapes::lower,
    indexing::lower,
    fallback::lower,
];

pub(super) struct Buffer {
    pub floats: usize,
    pub constant: Option<Arc<[f32]>>,
}

/// A slope that is computed in the chain of its activation.
#[derive(Clone)]
pub(super) struct Beside {
    pub value: String,
    /// The node that gives it.
    pub node: usize,
    pub buffer: BufferId,
}

/// The state of the walk.
pub struct Planner<'a> {
    pub(super) graph: &'a Graph,
    pub(super) isa: Isa,
    pub(super) packs: &'a mut Packs,
    pub(super) values: HashMap<String, Value>,
    pub(super) masks: Masks,
    pub(super) slopes: Slopes,
    /// See [`make_plan`].
    pub(super) even: &'a Even,
    /// The values that may be read where others are.
    pub(super) in_place: HashSet<&'a str>,
    /// By node: the slope that its chain computes on the way.
    pub(super) beside: HashMap<usize, Beside>,
    pub(super) buffers: Vec<Buffer>,
    pub(super) parts: Parts,
    pub(super) steps: Vec<Step>,
}

/// The nodes of our functions that no kernel takes: those that have not found the forward node whose bits they could use, or work
/// along other axes than the last.
pub fn unpaired(graph: &Graph) -> HashSet<String> {
    let masks = Masks::find(graph);
    let left = |n: &&Node| !n.domain.is_empty() && !masks.pairs(n) && row_grads::kernel_of(graph, n).is_none();
    graph.nodes.iter().filter(left).map(|n| n.name.clone()).collect()
}

/// Plans the computation of `outputs` from `inputs`. `slopes` stand in front of their activations. Values stay for the next pass
/// where the arena then has no more than `room` floats.
pub fn make_plan(
    typed: &TypedGraph,
    (slopes, even): (Slopes, &Even),
    inputs: &[&str],
    outputs: &[String],
    packs: &mut Packs,
    room: usize,
) -> Result<Plan> {
    let (graph, masks) = (&typed.graph, Masks::find(&typed.graph));
    let (values, beside, in_place) = (HashMap::new(), HashMap::new(), read_in_place(graph, outputs));
    let planner = Planner {
        graph,
        isa: packs.isa,
        packs,
        values,
        masks,
        slopes,
        even,
        in_place,
        beside,
        buffers: vec![],
        parts: Parts::default(),
        steps: vec![],
    };
    planner.plan(&typed.facts, inputs, outputs, room)
}

impl<'a> Planner<'a> {
    /// Plans the computation of `outputs` from `inputs`. The graph is typed, pruned and in topological order; of
    /// functions it calls only ours.
    fn plan(self, facts: &Facts, inputs: &[&str], outputs: &[String], room: usize) -> Result<Plan> {
        let mut planner = self;
        let graph = planner.graph;
        planner.count_uses(facts, outputs);
        let of_slopes = planner.read_for_slopes();
        let mut input_buffers = vec![];
        for name in inputs {
            let fact = facts.get(*name).ok_or_else(|| Error::Plan { reason: format!("'{name}' is not typed") })?;
            let id = planner.buffer(fact.shape.iter().product());
            let value = Value { fact: fact.clone(), uses: 0, planes: Some(id), blocked: None, lazy: None };
            planner.values.insert(name.to_string(), value);
            input_buffers.push(id);
        }
        for (index, node) in graph.nodes.iter().enumerate() {
            if planner.is_empty(node)? {
                continue;
            }
            for lower in LOWERINGS {
                if matches!(lower(&mut planner, node, index)?, Lowered::Done) {
                    break;
                }
            }
            // What several read, or the caller, is computed here; the rest when its reader comes. What is cheap is
            // computed again by each reader, so that only what it is made of is kept for the backward pass.
            for output in outputs_of(node) {
                let shared = planner.values.get(output).is_some_and(|v| match &v.lazy {
                    Some((Lazy::Elementwise(_), _)) => v.uses != 1,
                    _ => false,
                });
                let feeds = || of_slopes.contains(output) && !elementwise::keeps_bits(&planner, output);
                let waits = || feeds() || planner.slopes.values().any(|slope| slope == output);
                let kept = shared && !elementwise::is_cheap(&planner, output) && !waits();
                if outputs.iter().any(|o| o == output) || kept {
                    planner.materialise(output)?;
                }
            }
        }
        let mut output_buffers = vec![];
        for name in outputs {
            let len = planner.fact(name)?.shape.iter().product();
            output_buffers.push((planner.planes(name)?, len));
        }
        let image = inputs.first().and_then(|name| planner.image(name));
        planner.finish(input_buffers, output_buffers, image, room)
    }

    /// The values that an activation and its slope read and nothing else does: one chain computes both, and perhaps the value.
    fn read_for_slopes(&self) -> HashSet<&'a str> {
        let producers = self.graph.producers();
        let read = |name: &String| match &self.graph.nodes[*producers.get(name.as_str())?].inputs[..] {
            [input] if self.values.get(input)?.uses == 2 => Some(input.as_str()),
            _ => None,
        };
        self.slopes.iter().filter_map(|(value, slope)| read(value).filter(|leaf| read(slope) == Some(leaf))).collect()
    }

    /// Whether all that a node gives is empty; then its values are there, and nothing computes them.
    fn is_empty(&mut self, node: &Node) -> Result<bool> {
        let mut empty = vec![];
        for output in outputs_of(node) {
            if !self.fact(output)?.shape.contains(&0) {
                return Ok(false);
            }
            empty.push(output);
        }
        for output in &empty {
            let id = self.buffer(0);
            self.set(output, Order::Planes, id)?;
        }
        Ok(!empty.is_empty())
    }

    fn count_uses(&mut self, facts: &Facts, outputs: &[String]) {
        let graph = self.graph;
        let mut counted: HashMap<&str, usize> = HashMap::new();
        for node in &graph.nodes {
            for (slot, input) in node.inputs.iter().enumerate() {
                if !self.masks.replaces(node, slot) {
                    *counted.entry(input).or_default() += 1;
                }
            }
        }
        outputs.iter().for_each(|o| *counted.entry(o).or_default() += 1);
        let truths = truth::in_floats(graph, facts, outputs);
        for name in graph.nodes.iter().flat_map(outputs_of).chain(graph.constants.keys().map(String::as_str)) {
            if let Some(fact) = facts.get(name) {
                let uses = counted.get(name).copied().unwrap_or(0);
                let mut fact = fact.clone();
                if truths.contains(name) {
                    fact.dtype = DType::F32;
                }
                let value = Value { fact, uses, planes: None, blocked: None, lazy: None };
                self.values.insert(name.to_string(), value);
            }
        }
    }

    /// The type of a value.
    pub(super) fn fact(&self, name: &str) -> Result<&Fact> {
        match self.values.get(name) {
            Some(value) => Ok(&value.fact),
            None => Err(Error::Plan { reason: format!("'{name}' is not typed") }),
        }
    }

    /// A constant of the graph.
    pub(super) fn constant(&self, name: &str) -> Option<&'a Tensor> {
        self.graph.constants.get(name)
    }

    /// A value's state.
    pub(super) fn value(&mut self, name: &str) -> Result<&mut Value> {
        self.values.get_mut(name).ok_or_else(|| Error::Plan { reason: format!("'{name}' is not typed") })
    }

    /// The image that a value is, if it is one.
    pub(super) fn image(&self, name: &str) -> Option<Image> {
        let fact = &self.values.get(name)?.fact;
        match fact.dtype {
            // Chains read constant truth as numbers.
            DType::Bool if self.constant(name).is_some() => Image::of(&Fact::f32(&fact.shape)),
            _ => Image::of(fact),
        }
    }

    /// Whether a value comes blocked.
    pub(super) fn is_blocked(&self, name: &str) -> bool {
        self.constant(name).is_none() && self.values.get(name).is_some_and(|v| v.order() == Order::Blocked)
    }

    /// A new buffer in the arena.
    pub(super) fn buffer(&mut self, floats: usize) -> BufferId {
        self.buffers.push(Buffer { floats, constant: None });
        self.buffers.len() - 1
    }

    /// A buffer of fixed contents.
    pub(super) fn fixed(&mut self, values: Arc<[f32]>) -> BufferId {
        self.buffers.push(Buffer { floats: values.len(), constant: Some(values) });
        self.buffers.len() - 1
    }

    /// Emits a step.
    pub(super) fn step(&mut self, node: &str, work: Box<dyn Work>, reads: Vec<BufferId>, writes: Vec<BufferId>) {
        self.steps.push(Step { node: node.to_string(), work, reads, writes, in_place: false });
    }

    /// Says where a value lies.
    pub(super) fn set(&mut self, name: &str, order: Order, id: BufferId) -> Result<()> {
        let value = self.value(name)?;
        value.lazy = None;
        match order {
            Order::Planes => value.planes = Some(id),
            Order::Blocked => value.blocked = Some(id),
        }
        Ok(())
    }

    /// Leaves a value to be computed when it is wanted.
    pub(super) fn postpone(&mut self, name: &str, lazy: Lazy, order: Order) -> Result<Lowered> {
        self.value(name)?.lazy = Some((lazy, order));
        Ok(Lowered::Done)
    }

    /// Emits what computes a value, unless that has been done.
    pub(super) fn materialise(&mut self, name: &str) -> Result<()> {
        if self.value(name)?.lazy.is_some() {
            elementwise::emit(self, name)?;
        }
        Ok(())
    }

    /// Where a value lies in ONNX's order; converts it where it does not.
    pub(super) fn planes(&mut self, name: &str) -> Result<BufferId> {
        self.materialise(name)?;
        if let Some(id) = self.value(name)?.planes {
            return Ok(id);
        }
        let id = match (self.constant(name), self.value(name)?.blocked) {
            (Some(tensor), _) => self.keep_constant(name, tensor, Order::Planes)?,
            (None, Some(blocked)) => {
                let image = self.image(name).ok_or_else(|| Error::Plan { reason: format!("'{name}' is no image") })?;
                if image.places() == 1 && (image.batch == 1 || image.channels % LANES == 0) {
                    // One place per channel: both orders are the same.
                    blocked
                } else {
                    let id = self.buffer(image.batch * image.channels * image.places());
                    self.step(name, Box::new(Convert { image, to: Order::Planes }), vec![blocked], vec![id]);
                    id
                }
            }
            (None, None) => return Err(Error::Plan { reason: format!("nothing computes '{name}'") }),
        };
        self.value(name)?.planes = Some(id);
        Ok(id)
    }

    /// Where a value lies blocked; converts it where it does not.
    pub(super) fn blocked(&mut self, name: &str) -> Result<BufferId> {
        self.materialise(name)?;
        if let Some(id) = self.value(name)?.blocked {
            return Ok(id);
        }
        let image = self.image(name).ok_or_else(|| Error::Plan { reason: format!("'{name}' is no image") })?;
        let id = match self.constant(name) {
            Some(tensor) => self.keep_constant(name, tensor, Order::Blocked)?,
            None => {
                let planes = self.planes(name)?;
                if image.places() == 1 && image.channels % LANES == 0 {
                    planes
                } else {
                    let id = self.buffer(image.batch * image.blocked());
                    self.step(name, Box::new(Convert { image, to: Order::Blocked }), vec![planes], vec![id]);
                    id
                }
            }
        };
        self.value(name)?.blocked = Some(id);
        Ok(id)
    }

    fn keep_constant(&mut self, name: &str, tensor: &Tensor, order: Order) -> Result<BufferId> {
        let image = self.image(name).filter(|_| order == Order::Blocked);
        let isa = self.isa;
        let make = || {
            let values = match tensor.dtype {
                DType::F32 | DType::Bool => chained(tensor).unwrap_or_default(),
                _ => floats_of(tensor.bytes()),
            };
            Some(image.map(|image| to_blocked(isa, &values, image)).unwrap_or(values).into())
        };
        let known = self.packs.constants.get((tensor.identity(), order, image), make);
        let values = known.ok_or_else(|| Error::Plan { reason: format!("'{name}' has no values") })?;
        Ok(self.fixed(values))
    }
}

/// A constant's values as chains read them, which take truth for a number; tract gets its constants as they are.
pub(super) fn chained(tensor: &Tensor) -> Option<Vec<f32>> {
    match tensor.dtype {
        DType::Bool => Some(tensor.bytes().iter().map(|&b| if b != 0 { 1.0 } else { 0.0 }).collect()),
        _ => tensor.to_f32(),
    }
}

/// Bytes of another element type, kept in floats.
pub(super) fn floats_of(bytes: &[u8]) -> Vec<f32> {
    bytes
        .chunks(4)
        .map(|c| {
            let mut four = [0; 4];
            four[..c.len()].copy_from_slice(c);
            f32::from_ne_bytes(four)
        })
        .collect()
}

/// A batch of images, blocked.
fn to_blocked(isa: Isa, planes: &[f32], image: Image) -> Vec<f32> {
    let mut values = vec![0.0; image.batch * image.blocked()];
    let parts = planes.chunks_exact(image.channels * image.places());
    for (from, to) in parts.zip(values.chunks_exact_mut(image.blocked())) {
        layout::to_blocked(isa, from, image.channels, to);
    }
    values
}

/// The names that a node reads, left-out ones included as empty.
pub(super) fn reads(node: &Node) -> Vec<String> {
    inputs_of(node).map(str::to_string).collect()
}
