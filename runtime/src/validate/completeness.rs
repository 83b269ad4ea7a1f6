//! Whether maps that promise to add up to what they explain do.

use std::collections::BTreeMap;

use serde_json::json;

use super::{Check, Finding, Scene, explained, largest, median, within};
use crate::error::Result;
use crate::params::{Parameter, Params};

pub(super) const CHECK: Check = Check {
    name: "completeness",
    passes_when: "maps of methods that promise it add up to the target's difference from the baseline",
    parameters: &[Parameter {
        name: "gap",
        default: "0.05",
        help: "of the median input, as a share of the difference",
    }],
    run,
};

fn run(params: &Params, scene: &Scene) -> Result<Finding> {
    let most = params.size("gap")?;
    let (mut gaps, mut reasons) = (BTreeMap::new(), vec![]);
    scene.each(&mut reasons, |method, reasons| {
        let name = method.0.name;
        if !method.0.properties.complete {
            return Ok(());
        }
        let mut explainer = scene.explainer(method)?;
        let mut own = vec![];
        for input in &scene.inputs {
            own.extend(explained(&mut explainer, input)?.record.completeness.map(|c| c.relative_gap));
        }
        if own.is_empty() {
            reasons.push(format!("{name}: no map says what it should add up to"));
        } else if !within(median(&own), most) {
            reasons.push(format!("{name}: {:.1} % are missing, more than {:.1} %", 100.0 * median(&own), 100.0 * most));
        }
        gaps.insert(name, own);
        Ok(())
    })?;
    if gaps.is_empty() && reasons.is_empty() {
        return Ok(Finding::skipped("none of the methods promises it"));
    }
    let medians: Vec<f64> = gaps.values().map(|own| median(own)).collect();
    let summary = format!("{:.2} % missing at most, in the median over inputs", 100.0 * largest(&medians));
    Ok(Finding::of(summary, reasons, json!({ "gaps": gaps })))
}
