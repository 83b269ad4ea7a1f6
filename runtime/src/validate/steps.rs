//! How many steps methods along a path need on this model: against the map of 4 096.

use std::collections::BTreeMap;

use serde_json::json;

use super::agreement::relative_distance;
use super::{Check, Finding, Scene, Specimen, explained, median, within};
use crate::engine::Precision;
use crate::error::Result;
use crate::explain::Explainer;
use crate::methods::Family;
use crate::params::{Parameter, Params};

pub(super) const CHECK: Check = Check {
    name: "steps",
    passes_when: "methods along a path take enough steps, measured by the map of 4 096",
    parameters: &[
        Parameter {
            name: "tolerance",
            default: "0.05",
            help: "of the median input's map, in its norm, at the steps that a method takes",
        },
        Parameter {
            name: "inputs",
            default: "2",
            help: "that are looked at: each takes about 8,000 gradients a method",
        },
    ],
    run,
};

/// What the maps are compared with.
const REFERENCE: u32 = 4096;

/// How near, for the table of what is needed.
const WANTED: [f64; 3] = [0.05, 0.01, 0.005];

fn run(params: &Params, scene: &Scene) -> Result<Finding> {
    let tolerance = params.size("tolerance")?;
    let inputs = &scene.inputs[..scene.inputs.len().min(params.whole("inputs", 1, 1_000)? as usize)];
    let (mut all, mut reasons, mut lines) = (BTreeMap::new(), vec![], vec![]);
    let by_steps = |entry: &crate::methods::Entry| {
        let has_steps = entry.parameters.iter().any(|p| p.name == "steps");
        entry.family == Family::Path && has_steps && !entry.properties.stochastic
    };
    scene.each(&mut reasons, |method, reasons| {
        let name = method.0.name;
        if !by_steps(method.0) {
            return Ok(());
        }
        let with = |steps: u32| -> Result<Vec<Vec<f32>>> {
            let more = [("steps", steps.to_string())];
            maps(&mut scene.explainer(method, &more, Precision::F32, scene.resources.threads)?, inputs)
        };
        let reference = with(REFERENCE)?;
        let error = |maps: &[Vec<f32>]| {
            median(&maps.iter().zip(&reference).map(|(map, told)| relative_distance(map, told)).collect::<Vec<_>>())
        };
        let own = error(&maps(&mut scene.explainer(method, &[], Precision::F32, scene.resources.threads)?, inputs)?);
        let (mut errors, least) = (vec![], WANTED.into_iter().fold(tolerance, f64::min));
        for steps in (1..).map(|i| 2u32 << i).take_while(|steps| *steps < REFERENCE) {
            errors.push((steps, error(&with(steps)?)));
            if errors.last().is_some_and(|(_, error)| *error <= least) {
                break;
            }
        }
        let taking = |wanted: f64| errors.iter().find(|(_, error)| *error <= wanted).map(|(steps, _)| *steps);
        let needed = WANTED.map(taking);
        let told =
            |steps: &Option<u32>| steps.map_or(format!("more than {}", REFERENCE / 2), |steps| steps.to_string());
        lines.push(format!("{name} {}", needed.each_ref().map(told).join(", ")));
        if !within(own, tolerance) {
            let advice = match taking(tolerance) {
                Some(steps) => format!("take -p steps={steps}"),
                None => format!("not even {} suffice", REFERENCE / 2),
            };
            reasons.push(format!(
                "{name}: its steps leave {:.1} %, more than {:.1} %; {advice}",
                100.0 * own,
                100.0 * tolerance
            ));
        }
        all.insert(name, json!({ "own": own, "errors": errors, "needed": needed }));
        Ok(())
    })?;
    if all.is_empty() && reasons.is_empty() {
        return Ok(Finding::skipped("none of the methods takes steps along a path"));
    }
    let summary = format!("steps for 5 %, 1 % and 0.5 %: {}", lines.join("; "));
    Ok(Finding::of(summary, reasons, json!({ "reference": REFERENCE, "wanted": WANTED, "methods": all })))
}

fn maps(explainer: &mut Explainer, inputs: &[Specimen]) -> Result<Vec<Vec<f32>>> {
    inputs.iter().map(|input| Ok(explained(explainer, input)?.attribution.values)).collect()
}
