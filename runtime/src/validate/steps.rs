//! How many steps methods along a path need on this model: against the map of 4 096.

use super::enough::{self, Counted};
use super::{Check, Finding, Scene};
use crate::error::Result;
use crate::methods::{Entry, Family};
use crate::params::{Given, Parameter, Params};

pub(super) const CHECK: Check = Check {
    name: "steps",
    passes_when: "methods along a path take enough steps, measured by the map of 4 096",
    parameters: &[
        Parameter {
            name: "tolerance",
            default: "0.05",
            help: "of the median input's map, in its norm, at the steps that a method takes",
        },
        enough::INPUTS,
    ],
    run,
};

fn steps(entry: &Entry, given: &Given) -> Option<Counted> {
    let has_steps = entry.parameters.iter().any(|p| p.name == "steps");
    let is_path = entry.family == Family::Path && has_steps && !entry.properties.stochastic;
    // Adaptive nodes come to an end before they are so many.
    let rule = entry.parameters.iter().find(|p| p.name == "rule" && given.get("rule").is_some_and(|r| r == "adaptive"));
    let told = rule.map(|p| (p.name, p.default.to_string())).into_iter().collect();
    is_path.then_some(Counted { parameter: "steps", reference: 4096, told, random: false })
}

fn run(params: &Params, scene: &Scene) -> Result<Finding> {
    enough::check(params, scene, steps, "none of the methods takes steps along a path")
}
