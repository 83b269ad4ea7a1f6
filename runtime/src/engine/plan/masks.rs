//! What a clipping node's adjoint needs to know of it, as bits.

use std::collections::HashMap;

use super::arena::BufferId;
use super::values::Order;
use crate::gradient::functions::DOMAIN;
use crate::onnx::{Graph, Node};

/// What a clipping node's adjoint needs to know of it: a bit per element.
#[derive(Default)]
pub struct Masks {
    /// The forward node behind each gradient node, by the output of the former and the name of the latter.
    forward_of: HashMap<String, String>,
    /// Where the bits of a forward node are, by its output, once it has been lowered.
    pub(super) kept: HashMap<String, (BufferId, Order)>,
}

impl Masks {
    /// Pairs the gradient nodes of our functions with the forward nodes whose bits they can use.
    pub fn find(graph: &Graph) -> Masks {
        let mut masks = Masks::default();
        let mut pools: HashMap<&str, &Node> = HashMap::new();
        let mut clipping: HashMap<&str, Vec<&Node>> = HashMap::new();
        // Bits are there only for who comes later, as a file's nodes need not.
        for node in &graph.nodes {
            match (node.domain.as_str(), node.op.as_str()) {
                ("", "MaxPool") => pools.extend(node.output(1).map(|places| (places, node))),
                ("", "Relu" | "Clip") => clipping.entry(node.input(0).unwrap_or_default()).or_default().push(node),
                (DOMAIN, _) => {}
                _ => continue,
            }
            let x = node.input(1).unwrap_or_default();
            let same_bounds = |n: &&&Node| n.op == "Clip" && n.inputs.get(1..3) == node.inputs.get(2..4);
            let found = match node.op.as_str() {
                "ReluGrad" | "GuidedReluGrad" => clipping.get(x).and_then(|c| c.iter().find(|n| n.op == "Relu")),
                "ClipGrad" => clipping.get(x).and_then(|c| c.iter().find(same_bounds)),
                "MaxPoolGrad" => pools.get(x).filter(|n| n.ints("kernel_shape").is_some_and(|k| k.len() == 2)),
                _ => None,
            };
            if let Some(output) = found.and_then(|n| n.output(0)) {
                masks.forward_of.insert(node.name.clone(), output.to_string());
            }
        }
        masks
    }

    /// Whether a gradient node has found its forward node.
    pub fn pairs(&self, node: &Node) -> bool {
        self.forward_of.contains_key(&node.name)
    }

    /// Whether a node takes bits in place of the value in this slot.
    pub fn replaces(&self, node: &Node, slot: usize) -> bool {
        slot > 0 && self.pairs(node)
    }

    /// Whether somebody wants the bits of the forward node that writes `output`.
    pub fn wanted(&self, output: &str) -> bool {
        self.forward_of.values().any(|o| o == output)
    }

    /// Notes where the bits of a forward node are.
    pub fn keep(&mut self, output: &str, id: BufferId, order: Order) {
        self.kept.insert(output.to_string(), (id, order));
    }

    /// The forward node's output, and where its bits are.
    pub fn of(&self, gradient: &Node) -> Option<(&str, BufferId, Order)> {
        let output = self.forward_of.get(&gradient.name)?;
        self.kept.get(output).map(|&(id, order)| (output.as_str(), id, order))
    }
}
