//! Replaces calls of functions by their bodies.
//!
//! tract-onnx looks an op up by its name alone and knows no functions, so everything it is to run is
//! inlined first; functions of a foreign file are inlined when it is read.

use std::collections::{BTreeMap, HashMap};

use super::graph::{Function, Graph};
use super::node::{Attr, Node};
use crate::error::{Error, Result};

/// Functions may call functions; deeper nesting than this is taken for recursion.
const MAX_DEPTH: usize = 32;

/// Nodes that calls become, at most: functions that call others twice each are many soon.
const MAX_NODES: usize = 1 << 18;

/// Inlines every call of one of the graph's functions and forgets the functions.
pub fn inline_functions(graph: &mut Graph) -> Result<()> {
    inline_some(graph, |_| true)?;
    graph.functions.clear();
    Ok(())
}

/// Inlines the calls of the graph's functions that `which` picks.
pub fn inline_some(graph: &mut Graph, which: impl Fn(&Node) -> bool) -> Result<()> {
    if graph.functions.is_empty() {
        return Ok(());
    }
    let mut nodes = Vec::with_capacity(graph.nodes.len());
    for (i, node) in std::mem::take(&mut graph.nodes).into_iter().enumerate() {
        match which(&node) {
            true => expand(node, &graph.functions, &format!("{i}"), 0, &mut nodes)?,
            false => nodes.push(node),
        }
    }
    graph.nodes = nodes;
    // The bodies' names are new, and could be others' already.
    graph.sole_producers().map(drop)
}

fn expand(
    node: Node,
    functions: &BTreeMap<(String, String), Function>,
    scope: &str,
    depth: usize,
    out: &mut Vec<Node>,
) -> Result<()> {
    let Some(function) = functions.get(&(node.domain.clone(), node.op.clone())) else {
        out.push(node);
        return Ok(());
    };
    if depth > MAX_DEPTH {
        return Err(node.error("calls functions nested too deeply, or itself"));
    }
    if out.len() > MAX_NODES {
        return Err(node.error("calls functions of more nodes than any model has"));
    }
    // Formal names map to the caller's; everything else is local to this call.
    let mut names: HashMap<&str, String> = HashMap::new();
    for (i, formal) in function.inputs.iter().enumerate() {
        names.insert(formal, node.input(i).unwrap_or_default().to_string());
    }
    for (i, formal) in function.outputs.iter().enumerate() {
        if let Some(actual) = node.output(i) {
            names.insert(formal, actual.to_string());
        }
    }
    let actual = |name: &String| match names.get(name.as_str()) {
        Some(n) => n.clone(),
        None if name.is_empty() => String::new(),
        None => format!("{}/{scope}/{name}", node.name),
    };
    for (i, inner) in function.nodes.iter().enumerate() {
        let mut copy = inner.clone();
        copy.name = format!("{}/{}_{i}", node.name, inner.op);
        copy.inputs = inner.inputs.iter().map(actual).collect();
        copy.outputs = inner.outputs.iter().map(actual).collect();
        copy.attributes.clear();
        for (name, value) in &inner.attributes {
            let value = match value {
                Attr::FromCaller(caller) => match node.attributes.get(caller) {
                    Some(given) => given,
                    None if function.attributes.contains(caller) => continue,
                    // Its default is in a part of the file format that is not read.
                    None => {
                        return Err(node.error(format!("leaves the attribute '{caller}' to its default; write it out")));
                    }
                },
                own => own,
            };
            copy.attributes.insert(name.clone(), value.clone());
        }
        expand(copy, functions, &format!("{scope}.{i}"), depth + 1, out)?;
    }
    // A formal output that is a formal input needs a node to carry it.
    for (i, formal) in function.outputs.iter().enumerate() {
        if let (Some(source), Some(output)) = (function.inputs.iter().position(|f| f == formal), node.output(i)) {
            let source = node.input(source).ok_or_else(|| Error::graph(format!("'{}' lacks an input", node.name)))?;
            out.push(Node {
                name: format!("{}/out_{i}", node.name),
                op: "Identity".into(),
                inputs: vec![source.to_string()],
                outputs: vec![output.to_string()],
                ..Node::default()
            });
        }
    }
    Ok(())
}
