//! A model file, read, typed and given its meaning: what a method is prepared from.

mod scored;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::engine::{PlanOperators, TractOperators, Types};
use crate::error::{Error, Result};
use crate::gradient::composite::GRADIENT;
use crate::gradient::head::Head;
use crate::gradient::layers::{Layer, cam_layers, choose_layer};
use crate::gradient::ready_made::{Parts, as_gradient_graph};
use crate::gradient::target::Score;
use crate::gradient::{Bounds, Composite, GradientGraph, Settings, Spec, differentiate, functions, names, sole_input};
use crate::onnx::card::LayoutName;
use crate::onnx::inline::inline_functions;
use crate::onnx::perturb::layers;
use crate::onnx::{
    Card, Change, Dim, Graph, Input, Layout, Model, Shuffles, TypedGraph, fix_shapes, parse_model_keeping,
    read_model_keeping, type_graph,
};
use crate::record::Over;

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
    /// What of its components is explained.
    pub score: Score,
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

/// What a gradient graph is to give.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The rules of the backward pass.
    pub composite: &'static Composite,
    /// The numbers that they go by; bounds are the card's.
    pub settings: Settings,
    /// Values to hand out with their gradients.
    pub taps: Vec<String>,
    /// Whether ops' implicit biases are handed out behind those.
    pub implicit_biases: bool,
    /// Whether the input's gradient is wanted.
    pub input_gradient: bool,
    /// Of the model, before the gradient is taken.
    pub changes: Vec<Change>,
}

impl Default for Wanted {
    /// The input's gradient.
    fn default() -> Wanted {
        let settings = Settings::default();
        Wanted {
            composite: &GRADIENT,
            settings,
            taps: vec![],
            implicit_biases: false,
            input_gradient: true,
            changes: vec![],
        }
    }
}

/// What is said where a gradient graph is to be changed.
const UNCHANGEABLE: &str = "a model with other weights wants the forward model, not a gradient graph";

/// Models that were loaded so far.
static LOADED: AtomicU64 = AtomicU64::new(0);

/// A model, read and typed: a forward graph, or a gradient graph made earlier.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Name and hash.
    pub model: Model,
    /// The typed graph; how many classes it has is remembered once somebody has asked.
    pub typed: TypedGraph,
    /// Present where the file is a gradient graph.
    pub ready_made: Option<GradientGraph>,
    /// What pixels and classes mean.
    pub card: Card,
    /// Whether anybody said so.
    pub card_source: CardSource,
    /// What was read beside the model's own file: weights, and a card.
    pub files: Vec<PathBuf>,
    /// Which of all that this process has loaded.
    pub(crate) id: u64,
    output: Option<String>,
    pub(crate) score: Score,
    pub(crate) over: Option<Over>,
    /// Their extents and how they are to be read, found once somebody asks.
    scores: OnceLock<(Vec<usize>, Head)>,
    /// Of its nodes, and of those of graphs that were made of it.
    pub(crate) types: Types,
}

/// What a file says of what half precision does to its maps.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Validated {
    /// How many inputs were looked at.
    pub inputs: u64,
    /// Which.
    pub of: String,
    /// What was found.
    pub found: Found,
}

/// What was found of half precision.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Found {
    /// By method.
    pub methods: BTreeMap<String, serde_json::Value>,
}

/// Types a graph, and sees whether it is a gradient graph. Of one in which our functions stand as our own gradient graphs have
/// them they stay calls; of any other they are looked into.
fn typed_with_its_parts(mut graph: Graph, parts: &Parts, types: &Types) -> Result<(TypedGraph, Option<GradientGraph>)> {
    if !graph.functions.is_empty() {
        let operators = PlanOperators::of_file(&graph, types.clone());
        if let Ok(typed) = type_graph(graph.clone(), &operators)
            && let Some(ready) = as_gradient_graph(&typed, parts)?
        {
            return Ok((typed, Some(ready)));
        }
        inline_functions(&mut graph)?;
    }
    let typed = type_graph(graph, &TractOperators::remembering(types.clone()))?;
    let ready = as_gradient_graph(&typed, parts)?;
    Ok((typed, ready))
}

impl Loaded {
    /// Reads and types a model; its card is the one that is given, or one beside the file, or in the model's metadata.
    pub fn read(path: &Path, options: &LoadOptions) -> Result<Loaded> {
        // Kernels of our own know a gradient graph's functions.
        let model = read_model_keeping(path, options.random_weights, &functions::is_ours)?;
        let beside = match options.card {
            Some(_) => None,
            None => Card::beside(path)?,
        };
        let read = beside.is_some().then(|| Card::path_beside(path));
        let mut loaded = Loaded::of(model, beside, options)?;
        loaded.files.extend(read);
        Ok(loaded)
    }

    /// The same of a file's bytes, without data in other files; `name` stands in messages and records. Its card is the one that
    /// is given, or in the model's metadata.
    pub fn parse(bytes: &[u8], name: &str, options: &LoadOptions) -> Result<Loaded> {
        let model = parse_model_keeping(bytes, name, None, options.random_weights, &functions::is_ours)?;
        Loaded::of(model, None, options)
    }

    fn of(mut model: Model, beside: Option<Card>, options: &LoadOptions) -> Result<Loaded> {
        let files = model.external.clone();
        let graph = &mut model.graph;
        let found = match options.card.clone().or(beside) {
            Some(card) => Some(card),
            None => graph.metadata.get(names::CARD).map(|t| Card::parse(t, "in the model's metadata")).transpose()?,
        };
        options.card.as_ref().map_or(Ok(()), |card| card.check("that is given"))?;
        let card_source = if found.is_some() { CardSource::Known } else { CardSource::Assumed };
        let card = found.unwrap_or_default();
        let mut shapes = BTreeMap::new();
        if let (Some(input), Some(shape)) = (graph.inputs.first(), &options.shape) {
            shapes.insert(input.name.clone(), shape.clone());
        }
        if let (Ok(input), Some([h, w]), None) = (sole_input(graph), card.input.size, &options.shape) {
            shapes.insert(input.name.clone(), sized(input, h, w, card.input.layout));
        }
        fix_shapes(graph, &shapes)?;
        let types = Types::default();
        let (typed, ready_made) = typed_with_its_parts(std::mem::take(graph), &options.parts, &types)?;
        let output = options.output.clone();
        let score = match &ready_made {
            Some(ready) => score_of(ready, options.score)?,
            None => options.score,
        };
        let over = typed.graph.metadata.get(names::OVER).and_then(|text| serde_json::from_str(text).ok());
        let (id, scores) = (LOADED.fetch_add(1, Ordering::Relaxed), OnceLock::new());
        Ok(Loaded { model, typed, ready_made, card, card_source, files, id, output, score, over, scores, types })
    }

    /// Whether the input is several images.
    pub fn takes_batches(&self) -> Result<bool> {
        Ok(self.layout()?.is_some() && self.input_shape()?.first().is_some_and(|&images| images > 1))
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

    /// The gradient graph for what is wanted.
    pub fn derive(&self, wanted: &Wanted) -> Result<GradientGraph> {
        self.derive_sharing(wanted, &mut Shuffles::default())
    }

    /// The same, of a model that shares shuffled parameters with others.
    pub(crate) fn derive_sharing(&self, wanted: &Wanted, shuffles: &mut Shuffles) -> Result<GradientGraph> {
        if let Some(ready) = &self.ready_made {
            return fitting(ready, wanted);
        }
        let settings = Settings { bounds: self.bounds()?, ..wanted.settings.clone() };
        let spec = Spec {
            composite: wanted.composite,
            input_gradient: wanted.input_gradient,
            taps: wanted.taps.clone(),
            implicit_biases: wanted.implicit_biases,
            output: self.output.clone(),
            score: self.score,
            settings,
        };
        differentiate(self.changed(&wanted.changes, shuffles)?.as_ref(), &spec)
    }

    /// The typed graph with some changes.
    ///
    /// Errors: a gradient graph, whose backward part has parameters of its own.
    pub(crate) fn changed(&self, changes: &[Change], shuffles: &mut Shuffles) -> Result<Cow<'_, TypedGraph>> {
        if changes.is_empty() {
            return Ok(Cow::Borrowed(&self.typed));
        }
        if self.ready_made.is_some() {
            return Err(Error::usage(UNCHANGEABLE));
        }
        let (mut typed, input) = (self.typed.clone(), self.input()?);
        changes.iter().for_each(|change| change.apply(&mut typed, input, shuffles));
        Ok(Cow::Owned(typed))
    }

    /// What the file says of half precision; nothing where it can't be read.
    pub fn validated(&self) -> Option<Validated> {
        let graph = self.ready_made.as_ref().map_or(&self.typed.graph, |ready| &ready.graph);
        graph.metadata.get(names::HALVES).and_then(|text| serde_json::from_str(text).ok())
    }

    /// How many of its nodes have parameters.
    pub fn layers(&self) -> usize {
        layers(&self.typed.graph).len()
    }

    /// The least and greatest value that pixels can have, as the card says.
    pub fn bounds(&self) -> Result<Bounds> {
        let axis = if self.layout()? == Some(Layout::ChannelsLast) { 3 } else { 1 };
        let channels = self.card.input.mean.len().max(self.card.input.std.len());
        let at = |pixel: f32| -> Vec<f32> { (0..channels).map(|c| self.card.input.value(pixel, c)).collect() };
        Ok(Bounds { low: at(0.0), high: at(255.0), axis })
    }

    /// The layer that CAM methods are taken at: the named one, or the default.
    pub(crate) fn layer(&self, name: Option<&str>) -> Result<Layer> {
        match &self.ready_made {
            None => choose_layer(&cam_layers(&self.typed, self.output(), self.layout()?)?, name),
            Some(ready) => tapped_layer(ready, name),
        }
    }
}

fn sized(input: &Input, h: usize, w: usize, layout: Option<LayoutName>) -> Vec<usize> {
    let extent = |axis: usize, open: usize| match input.dims.as_ref().and_then(|d| d.get(axis)) {
        Some(Dim::Fixed(n)) => *n,
        _ => open,
    };
    match layout {
        Some(LayoutName::Nhwc) => vec![extent(0, 1), extent(1, h), extent(2, w), extent(3, 3)],
        _ => vec![extent(0, 1), extent(1, 3), extent(2, h), extent(3, w)],
    }
}

/// Whether a gradient graph from a file has the rules of a composite; one that somebody else has exported has none.
pub(crate) fn is_made_with(ready: &GradientGraph, composite: &Composite) -> bool {
    ready.composite == composite.name || (ready.composite == "as exported" && composite.rules.is_empty())
}

/// What of a class a gradient graph from a file explains, which is settled.
fn score_of(ready: &GradientGraph, asked: Score) -> Result<Score> {
    match (ready.logits == names::PROBABILITIES, asked) {
        (true, _) => Ok(Score::Probability),
        (false, Score::Logit) => Ok(Score::Logit),
        (false, Score::Probability) => Err(Error::usage(
            "the gradient graph explains logits; compile one with --score probability, or use the forward model",
        )),
    }
}

/// A gradient graph from a file has its rules and taps fixed.
fn fitting(ready: &GradientGraph, wanted: &Wanted) -> Result<GradientGraph> {
    let composite = wanted.composite;
    if !wanted.changes.is_empty() {
        return Err(Error::usage(UNCHANGEABLE));
    }
    if wanted.settings.softplus.is_some() {
        return Err(Error::usage("Softplus in the place of Relu wants the forward model, not a gradient graph"));
    }
    if !is_made_with(ready, composite) {
        return Err(Error::usage(format!(
            "the method wants the composite '{}', but this gradient graph was made with '{}'; use the forward model",
            composite.name, ready.composite
        )));
    }
    let mut derived = ready.clone();
    derived.taps.retain(|t| wanted.taps.contains(&t.layer));
    if !wanted.input_gradient {
        derived.input_gradient = None;
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
    Ok(Layer { name: tap.layer.clone(), op: String::new(), shape, layout, scores: false })
}
