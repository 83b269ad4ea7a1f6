//! A second copy of the forward graph, for the baseline.

use std::collections::HashMap;

use super::emit::Name;
use super::names;
use crate::onnx::graph::{inputs_of, outputs_of};
use crate::onnx::{DType, Dim, Graph, Input};

/// The copy's names, by the original's.
#[derive(Debug, Default)]
pub struct Twin {
    values: HashMap<String, Name>,
    /// By the original node's place.
    nodes: HashMap<usize, usize>,
}

impl Twin {
    /// Appends a copy of every node that depends on `input`, which becomes the new input [`names::BASELINE`] of extents
    /// `shape`.
    pub fn append(graph: &mut Graph, input: &str, shape: &[usize]) -> Twin {
        let dims = shape.iter().map(|&d| Dim::Fixed(d)).collect();
        graph.inputs.push(Input { name: names::BASELINE.into(), dtype: DType::F32, dims: Some(dims) });
        let mut twin = Twin::default();
        twin.values.insert(input.to_string(), names::BASELINE.into());
        let mut copies = vec![];
        for (index, node) in graph.nodes.iter().enumerate() {
            if !inputs_of(node).any(|i| twin.values.contains_key(i)) {
                continue;
            }
            twin.values.extend(outputs_of(node).map(|o| (o.to_string(), format!("{}{o}", names::REFERENCE))));
            let mut copy = node.clone();
            copy.name = format!("{}{}", names::REFERENCE, node.name);
            for name in copy.inputs.iter_mut().chain(&mut copy.outputs) {
                *name = twin.of(name);
            }
            twin.nodes.insert(index, graph.nodes.len() + copies.len());
            copies.push(copy);
        }
        graph.nodes.extend(copies);
        twin
    }

    /// The value's counterpart at the baseline; itself where it does not depend on the input.
    pub fn of(&self, name: &str) -> Name {
        self.values.get(name).cloned().unwrap_or_else(|| name.to_string())
    }

    /// The copy of a node, by its place.
    pub fn node(&self, index: usize) -> Option<usize> {
        self.nodes.get(&index).copied()
    }
}
