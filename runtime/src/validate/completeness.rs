//! Whether maps that promise to add up to what they explain do.

use std::collections::BTreeMap;

use serde_json::json;

use super::{Check, Finding, NOT_LOOKED, Scene, explained, largest, median, within};
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
            reasons.push(format!("{name}: {} are missing, more than {}", percent(median(&own)), percent(most)));
        }
        gaps.insert(name, own);
        Ok(())
    })?;
    if gaps.is_empty() && reasons.is_empty() {
        return Ok(Finding::skipped("none of the methods promises it"));
    }
    if gaps.is_empty() {
        return Ok(Finding::of(NOT_LOOKED, reasons, json!({ "gaps": gaps })));
    }
    let medians: Vec<f64> = gaps.values().map(|own| median(own)).collect();
    let summary = format!("{} missing at most, in the median over inputs", percent(largest(&medians)));
    Ok(Finding::of(summary, reasons, json!({ "gaps": gaps })))
}

/// In so many digits as a reader can take in.
fn percent(share: f64) -> String {
    let percent = 100.0 * share;
    if percent.abs() < 1e4 { format!("{percent:.2} %") } else { format!("{percent:.1e} %") }
}
