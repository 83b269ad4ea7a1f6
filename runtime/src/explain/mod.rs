//! The whole way: a model file, an input, a method; out comes a map with its record.

mod given;
mod ready;

use std::time::Instant;

pub use crate::asked::{Budget, Target};
use crate::attribution::{Attribution, Grid};
use crate::engine::{Halves, Limit, Passes, Resources, Session, Watcher};
use crate::error::{Error, Result};
use crate::gradient::composite::Kind;
use crate::gradient::target::{Explained, Score, top_class};
pub use crate::load::{CardSource, Found, LoadOptions, Loaded, Validated, Wanted};
use crate::methods::{self, Extents, Method, Outcome, Params, Status, Task};
use crate::onnx::Change;
use crate::prepare::Part;
pub use crate::prepare::Shared;
use crate::record::{
    BudgetRecord, ClassRecord, FileRecord, MapRecord, MemoryRecord, Record, StoppedBy, TargetRecord, Timing,
    cpu_features,
};
use crate::values::first_infinite;

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

/// A method's passes, and one forward to find the class.
pub fn with_target(own: Passes) -> Passes {
    Passes { forward: own.forward + 1, gradient: own.gradient }
}

/// A method, prepared for a model.
pub struct Explainer<'a> {
    pub(crate) loaded: &'a Loaded,
    changes: Vec<Change>,
    entry: &'static methods::Entry,
    params: Params,
    method: Box<dyn Method>,
    model: Extents,
    kept: usize,
    pub(crate) part: Part<'a>,
    other: Option<Part<'a>>,
    prepare_ms: f64,
    pub(crate) budget: Budget,
    baselines: Vec<Vec<f32>>,
    baseline_files: Vec<FileRecord>,
    region: Option<(FileRecord, Vec<bool>)>,
}

/// A map and how it came about.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The map.
    pub attribution: Attribution,
    /// How it came about.
    pub record: Record,
}

/// What a method gave, and of what.
struct Attributed {
    outcome: Outcome,
    logits: Vec<f32>,
    explained: Explained,
}

/// A map without a record.
pub(crate) struct Bare {
    /// One value per feature.
    pub map: Vec<f32>,
    /// What it took.
    pub passes: Passes,
    /// Whether the budget ended it early.
    pub degraded: bool,
}

impl<'a> Explainer<'a> {
    /// The method's line in the table.
    pub fn entry(&self) -> &'static methods::Entry {
        self.entry
    }

    /// Tells `watcher` of every pass from now on.
    pub fn watch(&mut self, watcher: Watcher<'a>) {
        self.part.session.inner.watch(watcher);
    }

    /// The same method, told the same, for the model with one more change; the one of `next` will be asked for after that.
    pub(crate) fn changed(&self, change: &Change, next: Option<&Change>, shared: &mut Shared) -> Result<Explainer<'a>> {
        let threads = self.part.session.threads();
        let resources = Resources { threads, memory: None, engine: self.part.prepared.engine };
        let with = |change: &Change| [self.changes.as_slice(), std::slice::from_ref(change)].concat();
        let changes = with(change);
        shared.announce(next.map(with));
        let (name, given, precision) = (self.entry.name, self.params.all(), self.part.plans().precision());
        let other = self.loaded.explainer_of(&changes, shared, name, given, precision, resources)?;
        Ok(Explainer {
            budget: self.budget,
            baselines: self.baselines.clone(),
            baseline_files: self.baseline_files.clone(),
            region: self.region.clone(),
            ..other
        })
    }

    /// Whether the signs of the map mean something.
    pub fn signed(&self) -> bool {
        self.method.signed().unwrap_or(self.entry.properties.signed)
    }

    /// Whether its maps depend on random draws.
    pub fn draws(&self) -> bool {
        self.entry.properties.stochastic && self.method.draws(self.model)
    }

    /// Whether it explains one class alone, and not by how much that is ahead of another.
    pub fn wants_one_class(&self) -> bool {
        self.method.wants_one_class()
    }

    /// What the map has values for, once channels are taken together.
    pub fn grid(&self) -> Result<Grid> {
        self.loaded.grid()
    }

    /// A map with one value per feature: of an image, per pixel.
    pub fn per_feature(&self, attribution: &Attribution) -> Result<Vec<f32>> {
        match self.loaded.layout()? {
            Some(layout) => attribution.per_pixel(layout, self.signed()),
            None => Ok(attribution.values.clone()),
        }
    }

    /// The files that its parameters name.
    pub fn files(&self) -> impl Iterator<Item = &FileRecord> {
        self.baseline_files.iter().chain(self.region.iter().map(|(file, _)| file))
    }

    /// All its parameters.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// How many passes one explanation takes at most.
    pub fn passes(&self) -> Passes {
        with_target(self.method.passes(self.model))
    }

    fn taken(&self) -> Passes {
        let other = self.other.iter().map(|part| part.session.inner.passes());
        other.fold(self.part.session.inner.passes(), Passes::plus)
    }

    fn saved(&self) -> Passes {
        let other = self.other.iter().map(|part| part.session.saved());
        other.fold(self.part.session.saved(), Passes::plus)
    }

    /// Forgets what passes at the latest input gave.
    pub(crate) fn forget(&mut self) {
        [Some(&mut self.part), self.other.as_mut()].into_iter().flatten().for_each(|part| part.session.forget());
    }

    /// Explains one input, row-major in the model's shape.
    pub fn explain(&mut self, input: &[f32], file: FileRecord, target: &Target) -> Result<Explanation> {
        let start = Instant::now();
        let Attributed { outcome, logits, explained: Explained { class, against } } = self.attribute(input, target)?;
        let Outcome { attribution, completeness, standard_error, status } = outcome;
        let stopped_by = self.stopped_by(status);
        let mut warnings = self.part.prepared.warnings.clone();
        warnings.extend(self.of_halves());
        if self.part.prepared.head.choice.is_none() && target.is_by_score() {
            warnings.push(ANY_NUMBER.into());
        }
        warnings.extend(stopped_by.map(|why| why.warning(self.taken())));
        if attribution.values.iter().all(|value| *value == 0.0) {
            warnings.push("every value of the map is zero: to what is explained nothing passes here".into());
        }
        let record = Record {
            whyline: env!("CARGO_PKG_VERSION"),
            tract: "0.23.9",
            model: FileRecord { file: self.loaded.model.name.clone(), sha256: self.loaded.model.sha256.clone() },
            input: file,
            random_weights: self.loaded.model.random_weights,
            preprocessing: self.loaded.card.input.clone(),
            composite: self.part.prepared.composite.clone(),
            method: self.entry.name.into(),
            parameters: self.params.all().clone(),
            layer: self.layer_name(),
            over: self.loaded.over.clone(),
            target: TargetRecord {
                kind: match (against, self.loaded.score) {
                    (Some(_), _) => "margin",
                    (None, Score::Logit) if self.method.explains_probability() => "probability",
                    (None, Score::Logit) => "logit",
                    (None, Score::Probability) => "probability",
                },
                value: self.part.prepared.logits.clone(),
                class: self.class_record(&logits, class),
                against: against.map(|class| self.class_record(&logits, class)),
            },
            predicted: self.class_record(&logits, top_class(&logits)),
            map: MapRecord { extent: attribution.extent, shape: attribution.shape.clone(), signed: self.signed() },
            precision: self.part.plans().precision(),
            engine: self.part.prepared.engine,
            halves: self.halves(),
            threads: self.part.session.threads(),
            memory: self.memory(),
            budget: BudgetRecord::of(&self.budget),
            passes: self.taken(),
            saved: Some(self.saved()).filter(|saved| *saved != Passes::default()),
            baselines: self.baseline_files.clone(),
            region: self.region.as_ref().map(|(file, _)| file.clone()),
            completeness,
            standard_error,
            timing: Timing { prepare_ms: self.prepare_ms, explain_ms: milliseconds(start) },
            cpu: cpu_features(),
            warnings,
            status,
            stopped_by,
        };
        Ok(Explanation { attribution, record })
    }

    /// The map of an input, without a record.
    pub(crate) fn map_of(&mut self, input: &[f32], explained: Explained) -> Result<Bare> {
        let Outcome { attribution, status, .. } = self.attribute(input, &explained.into())?.outcome;
        Ok(Bare { map: self.per_feature(&attribution)?, passes: self.taken(), degraded: status == Status::Degraded })
    }

    /// The method's work on an input.
    fn attribute(&mut self, input: &[f32], target: &Target) -> Result<Attributed> {
        if let Some(i) = first_infinite(input) {
            return Err(Error::bad_input(format!("holds {} at element {i}; it must be finite", input[i])));
        }
        if self.loaded.takes_batches()? {
            return Err(Error::bad_input(
                "is a batch; one image is explained at a time, so export the model with batch 1",
            ));
        }
        let limit = Limit {
            passes: self.budget.max_passes,
            deadline: self.budget.deadline.and_then(|most| Instant::now().checked_add(most.mul_f64(1.0 - SPARE))),
            interrupt: self.budget.interrupt,
        };
        for part in [Some(&mut self.part), self.other.as_mut()].into_iter().flatten() {
            part.session.inner.reset(limit);
            part.session.begin(input);
        }
        let logits = self.part.session.prepare(input)?.to_vec();
        if let Some(i) = first_infinite(&logits) {
            let reason = format!("gives a logit of {} for class {i}; the model overflows on it", logits[i]);
            return Err(Error::bad_input(reason));
        }
        let (seed, class, against) = target.seed(&logits, self.part.prepared.head, &|name| self.loaded.class(name))?;
        let parts = [Some(&self.part), self.other.as_ref()].into_iter().flatten();
        let layer_layout = parts.filter_map(Part::layer_layout).next();
        let mut task = Task {
            layout: self.loaded.layout()?,
            layer_layout,
            baselines: &self.baselines,
            region: self.region.as_ref().map(|(_, marked)| marked.as_slice()),
            head: self.part.prepared.head,
            bounds: self.loaded.bounds()?,
            extents: self.model,
            steps: self.loaded.card.steps.as_ref(),
            other: self.other.as_mut().map(|part| &mut part.session as &mut dyn Session),
            biases: &self.part.biases,
            ..Task::new(&mut self.part.session, input, &seed)
        };
        let outcome = self.method.explain(&mut task);
        for part in [Some(&mut self.part), self.other.as_mut()].into_iter().flatten() {
            part.session.restore()?;
        }
        let outcome = outcome?;
        if first_infinite(&outcome.attribution.values).is_some() {
            return Err(Error::bad_input(match self.method.needs().composite.kind {
                Kind::Difference => {
                    "gives multipliers that are not finite: where a norm's values are all the same at the baseline it divides by \
                     nearly nothing; take another baseline, as -p baseline=uniform"
                }
                _ => "gives a gradient that is not finite; the model overflows on it",
            }));
        }
        Ok(Attributed { outcome, logits, explained: Explained { class, against } })
    }

    /// What ended a method's work early.
    fn stopped_by(&self, status: Status) -> Option<StoppedBy> {
        let inner = &self.part.session.inner;
        let stop = || match inner.stop() {
            Some(stop) => stop.into(),
            // All that it wants to take at most: the tolerance was not reached.
            None if self.taken().all() >= self.passes().all() => StoppedBy::Steps,
            // Methods whose steps take several passes end with some left.
            None => inner.nearest().map_or(StoppedBy::Steps, StoppedBy::from),
        };
        (status == Status::Degraded).then(stop)
    }

    fn layer_name(&self) -> Option<String> {
        let parts = [Some(&self.part), self.other.as_ref()].into_iter().flatten();
        parts.filter_map(|part| part.layer.as_ref()).map(|l| l.name.clone()).next()
    }

    /// What is said of half precision where nobody has looked at what it does to the method's maps.
    fn of_halves(&self) -> Option<String> {
        if !self.part.plans().precision().keeps_halves() {
            return None;
        }
        let name = self.entry.name;
        let validated = self.loaded.validated().map_or(vec![], |said| said.found.methods.into_keys().collect());
        if validated.iter().any(|of| of == name) {
            return None;
        }
        let others = match validated.is_empty() {
            true => String::new(),
            false => format!(" (of {} the file says it)", validated.join(", ")),
        };
        Some(format!(
            "nobody has said what half precision does to maps of {name} for this model{others}: `whyline compile --f16 \
             --validated -m {name}` looks at it, and writes what it finds into the file"
        ))
    }

    fn halves(&self) -> Option<Halves> {
        let plans = self.part.plans();
        plans.precision().keeps_halves().then(|| plans.halves())
    }

    /// Weights, all threads' arenas, and what the method keeps.
    pub fn bytes(&self) -> usize {
        self.parts().map(Part::bytes).sum::<usize>() + self.kept
    }

    /// What it was prepared as: one part or two.
    fn parts(&self) -> impl Iterator<Item = &Part<'a>> {
        std::iter::once(&self.part).chain(&self.other)
    }

    /// Leaves its arenas to others.
    pub(crate) fn leave(self, shared: &mut Shared) {
        self.part.leave(shared);
        self.other.into_iter().for_each(|part| part.leave(shared));
    }

    /// Bytes, of both preparations where there are two.
    pub fn memory(&self) -> MemoryRecord {
        let mut plans = self.part.plans().memory();
        if let Some(other) = &self.other {
            let more = other.plans().memory();
            plans.weights += more.weights;
            plans.gradient_arena += more.gradient_arena;
        }
        MemoryRecord { plans, kept: self.kept }
    }

    fn class_record(&self, scores: &[f32], class: usize) -> ClassRecord {
        let logit = (self.loaded.score == Score::Logit).then(|| scores[class] as f64);
        ClassRecord {
            class,
            label: self.loaded.label(class),
            logit,
            probability: self.part.prepared.head.probability(scores, class),
        }
    }
}

/// What is warned of where the largest score is explained, and nobody knows which compete.
pub const ANY_NUMBER: &str = "the model gives neither one score for each class nor classes at places: the largest number is explained, \
                              whatever it means; name another with --target";

/// Of a deadline, the part that is left for what comes behind the passes, and for other work of the machine.
const SPARE: f64 = 0.01;
