//! What is explained: the components of the model's logits.

use crate::error::{Error, Result};
use crate::onnx::{DType, Graph, TypedGraph};

/// The value whose components are explained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Name of the value.
    pub logits: String,
    /// Its extents.
    pub shape: Vec<usize>,
    /// The Softmax or LogSoftmax that the file ends with and that was stepped over.
    pub stepped_over: Option<String>,
}

/// Ops that change no value, only its shape or type.
const CARRIERS: &[&str] = &["Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Cast"];

/// Finds the logits behind the graph's output `output` (the first, by default).
///
/// A Softmax or LogSoftmax that the file ends with is stepped over, because a probability's gradient
/// vanishes where the model is sure, and mixes in the other classes.
pub fn find_target(typed: &TypedGraph, output: Option<&str>) -> Result<Target> {
    let graph = &typed.graph;
    let output = match output {
        None => &graph.outputs[0],
        Some(name) => graph.outputs.iter().find(|o| *o == name).ok_or_else(|| Error::Usage {
            reason: format!("the model has no output '{name}'; it has {}", graph.outputs.join(", ")),
        })?,
    };
    let (logits, stepped_over) = match softmax_behind(graph, output) {
        Some((logits, name)) => (logits, Some(name)),
        None => (output.clone(), None),
    };
    let fact = typed.facts.get(&logits).ok_or_else(|| Error::graph(format!("the output '{logits}' is not typed")))?;
    if fact.dtype != DType::F32 {
        let reason =
            format!("the model's output '{output}' is {:?}, not a score; name another with --output", fact.dtype);
        return Err(Error::NoTarget { reason });
    }
    let classes: usize = fact.shape.iter().product();
    if classes == 0 {
        return Err(Error::NoTarget { reason: format!("the model's output '{output}' is empty") });
    }
    Ok(Target { logits, shape: fact.shape.clone(), stepped_over })
}

fn softmax_behind(graph: &Graph, output: &str) -> Option<(String, String)> {
    let producers = graph.producers();
    let mut value = output;
    loop {
        let node = &graph.nodes[*producers.get(value)?];
        let before = node.input(0)?;
        match node.op.as_str() {
            "Softmax" | "LogSoftmax" => return Some((before.to_string(), node.name.clone())),
            op if CARRIERS.contains(&op) => value = before,
            _ => return None,
        }
    }
}
