//! Derives gradient graphs.

use crate::error::{Error, Result};
use crate::onnx::graph::inputs_of;
use crate::onnx::{DType, Graph, Input, TypedGraph};

use super::canonical::canonical;
use super::composite::Kind;
use super::coverage::{self, Path};
use super::graph::{GradientGraph, Spec};
use super::names;
use super::settings::Settings;
use super::soften::soften;
use super::target::find_target;
use super::twin::Twin;
use super::walk::{Walk, unreached};

/// The only input of a forward graph that is not constant.
pub fn sole_input(graph: &Graph) -> Result<&Input> {
    match graph.inputs.as_slice() {
        [input] if input.dtype == DType::F32 => Ok(input),
        [input] => Err(Error::NoTarget {
            reason: format!(
                "the model's input '{}' is {:?}; only float inputs have gradients",
                input.name, input.dtype
            ),
        }),
        [] => Err(Error::NoTarget { reason: "the model has no input".into() }),
        many => Err(Error::NoTarget {
            reason: format!(
                "the model has {} inputs ({}); models with one input can be explained",
                many.len(),
                many.iter().map(|i| i.name.as_str()).collect::<Vec<_>>().join(", ")
            ),
        }),
    }
}

/// Derives the gradient graph of a typed forward graph.
///
/// Errors: nodes on the path that have no adjoint (all of them at once), a target that does not depend on
/// the input, taps that don't exist.
pub fn differentiate(typed: &TypedGraph, spec: &Spec) -> Result<GradientGraph> {
    if let Some(sharpness) = spec.settings.softplus {
        let (soft, softened) = soften(typed, sharpness);
        let spec = Spec { settings: Settings { softplus: None, ..spec.settings.clone() }, ..spec.clone() };
        return Ok(GradientGraph { softened, ..differentiate(&soft, &spec)? });
    }
    match spec.composite.kind {
        Kind::Relevance(_) | Kind::Difference => derive(&canonical(typed), spec),
        Kind::Gradient => derive(typed, spec),
    }
}

fn derive(typed: &TypedGraph, spec: &Spec) -> Result<GradientGraph> {
    let input = sole_input(&typed.graph)?.name.clone();
    let target = find_target(typed, spec.output.as_deref())?;
    if let Some(taken) = typed.facts.keys().find(|name| name.starts_with(names::PREFIX)) {
        let reason =
            format!("the model has a value '{taken}', but names in '{}' are for gradient graphs", names::PREFIX);
        return Err(Error::graph(reason));
    }
    for (i, tap) in spec.taps.iter().enumerate() {
        if spec.taps[..i].contains(tap) || (spec.input_gradient && *tap == input) {
            return Err(Error::usage(format!("'{tap}' is asked for twice")));
        }
        if typed.facts.get(tap).is_some_and(|f| f.dtype != DType::F32) {
            return Err(Error::usage(format!("'{tap}' is not a float value, so it has no gradient")));
        }
        if !typed.facts.contains_key(tap) {
            return Err(Error::usage(format!(
                "the model has no value '{tap}' to tap; `whyline inspect` lists its layers"
            )));
        }
    }
    let mut sources: Vec<&str> = spec.taps.iter().map(String::as_str).collect();
    if spec.input_gradient {
        sources.push(&input);
    }
    let path = coverage::find_path(typed, &sources, &target.logits);
    if let Some(lost) = sources.iter().find(|s| !reaches_target(typed, &path, s, &target.logits)) {
        return Err(unreached(lost, &target, &path));
    }
    let gaps = coverage::find_gaps(typed, &path, spec.composite);
    if !gaps.is_empty() {
        return Err(Error::NoAdjoint { gaps });
    }
    let mut walk = Walk::new(typed, &path, spec);
    if spec.composite.kind == Kind::Difference {
        walk.twin = Twin::append(&mut walk.emit.graph, &input, &typed.facts[&input].shape);
    }
    walk.tell_apart()?;
    walk.seed(&target, spec.score)?;
    walk.run()?;
    walk.finish(spec, input, target)
}

fn reaches_target(typed: &TypedGraph, path: &Path, source: &str, logits: &str) -> bool {
    let read = |(node, between): (&crate::onnx::Node, &bool)| *between && inputs_of(node).any(|i| i == source);
    source == logits || typed.graph.nodes.iter().zip(&path.between).any(read)
}
