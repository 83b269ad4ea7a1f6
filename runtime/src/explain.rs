//! The whole way: a model file, an input, a method; out comes a map with its record.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::attribution::{Attribution, Grid};
use crate::engine::{Halves, Limit, Passes, Precision, Resources, Session, Watcher};
use crate::error::{Error, Result};
use crate::gradient::target::{Score, top_class};
pub use crate::load::{CardSource, LoadOptions, Loaded, Wanted};
use crate::methods::{self, Extents, Given, Method, Outcome, Params, Status, Task};
use crate::onnx::Change;
use crate::prepare::Part;
pub use crate::prepare::Shared;
use crate::record::{
    ClassRecord, FileRecord, MapRecord, MemoryRecord, Record, StoppedBy, TargetRecord, Timing, cpu_features,
};

impl Loaded {
    /// Prepares a method for this model.
    pub fn explainer(
        &self,
        method: &str,
        given: &Given,
        precision: Precision,
        resources: Resources,
    ) -> Result<Explainer<'_>> {
        self.explainer_sharing(&mut Shared::default(), method, given, precision, resources)
    }

    /// The same; plans and passes at the input are shared with the other methods of `shared` that need the same.
    pub fn explainer_sharing(
        &self,
        shared: &mut Shared,
        method: &str,
        given: &Given,
        precision: Precision,
        resources: Resources,
    ) -> Result<Explainer<'_>> {
        self.explainer_of(&[], shared, method, given, precision, resources)
    }

    /// The same, for the model with some changes.
    fn explainer_of(
        &self,
        changes: &[Change],
        shared: &mut Shared,
        method: &str,
        given: &Given,
        precision: Precision,
        resources: Resources,
    ) -> Result<Explainer<'_>> {
        let start = Instant::now();
        let entry = methods::find(method)?;
        let params = entry.params(given)?;
        let method = (entry.build)(&params)?;
        let (needs, also) = (method.needs(), method.also());
        let layer = self.layer_for(&needs)?;
        let model = self.extents(method.as_ref())?;
        // No more threads than passes of a kind: an arena that nobody uses is memory lost.
        let passes = method.passes(model);
        let most = usize::try_from(passes.gradient.max(passes.forward).max(1)).unwrap_or(usize::MAX);
        let kept = method.keeps(model);
        let memory = resources.memory.map(|most| without(most, kept, entry.name)).transpose()?;
        let resources = Resources { threads: resources.threads.min(most), memory };
        let part = Part::new((self, changes), shared, &needs, layer, precision, resources)
            .map_err(|error| if kept > 0 { beside(error, kept) } else { error })?;
        let model = Extents { piecewise_linear: part.prepared.piecewise_linear, ..model };
        let other = match &also {
            Some(also) => {
                // It takes single passes, in what memory is left.
                let left = memory.map(|most| most.saturating_sub(part.bytes()));
                let resources = Resources { threads: 1, memory: left };
                let layer = self.layer_for(also)?;
                let mut other = Part::new((self, changes), shared, also, layer, precision, resources)?;
                other.session.inner.share_limit(&part.session.inner);
                Some(other)
            }
            None => None,
        };
        let kept = kept + if needs.weights { part.plans().memory().weights } else { 0 };
        let prepare_ms = milliseconds(start);
        Ok(Explainer {
            loaded: self,
            changes: changes.to_vec(),
            entry,
            params,
            method,
            model,
            kept,
            part,
            other,
            prepare_ms,
            budget: Budget::default(),
            baselines: vec![],
            baseline_files: vec![],
            region: None,
        })
    }
}

/// The bytes that are left beside what a method keeps.
fn without(most: usize, kept: usize, method: &str) -> Result<usize> {
    most.checked_sub(kept).ok_or_else(|| Error::Budget {
        reason: format!("{method} keeps up to {kept} bytes of gradients; {most} are too few: allow fewer with --steps"),
    })
}

/// Says what a method keeps, where the rest of the memory did not suffice.
fn beside(error: Error, kept: usize) -> Error {
    match error {
        Error::Budget { reason } => {
            Error::Budget { reason: format!("{reason}: the gradients that are kept take {kept}") }
        }
        other => other,
    }
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

/// A method's passes, and one forward to find the class.
pub fn with_target(own: Passes) -> Passes {
    Passes { forward: own.forward + 1, gradient: own.gradient }
}

/// Which class is explained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The one with the largest score.
    Top,
    /// The one with so many larger scores.
    Ranked(usize),
    /// By index.
    Class(usize),
    /// By index, or by its name in the card.
    Named(String),
    /// By how much a class is ahead of another: of the one named, or of the largest other score.
    Margin {
        /// The class that speaks for it.
        class: Box<Target>,
        /// By index, or by its name in the card.
        against: Option<String>,
    },
}

/// What one explanation may spend. Methods that work in steps stop early and give the best map so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Budget {
    /// Passes of both kinds together.
    pub max_passes: Option<u64>,
    /// From the beginning of the explanation; no pass is begun that would end later.
    pub deadline: Option<Duration>,
    /// Set by somebody who wants no more.
    pub interrupt: Option<&'static AtomicBool>,
}

impl Budget {
    /// Whether somebody wants no more.
    pub fn is_interrupted(&self) -> bool {
        self.interrupt.is_some_and(|flag| flag.load(Ordering::Relaxed))
    }
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
pub struct Explanation {
    /// The map.
    pub attribution: Attribution,
    /// How it came about.
    pub record: Record,
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

    /// Explanations keep to this from now on. For a deadline, a forward and a gradient pass are taken here, so that it is
    /// known how long they take.
    ///
    /// Errors: a budget of fewer passes than the method's least, or of less time than those take.
    pub fn set_budget(&mut self, budget: Budget) -> Result<()> {
        let least = with_target(self.method.least(self.model));
        let told = format!("{} gradient and {} forward", least.gradient, least.forward);
        if let Some(most) = budget.max_passes.filter(|most| least.all() > *most) {
            let all = least.all();
            let name = self.entry.name;
            let reason = format!("{name} takes {all} passes ({told}) at least, more than the {most} that are allowed");
            return Err(Error::Budget { reason });
        }
        if let Some(deadline) = budget.deadline {
            let input = vec![0.0; self.model.input];
            let session = &mut self.part.session.inner;
            session.reset(Limit::default());
            let seed = vec![1.0; session.forward(&input)?.len()];
            session.gradient(&input, &seed)?;
            let seconds = session.seconds(least);
            if seconds > deadline.as_secs_f64() {
                let reason = format!(
                    "{} takes {told} passes at least, about {:.1} ms here; the deadline leaves {:.1} ms",
                    self.entry.name,
                    1e3 * seconds,
                    1e3 * deadline.as_secs_f64()
                );
                return Err(Error::Budget { reason });
            }
        }
        self.budget = budget;
        Ok(())
    }

    /// Gives the method the baselines that its parameter `baseline` names as files, each row-major in the model's shape.
    pub fn set_baselines(&mut self, baselines: Vec<(FileRecord, Vec<f32>)>) -> Result<()> {
        let len: usize = self.loaded.input_shape()?.iter().product();
        for (file, values) in &baselines {
            if values.len() != len || values.iter().any(|v| !v.is_finite()) {
                let reason =
                    format!("is no baseline: it has {} values, and {len} finite ones are wanted", values.len());
                return Err(Error::Input { path: file.file.clone().into(), reason });
            }
        }
        (self.baseline_files, self.baselines) = baselines.into_iter().unzip();
        Ok(())
    }

    /// Gives the method the region that its parameter `region` names as a file: whether each pixel, row by row, is of it.
    pub fn set_region(&mut self, file: FileRecord, marked: Vec<bool>) -> Result<()> {
        let shape = self.loaded.input_shape()?;
        let pixels = self.loaded.layout()?.and_then(|l| l.split(&shape)).map(|(_, height, width)| height * width);
        if pixels != Some(marked.len()) {
            let reason = format!("marks {} pixels, but the input has {}", marked.len(), pixels.unwrap_or(0));
            return Err(Error::Input { path: file.file.into(), reason });
        }
        self.region = Some((file, marked));
        Ok(())
    }

    /// The same method, told the same, for the model with one more change.
    pub(crate) fn changed(&self, change: &Change, shared: &mut Shared) -> Result<Explainer<'a>> {
        let resources = Resources { threads: self.part.session.threads(), memory: None };
        let changes = [self.changes.as_slice(), std::slice::from_ref(change)].concat();
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

    /// What the map has values for, once channels are taken together.
    pub fn grid(&self) -> Result<Grid> {
        Ok(Grid::of(&self.loaded.input_shape()?, self.loaded.layout()?))
    }

    /// A map with one value per feature: of an image, per pixel.
    pub fn per_feature(&self, attribution: &Attribution) -> Result<Vec<f32>> {
        match self.loaded.layout()? {
            Some(layout) => attribution.per_pixel(layout, self.signed()),
            None => Ok(attribution.values.clone()),
        }
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

    /// The cotangent of the scores, the class explained, and what it is explained against.
    fn seed(&self, logits: &[f32], target: &Target) -> Result<(Vec<f32>, usize, Option<usize>)> {
        let class = |target: &Target| match target {
            Target::Top => Ok(top_class(logits)),
            Target::Ranked(rank) if *rank < logits.len() => Ok(by_score(logits)[*rank]),
            Target::Ranked(rank) => {
                Err(Error::usage(format!("there is no class of rank {rank}; there are {}", logits.len())))
            }
            Target::Class(class) if *class < logits.len() => Ok(*class),
            Target::Class(class) => Err(Error::usage(format!("there is no class {class}; there are {}", logits.len()))),
            Target::Named(name) => self.loaded.card.class(name, logits.len()),
            Target::Margin { .. } => Err(Error::usage("a margin is between two classes, not between margins")),
        };
        let mut seed = vec![0.0; logits.len()];
        let Target::Margin { class: ahead, against } = target else {
            let class = class(target)?;
            seed[class] = 1.0;
            return Ok((seed, class, None));
        };
        let ahead = class(ahead)?;
        let behind = match against {
            Some(name) => self.loaded.card.class(name, logits.len())?,
            None => by_score(logits).into_iter().find(|&c| c != ahead).unwrap_or(ahead),
        };
        if behind == ahead {
            return Err(Error::usage(format!("class {ahead} has no margin over itself; name another class")));
        }
        (seed[ahead], seed[behind]) = (1.0, -1.0);
        Ok((seed, ahead, Some(behind)))
    }

    /// Explains one input, row-major in the model's shape.
    pub fn explain(&mut self, input: &[f32], file: FileRecord, target: &Target) -> Result<Explanation> {
        if let Some(i) = input.iter().position(|v| !v.is_finite()) {
            return Err(Error::bad_input(format!("holds {} at element {i}; it must be finite", input[i])));
        }
        if self.loaded.input_shape()?.first().is_some_and(|&n| n > 1) && self.loaded.layout()?.is_some() {
            return Err(Error::bad_input(
                "is a batch; one image is explained at a time, so export the model with batch 1",
            ));
        }
        let start = Instant::now();
        let limit = Limit {
            passes: self.budget.max_passes,
            deadline: self.budget.deadline.map(|most| start + most.mul_f64(1.0 - SPARE)),
            interrupt: self.budget.interrupt,
        };
        for part in [Some(&mut self.part), self.other.as_mut()].into_iter().flatten() {
            part.session.inner.reset(limit);
            part.session.begin(input);
        }
        let logits = self.part.session.prepare(input)?.to_vec();
        if let Some(i) = logits.iter().position(|v| !v.is_finite()) {
            let reason = format!("gives a logit of {} for class {i}; the model overflows on it", logits[i]);
            return Err(Error::bad_input(reason));
        }
        let (seed, class, against) = self.seed(&logits, target)?;
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
        self.part.session.restore()?;
        let outcome = outcome?;
        let Outcome { attribution, completeness, standard_error, status } = outcome;
        if attribution.values.iter().any(|v| !v.is_finite()) {
            let reason = "gives a gradient that is not finite; the model overflows on it".to_string();
            return Err(Error::BadInput { reason });
        }
        let stopped_by = self.stopped_by(status);
        let mut warnings = self.part.prepared.warnings.clone();
        warnings.extend(stopped_by.map(|why| why.warning(self.taken())));
        let record = Record {
            whyline: env!("CARGO_PKG_VERSION"),
            tract: "0.23.9",
            model: FileRecord { file: self.loaded.model.name.clone(), sha256: self.loaded.model.sha256.clone() },
            input: file,
            random_weights: self.loaded.random_weights,
            preprocessing: self.loaded.card.input.clone(),
            composite: self.part.prepared.composite.clone(),
            method: self.entry.name.into(),
            parameters: self.params.all().clone(),
            layer: self.layer_name(),
            target: TargetRecord {
                kind: match (against, self.loaded.score) {
                    (Some(_), _) => "margin",
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
            halves: self.halves(),
            threads: self.part.session.threads(),
            memory: self.memory(),
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

    fn halves(&self) -> Option<Halves> {
        let plans = self.part.plans();
        plans.precision().keeps_halves().then(|| plans.halves())
    }

    /// Weights, all threads' arenas, and what the method keeps.
    pub(crate) fn bytes(&self) -> usize {
        self.part.bytes() + self.other.as_ref().map_or(0, Part::bytes) + self.kept
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
            label: self.loaded.card.label(class, scores.len()).map(str::to_string),
            logit,
            probability: self.part.prepared.head.probability(scores, class),
        }
    }
}

/// Of a deadline, the part that is left for what comes behind the passes, and for other work of the machine.
const SPARE: f64 = 0.01;

/// Classes from the largest score to the least; equal ones by index.
fn by_score(scores: &[f32]) -> Vec<usize> {
    let mut classes: Vec<usize> = (0..scores.len()).collect();
    classes.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    classes
}
