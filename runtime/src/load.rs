//! A model file, read, typed and given its meaning: what a method is prepared from.

use std::collections::BTreeMap;
use std::path::Path;

use crate::engine::TractOperators;
use crate::error::{Error, Result};
use crate::gradient::layers::{Layer, cam_layers, choose_layer};
use crate::gradient::ready_made::{Parts, as_gradient_graph};
use crate::gradient::{Bounds, Composite, GradientGraph, Settings, Spec, differentiate, names, sole_input};
use crate::onnx::card::LayoutName;
use crate::onnx::{Card, Dim, Input, Layout, Model, TypedGraph, fix_shapes, read_model, type_graph};

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
    pub(crate) random_weights: Option<u64>,
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
    pub fn derive(
        &self,
        composite: &'static Composite,
        settings: &Settings,
        layer: Option<&Layer>,
    ) -> Result<GradientGraph> {
        if let Some(ready) = &self.ready_made {
            return fitting(ready, composite, layer);
        }
        let settings = Settings { bounds: self.bounds()?, ..settings.clone() };
        let taps = layer.map(|l| vec![l.name.clone()]).unwrap_or_default();
        let spec = Spec { composite, input_gradient: taps.is_empty(), taps, output: self.output.clone(), settings };
        differentiate(&self.typed, &spec)
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
            None => choose_layer(&cam_layers(&self.typed, self.output())?, name),
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
