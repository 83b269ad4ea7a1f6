//! Whether ONNX Runtime, which shares no line with tract or with our kernels, gives the same: of the model's own file, and of the
//! gradient graph as it is written.

use std::path::Path;

use serde_json::json;

use super::agreement::relative_distance;
use super::{Check, Finding, NOT_PLAIN, Scene, engine, median, within};
use crate::engine::ort_session::{OrtSession, outputs_of};
use crate::error::Result;
use crate::gradient::GradientGraph;
use crate::gradient::head::Link;
use crate::gradient::target::{Score, find_target};
use crate::params::Params;

pub(super) const CHECK: Check = Check {
    name: "other-engine",
    passes_when: "ONNX Runtime gives the same scores for the model's file, and the same gradients for the gradient graph's",
    parameters: engine::LIMITS,
    run,
};

fn run(params: &Params, scene: &Scene) -> Result<Finding> {
    let Some(library) = scene.ort_library else {
        return Ok(Finding::skipped(
            "say where ONNX Runtime is: --ort-lib FILE, or the folder onnxruntime/capi of its Python package",
        ));
    };
    let Some(derived) = scene.plain()? else { return Ok(Finding::skipped(NOT_PLAIN)) };
    let inputs: Vec<&[f32]> = scene.inputs.iter().map(|input| input.values.as_slice()).collect();
    let mut theirs = OrtSession::new(&derived, library)?;
    let mut finding = engine::check(&mut scene.session(&derived)?, &mut theirs, &inputs, params)?;
    let own_file = of_the_file(scene, &derived, &inputs, library)?;
    if let Some(apart) = &own_file {
        if !within(median(apart), params.size("tolerance")?) {
            finding
                .reasons
                .push(format!("the model's own file gives scores that are off by {:.1e} in the median", median(apart)));
        }
        finding.summary += &format!("; of the model's own file {:.1e}", median(apart));
    }
    let numbers = json!({ "gradient-graph": finding.numbers, "own-file": own_file });
    Ok(Finding::of(finding.summary, finding.reasons, numbers))
}

/// How far the scores of the model's own file are from ours; none for a file that has no weights, or is a gradient graph.
fn of_the_file(scene: &Scene, derived: &GradientGraph, inputs: &[&[f32]], library: &Path) -> Result<Option<Vec<f64>>> {
    let loaded = scene.loaded;
    let is_whole =
        loaded.model.random_weights.is_none() && loaded.ready_made.is_none() && loaded.places_taken().is_none();
    let Some(path) = scene.file.filter(|_| is_whole) else { return Ok(None) };
    let target = find_target(&loaded.typed, loaded.output())?;
    let output = loaded.output().unwrap_or(&loaded.typed.graph.outputs[0]);
    let (model, shape, mut session) = (crate::files::read(path)?, loaded.input_shape()?, scene.session(derived)?);
    let mut apart = vec![];
    for (input, theirs) in inputs.iter().zip(outputs_of(&model, library, &shape, inputs, output)?) {
        let logits = crate::engine::Session::forward(&mut session, input)?;
        // What was stepped over at the end comes on top.
        let head = if loaded.score == Score::Logit { target.head } else { target.head.done() };
        let probabilities = || (0..logits.len()).filter_map(|index| head.probability(logits, index));
        let own: Vec<f32> = match &target.stepped_over {
            Some(stepped) if stepped.op == "LogSoftmax" => probabilities().map(|p| p.ln() as f32).collect(),
            Some(_) => probabilities().map(|p| p as f32).collect(),
            // Nothing in the file gives the probabilities.
            None if loaded.score == Score::Probability && target.head.link != Link::Done => return Ok(None),
            None => logits.to_vec(),
        };
        apart.push(relative_distance(&own, &theirs));
    }
    Ok(Some(apart))
}
