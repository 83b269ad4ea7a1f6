//! The whole way: a model file, an input, a method; out comes a map with its record.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use crate::attribution::Attribution;
use crate::engine::{Counting, Session, TractOperators, TractSession, Watcher};
use crate::error::{Error, Result};
use crate::gradient::layers::{Layer, cam_layers, choose_layer};
use crate::gradient::ready_made::{Parts, as_gradient_graph};
use crate::gradient::target::Head;
use crate::gradient::{Composite, GradientGraph, Spec, differentiate, names, sole_input};
use crate::methods::{self, Given, Method, Needs, Params, Passes, Task};
use crate::onnx::card::LayoutName;
use crate::onnx::{Card, Layout, Model, TypedGraph, fix_shapes, read_model, type_graph};
use crate::record::{ClassRecord, FileRecord, MapRecord, Record, TargetRecord, Timing, cpu_features};

/// How to read a model.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// The card, in place of the one beside the file or in its metadata.
    pub card: Option<Card>,
    /// The input's extents, where the file leaves them open.
    pub shape: Option<Vec<usize>>,
    /// Fills in missing weights from this seed.
    pub random_weights: Option<u64>,
    /// The output explained; the first by default.
    pub output: Option<String>,
    /// What a foreign gradient graph calls its parts.
    pub parts: Parts,
}

/// Where the card came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CardSource {
    /// Flags, a file beside the model, or the model's metadata.
    Known,
    /// Nothing was said: pixels are scaled to 0..1.
    Assumed,
}

/// A model, read and typed: a forward graph, or a gradient graph made earlier.
pub struct Loaded {
    /// Name and hash.
    pub model: Model,
    /// The typed graph.
    pub typed: TypedGraph,
    /// Present where the file is a gradient graph.
    pub ready_made: Option<GradientGraph>,
    /// What pixels and classes mean.
    pub card: Card,
    /// Whether anybody said so.
    pub card_source: CardSource,
    output: Option<String>,
    random_weights: Option<u64>,
}

impl Loaded {
    /// Reads and types a model.
    pub fn read(path: &Path, options: &LoadOptions) -> Result<Loaded> {
        let mut model = read_model(path, options.random_weights)?;
        let found = match &options.card {
            Some(card) => Some(card.clone()),
            None => match Card::beside(path)? {
                Some(card) => Some(card),
                None => model
                    .graph
                    .metadata
                    .get(names::CARD)
                    .map(|t| Card::parse(t, "in the model's metadata"))
                    .transpose()?,
            },
        };
        let card_source = if found.is_some() { CardSource::Known } else { CardSource::Assumed };
        let card = found.unwrap_or_default();
        let mut shapes = BTreeMap::new();
        if let (Some(input), Some(shape)) = (model.graph.inputs.first(), &options.shape) {
            shapes.insert(input.name.clone(), shape.clone());
        }
        let graph = &mut model.graph;
        if let (Ok(input), Some([h, w]), None) = (sole_input(graph), card.input.size, &options.shape) {
            shapes.insert(input.name.clone(), sized(input, h, w, card.input.layout));
        }
        fix_shapes(graph, &shapes)?;
        let typed = type_graph(std::mem::take(graph), &TractOperators::default())?;
        let ready_made = as_gradient_graph(&typed, &options.parts)?;
        let output = options.output.clone();
        Ok(Loaded { model, typed, ready_made, card, card_source, output, random_weights: options.random_weights })
    }

    /// The output that was asked for.
    pub fn output(&self) -> Option<&str> {
        self.output.as_deref()
    }

    /// The name of the input that is explained.
    pub fn input(&self) -> Result<&str> {
        match &self.ready_made {
            Some(ready) => Ok(&ready.input),
            None => Ok(&sole_input(&self.typed.graph)?.name),
        }
    }

    /// Extents of the input that is explained.
    pub fn input_shape(&self) -> Result<Vec<usize>> {
        Ok(self.typed.facts.get(self.input()?).map(|f| f.shape.clone()).unwrap_or_default())
    }

    /// Where the input's channels are, if it can be an image.
    pub fn layout(&self) -> Result<Option<Layout>> {
        let shape = self.input_shape()?;
        Ok(match self.card.input.layout {
            _ if shape.len() != 4 => None,
            Some(LayoutName::Nchw) => Some(Layout::ChannelsFirst),
            Some(LayoutName::Nhwc) => Some(Layout::ChannelsLast),
            None => Layout::of_input(&shape),
        })
    }

    /// The gradient graph for what a method needs.
    pub fn derive(&self, composite: &'static Composite, layer: Option<&Layer>) -> Result<GradientGraph> {
        if let Some(ready) = &self.ready_made {
            return fitting(ready, composite, layer);
        }
        let taps = layer.map(|l| vec![l.name.clone()]).unwrap_or_default();
        let spec = Spec { composite, input_gradient: taps.is_empty(), taps, output: self.output.clone() };
        differentiate(&self.typed, &spec)
    }

    /// The layer a CAM method is taken at.
    fn layer(&self, needs: &Needs, params: &Params) -> Result<Option<Layer>> {
        if !needs.layer {
            return Ok(None);
        }
        let name = Some(params.text("layer")).filter(|n| !n.is_empty() && *n != "last");
        match &self.ready_made {
            None => choose_layer(&cam_layers(&self.typed, self.output())?, name).map(Some),
            Some(ready) => tapped_layer(ready, name).map(Some),
        }
    }

    /// Prepares a method for this model.
    pub fn explainer(&self, method: &str, given: &Given) -> Result<Explainer<'_>> {
        let start = Instant::now();
        let entry = methods::find(method)?;
        let params = Params::new(entry, given)?;
        let method = (entry.build)(&params)?;
        let needs = method.needs();
        let layer = self.layer(&needs, &params)?;
        let derived = self.derive(needs.composite, layer.as_ref())?;
        let warnings = self.warnings(&derived, &needs);
        let session = Counting::new(TractSession::new(&derived)?);
        let (composite, head, logits) = (derived.composite.clone(), derived.head, derived.logits.clone());
        let prepare_ms = milliseconds(start);
        Ok(Explainer {
            loaded: self,
            entry,
            params,
            method,
            layer,
            session,
            composite,
            head,
            logits,
            warnings,
            prepare_ms,
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

fn sized(input: &crate::onnx::Input, h: usize, w: usize, layout: Option<LayoutName>) -> Vec<usize> {
    let extent = |axis: usize, open: usize| match input.dims.as_ref().and_then(|d| d.get(axis)) {
        Some(crate::onnx::Dim::Fixed(n)) => *n,
        _ => open,
    };
    match layout {
        Some(LayoutName::Nhwc) => vec![extent(0, 1), extent(1, h), extent(2, w), extent(3, 3)],
        _ => vec![extent(0, 1), extent(1, 3), extent(2, h), extent(3, w)],
    }
}

/// A gradient graph from a file has its rules and taps fixed.
fn fitting(ready: &GradientGraph, composite: &Composite, layer: Option<&Layer>) -> Result<GradientGraph> {
    let known = ready.composite == composite.name;
    let foreign = ready.composite == "as exported" && composite.rules.is_empty();
    if !known && !foreign {
        return Err(Error::usage(format!(
            "the method wants the composite '{}', but this gradient graph was made with '{}'; use the forward model",
            composite.name, ready.composite
        )));
    }
    let mut derived = ready.clone();
    if let Some(layer) = layer {
        derived.taps.retain(|t| t.layer == layer.name);
        derived.input_gradient = None;
    } else {
        derived.taps.clear();
    }
    Ok(derived)
}

fn tapped_layer(ready: &GradientGraph, name: Option<&str>) -> Result<Layer> {
    let tap = match name {
        Some(name) => ready.taps.iter().find(|t| t.layer == name),
        None => ready.taps.last(),
    };
    let tap = tap.ok_or_else(|| {
        Error::usage("this gradient graph has no such tap; compile it with --tap LAYER, or use the forward model")
    })?;
    let shape = ready.facts.get(&tap.value).map(|f| f.shape.clone()).unwrap_or_default();
    let layout = match ready.graph.metadata.get(&format!("{}{}", names::TAP_LAYOUT, tap.layer)).map(String::as_str) {
        Some("nchw") => Layout::ChannelsFirst,
        Some("nhwc") => Layout::ChannelsLast,
        _ => return Err(Error::usage(format!("the tap '{}' is not an image; use the forward model", tap.layer))),
    };
    Ok(Layer { name: tap.layer.clone(), op: String::new(), shape, layout })
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
    session: Counting<'a, TractSession>,
    composite: String,
    head: Head,
    logits: String,
    warnings: Vec<String>,
    prepare_ms: f64,
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
        self.session.watch(watcher);
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
        self.session.reset();
        let logits = self.session.forward(input)?;
        if let Some(i) = logits.iter().position(|v| !v.is_finite()) {
            let reason = format!("gives a logit of {} for class {i}; the model overflows on it", logits[i]);
            return Err(Error::bad_input(reason));
        }
        let top = (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b]).then(b.cmp(&a))).unwrap_or(0);
        let class = self.class(target, top, logits.len())?;
        let mut seed = vec![0.0; logits.len()];
        seed[class] = 1.0;
        let layout = self.loaded.layout()?;
        let layer_layout = self.layer.as_ref().map(|l| l.layout);
        let mut task = Task { session: &mut self.session, input, layout, seed: &seed, layer_layout };
        let outcome = self.method.explain(&mut task)?;
        let attribution = outcome.attribution;
        if attribution.values.iter().any(|v| !v.is_finite()) {
            let reason = "gives a gradient that is not finite; the model overflows on it".to_string();
            return Err(Error::BadInput { reason });
        }
        let record = Record {
            whyline: env!("CARGO_PKG_VERSION"),
            tract: "0.23.9",
            model: FileRecord { file: self.loaded.model.name.clone(), sha256: self.loaded.model.sha256.clone() },
            input: file,
            random_weights: self.loaded.random_weights,
            preprocessing: self.loaded.card.input.clone(),
            composite: self.composite.clone(),
            method: self.entry.name.into(),
            parameters: self.params.all().clone(),
            layer: self.layer.as_ref().map(|l| l.name.clone()),
            target: TargetRecord {
                kind: "logit",
                value: self.logits.clone(),
                class: self.class_record(&logits, class),
            },
            predicted: self.class_record(&logits, top),
            map: MapRecord { extent: attribution.extent, shape: attribution.shape.clone(), signed: self.signed() },
            precision: "f32",
            threads: 1,
            passes: self.session.passes(),
            completeness: outcome.completeness,
            timing: Timing { prepare_ms: self.prepare_ms, explain_ms: milliseconds(start) },
            cpu: cpu_features(),
            warnings: self.warnings.clone(),
            status: "complete",
        };
        Ok(Explanation { attribution, record })
    }

    fn class(&self, target: &Target, top: usize, classes: usize) -> Result<usize> {
        let Target::Named(name) = target else { return Ok(top) };
        let labels = &self.loaded.card.labels;
        // A label that is a number (a digit) and an index agree wherever labels are in order.
        let labelled = labels.iter().position(|l| l == name).filter(|_| labels.len() == classes);
        let found = labelled.or_else(|| name.parse().ok());
        match found {
            Some(class) if class < classes => Ok(class),
            Some(class) => {
                Err(Error::Target { reason: format!("there is no class {class}; the model has {classes}, from 0") })
            }
            None => Err(Error::Target {
                reason: format!(
                    "there is no class '{name}'; {}",
                    match labels.is_empty() {
                        true => format!("the model has {classes}, from 0, and its card names none"),
                        false => format!("the card names {}", labels.join(", ")),
                    }
                ),
            }),
        }
    }

    fn class_record(&self, logits: &[f32], class: usize) -> ClassRecord {
        ClassRecord {
            class,
            label: self
                .loaded
                .card
                .labels
                .get(class)
                .filter(|_| self.loaded.card.labels.len() == logits.len())
                .cloned(),
            logit: logits[class] as f64,
            probability: self.head.probability(logits, class),
        }
    }
}
