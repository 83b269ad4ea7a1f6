//! Gradient graphs that come as files: our own, and those that somebody else exported.

use super::graph::{GradientGraph, TapOutputs};
use super::head::Head;
use super::names;
use crate::error::{Error, Result};
use crate::onnx::{DType, TypedGraph};

/// What a foreign gradient graph calls its parts, where their shapes leave a doubt.
#[derive(Clone, Debug, Default)]
pub struct Parts {
    /// The input that is the cotangent of the scores.
    pub cotangent: Option<String>,
    /// The output that is the gradient.
    pub gradient: Option<String>,
}

/// Reads a typed graph as a gradient graph; `None` where it is an ordinary forward graph.
///
/// A file of ours says what it is. Any other counts as one if an input has the extents of an output (the
/// cotangent and the scores) and another output has those of another input (the gradient and the image).
pub fn as_gradient_graph(typed: &TypedGraph, parts: &Parts) -> Result<Option<GradientGraph>> {
    let graph = &typed.graph;
    if graph.inputs.len() < 2 && parts.cotangent.is_none() && parts.gradient.is_none() {
        return Ok(None);
    }
    if let Some(format) = graph.metadata.get(names::FORMAT) {
        return our_own(typed, format).map(Some);
    }
    let pairs = find_pairs(typed, parts.cotangent.as_deref(), parts.gradient.as_deref());
    let best = match pairs.as_slice() {
        [] if parts.cotangent.is_some() || parts.gradient.is_some() => {
            return Err(Error::NoTarget {
                reason: "the file has no cotangent input and gradient output of fitting extents; \
                         name them with --cotangent and --gradient"
                    .into(),
            });
        }
        [] => return Ok(None),
        [one] => one,
        many => {
            let list: Vec<String> = many.iter().map(|p| format!("{} with {}", p.cotangent, p.gradient)).collect();
            return Err(Error::usage(format!(
                "the file could be a gradient graph in {} ways ({}); say which with --cotangent and --gradient",
                many.len(),
                list.join("; ")
            )));
        }
    };
    Ok(Some(assemble(typed, best)))
}

/// A file of ours says by its names which part is which.
fn our_own(typed: &TypedGraph, format: &str) -> Result<GradientGraph> {
    let graph = &typed.graph;
    let refuse = |reason: String| Error::NoTarget { reason };
    if format != names::FORMAT_VERSION {
        return Err(refuse(format!(
            "the file is a gradient graph of format {format}; this build reads {}",
            names::FORMAT_VERSION
        )));
    }
    let ours = [names::SEED, names::BASELINE];
    let input = graph.inputs.iter().map(|i| &i.name).find(|name| !ours.contains(&name.as_str()));
    let gradient = input.map(|name| format!("{}{name}", names::GRAD)).filter(|g| graph.outputs.contains(g));
    let target = graph.metadata.get(names::TARGET);
    let published = [names::PROBABILITIES, names::LOGITS];
    let logits = graph
        .outputs
        .iter()
        .find(|o| published.contains(&o.as_str()))
        .or(graph.outputs.iter().find(|o| Some(*o) == target));
    match (input, gradient, logits) {
        (Some(input), Some(gradient), Some(logits)) => Ok(assemble(
            typed,
            &Pairs { input: input.clone(), gradient, cotangent: names::SEED.into(), logits: logits.clone() },
        )),
        _ => Err(refuse("the file says that it is a gradient graph, but lacks its input, gradient or scores".into())),
    }
}

fn assemble(typed: &TypedGraph, parts: &Pairs) -> GradientGraph {
    let graph = &typed.graph;
    GradientGraph {
        graph: graph.clone(),
        facts: typed.facts.clone(),
        input: parts.input.clone(),
        seed: parts.cotangent.clone(),
        baseline: graph.inputs.iter().map(|i| &i.name).find(|name| *name == names::BASELINE).cloned(),
        logits: parts.logits.clone(),
        input_gradient: Some(parts.gradient.clone()),
        taps: taps(typed, &parts.gradient),
        composite: graph.metadata.get(names::COMPOSITE).cloned().unwrap_or_else(|| "as exported".into()),
        flat: vec![],
        ruled: 0,
        // Which of its nodes belong to the forward graph is not known.
        softened: 0,
        apart: None,
        head: match parts.logits == names::PROBABILITIES {
            true => Head::of(typed, &parts.logits, None).done(),
            false => Head::of(typed, &parts.logits, None),
        },
    }
}

struct Pairs {
    input: String,
    gradient: String,
    cotangent: String,
    logits: String,
}

fn find_pairs(typed: &TypedGraph, cotangent: Option<&str>, gradient: Option<&str>) -> Vec<Pairs> {
    let graph = &typed.graph;
    let same =
        |a: &str, b: &str| typed.facts.get(a).is_some_and(|f| f.dtype == DType::F32 && Some(f) == typed.facts.get(b));
    let count = |name: &str| typed.facts.get(name).map_or(0, |f| f.shape.iter().product::<usize>());
    let chosen = |given: Option<&str>, name: &str| given.is_none_or(|g| g == name);
    let mut found = vec![];
    for seed in graph.inputs.iter().map(|i| &i.name).filter(|name| chosen(cotangent, name)) {
        for input in graph.inputs.iter().map(|i| &i.name).filter(|name| *name != seed) {
            // The two pairs could be swapped; an image has more values than there are scores.
            if cotangent.is_none() && gradient.is_none() && count(seed) > count(input) {
                continue;
            }
            for logits in graph.outputs.iter().filter(|o| same(o, seed)) {
                let gradients = graph.outputs.iter().filter(|o| *o != logits && same(o, input) && chosen(gradient, o));
                found.extend(gradients.map(|g| Pairs {
                    input: input.clone(),
                    gradient: g.clone(),
                    cotangent: seed.clone(),
                    logits: logits.clone(),
                }));
            }
        }
    }
    found
}

/// The taps that a file of ours was compiled with.
fn taps(typed: &TypedGraph, input_gradient: &str) -> Vec<TapOutputs> {
    let outputs = &typed.graph.outputs;
    let tap = |output: &String| {
        let layer = output.strip_prefix(names::VALUE)?;
        let gradient = format!("{}{layer}", names::GRAD);
        (outputs.contains(&gradient) && gradient != input_gradient).then(|| TapOutputs {
            layer: layer.to_string(),
            value: output.clone(),
            gradient,
        })
    };
    outputs.iter().filter_map(tap).collect()
}
