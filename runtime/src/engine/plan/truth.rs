//! Truth values that stay within elementwise nodes: kept as one and zero in floats, so that chains take them in.

use std::collections::{HashMap, HashSet};

use crate::onnx::graph::{inputs_of, outputs_of};
use crate::onnx::{DType, Facts, Graph, Node};

const COMPARISONS: &[&str] = &["Less", "Greater", "LessOrEqual", "GreaterOrEqual", "Equal"];
const LOGIC: &[&str] = &["And", "Or", "Not"];

/// The truth values that are made of floats, and read, by elementwise nodes alone.
pub fn in_floats(graph: &Graph, facts: &Facts, outputs: &[String]) -> HashSet<String> {
    let is = |name: &str, dtype: DType| facts.get(name).is_some_and(|f| f.dtype == dtype);
    let among = |node: &Node, ops: &[&str]| node.domain.is_empty() && ops.contains(&node.op.as_str());
    let mut found: HashSet<&str> = HashSet::new();
    for node in &graph.nodes {
        let compared = among(node, COMPARISONS) && inputs_of(node).all(|i| is(i, DType::F32));
        if (compared || among(node, LOGIC)) && node.outputs.len() == 1 && !outputs.contains(&node.outputs[0]) {
            found.insert(&node.outputs[0]);
        }
    }
    let mut readers: HashMap<&str, Vec<&Node>> = HashMap::new();
    for node in &graph.nodes {
        inputs_of(node).for_each(|input| readers.entry(input).or_default().push(node));
    }
    // Taking one out may take out those that it reads, and those that read it.
    loop {
        let fits = |node: &Node| {
            let logical =
                !among(node, LOGIC) || inputs_of(node).all(|i| found.contains(i) || graph.constants.contains_key(i));
            let read = |reader: &&Node| {
                let chosen = among(reader, &["Where"]) && outputs_of(reader).all(|o| is(o, DType::F32));
                chosen || (among(reader, LOGIC) && outputs_of(reader).all(|o| found.contains(o)))
            };
            logical && outputs_of(node).all(|o| readers.get(o).is_none_or(|all| all.iter().all(&read)))
        };
        let wrong = graph.nodes.iter().find(|n| outputs_of(n).any(|o| found.contains(o)) && !fits(n));
        let Some(wrong) = wrong else { break };
        let names: Vec<&str> = outputs_of(wrong).collect();
        names.iter().for_each(|name| {
            found.remove(name);
        });
    }
    found.into_iter().map(str::to_string).collect()
}
