//! Whether the same model, input and parameters give the same bytes: for any number of threads, however many passes are asked
//! for at a time, again, and in another process; and whether another seed gives others, where a method draws.

use std::ops::ControlFlow;

use serde_json::json;

use super::{Check, Finding, Scene, explained, seed_of};
use crate::engine::{PlanSession, Precision, Resources, Session};
use crate::error::Result;
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
    /// With another seed.
    Seed,
}

impl Again {
    fn name(self) -> String {
        match self {
            Again::Threads(1) => "1 thread".into(),
            Again::Threads(count) => format!("{count} threads"),
            Again::After => "a second run".into(),
            Again::Process => "another process".into(),
            Again::Seed => "another seed".into(),
        }
    }
}

fn run(_: &Params, scene: &Scene) -> Result<Finding> {
    let input = &scene.inputs[0];
    let mut reasons = batches(scene)?;
    let mut ways = 0;
    for method in &scene.methods {
        let (entry, given) = method;
        let seed = entry.parameters.iter().find(|p| p.name == "seed").filter(|_| entry.properties.stochastic);
        let mut map = |again: Again| -> Result<Vec<f32>> {
            let seeded = seed.filter(|_| again == Again::Seed).map(|p| {
                let own = given.get("seed").map_or(p.default, String::as_str);
                ("seed", own.parse::<u64>().map_or(1, |seed| seed ^ 1).to_string())
            });
            let threads = if let Again::Threads(count) = again { count } else { 1 };
            if let (Again::Process, Some(fresh)) = (again, scene.fresh) {
                return fresh(entry, given, input);
            }
            let mut explainer = scene.explainer(method, seeded.as_slice(), Precision::F32, threads)?;
            if again == Again::After {
                explained(&mut explainer, scene.inputs.last().unwrap_or(input))?;
            }
            Ok(explained(&mut explainer, input)?.attribution.values)
        };
        let mut again = vec![Again::Threads(2), Again::Threads(3), Again::Threads(4), Again::After];
        again.extend(scene.fresh.map(|_| Again::Process));
        again.extend(seed.map(|_| Again::Seed));
        ways += again.len();
        reasons.extend(differences(&again, &mut map)?.into_iter().map(|reason| format!("{}: {reason}", entry.name)));
    }
    let process = if scene.fresh.is_some() { "" } else { "; no other process was asked" };
    let summary = format!("{} methods made again in {ways} ways{process}", scene.methods.len());
    Ok(Finding::of(summary, reasons, json!({ "ways": ways })))
}

/// The ways of making a map again in which it differs from that of one thread; or in which, with another seed, it does not.
pub fn differences(again: &[Again], map: &mut dyn FnMut(Again) -> Result<Vec<f32>>) -> Result<Vec<String>> {
    let own = map(Again::Threads(1))?;
    let mut reasons = vec![];
    for &way in again {
        match (same(&own, &map(way)?), way) {
            (true, Again::Seed) => reasons.push("another seed gives the same map".into()),
            (false, Again::Seed) | (true, _) => {}
            (false, way) => reasons.push(format!("{} gives another map than {}", way.name(), Again::Threads(1).name())),
        }
    }
    Ok(reasons)
}

/// Gradients asked for one by one, and several at a time.
fn batches(scene: &Scene) -> Result<Vec<String>> {
    let plans = scene.plans(Precision::F32)?;
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
    let mut reasons = vec![];
    for (count, threads) in [(1, 1), (2, 1), (5, 1), (5, 2), (5, 4)] {
        let mut session = PlanSession::of(plans.clone(), Resources { threads, ..scene.resources })?;
        session.gradients(&seed, count, &point, &mut |i, pass| {
            if !same(pass.input, &own[i]) {
                reasons.push(format!("gradient {i} of {count} on {threads} threads is another than alone"));
            }
            Ok(ControlFlow::Continue(()))
        })?;
    }
    Ok(reasons)
}
