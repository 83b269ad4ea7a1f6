//! Gradient graphs that come as files: our own, and those that somebody else exported.

use super::differentiate::{GradientGraph, TapOutputs};
use super::names;
use super::target::Head;
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
    let is_ours = graph.metadata.contains_key(names::FORMAT);
    let cotangent = parts.cotangent.clone().or(is_ours.then(|| names::SEED.to_string()));
    let pairs = find_pairs(typed, cotangent.as_deref(), parts.gradient.as_deref());
    let target = graph.metadata.get(names::TARGET);
    let best = match pairs.as_slice() {
        [] if is_ours || parts.cotangent.is_some() || parts.gradient.is_some() => {
            return Err(Error::NoTarget {
                reason: "the file has no cotangent input and gradient output of fitting extents; \
                         name them with --cotangent and --gradient"
                    .into(),
            });
        }
        [] => return Ok(None),
        [one] => one,
        many if is_ours => {
            many.iter().find(|p| p.logits == names::LOGITS || Some(&p.logits) == target).unwrap_or(&many[0])
        }
        many => {
            let list: Vec<String> = many.iter().map(|p| format!("{} with {}", p.cotangent, p.gradient)).collect();
            return Err(Error::usage(format!(
                "the file could be a gradient graph in {} ways ({}); say which with --cotangent and --gradient",
                many.len(),
                list.join("; ")
            )));
        }
    };
    let writer = graph.producers().get(best.logits.as_str()).map(|&i| graph.nodes[i].op.as_str());
    let shape = typed.facts.get(&best.logits).map(|f| f.shape.as_slice()).unwrap_or_default();
    Ok(Some(GradientGraph {
        graph: graph.clone(),
        facts: typed.facts.clone(),
        input: best.input.clone(),
        seed: best.cotangent.clone(),
        logits: best.logits.clone(),
        input_gradient: Some(best.gradient.clone()),
        taps: taps(typed, &best.gradient),
        composite: graph.metadata.get(names::COMPOSITE).cloned().unwrap_or_else(|| "as exported".into()),
        flat: vec![],
        ruled: 0,
        head: Head::of(writer, shape),
    }))
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
