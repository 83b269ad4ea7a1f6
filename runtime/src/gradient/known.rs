//! What rules ask about a model's values: which can't be negative, which are gates, which layers come first.

use std::collections::HashSet;

use super::coverage::Path;
use crate::onnx::graph::{inputs_of, outputs_of};
use crate::onnx::{Node, Tensor, TypedGraph};

/// Layers with weights.
pub const LAYERS: &[&str] = &["Conv", "ConvTranspose", "Gemm", "MatMul"];

/// Ops whose result is never negative.
const NONNEGATIVE: &[&str] = &["Relu", "Sigmoid", "HardSigmoid", "Softmax", "Exp", "Abs", "Sqrt", "Softplus"];

/// Ops whose result is not negative where no input is.
const KEEPS_SIGN: &[&str] = &[
    "MaxPool",
    "AveragePool",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "ReduceMean",
    "ReduceSum",
    "ReduceMax",
    "ReduceMin",
    "LRN",
    "Add",
    "Sum",
    "Mul",
    "Div",
    "Max",
    "Min",
    "Concat",
    "Split",
    "Slice",
    "Reshape",
    "Flatten",
    "Squeeze",
    "Unsqueeze",
    "Transpose",
    "Identity",
    "Cast",
    "Expand",
    "Tile",
    "Gather",
];

/// Ops that squash what they are given, so that a product with the result is a gate's.
const GATES: &[&str] = &["Softmax", "Sigmoid", "HardSigmoid", "Tanh", "Erf", "Clip"];

/// Ops that leave a gate a gate, where all other inputs are constant or gates too.
const KEEPS_GATE: &[&str] = &[
    "Add",
    "Sub",
    "Mul",
    "Div",
    "Reshape",
    "Flatten",
    "Squeeze",
    "Unsqueeze",
    "Transpose",
    "Identity",
    "Cast",
    "Expand",
    "Slice",
    "Split",
    "Concat",
];

/// Ops that are lines with kinks in what depends on the input, whatever else they read.
pub(super) const HOMOGENEOUS: &[&str] =
    &["Relu", "LeakyRelu", "PRelu", "Abs", "MaxPool", "GlobalMaxPool", "ReduceMax", "ReduceMin"];

/// Ops that are linear in what depends on the input.
pub(super) const LINEAR: &[&str] = &[
    "Add",
    "Sum",
    "Sub",
    "Neg",
    "AveragePool",
    "GlobalAveragePool",
    "ReduceMean",
    "ReduceSum",
    "Resize",
    "BatchNormalization",
    "Identity",
    "Cast",
    "Reshape",
    "Flatten",
    "Squeeze",
    "Unsqueeze",
    "Transpose",
    "Concat",
    "Split",
    "Slice",
    "Pad",
    "Expand",
    "Tile",
    "Gather",
    "DepthToSpace",
    "SpaceToDepth",
];

/// Whether a node scales or shifts one value by constants that leave it its shape.
fn is_affine(node: &Node, typed: &TypedGraph, path: &Path) -> bool {
    let active: Vec<usize> = (0..node.inputs.len()).filter(|&i| path.active.contains(&node.inputs[i])).collect();
    let shape = |name: Option<&str>| name.and_then(|name| typed.facts.get(name)).map(|fact| &fact.shape);
    ["Add", "Sub", "Mul", "Div", "BatchNormalization"].contains(&node.op.as_str())
        && active.len() == 1
        && (node.op != "Div" || active == [0])
        && shape(node.input(active[0])) == shape(node.output(0))
}

/// What is known of a model.
#[derive(Debug, Default)]
pub struct Known {
    nonnegative: HashSet<String>,
    gates: HashSet<String>,
    /// Nodes that are layers with weights and read nothing that went through one.
    first: HashSet<usize>,
    /// Nodes before these that scale or shift what they read, value by value.
    prepares: HashSet<usize>,
}

impl Known {
    /// Of a typed graph with the path that derivatives take.
    pub fn of(typed: &TypedGraph, path: &Path) -> Known {
        let mut known = Known::default();
        let constants = typed.graph.constants.iter().filter(|(_, tensor)| tensor.is_nonnegative());
        known.nonnegative.extend(constants.map(|(name, _)| name.clone()));
        let mut weighed: HashSet<&str> = HashSet::new();
        for (index, node) in typed.graph.nodes.iter().enumerate() {
            known.tell_sign(node, typed);
            let is_gate = |name: &str| known.gates.contains(name) || !path.active.contains(name);
            let is_layer = LAYERS.contains(&node.op.as_str());
            if GATES.contains(&node.op.as_str())
                || (KEEPS_GATE.contains(&node.op.as_str()) && inputs_of(node).all(is_gate))
            {
                known.gates.extend(outputs_of(node).map(str::to_string));
            }
            let reads_weighed = inputs_of(node).any(|i| weighed.contains(i));
            if is_layer && path.between[index] && !reads_weighed {
                known.first.insert(index);
            }
            if path.between[index] && !reads_weighed && is_affine(node, typed, path) {
                known.prepares.insert(index);
            }
            if reads_weighed || (is_layer && path.between[index]) {
                weighed.extend(outputs_of(node));
            }
        }
        known
    }

    fn tell_sign(&mut self, node: &Node, typed: &TypedGraph) {
        let bounded_below = || {
            let bound = node.input(1).and_then(|name| typed.graph.constants.get(name));
            node.op == "Clip" && bound.is_some_and(Tensor::is_nonnegative)
        };
        let keeps = || {
            let floats = |i: &&str| typed.facts.get(*i).is_none_or(|f| f.dtype.is_float());
            KEEPS_SIGN.contains(&node.op.as_str())
                && inputs_of(node).filter(floats).all(|i| self.nonnegative.contains(i))
        };
        if NONNEGATIVE.contains(&node.op.as_str()) || bounded_below() || keeps() {
            self.nonnegative.extend(outputs_of(node).map(str::to_string));
        }
    }

    /// Whether a value is never negative.
    pub fn is_nonnegative(&self, name: &str) -> bool {
        self.nonnegative.contains(name)
    }

    /// Whether a value is a gate or an attention weight.
    pub fn is_gate(&self, name: &str) -> bool {
        self.gates.contains(name)
    }

    /// Whether a node normalises the input, before any layer with weights.
    pub fn prepares(&self, index: usize) -> bool {
        self.prepares.contains(&index)
    }

    /// Whether a node is a layer with weights that comes before any other.
    pub fn is_first(&self, index: usize) -> bool {
        self.first.contains(&index)
    }
}
