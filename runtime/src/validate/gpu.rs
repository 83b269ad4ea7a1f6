//! Whether a GPU gives the same scores, gradients and maps, for the graph that the kernels run; and how long a gradient takes
//! there.

use std::time::Instant;

use serde_json::json;

use super::{Check, Finding, NOT_PLAIN, Scene, engine, largest, median, seed_of};
use crate::engine::{Device, Engine, Session, TractSession};
use crate::error::Result;
use crate::params::{Parameter, Params};

pub(super) const CHECK: Check = Check {
    name: "gpu",
    passes_when: "an NVIDIA GPU gives the scores, gradients and maps that our kernels give",
    parameters: &[
        engine::LIMITS[0],
        engine::LIMITS[1],
        Parameter { name: "maps", default: "0.01", help: "of the median input's map, in its norm, for every method" },
    ],
    run,
};

/// Gradients that are timed.
const RUNS: usize = 10;

fn run(params: &Params, scene: &Scene) -> Result<Finding> {
    let Some(derived) = scene.plain()? else { return Ok(Finding::skipped(NOT_PLAIN)) };
    let inputs: Vec<&[f32]> = scene.inputs.iter().map(|input| input.values.as_slice()).collect();
    let mut theirs = TractSession::on(&derived, Device::Cuda)?;
    let mut ours = scene.session(&derived)?;
    let finding = engine::check(&mut ours, &mut theirs, &inputs, params)?;
    let left = theirs.left_to_the_processor();
    let (own, gpu) = (milliseconds(&mut ours, inputs[0])?, milliseconds(&mut theirs, inputs[0])?);
    let mut reasons = finding.reasons;
    let maps = engine::maps_apart(scene, Engine::Tract(Device::Cuda), params.size("maps")?, &mut reasons)?;
    let apart: Vec<f64> = maps.values().map(|own| median(own)).collect();
    let summary = format!(
        "{}; maps by {:.1e} in a method's median; {own:.2} ms a gradient here, {gpu:.2} ms on the GPU; {} nodes are left to the processor",
        finding.summary,
        largest(&apart),
        left.len()
    );
    let numbers =
        json!({ "apart": finding.numbers, "maps": maps, "left-to-the-processor": left, "cpu-ms": own, "gpu-ms": gpu });
    Ok(Finding::of(summary, reasons, numbers))
}

/// The median time of a gradient.
fn milliseconds(session: &mut dyn Session, input: &[f32]) -> Result<f64> {
    let seed = seed_of(session, input)?;
    let mut times = vec![];
    for _ in 0..RUNS {
        let start = Instant::now();
        session.gradient(input, &seed)?;
        times.push(1e3 * start.elapsed().as_secs_f64());
    }
    Ok(median(&times))
}
