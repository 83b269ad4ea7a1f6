//! A model with other weights, or another input, than its file's.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::graph::{Graph, inputs_of, outputs_of};
use super::infer::{Fact, TypedGraph};
use super::node::Node;
use super::tensor::{DType, Identity, Tensor};
use crate::rng::Rng;

/// A change that leaves the model its inputs, its outputs and its layers.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Noise on every weight.
    Noise(WeightNoise),
    /// The elements of some layers' parameters in a random order, each tensor's by itself.
    Shuffled {
        /// By number, in the order they are computed.
        layers: Range<usize>,
        /// Of the order.
        seed: u64,
    },
    /// A model that first subtracts this number from every element of its input.
    Shifted(f32),
}

impl Change {
    /// The layers in which models with the one and the other changes differ, by number; none where they may differ in more.
    pub fn layers_apart(one: &[Change], other: &[Change]) -> Option<impl Iterator<Item = usize>> {
        match (one, other) {
            ([Change::Shuffled { layers: one, seed }], [Change::Shuffled { layers: other, seed: other_seed }])
                if seed == other_seed =>
            {
                let (one, other) = (one.clone(), other.clone());
                let ends = one.start.min(other.start)..one.end.max(other.end);
                Some(ends.filter(move |layer| one.contains(layer) != other.contains(layer)))
            }
            _ => None,
        }
    }

    /// Changes a graph whose input has this name. What is shuffled once is known afterwards.
    pub fn apply(&self, typed: &mut TypedGraph, input: &str, known: &mut Shuffles) {
        match self {
            Change::Noise(noise) => perturb(&mut typed.graph, *noise),
            Change::Shuffled { layers, seed } => shuffle(&mut typed.graph, layers.clone(), *seed, known),
            Change::Shifted(by) => shift(typed, input, *by),
        }
    }
}

/// Noise on every weight: `w (1 + deviation * xi)` with standard normal `xi`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WeightNoise {
    /// Of the random numbers.
    pub seed: u64,
    /// Which draw of them.
    pub draw: u64,
    /// Of the factors.
    pub deviation: f32,
}

/// Inputs that are parameters, not statistics, extents or settings: op and slots.
const PARAMETERS: &[(&str, &[usize])] = &[
    ("Conv", &[1, 2]),
    ("ConvTranspose", &[1, 2]),
    ("Gemm", &[0, 1, 2]),
    ("MatMul", &[0, 1]),
    ("Einsum", &[0, 1]),
    ("BatchNormalization", &[1, 2]),
    ("LayerNormalization", &[1, 2]),
    ("InstanceNormalization", &[1, 2]),
    ("GroupNormalization", &[1, 2]),
    ("RMSNormalization", &[1]),
    ("PRelu", &[1]),
];

/// Ops whose constants are parameters where they are more than one number: scales, shifts, positions, and tokens that are put beside
/// those of the image. What they do before any other parameter prepares the input.
const VECTORS: &[&str] = &["Add", "Sub", "Mul", "Concat"];

/// The names of a graph's trainable parameters, each once, in order.
pub fn parameters(graph: &Graph) -> Vec<String> {
    layers(graph).concat()
}

/// The same by the node that reads them first: the model's layers, in the order they are computed.
pub fn layers(graph: &Graph) -> Vec<Vec<String>> {
    let mut layers: Vec<Vec<String>> = vec![];
    // What is made with parameters.
    let (mut made, mut seen): (HashSet<&str>, HashSet<&str>) = Default::default();
    for node in &graph.nodes {
        let reads_made = inputs_of(node).any(|name| made.contains(name));
        let vectors = VECTORS.contains(&node.op.as_str());
        let is_own = |t: &Tensor| t.dtype == DType::F32 && (!vectors || t.len() > 1);
        let own: Vec<&str> = slots(node, reads_made)
            .filter_map(|slot| node.input(slot))
            .filter(|name| graph.constants.get(*name).is_some_and(is_own))
            .collect();
        if reads_made || !own.is_empty() {
            made.extend(outputs_of(node));
        }
        let new: Vec<String> = own.into_iter().filter(|name| seen.insert(name)).map(str::to_string).collect();
        if !new.is_empty() {
            layers.push(new);
        }
    }
    layers
}

/// Which inputs of a node are parameters, if they are constant.
fn slots(node: &Node, reads_made: bool) -> impl Iterator<Item = usize> {
    let listed = PARAMETERS.iter().find(|(op, _)| node.domain.is_empty() && *op == node.op);
    let vectors = node.domain.is_empty() && reads_made && VECTORS.contains(&node.op.as_str());
    let any = if vectors { 0..node.inputs.len() } else { 0..0 };
    listed.map_or(&[][..], |(_, slots)| slots).iter().copied().chain(any)
}

/// Shuffled parameters, which models share in which more or fewer layers are.
#[derive(Default)]
pub struct Shuffles(HashMap<(Identity, usize, usize, u64), Tensor>);

impl Shuffles {
    /// Their size.
    pub fn bytes(&self) -> usize {
        self.0.values().map(|tensor| tensor.bytes().len()).sum()
    }
}

fn shuffle(graph: &mut Graph, which: Range<usize>, seed: u64, known: &mut Shuffles) {
    for (number, names) in layers(graph).into_iter().enumerate().filter(|(number, _)| which.contains(number)) {
        for (slot, name) in names.iter().enumerate() {
            let Some(tensor) = graph.constants.get_mut(name) else { continue };
            let shuffled = known
                .0
                .entry((tensor.identity(), number, slot, seed))
                .or_insert_with(|| shuffled(tensor, Rng::new(seed ^ APART, ((number as u64) << 8) + slot as u64)));
            tensor.clone_from(shuffled);
        }
    }
}

/// The same elements in another order.
fn shuffled(tensor: &Tensor, rng: Rng) -> Tensor {
    let Some(mut values) = tensor.to_f32() else { return tensor.clone() };
    rng.shuffle(&mut values);
    Tensor::f32(&tensor.shape, &values)
}

/// Keeps the draws apart from those of noise on inputs, which may have the same seed.
const APART: u64 = 0x7765_6967_6874_7321;

fn perturb(graph: &mut Graph, noise: WeightNoise) {
    let names = parameters(graph);
    for (number, name) in names.iter().enumerate() {
        let rng = Rng::new(noise.seed ^ APART, noise.draw.wrapping_mul(names.len() as u64).wrapping_add(number as u64));
        let Some(tensor) = graph.constants.get_mut(name) else { continue };
        let mut normal = vec![0.0; tensor.len()];
        rng.normals(&mut normal);
        tensor.map_f32(|i, w| w * (1.0 + noise.deviation * normal[i]));
    }
}

fn shift(typed: &mut TypedGraph, input: &str, by: f32) {
    let (shifted, number) = (format!("{input} shifted"), format!("{input} shift"));
    let graph = &mut typed.graph;
    for name in graph.nodes.iter_mut().flat_map(|node| &mut node.inputs).filter(|name| *name == input) {
        name.clone_from(&shifted);
    }
    let node = Node {
        name: shifted.clone(),
        op: "Sub".into(),
        inputs: vec![input.into(), number.clone()],
        outputs: vec![shifted.clone()],
        ..Node::default()
    };
    graph.nodes.insert(0, node);
    let tensor = Tensor::scalar(by);
    if let Some(fact) = typed.facts.get(input).cloned() {
        let scalar = Fact { shape: vec![], ..fact.clone() };
        typed.facts.insert(shifted, fact);
        typed.facts.insert(number.clone(), scalar);
    }
    graph.constants.insert(number, tensor);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(nodes: &[(&str, &[&str], &str)], constants: &[&str]) -> Graph {
        let node = |&(op, inputs, output): &(&str, &[&str], &str)| Node {
            op: op.into(),
            inputs: inputs.iter().map(|i| i.to_string()).collect(),
            outputs: vec![output.to_string()],
            ..Node::default()
        };
        Graph {
            nodes: nodes.iter().map(node).collect(),
            constants: constants.iter().map(|name| (name.to_string(), Tensor::f32(&[2], &[1.0, 2.0]))).collect(),
            ..Graph::default()
        }
    }

    #[test]
    fn positions_and_tokens_are_parameters_and_what_prepares_the_input_is_not() {
        let nodes: &[(&str, &[&str], &str)] = &[
            ("Sub", &["x", "mean"], "a"),
            ("Mul", &["a", "scale"], "b"),
            ("Conv", &["b", "w", "bias"], "c"),
            ("Reshape", &["c", "extents"], "d"),
            ("Concat", &["token", "d"], "e"),
            ("Add", &["e", "positions"], "f"),
            ("MatMul", &["f", "w"], "g"),
            ("MatMul", &["g", "head"], "h"),
        ];
        let constants = ["mean", "scale", "w", "bias", "extents", "token", "positions", "head"];
        let found = layers(&graph(nodes, &constants));
        assert_eq!(found, [vec!["w", "bias"], vec!["token"], vec!["positions"], vec!["head"]]);
    }
}
