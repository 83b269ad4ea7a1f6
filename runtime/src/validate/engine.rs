//! Whether our kernels give what tract's own executor gives, for the whole gradient. Where they don't, the first value on
//! the way that differs is named.

use std::collections::BTreeMap;

use serde_json::json;

use super::agreement::relative_distance;
use super::{Check, Finding, NOT_PLAIN, NUDGES, Scene, explained, extent, largest, median, nudged, seed_of, within};
use crate::engine::{Engine, Precision, Session, TractSession};
use crate::error::Result;
use crate::gradient::layers::values_between;
use crate::load::Wanted;
use crate::params::{Parameter, Params};

pub(super) const CHECK: Check = Check {
    name: "engine",
    passes_when: "our kernels give the scores and gradients that tract's own executor gives",
    parameters: LIMITS,
    run,
};

/// How far two engines may be apart.
pub(super) const LIMITS: &[Parameter] = &[
    Parameter {
        name: "tolerance",
        default: "1e-4",
        help: "of the median input, or one close by, as a share of the gradient's norm",
    },
    Parameter {
        name: "most",
        default: "0.02",
        help: "of any input, or one close by: where a Relu's input is within rounding of zero, two engines go two ways",
    },
];

fn run(params: &Params, scene: &Scene) -> Result<Finding> {
    let Some(derived) = scene.plain()? else { return Ok(Finding::skipped(NOT_PLAIN)) };
    let inputs: Vec<&[f32]> = scene.inputs.iter().map(|input| input.values.as_slice()).collect();
    let mut finding = check(&mut scene.session(&derived)?, &mut TractSession::new(&derived)?, &inputs, params)?;
    if !finding.reasons.is_empty() && scene.loaded.ready_made.is_none() {
        let values = values_between(&scene.loaded.typed, scene.loaded.output())?;
        let taps = values.iter().map(|(name, _)| name.clone()).collect();
        let tapped = scene.loaded.derive(&Wanted { taps, ..Wanted::default() })?;
        let tolerance = params.size("tolerance")?;
        let (mut one, mut other) = (scene.session(&tapped)?, TractSession::new(&tapped)?);
        finding.reasons.extend(first_difference(&mut one, &mut other, &inputs, &values, tolerance)?);
    }
    Ok(finding)
}

/// The check, of any two sessions of one model; the second is the reference.
pub fn check(
    ours: &mut dyn Session,
    reference: &mut dyn Session,
    inputs: &[&[f32]],
    params: &Params,
) -> Result<Finding> {
    let (tolerance, most) = (params.size("tolerance")?, params.size("most")?);
    let (mut scores, mut gradients, mut off_kinks, mut silent) = (vec![], vec![], vec![], None);
    for input in inputs {
        let seed = seed_of(reference, input)?;
        let mut apart = |nudge: u64| -> Result<(f64, f64)> {
            let input = nudged(input, nudge, NEAR * extent(input));
            let told = reference.gradient(&input, &seed)?;
            let (logits, gradient) = (told.logits.to_vec(), told.input.to_vec());
            let own = ours.gradient(&input, &seed)?;
            let sides = [("ours", own.input), ("the reference's", &gradient)];
            let zero = sides.into_iter().find(|(_, side)| side.iter().all(|g| *g == 0.0));
            silent = silent.or(zero.map(|(whose, _)| whose));
            Ok((relative_distance(own.logits, &logits), relative_distance(own.input, &gradient)))
        };
        let (of_scores, of_gradient) = apart(0)?;
        scores.push(of_scores);
        gradients.push(of_gradient);
        // On a kink two engines may go two ways; close by they must not.
        let mut best = of_gradient;
        for nudge in 1..=NUDGES {
            if !within(best, tolerance) {
                best = best.min(apart(nudge)?.1);
            }
        }
        off_kinks.push(best);
    }
    let mut reasons = vec![];
    for (what, apart) in [("scores", &scores), ("gradients", &off_kinks)] {
        if !within(median(apart), tolerance) {
            reasons.push(format!("{what} are off by {:.1e} in the median, more than {tolerance:e}", median(apart)));
        }
        if let Some((i, apart)) = apart.iter().enumerate().find(|(_, apart)| !within(**apart, most)) {
            reasons.push(format!("the {what} of input {i} are off by {apart:.1e}, more than {most}"));
        }
    }
    if let Some(whose) = silent.filter(|_| !reasons.is_empty()) {
        reasons.push(format!(
            "one gradient, {whose}, is zero everywhere: where an op is saturated, engines round differently"
        ));
    }
    let summary = format!(
        "scores off by {:.1e}, gradients by {:.1e} in the median and {:.1e} at most",
        median(&scores),
        median(&off_kinks),
        largest(&gradients)
    );
    Ok(Finding::of(summary, reasons, json!({ "scores": scores, "gradients": gradients, "off-kinks": off_kinks })))
}

/// How near an input close by is, as a share of its range.
const NEAR: f32 = 1e-3;

/// Methods that choose by the order of what hardly differs, or divide by what is hardly anything: rounding gives them other maps.
const UNSTEADY: [&str; 2] = ["guided-ig", "idgi"];

/// The relative distance of each method's map of each input on another engine from that on our kernels; methods for which the
/// median is more than `most` are reasons. Those that rounding decides are left out.
pub fn maps_apart(
    scene: &Scene,
    engine: Engine,
    most: f64,
    reasons: &mut Vec<String>,
) -> Result<BTreeMap<&'static str, Vec<f64>>> {
    let mut all = BTreeMap::new();
    scene.each(reasons, |method, reasons| {
        if UNSTEADY.contains(&method.0.name) {
            return Ok(());
        }
        let other = scene.resources_on(engine);
        let mut ours = scene.explainer(method)?;
        let mut theirs = scene.explainer_of(scene.loaded, method, &[], Precision::F32, other)?;
        let mut apart = vec![];
        for input in &scene.inputs {
            let (own, told) = (explained(&mut ours, input)?, explained(&mut theirs, input)?);
            apart.push(relative_distance(&own.attribution.values, &told.attribution.values));
        }
        let (name, off) = (method.0.name, median(&apart));
        if !within(off, most) {
            let engine = engine.name();
            reasons.push(format!("{name}: maps are off by {off:.1e} on '{engine}' in the median, more than {most}"));
        }
        all.insert(name, apart);
        Ok(())
    })?;
    Ok(all)
}

/// The first value, in the order in which they are computed, that differs between two sessions with taps: on the way to the
/// scores, or back from them.
pub fn first_difference(
    ours: &mut dyn Session,
    reference: &mut dyn Session,
    inputs: &[&[f32]],
    values: &[(String, String)],
    tolerance: f64,
) -> Result<Option<String>> {
    for input in inputs {
        let seed = seed_of(reference, input)?;
        ours.gradient(input, &seed)?;
        reference.gradient(input, &seed)?;
        let apart = |back: bool, i: usize| match (ours.tap(i), reference.tap(i)) {
            (Some(own), Some(told)) if back => relative_distance(own.gradient, told.gradient),
            (Some(own), Some(told)) => relative_distance(own.value, told.value),
            _ => 0.0,
        };
        let forth = (0..values.len()).map(|i| (false, i));
        let mut all = forth.chain((0..values.len()).rev().map(|i| (true, i)));
        if let Some((back, i)) = all.find(|&(back, i)| !within(apart(back, i), tolerance)) {
            let (what, (name, op)) = (if back { "gradient of" } else { "value of" }, &values[i]);
            return Ok(Some(format!(
                "the first that differs is the {what} '{name}' ({op}), by {:.1e}",
                apart(back, i)
            )));
        }
    }
    Ok(None)
}
