//! May this model be shipped, in this precision, with these methods? One file per check, one line in [`CHECKS`].
//!
//! A check looks at a [`Scene`]: a model, inputs like those that it will see, and the methods that are to explain them. What it
//! finds is a verdict with its reasons, never a guess: a check that can't be made says why.

mod admission;
pub mod agreement;
mod completeness;
pub mod derivative;
mod draws;
pub mod engine;
mod enough;
#[cfg(feature = "cuda")]
mod gpu;
pub mod halves;
#[cfg(feature = "ort")]
mod other_engine;
pub mod same_numbers;
mod sanity;
mod steps;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use serde::Serialize;
use serde_json::Value;

use crate::engine::{Engine, PlanSession, Plans, Precision, Resources, Session, TractSession};
use crate::error::{Error, Kind, Result};
use crate::explain::{Explainer, Explanation, Target};
use crate::gradient::GradientGraph;
use crate::gradient::composite::GRADIENT;
use crate::gradient::target::top_seed;
use crate::load::{Loaded, Wanted, is_made_with};
use crate::methods;
use crate::params::{Given, Parameter, Params};
use crate::record::FileRecord;
use crate::rng::Rng;
use crate::values::{first_infinite, range};

/// Every check, in the order in which they are made.
pub const CHECKS: &[&Check] = &[
    &admission::CHECK,
    &derivative::CHECK,
    &engine::CHECK,
    &same_numbers::CHECK,
    &halves::CHECK,
    &completeness::CHECK,
    &sanity::CHECK,
    &steps::CHECK,
    &draws::CHECK,
    #[cfg(feature = "ort")]
    &other_engine::CHECK,
    #[cfg(feature = "cuda")]
    &gpu::CHECK,
];

/// A check's line in the table.
pub struct Check {
    /// As the command line and reports name it.
    pub name: &'static str,
    /// When it passes, for people.
    pub passes_when: &'static str,
    /// Its limits.
    pub parameters: &'static [Parameter],
    /// Makes it.
    pub run: fn(&Params, &Scene) -> Result<Finding>,
}

impl Check {
    /// Its limits, of which some are given.
    ///
    /// Errors: limits that it does not have, or that are none.
    pub fn params(&self, given: &Given) -> Result<Params> {
        let params = Params::new(self.name, self.parameters, given)?;
        for limit in self.parameters {
            match limit.default.parse::<f64>() {
                Ok(_) => drop(params.size(limit.name)?),
                // The only one that is no number.
                Err(_) => drop(halves::precision(&params)?),
            }
        }
        Ok(params)
    }
}

/// The check of this name.
pub fn find(name: &str) -> Result<&'static Check> {
    CHECKS.iter().find(|check| check.name == name).copied().ok_or_else(|| {
        let names: Vec<&str> = CHECKS.iter().map(|check| check.name).collect();
        Error::usage(format!("there is no check '{name}'; there are {}", names.join(", ")))
    })
}

/// An input like those that the model will see.
pub struct Specimen {
    /// Where it comes from.
    pub file: FileRecord,
    /// Row-major, in the model's shape.
    pub values: Vec<f32>,
}

impl Specimen {
    /// From a file.
    ///
    /// Errors: a value that is not finite.
    pub fn new(file: FileRecord, values: Vec<f32>) -> Result<Specimen> {
        match first_infinite(&values) {
            Some(i) => {
                let reason = format!("holds {} at element {i}; it must be finite", values[i]);
                Err(Error::Input { path: file.file.into(), reason })
            }
            None => Ok(Specimen { file, values }),
        }
    }

    /// Random pixels, uniform over what pixels can be.
    pub fn random(loaded: &Loaded, number: u64) -> Result<Specimen> {
        let (shape, bounds, rng) = (loaded.input_shape()?, loaded.bounds()?, Rng::new(0, number));
        let inner = shape.iter().skip(bounds.axis + 1).product::<usize>().max(1);
        let channels = shape.get(bounds.axis).copied().unwrap_or(1).max(1);
        let value = |i: usize| {
            let of = |bound: &[f32]| bound.get(i / inner % channels).or(bound.first()).copied();
            let (low, high) = (of(&bounds.low).unwrap_or(0.0), of(&bounds.high).unwrap_or(1.0));
            low + (high - low) * rng.uniform(i as u64)
        };
        let file = FileRecord { file: format!("random {number}"), sha256: String::new() };
        Ok(Specimen { file, values: (0..shape.iter().product()).map(value).collect() })
    }
}

/// Gives an explainer what its parameters name as files.
pub type Give<'a> = &'a dyn Fn(&mut Explainer, &Given) -> Result<()>;

/// The map of a method, told so, for an input, by another process.
pub type Fresh<'a> = &'a dyn Fn(&methods::Entry, &Given, &Specimen) -> Result<Vec<f32>>;

/// What is looked at.
pub struct Scene<'a> {
    /// The model.
    pub loaded: &'a Loaded,
    /// One at least.
    pub inputs: Vec<Specimen>,
    /// Methods, with what they are told.
    pub methods: Vec<(&'static methods::Entry, Given)>,
    /// What passes may use.
    pub resources: Resources,
    /// What runs the long references of `steps` and `draws`.
    pub references: Engine,
    /// The model as it is to be shipped in half precision, where it is another file.
    pub halved: Option<&'a Loaded>,
    /// Gives explainers what their parameters name as files.
    pub give: Option<Give<'a>>,
    /// The model's file.
    pub file: Option<&'a Path>,
    /// ONNX Runtime's library, or a folder that holds it.
    pub ort_library: Option<&'a Path>,
    /// Runs this program anew, where there is one.
    pub fresh: Option<Fresh<'a>>,
    /// Set by somebody who wants no more.
    pub interrupt: Option<&'static AtomicBool>,
}

/// What became of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// All is within the limits.
    Passed,
    /// Something is not.
    Failed,
    /// The check says nothing about this model and these methods.
    Skipped,
    /// The check could not be made.
    Error,
}

/// What a check has found.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// Whether all is well.
    pub verdict: Verdict,
    /// In a line.
    pub summary: String,
    /// What is not within the limits, a line each.
    pub reasons: Vec<String>,
    /// The numbers behind it.
    pub numbers: Value,
}

impl Finding {
    /// Passed, unless there are reasons against it.
    pub fn of(summary: impl Into<String>, reasons: Vec<String>, numbers: Value) -> Finding {
        let verdict = if reasons.is_empty() { Verdict::Passed } else { Verdict::Failed };
        Finding { verdict, summary: summary.into(), reasons, numbers }
    }

    /// Nothing to say, for this reason.
    pub fn skipped(reason: impl Into<String>) -> Finding {
        Finding { verdict: Verdict::Skipped, summary: reason.into(), reasons: vec![], numbers: Value::Null }
    }
}

/// A check that was made.
#[derive(Clone, Debug, Serialize)]
pub struct Made {
    /// Its name.
    pub check: &'static str,
    /// When it passes.
    pub passes_when: &'static str,
    /// Its limits.
    pub limits: Given,
    /// What it has found.
    #[serde(flatten)]
    pub finding: Finding,
    /// How long it took.
    pub seconds: f64,
}

impl<'a> Scene<'a> {
    /// A scene with no more than it must have.
    pub fn new(
        loaded: &'a Loaded,
        inputs: Vec<Specimen>,
        methods: Vec<(&'static methods::Entry, Given)>,
        resources: Resources,
    ) -> Scene<'a> {
        Scene {
            loaded,
            inputs,
            methods,
            resources,
            references: Engine::Kernels,
            halved: None,
            give: None,
            file: None,
            ort_library: None,
            fresh: None,
            interrupt: None,
        }
    }

    /// Makes a check. What the model, or an engine, can't do on the way is what it has found.
    ///
    /// Errors: limits that are none, inputs that do not fit, memory that does not suffice.
    pub fn make(&self, check: &'static Check, params: &Params) -> Result<Made> {
        let start = Instant::now();
        let finding = match (check.run)(params, self) {
            Err(error) if error.kind() == Kind::Model => {
                let (verdict, summary) = (Verdict::Error, "could not be made".to_string());
                Finding { verdict, summary, reasons: vec![error.to_string()], numbers: Value::Null }
            }
            made => made?,
        };
        Ok(Made {
            check: check.name,
            passes_when: check.passes_when,
            limits: params.all().clone(),
            finding,
            seconds: start.elapsed().as_secs_f64(),
        })
    }

    /// Looks at every method that the model admits, and says how many these are. One that can't be looked at is a reason, with
    /// its name.
    fn each(
        &self,
        reasons: &mut Vec<String>,
        mut look: impl FnMut(&(&'static methods::Entry, Given), &mut Vec<String>) -> Result<()>,
    ) -> Result<usize> {
        let mut looked = 0;
        for method in &self.methods {
            let (entry, given) = method;
            // What it lacks is what `admission` says.
            if admits(self.loaded, entry, given).is_err() {
                continue;
            }
            looked += 1;
            match look(method, reasons) {
                Err(error) if error.kind() != Kind::Budget => {
                    reasons.push(format!("{}: could not be looked at: {error}", entry.name));
                }
                done => done?,
            }
        }
        Ok(looked)
    }

    /// The graph of the plain gradient; none where the model is a gradient graph of other rules.
    fn plain(&self) -> Result<Option<GradientGraph>> {
        let has = self.loaded.ready_made.as_ref().is_none_or(|ready| is_made_with(ready, &GRADIENT));
        has.then(|| self.loaded.derive(&Wanted::default())).transpose()
    }

    /// Whether somebody wants no more.
    pub fn is_interrupted(&self) -> bool {
        self.interrupt.is_some_and(|flag| flag.load(Ordering::Relaxed))
    }

    /// A session of a graph, on our kernels, in single precision.
    fn session(&self, derived: &GradientGraph) -> Result<PlanSession<'static>> {
        let plans = Arc::new(Plans::new(derived, Precision::F32)?);
        PlanSession::of(plans, Resources { threads: 1, ..self.resources })
    }

    /// What passes on another engine may use: what ours are bounded by is not its.
    fn resources_on(&self, engine: Engine) -> Resources {
        match engine {
            Engine::Kernels => self.resources,
            Engine::Tract(_) => Resources { engine, ..Resources::default() },
        }
    }

    /// Whether the engine of the references can be had.
    fn try_references(&self) -> Result<()> {
        if let (Engine::Tract(device), Some(derived)) = (self.references, self.plain()?) {
            TractSession::on(&derived, device)?;
        }
        Ok(())
    }

    /// A method, ready, in single precision.
    fn explainer(&self, method: &(&'static methods::Entry, Given)) -> Result<Explainer<'_>> {
        self.explainer_of(self.loaded, method, &[], Precision::F32, self.resources)
    }

    /// A method, ready for a model, told `more` besides.
    fn explainer_of<'l>(
        &self,
        loaded: &'l Loaded,
        (entry, given): &(&'static methods::Entry, Given),
        more: &[(&str, String)],
        precision: Precision,
        resources: Resources,
    ) -> Result<Explainer<'l>> {
        let mut given = given.clone();
        given.extend(more.iter().map(|(name, value)| (name.to_string(), value.clone())));
        let mut explainer = loaded.explainer(entry.name, &given, precision, resources)?;
        explainer.set_budget(crate::explain::Budget { interrupt: self.interrupt, ..Default::default() })?;
        if let Some(give) = self.give {
            give(&mut explainer, &given)?;
        }
        Ok(explainer)
    }
}

/// Whether a model has all that a method wants of it.
pub fn admits(loaded: &Loaded, entry: &methods::Entry, given: &Given) -> Result<()> {
    loaded.admits((entry.build)(&entry.params(given)?)?.as_ref()).map(|_| ())
}

/// A method's explanation of an input's top class.
fn explained(explainer: &mut Explainer, specimen: &Specimen) -> Result<Explanation> {
    explainer.explain(&specimen.values, specimen.file.clone(), &Target::Top)
}

/// The cotangent of an input's top class.
fn seed_of(session: &mut dyn Session, input: &[f32]) -> Result<Vec<f32>> {
    session.forward(input).map(top_seed)
}

/// Whether a value is no more than that. What is not a number is within nothing.
fn within(value: f64, most: f64) -> bool {
    value <= most
}

/// The value that at least half of all are not above, the larger of two in the middle; zero of none.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}

/// The least value, or what is not a number; none of none.
fn least(values: impl Iterator<Item = f64>) -> Option<f64> {
    values.reduce(|least, v| if least.is_nan() || least <= v { least } else { v })
}

/// The largest value, or what is not a number; zero of none.
fn largest(values: &[f64]) -> f64 {
    values.iter().copied().max_by(f64::total_cmp).unwrap_or(0.0)
}

/// What is said where the plain gradient is not to be had.
const NOT_PLAIN: &str = "the model is a gradient graph of other rules, which has no plain gradient";

/// What is said where no method is to be looked at, and where none could be.
const NO_METHOD: &str = "none of the methods is defined for this model";
const NOT_LOOKED: &str = "no method could be looked at";

/// How far an input's values lie apart; one where they don't.
fn extent(input: &[f32]) -> f32 {
    let (low, high) = range(input);
    if high > low { high - low } else { 1.0 }
}

/// Inputs close by that are tried in place of one that lies on a kink.
const NUDGES: u64 = 4;

/// An input, or one up to `reach` away: where a Relu's input is zero there, it is not here.
fn nudged(input: &[f32], nudge: u64, reach: f32) -> Vec<f32> {
    let rng = Rng::new(NUDGES, nudge);
    let moved = |(i, x): (usize, &f32)| if nudge == 0 { *x } else { x + reach * (2.0 * rng.uniform(i as u64) - 1.0) };
    input.iter().enumerate().map(moved).collect()
}
