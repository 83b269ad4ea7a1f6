//! What a model consists of, what its gradient costs, and where CAM methods can look.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::engine::{Passes, TractOperators};
use crate::error::{Error, Result};
use crate::explain::{Loaded, with_target};
use crate::gradient::composite::GRADIENT;
use crate::gradient::coverage::{FLAT, find_gaps, find_path};
use crate::gradient::layers::{cam_layers, default_layer};
use crate::gradient::target::find_target;
use crate::gradient::{COMPOSITES, Spec, adjoints, differentiate};
use crate::methods::{Entry, Given, METHODS, Params};
use crate::onnx::inline::inline_functions;
use crate::onnx::{Facts, Graph, Node, type_graph};

/// Everything `whyline inspect` shows.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs)]
pub struct Inspection {
    pub model: String,
    pub sha256: String,
    pub opset: i64,
    pub nodes: usize,
    pub input: String,
    pub input_shape: Vec<usize>,
    pub target: String,
    pub target_shape: Vec<usize>,
    pub stepped_over: Option<String>,
    pub parameters: usize,
    pub parameter_bytes: usize,
    pub widened: bool,
    pub forward_flops: u64,
    /// Absent where the gradient can't be derived.
    pub backward_flops: Option<u64>,
    pub ops: Vec<OpLine>,
    /// Nodes on the path that can't be differentiated.
    pub gaps: Vec<String>,
    /// Nodes on the path whose derivative is zero.
    pub flat: Vec<String>,
    pub layers: Vec<LayerLine>,
    pub default_layer: Option<String>,
    pub methods: Vec<MethodLine>,
}

/// One kind of op.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs)]
pub struct OpLine {
    pub op: String,
    pub count: usize,
    pub derivative: String,
}

/// One layer.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs)]
pub struct LayerLine {
    pub name: String,
    pub op: String,
    pub shape: Vec<usize>,
}

/// What one explanation takes, with the method's defaults.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs)]
pub struct MethodLine {
    pub name: String,
    pub passes: Passes,
}

fn method_lines() -> Result<Vec<MethodLine>> {
    let line = |entry: &&'static Entry| {
        let method = (entry.build)(&Params::new(entry, &Given::new())?)?;
        Ok(MethodLine { name: entry.name.into(), passes: with_target(method.passes()) })
    };
    METHODS.iter().map(line).collect()
}

/// Looks a loaded model over.
pub fn inspect(loaded: &Loaded) -> Result<Inspection> {
    if loaded.ready_made.is_some() {
        return Err(Error::usage("the file is a gradient graph; inspect takes the forward model"));
    }
    let typed = &loaded.typed;
    let graph = &typed.graph;
    let output = loaded.output();
    let target = find_target(typed, output)?;
    let input = loaded.input()?.to_string();
    let path = find_path(typed, &[&input], &target.logits);
    let gaps = find_gaps(typed, &path, &GRADIENT);
    let forward_flops = flops(graph, &typed.facts);
    let backward_flops = match gaps.is_empty() {
        true => Some(gradient_flops(loaded)?.saturating_sub(forward_flops)),
        false => None,
    };
    let layers = cam_layers(typed, output)?;
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    graph.nodes.iter().for_each(|n| *counts.entry(n.qualified_op()).or_default() += 1);
    let weights = graph.constants.values().filter(|t| t.dtype.is_float());
    Ok(Inspection {
        model: loaded.model.name.clone(),
        sha256: loaded.model.sha256.clone(),
        opset: graph.opset,
        nodes: graph.nodes.len(),
        input_shape: loaded.input_shape()?,
        input,
        target: target.logits,
        target_shape: target.shape,
        stepped_over: target.stepped_over,
        parameters: weights.clone().map(|t| t.len()).sum(),
        parameter_bytes: weights.map(|t| t.bytes().len()).sum(),
        widened: graph.widened,
        forward_flops,
        backward_flops,
        ops: counts.into_iter().map(|(op, count)| OpLine { derivative: derivative(&op), op, count }).collect(),
        gaps: gaps
            .iter()
            .map(|g| format!("{} ({}) cuts the path at '{}': {}", g.node, g.op, g.cut_at, g.reason))
            .collect(),
        flat: path.flat.iter().map(|(node, op)| format!("{node} ({op})")).collect(),
        default_layer: default_layer(&layers).map(|l| l.name.clone()),
        methods: method_lines()?,
        layers: layers.into_iter().map(|l| LayerLine { name: l.name, op: l.op, shape: l.shape }).collect(),
    })
}

/// What can be said of an op's derivative, by rule.
fn derivative(op: &str) -> String {
    if FLAT.contains(&op) {
        return "zero".into();
    }
    if adjoints::find(op).is_none() {
        return "none".into();
    }
    let ruled = COMPOSITES.iter().filter(|c| c.rule(op).is_some()).map(|c| c.name);
    std::iter::once("gradient").chain(ruled).collect::<Vec<_>>().join(", ")
}

fn gradient_flops(loaded: &Loaded) -> Result<u64> {
    let mut graph =
        differentiate(&loaded.typed, &Spec { output: loaded.output().map(str::to_string), ..Spec::default() })?.graph;
    inline_functions(&mut graph)?;
    let typed = type_graph(graph, &TractOperators::default())?;
    Ok(flops(&typed.graph, &typed.facts))
}

/// Floating-point operations of one run: two per multiplication and addition of a product, one per element
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
