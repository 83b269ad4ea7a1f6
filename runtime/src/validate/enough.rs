//! How many of what a method takes it needs on this model: against its map of many.

use std::collections::BTreeMap;

use serde_json::json;

use super::agreement::relative_distance;
use super::{Finding, NOT_LOOKED, Scene, Specimen, explained, median, within};
use crate::engine::{Engine, Precision, Resources};
use crate::error::Result;
use crate::explain::Explainer;
use crate::methods::Entry;
use crate::params::{Given, Parameter, Params};

/// How many inputs are looked at.
pub const INPUTS: Parameter =
    Parameter { name: "inputs", default: "2", help: "that are looked at: each takes thousands of gradients a method" };

/// What a method takes many of.
pub struct Counted {
    /// The parameter that says how many.
    pub parameter: &'static str,
    /// How many the reference has.
    pub reference: u32,
    /// What else the reference is told.
    pub told: Vec<(&'static str, String)>,
    /// Whether they are draws of a mean, whose error falls as one over the root of their number.
    pub random: bool,
}

impl Counted {
    /// Those that are tried.
    fn tried(&self) -> impl Iterator<Item = u32> + use<> {
        // Of a mean few tell as much as many.
        let end = if self.random { self.reference / 4 } else { self.reference };
        (1..).map(|i| 2u32 << i).take_while(move |few| *few < end)
    }

    /// How many leave no more than `wanted`, as far as the errors of those that were tried tell.
    fn needed(&self, errors: &[(u32, f64)], wanted: f64) -> Option<u32> {
        if !self.random {
            return errors.iter().find(|(_, error)| *error <= wanted).map(|(count, _)| *count);
        }
        let of_one = |(count, error): &(u32, f64)| self.off_truth(*count, *error).powi(2) * *count as f64;
        let variance = median(&errors.iter().map(of_one).collect::<Vec<_>>());
        let count = (variance / (wanted * wanted)).ceil();
        (count <= MOST).then(|| count.max(1.0) as u32)
    }

    /// How far `count` of them are from what endlessly many would give, by how far they are from the reference: where draws are
    /// averaged, that is off, too.
    fn off_truth(&self, count: u32, error: f64) -> f64 {
        let (own, reference) = (count as f64, self.reference as f64);
        if self.random { error * (reference / (reference + own)).sqrt() } else { error }
    }

    /// How many a method takes.
    fn taken(&self, (entry, given): &(&'static Entry, Given)) -> Result<u32> {
        Ok(entry.params(given)?.text(self.parameter).parse().unwrap_or(0))
    }
}

/// More than parameters take.
const MOST: f64 = 1e6;

/// How near, for the table of what is needed.
pub const WANTED: [f64; 3] = [0.05, 0.01, 0.005];

/// Whether what each method takes is within `tolerance` of its reference, and how many would be, by doubling. `nothing` is said
/// where none of the methods takes any.
pub fn check(
    params: &Params,
    scene: &Scene,
    counted: fn(&Entry, &Given) -> Option<Counted>,
    nothing: &str,
) -> Result<Finding> {
    let tolerance = params.size("tolerance")?;
    let inputs = &scene.inputs[..scene.inputs.len().min(params.whole("inputs", 1, 1_000)? as usize)];
    let (mut all, mut reasons, mut lines) = (BTreeMap::new(), vec![], vec![]);
    let wants = |(entry, given): &(&'static Entry, Given)| counted(entry, given).is_some();
    if scene.methods.iter().any(wants) {
        scene.try_references()?;
    }
    scene.each(&mut reasons, |method, reasons| {
        let (name, Some(counted)) = (method.0.name, counted(method.0, &method.1)) else { return Ok(()) };
        let maps = |told: &[(&str, String)], resources: Resources| {
            maps(&mut scene.explainer_of(scene.loaded, method, told, Precision::F32, resources)?, inputs)
        };
        let long = scene.resources_on(scene.references);
        // What is to be measured must not end early.
        let bounded = method.1.get("tolerance").is_some_and(|told| told.parse() != Ok(0.0));
        let endless = bounded.then(|| ("tolerance", "0".to_string()));
        let told = |count: u32| -> Vec<_> {
            [(counted.parameter, count.to_string())].into_iter().chain(endless.clone()).collect()
        };
        let reference = maps(&[told(counted.reference), counted.told.clone()].concat(), long)?;
        let error = |maps: &[Vec<f32>]| {
            median(&maps.iter().zip(&reference).map(|(map, told)| relative_distance(map, told)).collect::<Vec<_>>())
        };
        let taken = counted.taken(method)?;
        let own = counted.off_truth(taken, error(&maps(&[], scene.resources)?));
        let (mut errors, least) = (vec![], WANTED.into_iter().fold(tolerance, f64::min));
        for few in counted.tried() {
            errors.push((few, error(&maps(&told(few), long)?)));
            if errors.last().is_some_and(|(_, error)| *error <= least) {
                break;
            }
        }
        let needed = WANTED.map(|wanted| counted.needed(&errors, wanted));
        let about = if counted.random { "about " } else { "" };
        let in_words = |needed: Option<u32>| match needed {
            Some(needed) => format!("{about}{needed}"),
            None if counted.random => "more than can be said".to_string(),
            None => format!("more than {}", counted.reference / 2),
        };
        lines.push(format!("{name} {}", needed.map(in_words).join(", ")));
        if !within(own, tolerance) {
            let (parameter, off, most) = (counted.parameter, 100.0 * own, 100.0 * tolerance);
            let what = if bounded { format!("{parameter}, ended by its tolerance,") } else { parameter.to_string() };
            let advice = match counted.needed(&errors, tolerance) {
                Some(_) if bounded => "take a smaller tolerance".to_string(),
                Some(needed) => format!("take {about}-p {parameter}={}", needed.max(taken.saturating_add(1))),
                None if counted.random => "how many would do can't be said".to_string(),
                None => format!("not even {} suffice", counted.reference / 2),
            };
            reasons.push(format!("{name}: its {what} leave {off:.1} %, more than {most:.1} %; {advice}"));
        }
        let of = (counted.parameter, counted.reference);
        all.insert(name, json!({ "reference": of, "own": own, "errors": errors, "needed": needed }));
        Ok(())
    })?;
    if all.is_empty() && reasons.is_empty() {
        return Ok(Finding::skipped(nothing));
    }
    let engine = match scene.references {
        Engine::Kernels => String::new(),
        other => format!("; references by the engine '{}'", other.name()),
    };
    let summary = match lines.is_empty() {
        true => NOT_LOOKED.to_string(),
        false => format!("for 5 %, 1 % and 0.5 %: {}{engine}", lines.join("; ")),
    };
    let numbers = json!({ "engine": scene.references, "wanted": WANTED, "methods": all });
    Ok(Finding::of(summary, reasons, numbers))
}

fn maps(explainer: &mut Explainer, inputs: &[Specimen]) -> Result<Vec<Vec<f32>>> {
    inputs.iter().map(|input| Ok(explained(explainer, input)?.attribution.values)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_needed_follows_from_what_was_tried() {
        let counted = |random| Counted { parameter: "n", reference: 4096, told: vec![], random };
        let errors = [(4, 0.4), (8, 0.2), (16, 0.04), (32, 0.006)];
        let needed = WANTED.map(|wanted| counted(false).needed(&errors, wanted));
        assert_eq!(needed, [Some(16), Some(32), None]);
        assert_eq!(counted(false).tried().collect::<Vec<_>>(), [4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048]);
        // The mean of draws whose deviation is twice the map's norm, against a mean of 4 096 others.
        let error = |count: u32| (count, 2.0 * (1.0 / count as f64 + 1.0 / 4096.0).sqrt());
        let errors: Vec<_> = counted(true).tried().map(error).collect();
        assert_eq!(errors.last().map(|(count, _)| *count), Some(512));
        assert!(counted(true).needed(&errors, 0.1).unwrap().abs_diff(400) <= 1);
        // What these many draws leave is within what they are said to be needed for.
        assert!(within(counted(true).off_truth(401, error(401).1), 0.1));
        assert_eq!(counted(true).needed(&[(4, 0.0), (8, 0.0)], 0.1), Some(1));
        // Nothing can be said of a reference that is nothing, of no tolerance, or beyond what parameters take.
        for (errors, wanted) in [(vec![(4, f64::INFINITY)], 0.1), (vec![(4, 0.0)], 0.0), (errors, 1e-4)] {
            assert_eq!(counted(true).needed(&errors, wanted), None, "{errors:?}");
        }
    }
}
