//! Floating-point operations of graphs.

use std::collections::BTreeMap;

use crate::engine::TractOperators;
use crate::error::Result;
use crate::gradient::GradientGraph;
use crate::onnx::inline::inline_functions;
use crate::onnx::{Facts, Graph, Node, type_graph};

/// Of a gradient pass, its forward part included.
pub fn gradient_flops(derived: &GradientGraph) -> Result<u64> {
    let mut graph = derived.graph.clone();
    inline_functions(&mut graph)?;
    let typed = type_graph(graph, &TractOperators::default())?;
    Ok(flops(&typed.graph, &typed.facts))
}

/// Of one run: two per multiplication and addition of a product, one per element
/// otherwise; moving data is free.
pub fn flops(graph: &Graph, facts: &Facts) -> u64 {
    graph.nodes.iter().map(|node| node_flops(node, facts)).sum()
}

fn node_flops(node: &Node, facts: &Facts) -> u64 {
    let shape = |name: Option<&str>| name.and_then(|n| facts.get(n)).map(|f| f.shape.as_slice()).unwrap_or_default();
    let count = |s: &[usize]| s.iter().map(|&d| d as u64).product::<u64>();
    let (x, w, y) = (shape(node.input(0)), shape(node.input(1)), shape(node.output(0)));
    match node.op.as_str() {
        // Each output element sums over the weights of one output channel.
        "Conv" => 2 * count(y) * count(w.get(1..).unwrap_or_default()),
        // Each input element is spread over the weights of one input channel.
        "ConvTranspose" => 2 * count(x) * count(w.get(1..).unwrap_or_default()),
        "MatMul" => 2 * count(y) * x.last().copied().unwrap_or(1) as u64,
        "Gemm" => 2 * count(y) * x.get(if node.int("transA", 0) != 0 { 0 } else { 1 }).copied().unwrap_or(1) as u64,
        "Einsum" => 2 * einsum_terms(node, facts),
        "MaxPool" | "AveragePool" => {
            count(y) * node.ints("kernel_shape").unwrap_or_default().iter().product::<i64>() as u64
        }
        "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" | "Transpose" | "Concat" | "Split" | "Slice" | "Pad"
        | "Expand" | "Tile" | "Gather" | "Identity" | "Cast" | "DepthToSpace" | "SpaceToDepth" => 0,
        op if op.starts_with("Reduce") || op.starts_with("Global") => count(x),
        _ => count(y),
    }
}

/// The size of the product space that an equation's letters span.
fn einsum_terms(node: &Node, facts: &Facts) -> u64 {
    let equation: String = node.text("equation", "").chars().filter(|c| !c.is_whitespace()).collect();
    let left = equation.split("->").next().unwrap_or_default();
    let mut extents: BTreeMap<char, u64> = BTreeMap::new();
    for (term, name) in left.split(',').zip(&node.inputs) {
        let shape = facts.get(name).map(|f| f.shape.as_slice()).unwrap_or_default();
        extents.extend(term.chars().zip(shape.iter().map(|&d| d as u64)));
    }
    extents.values().product()
}
