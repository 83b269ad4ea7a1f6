//! The whole way: a model file, an input, a method; out comes a map with its record.

use std::sync::Arc;
use std::time::Instant;

use crate::attribution::Attribution;
use crate::engine::{
    Counting, Halves, PlanSession, Plans, Precision, Remembered, Remembering, Resources, Session, Watcher,
};
use crate::error::{Error, Result};
use crate::gradient::GradientGraph;
use crate::gradient::layers::Layer;
use crate::gradient::target::{Head, top_class};
pub use crate::load::{CardSource, LoadOptions, Loaded};
use crate::methods::{self, Given, Method, Needs, Params, Passes, Status, Task};
use crate::record::{ClassRecord, FileRecord, MapRecord, MemoryRecord, Record, TargetRecord, Timing, cpu_features};

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
        let start = Instant::now();
        let entry = methods::find(method)?;
        let params = Params::new(entry, given)?;
        let method = (entry.build)(&params)?;
        let needs = method.needs();
        let named = Some(params.text("layer")).filter(|name| needs.layer && !name.is_empty() && *name != "last");
        let layer = needs.layer.then(|| self.layer(named)).transpose()?;
        let prepared = shared.prepared(self, &needs, layer.as_ref(), precision)?;
        // No more threads than passes: an arena that nobody uses is memory lost.
        let most = usize::try_from(method.passes().gradient.max(1)).unwrap_or(usize::MAX);
        let kept = method.keeps(self.input_shape()?.iter().product());
        let memory = resources.memory.map(|most| without(most, kept, entry.name)).transpose()?;
        let resources = Resources { threads: resources.threads.min(most), memory };
        let session = PlanSession::of(prepared.plans.clone(), resources)?;
        let threads = session.threads();
        let memory = MemoryRecord { plans: session.plans().memory(), kept };
        let precision = session.plans().precision();
        let halves = precision.keeps_halves().then(|| session.plans().halves());
        let session = Remembering::new(Counting::new(session), prepared.remembered.clone());
        let prepare_ms = milliseconds(start);
        Ok(Explainer {
            loaded: self,
            entry,
            params,
            method,
            layer,
            session,
            threads,
            memory,
            precision,
            halves,
            prepared,
            prepare_ms,
            baselines: vec![],
            baseline_files: vec![],
        })
    }

    fn warnings(&self, derived: &GradientGraph, needs: &Needs) -> Vec<String> {
        let mut warnings = vec![];
        if !derived.flat.is_empty() {
            let list: Vec<String> = derived.flat.iter().map(|(node, op)| format!("{node} ({op})")).collect();
            warnings.push(format!("the derivative of {} is zero; nothing passes through", list.join(", ")));
        }
        if !needs.composite.rules.is_empty() && derived.ruled == 0 && self.ready_made.is_none() {
            warnings.push(format!("no node has the rule '{}', so the map equals the gradient", needs.composite.name));
        }
        warnings
    }
}

/// The bytes that are left beside what a method keeps.
fn without(most: usize, kept: usize, method: &str) -> Result<usize> {
    most.checked_sub(kept).ok_or_else(|| Error::Budget {
        reason: format!("{method} keeps up to {kept} bytes of gradients; {most} are too few: allow fewer with --steps"),
    })
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

/// A method's passes, and one forward to find the class.
pub fn with_target(own: Passes) -> Passes {
    Passes { forward: own.forward + 1, gradient: own.gradient }
}

/// What methods that need the same of a model share: its plans, and passes at the explained input.
#[derive(Default)]
pub struct Shared(Vec<Arc<Prepared>>);

struct Prepared {
    needs: Needs,
    layer: Option<String>,
    precision: Precision,
    plans: Arc<Plans>,
    remembered: Arc<Remembered>,
    composite: String,
    head: Head,
    logits: String,
    warnings: Vec<String>,
}

impl Shared {
    fn prepared(
        &mut self,
        loaded: &Loaded,
        needs: &Needs,
        layer: Option<&Layer>,
        precision: Precision,
    ) -> Result<Arc<Prepared>> {
        let name = layer.map(|l| l.name.clone());
        let same = |p: &&Arc<Prepared>| p.needs == *needs && p.layer == name && p.precision == precision;
        if let Some(known) = self.0.iter().find(same) {
            return Ok(known.clone());
        }
        let derived = loaded.derive(needs.composite, &needs.settings, layer)?;
        let prepared = Arc::new(Prepared {
            needs: needs.clone(),
            layer: name,
            precision,
            plans: Arc::new(Plans::new(&derived, precision)?),
            remembered: Arc::default(),
            warnings: loaded.warnings(&derived, needs),
            composite: derived.composite,
            head: derived.head,
            logits: derived.logits,
        });
        self.0.push(prepared.clone());
        Ok(prepared)
    }
}

/// Which class is explained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The one with the largest logit.
    Top,
    /// By index, or by its name in the card.
    Named(String),
}

/// A method, prepared for a model.
pub struct Explainer<'a> {
    loaded: &'a Loaded,
    entry: &'static methods::Entry,
    params: Params,
    method: Box<dyn Method>,
    layer: Option<Layer>,
    session: Remembering<Counting<'a, PlanSession<'static>>>,
    threads: usize,
    memory: MemoryRecord,
    precision: Precision,
    halves: Option<Halves>,
    prepared: Arc<Prepared>,
    prepare_ms: f64,
    baselines: Vec<Vec<f32>>,
    baseline_files: Vec<FileRecord>,
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
        self.session.inner.watch(watcher);
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

    /// Whether the signs of the map mean something.
    pub fn signed(&self) -> bool {
        self.method.signed().unwrap_or(self.entry.properties.signed)
    }

    /// How many passes one explanation takes.
    pub fn passes(&self) -> Passes {
        with_target(self.method.passes())
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
        self.session.inner.reset();
        self.session.begin(input);
        let logits = self.session.forward(input)?.to_vec();
        if let Some(i) = logits.iter().position(|v| !v.is_finite()) {
            let reason = format!("gives a logit of {} for class {i}; the model overflows on it", logits[i]);
            return Err(Error::bad_input(reason));
        }
        let top = top_class(&logits);
        let class = match target {
            Target::Top => top,
            Target::Named(name) => self.loaded.card.class(name, logits.len())?,
        };
        let mut seed = vec![0.0; logits.len()];
        seed[class] = 1.0;
        let layout = self.loaded.layout()?;
        let layer_layout = self.layer.as_ref().map(|l| l.layout);
        let mut task =
            Task { session: &mut self.session, input, layout, seed: &seed, layer_layout, baselines: &self.baselines };
        let outcome = self.method.explain(&mut task)?;
        let attribution = outcome.attribution;
        if attribution.values.iter().any(|v| !v.is_finite()) {
            let reason = "gives a gradient that is not finite; the model overflows on it".to_string();
            return Err(Error::BadInput { reason });
        }
        let mut warnings = self.prepared.warnings.clone();
        if outcome.status == Status::Degraded {
            let taken = self.session.inner.passes().gradient;
            warnings.push(format!("{taken} gradients did not reach the tolerance; allow more with --steps"));
        }
        let record = Record {
            whyline: env!("CARGO_PKG_VERSION"),
            tract: "0.23.9",
            model: FileRecord { file: self.loaded.model.name.clone(), sha256: self.loaded.model.sha256.clone() },
            input: file,
            random_weights: self.loaded.random_weights,
            preprocessing: self.loaded.card.input.clone(),
            composite: self.prepared.composite.clone(),
            method: self.entry.name.into(),
            parameters: self.params.all().clone(),
            layer: self.layer.as_ref().map(|l| l.name.clone()),
            target: TargetRecord {
                kind: "logit",
                value: self.prepared.logits.clone(),
                class: self.class_record(&logits, class),
            },
            predicted: self.class_record(&logits, top),
            map: MapRecord { extent: attribution.extent, shape: attribution.shape.clone(), signed: self.signed() },
            precision: self.precision,
            halves: self.halves.clone(),
            threads: self.threads,
            memory: self.memory,
            passes: self.session.inner.passes(),
            saved: Some(self.session.saved()).filter(|saved| *saved != Passes::default()),
            baselines: self.baseline_files.clone(),
            completeness: outcome.completeness,
            standard_error: outcome.standard_error,
            timing: Timing { prepare_ms: self.prepare_ms, explain_ms: milliseconds(start) },
            cpu: cpu_features(),
            warnings,
            status: outcome.status,
        };
        Ok(Explanation { attribution, record })
    }

    fn class_record(&self, logits: &[f32], class: usize) -> ClassRecord {
        ClassRecord {
            class,
            label: self.loaded.card.label(class, logits.len()).map(str::to_string),
            logit: logits[class] as f64,
            probability: self.prepared.head.probability(logits, class),
        }
    }
}
