//! Repeats what products read in a way that tract leaves alone. An `Expand` in front of a product it takes out, and then finds that
//! shapes do not fit, or adds up too few terms; the adjoint of a mean puts one in front of the linear layer before it.

use std::collections::HashSet;

use crate::onnx::graph::inputs_of;
use crate::onnx::{Attr, Facts, Graph, Node, Tensor};

/// What moves elements, and keeps them all.
const MOVES: [&str; 6] = ["Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity"];

/// What an `Expand` gives that a matrix product reads, as it is or moved.
pub fn read_by_products(graph: &Graph) -> HashSet<String> {
    let mut read = HashSet::new();
    for node in graph.nodes.iter().rev().filter(|node| node.domain.is_empty()) {
        match node.op.as_str() {
            "MatMul" | "Gemm" => read.extend(inputs_of(node)),
            op if MOVES.contains(&op) && read.contains(node.outputs[0].as_str()) => read.extend(node.input(0)),
            _ => {}
        }
    }
    let repeats =
        |node: &&Node| node.domain.is_empty() && node.op == "Expand" && read.contains(node.outputs[0].as_str());
    graph.nodes.iter().filter(repeats).map(|node| node.outputs[0].clone()).collect()
}

/// Puts a `Gather` per axis, of the first place again and again, in place of every `Expand` that gives one of these values.
pub fn gather(graph: &mut Graph, facts: &Facts, values: &HashSet<String>) {
    let mut nodes = Vec::with_capacity(graph.nodes.len());
    for node in std::mem::take(&mut graph.nodes) {
        let shape = |name: Option<&str>| name.and_then(|name| facts.get(name)).map(|fact| fact.shape.clone());
        let repeats = node.op == "Expand" && values.contains(&node.outputs[0]);
        match shape(node.input(0)).zip(shape(node.output(0))).filter(|_| repeats) {
            Some((from, to)) => gathers(node, &from, &to, graph, &mut nodes),
            None => nodes.push(node),
        }
    }
    graph.nodes = nodes;
}

/// The nodes that give what an `Expand` from one shape to another gives; itself where it repeats nothing.
fn gathers(node: Node, from: &[usize], to: &[usize], graph: &mut Graph, nodes: &mut Vec<Node>) {
    // It has as many axes as it will have, from here on.
    let from = [vec![1; to.len() - from.len()], from.to_vec()].concat();
    let axes: Vec<usize> = (0..to.len()).filter(|&axis| from[axis] != to[axis]).collect();
    let Some(&last) = axes.last() else { return nodes.push(node) };
    let output = &node.outputs[0];
    let mut push = |op: &str, value: &str, numbers: Vec<i64>, output: String, axis: Option<usize>| {
        let told = format!("{output}/numbers");
        graph.constants.insert(told.clone(), Tensor::ints(&numbers));
        let attributes = axis.map(|axis| ("axis".to_string(), Attr::Int(axis as i64))).into_iter().collect();
        let (inputs, name, outputs) = (vec![value.to_string(), told], output.clone(), vec![output.clone()]);
        nodes.push(Node { name, op: op.into(), inputs, outputs, attributes, ..Node::default() });
        output
    };
    let extents = from.iter().map(|&extent| extent as i64).collect();
    let mut value = push("Reshape", &node.inputs[0], extents, format!("{output}/from"), None);
    for axis in axes {
        let next = if axis == last { output.clone() } else { format!("{output}/{axis}") };
        value = push("Gather", &value, vec![0; to[axis]], next, Some(axis));
    }
}
