//! Whether every op has the rules that the methods need.

use std::collections::BTreeMap;

use serde_json::json;

use super::{Check, Finding, Scene, admits};
use crate::error::{Error, Gap, Kind, Result};
use crate::params::Params;

pub(super) const CHECK: Check =
    Check { name: "admission", passes_when: "every op has the rules that the methods need", parameters: &[], run };

fn run(_: &Params, scene: &Scene) -> Result<Finding> {
    // What is missing, and the methods that miss it.
    let mut missing: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (entry, given) in &scene.methods {
        let lines = match admits(scene.loaded, entry, given) {
            Ok(()) => vec![],
            Err(Error::NoAdjoint { gaps } | Error::UnknownOps { nodes: gaps }) => gaps.iter().map(line).collect(),
            // A method that is not for such a model says why.
            Err(error) if matches!(error.kind(), Kind::Model | Kind::Usage) => vec![error.to_string()],
            Err(error) => return Err(error),
        };
        lines.into_iter().for_each(|line| missing.entry(line).or_default().push(entry.name));
    }
    let nodes = scene.loaded.typed.graph.nodes.len();
    let summary = format!("{nodes} nodes, {} methods, {} rules missing", scene.methods.len(), missing.len());
    let numbers = json!({ "nodes": nodes, "missing": missing });
    let reasons = missing.iter().map(|(what, methods)| format!("{what} (wanted by {})", methods.join(", "))).collect();
    Ok(Finding::of(summary, reasons, numbers))
}

fn line(gap: &Gap) -> String {
    format!("{} ({}): {}", gap.node, gap.op, gap.reason)
}
