//! Which nodes lie between what is differentiated for and the target, and whether each can be passed.

use std::collections::HashSet;

use crate::error::Gap;
use crate::onnx::graph::{inputs_of, outputs_of};
use crate::onnx::{DType, Node, TypedGraph};

use super::composite::{Composite, Kind};
use super::known::Known;

/// Ops whose derivative is zero wherever it exists: passed silently nowhere, named in a warning.
pub const FLAT: &[&str] = &[
    "Floor",
    "Ceil",
    "Round",
    "Sign",
    "Equal",
    "Greater",
    "Less",
    "GreaterOrEqual",
    "LessOrEqual",
    "Not",
    "And",
    "Or",
    "Xor",
    "IsNaN",
    "IsInf",
    "ArgMax",
    "ArgMin",
];

/// The part of a graph that derivatives flow through.
#[derive(Debug, Default)]
pub struct Path {
    /// Float values that depend on what is differentiated for.
    pub active: HashSet<String>,
    /// Per node: whether it lies between that and the target.
    pub between: Vec<bool>,
    /// Nodes on the way whose derivative is zero: name and op.
    pub flat: Vec<(String, String)>,
}

/// Finds the path from the values `sources` to the value `target`.
pub fn find_path(typed: &TypedGraph, sources: &[&str], target: &str) -> Path {
    let nodes = &typed.graph.nodes;
    let float = |name: &str| typed.facts.get(name).is_some_and(|f| f.dtype.is_float());
    let mut path = Path { between: vec![false; nodes.len()], ..Path::default() };
    path.active.extend(sources.iter().map(|s| s.to_string()));
    for node in nodes {
        if !is_flat(node, typed) && inputs_of(node).any(|i| path.active.contains(i)) {
            path.active.extend(outputs_of(node).filter(|o| float(o)).map(str::to_string));
        }
    }
    // What leads to the target, and what does so only through flat nodes.
    let (mut reaches, mut gates): (HashSet<&str>, HashSet<&str>) = (HashSet::from([target]), HashSet::new());
    for (i, node) in nodes.iter().enumerate().rev() {
        let gives = |values: &HashSet<&str>| outputs_of(node).any(|o| values.contains(o));
        let (leads, flat) = (gives(&reaches), is_flat(node, typed));
        if !leads && !gives(&gates) {
            continue;
        }
        let reads_active = inputs_of(node).any(|i| path.active.contains(i));
        if flat && reads_active {
            // Nothing passes here, so what lies before need not be differentiated.
            path.flat.push((node.name.clone(), node.op.clone()));
        } else if flat || !leads {
            gates.extend(inputs_of(node));
        } else {
            reaches.extend(inputs_of(node));
            path.between[i] = reads_active && outputs_of(node).any(|o| path.active.contains(o));
        }
    }
    path.flat.reverse();
    path
}

/// Flat by nature, or because the results are not floats (a Cast, QuantizeLinear).
fn is_flat(node: &Node, typed: &TypedGraph) -> bool {
    let float = |o: &str| typed.facts.get(o).is_some_and(|f| f.dtype.is_float());
    FLAT.contains(&node.op.as_str()) || !outputs_of(node).any(float)
}

/// Every node on the path that can't be passed backwards.
pub fn find_gaps(typed: &TypedGraph, path: &Path, composite: &Composite) -> Vec<Gap> {
    let known = Known::of(typed, path);
    let on_path = typed.graph.nodes.iter().enumerate().filter(|(i, _)| path.between[*i]);
    on_path.filter_map(|(i, node)| node_gap(typed, path, composite, node, known.is_first(i))).collect()
}

fn node_gap(typed: &TypedGraph, path: &Path, composite: &Composite, node: &Node, first: bool) -> Option<Gap> {
    let not_f32 = |name: &&str| typed.facts.get(*name).is_some_and(|f| f.dtype != DType::F32);
    let reason = if !node.domain.is_empty() || composite.adjoint(&node.op, first).is_none() {
        match composite.kind {
            Kind::Gradient => "it has no adjoint".to_string(),
            _ => format!("the composite '{}' has no rule for it", composite.name),
        }
    } else {
        let wide = inputs_of(node).find(|i| path.active.contains(*i) && not_f32(i))?;
        format!("'{wide}' is computed in float64; export the model in float32")
    };
    Some(gap(node, path, reason))
}

/// The gap that a node is, with the first input through which the path is cut.
pub fn gap(node: &Node, path: &Path, reason: String) -> Gap {
    let cut_at = inputs_of(node).find(|i| path.active.contains(*i)).unwrap_or_default().to_string();
    Gap { node: node.name.clone(), op: node.qualified_op(), cut_at, reason }
}
