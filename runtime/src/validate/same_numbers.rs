//! Whether the same model, input and parameters give the same bytes: for any number of threads, however many passes are asked
//! for at a time, again, and in another process; and whether another seed gives others, where a method draws.

use std::ops::ControlFlow;
use std::sync::Arc;

use serde_json::json;

use super::agreement::relative_distance;
use super::{Check, Finding, NO_METHOD, Scene, Specimen, explained, seed_of};
use crate::engine::{PlanSession, Plans, Precision, Resources, Session};
use crate::error::Result;
use crate::methods;
use crate::params::Params;
use crate::values::same;

pub(super) const CHECK: Check = Check {
    name: "same-numbers",
    passes_when: "maps are the same bit by bit over 1 to 4 threads, batches, repeated runs and processes, and follow the seed",
    parameters: &[],
    run,
};

/// How a map is made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// With so many threads.
    Threads(usize),
    /// By the same explainer, after another input.
    After,
    /// By another process.
    Process,
}

impl Again {
    fn name(self) -> String {
        match self {
            Again::Threads(1) => "1 thread".into(),
            Again::Threads(count) => format!("{count} threads"),
            Again::After => "a second run".into(),
            Again::Process => "another process".into(),
        }
    }
}

fn run(_: &Params, scene: &Scene) -> Result<Finding> {
    let (mut reasons, fewer) = batches(scene)?;
    let mut ways = 0;
    let looked = scene.each(&mut reasons, |method, reasons| {
        let (entry, given) = method;
        let draws = scene.explainer(method)?.draws();
        let seed = entry.parameters.iter().find(|p| p.name == "seed").filter(|_| draws);
        let input = &scene.inputs[0];
        let made = |again: Again, told: &[(&str, String)], input: &Specimen| -> Result<Vec<f32>> {
            let threads = if let Again::Threads(count) = again { count } else { 1 };
            let resources = Resources { threads, ..scene.resources };
            let mut explainer = scene.explainer_of(scene.loaded, method, told, Precision::F32, resources)?;
            if again == Again::After {
                explained(&mut explainer, scene.inputs.last().unwrap_or(input))?;
            }
            Ok(explained(&mut explainer, input)?.attribution.values)
        };
        let mut map = |again: Again| match (again, scene.fresh) {
            (Again::Process, Some(fresh)) => fresh(entry, given, input),
            _ => made(again, &[], input),
        };
        let mut again = vec![Again::Threads(2), Again::Threads(3), Again::Threads(4), Again::After];
        again.extend(scene.fresh.map(|_| Again::Process));
        ways += again.len() + usize::from(seed.is_some());
        reasons.extend(differences(&again, &mut map)?.into_iter().map(|reason| format!("{}: {reason}", entry.name)));
        // A draw may decide nothing for an input: several are looked at.
        let own = seed.map(|p| given.get("seed").map_or(p.default, String::as_str).parse().unwrap_or(0));
        if let Some(own) = own
            && !follows_its_seed(own, scene.inputs.len(), &mut |seed, i| {
                made(Again::Threads(1), &[("seed", seed.to_string())], &scene.inputs[i])
            })?
            && !draws_decide_nothing(entry, |told| made(Again::Threads(1), told, input))?
        {
            reasons.push(format!("{}: another seed gives the same map", entry.name));
        }
        Ok(())
    })?;
    let process = if scene.fresh.is_some() { "" } else { "; no other process was asked" };
    if looked == 0 && reasons.is_empty() {
        return Ok(Finding::skipped(NO_METHOD));
    }
    let summary = format!("{looked} methods made again in {ways} ways{process}{fewer}");
    Ok(Finding::of(summary, reasons, json!({ "ways": ways })))
}

/// Seeds, and inputs, that are tried before a seed is said to be ignored.
const SEEDS: u64 = 3;
const INPUTS: usize = 3;

/// Whether some other seed gives another map of some input.
pub fn follows_its_seed(own: u64, inputs: usize, map: &mut dyn FnMut(u64, usize) -> Result<Vec<f32>>) -> Result<bool> {
    for input in 0..inputs.min(INPUTS) {
        let told = map(own, input)?;
        for other in 1..=SEEDS {
            if !same(&told, &map(own.wrapping_add(other), input)?) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// How far maps are apart by rounding alone.
const ROUNDED: f64 = 1e-4;

/// Whether a single draw gives the same map as all, as of a linear model.
fn draws_decide_nothing(entry: &methods::Entry, map: impl Fn(&[(&str, String)]) -> Result<Vec<f32>>) -> Result<bool> {
    let counts = entry.parameters.iter().filter(|p| ["models", "samples"].contains(&p.name));
    let single: Vec<(&str, String)> = counts.map(|p| (p.name, "1".to_string())).collect();
    Ok(!single.is_empty() && relative_distance(&map(&single)?, &map(&[])?) <= ROUNDED)
}

/// The ways of making a map again in which it differs from that of one thread.
pub fn differences(again: &[Again], map: &mut dyn FnMut(Again) -> Result<Vec<f32>>) -> Result<Vec<String>> {
    let own = map(Again::Threads(1))?;
    let mut reasons = vec![];
    for &way in again {
        if !same(&own, &map(way)?) {
            reasons.push(format!("{} gives another map than {}", way.name(), Again::Threads(1).name()));
        }
    }
    Ok(reasons)
}

/// Gradients asked for one by one, and several at a time: what differs, and whether fewer threads had to do.
fn batches(scene: &Scene) -> Result<(Vec<String>, String)> {
    let Some(derived) = scene.plain()? else { return Ok((vec![], String::new())) };
    let plans = Arc::new(Plans::new(&derived, Precision::F32)?);
    let mut single = PlanSession::of(plans.clone(), Resources { threads: 1, ..scene.resources })?;
    let input = &scene.inputs[0].values;
    let seed = seed_of(&mut single, input)?;
    let point =
        |i: usize, point: &mut [f32]| point.iter_mut().zip(input).for_each(|(p, x)| *p = x * (1.0 - i as f32 / 8.0));
    let mut own = vec![];
    for i in 0..5 {
        let mut at = input.clone();
        point(i, &mut at);
        own.push(single.gradient(&at, &seed)?.input.to_vec());
    }
    let (mut reasons, mut fewer) = (vec![], String::new());
    for (count, threads) in [(1, 1), (2, 1), (5, 1), (5, 2), (5, 4)] {
        let mut session = PlanSession::of(plans.clone(), Resources { threads, ..scene.resources })?;
        if session.threads() < threads {
            fewer = format!("; memory suffices for {} threads", session.threads());
        }
        let mut taken = 0;
        session.gradients(&seed, count, &point, &mut |i, pass| {
            taken += 1;
            if !same(pass.input, &own[i]) {
                reasons.push(format!("gradient {i} of {count} on {threads} threads is another than alone"));
            }
            Ok(ControlFlow::Continue(()))
        })?;
        if taken != count {
            reasons.push(format!("{taken} of {count} gradients came on {threads} threads"));
        }
    }
    Ok((reasons, fewer))
}
