//! Repeats what products read in a way that tract leaves alone. An `Expand` in front of a product it takes out, and then finds that
//! shapes do not fit, or adds up too few terms; the adjoint of a mean puts one in front of the linear layer before it.

use std::collections::HashSet;

use crate::onnx::graph::inputs_of;
use crate::onnx::{Attr, Facts, Graph, Node, Tensor};

/// Puts a `Gather` per axis, of the first place again and again, in place of every `Expand` that a matrix product reads.
pub fn gather_for_products(graph: &mut Graph, facts: &Facts) {
    let products =
        graph.nodes.iter().filter(|node| node.domain.is_empty() && ["MatMul", "Gemm"].contains(&node.op.as_str()));
    let read: HashSet<String> = products.flat_map(inputs_of).map(str::to_string).collect();
    let mut nodes = Vec::with_capacity(graph.nodes.len());
    for node in std::mem::take(&mut graph.nodes) {
        let shape = |name: Option<&str>| name.and_then(|name| facts.get(name)).map(|fact| fact.shape.clone());
        let repeats = node.domain.is_empty() && node.op == "Expand" && read.contains(&node.outputs[0]);
        match shape(node.input(0)).zip(shape(node.output(0))).filter(|_| repeats) {
            Some((from, to)) => gathers(&node, &from, &to, graph, &mut nodes),
            None => nodes.push(node),
        }
    }
    graph.nodes = nodes;
}

/// The nodes that give what an `Expand` from one shape to another gives.
fn gathers(node: &Node, from: &[usize], to: &[usize], graph: &mut Graph, nodes: &mut Vec<Node>) {
    let (output, lead) = (&node.outputs[0], to.len() - from.len());
    let extents: Vec<i64> = [vec![1; lead], from.to_vec()].concat().iter().map(|&extent| extent as i64).collect();
    let mut value = format!("{output}/from");
    let mut constant = |name: String, numbers: &[i64]| {
        graph.constants.insert(name.clone(), Tensor::ints(numbers));
        name
    };
    let target = constant(format!("{value}/extents"), &extents);
    let mut push = |op: &str, inputs: [&str; 2], output: &str, axis: Option<usize>| {
        let attributes = axis.map(|axis| ("axis".to_string(), Attr::Int(axis as i64))).into_iter().collect();
        let inputs = inputs.map(str::to_string).into();
        let (name, outputs) = (output.to_string(), vec![output.to_string()]);
        nodes.push(Node { name, op: op.into(), inputs, outputs, attributes, ..Node::default() });
    };
    push("Reshape", [&node.inputs[0], &target], &value, None);
    for (axis, &extent) in to.iter().enumerate().filter(|&(axis, &extent)| extents[axis] != extent as i64) {
        let (indices, next) =
            (constant(format!("{output}/{axis}/places"), &vec![0; extent]), format!("{output}/{axis}"));
        push("Gather", [&value, &indices], &next, Some(axis));
        value = next;
    }
    let target = constant(format!("{output}/extents"), &to.iter().map(|&extent| extent as i64).collect::<Vec<_>>());
    push("Reshape", [&value, &target], output, None);
}
