//! How many random draws methods need on this model: against the map of 4 096 others, or of 256 models, each of which has to be
//! planned.

use super::enough::{self, Counted};
use super::{Check, Finding, Scene};
use crate::error::Result;
use crate::methods::Entry;
use crate::params::{Given, Parameter, Params};

pub(super) const CHECK: Check = Check {
    name: "draws",
    passes_when: "methods over random draws take enough of them, measured by the map of 4 096 others, or of 256 models",
    parameters: &[
        Parameter {
            name: "tolerance",
            default: "0.5",
            help: "of the median input's map, in its norm, at the draws that a method takes",
        },
        enough::INPUTS,
    ],
    run,
};

fn draws(entry: &Entry, given: &Given) -> Option<Counted> {
    let has = |name: &str| entry.parameters.iter().any(|p| p.name == name);
    let (parameter, reference) = match (has("models"), has("samples")) {
        (true, _) => ("models", 256),
        (false, true) => ("samples", 4096),
        (false, false) => return None,
    };
    // Draws of its own, so that those of the method are not among them.
    let own: u64 = given.get("seed").and_then(|seed| seed.parse().ok()).unwrap_or(0);
    let told = has("seed").then(|| ("seed", own.wrapping_add(1).to_string())).into_iter().collect();
    entry.properties.stochastic.then_some(Counted { parameter, reference, told, random: true })
}

fn run(params: &Params, scene: &Scene) -> Result<Finding> {
    enough::check(params, scene, draws, "none of the methods draws at random")
}
