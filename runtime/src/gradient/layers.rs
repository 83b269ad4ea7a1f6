//! The values of a model that are still images: what CAM methods can be taken at.

use std::collections::{HashMap, HashSet};

use crate::onnx::graph::inputs_of;
use crate::onnx::{Layout, Node, TypedGraph};

use super::coverage::{Path, find_path};
use super::differentiate::sole_input;
use super::names::OVER_PLACES;
use super::target::find_target;
use crate::error::{Error, Result};

/// A value that CAM methods can use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// The value's name.
    pub name: String,
    /// The op that writes it.
    pub op: String,
    /// Its extents.
    pub shape: Vec<usize>,
    /// Where its channels are.
    pub layout: Layout,
    /// Whether it is the scores of every place, or made of them: no features.
    pub scores: bool,
}

/// Ops whose results are no features of their own, so not the default layer: the map of what they pool or
/// pass on is finer.
const NOT_DEFAULT: &[&str] = &["MaxPool", "AveragePool", "Pad", "Transpose", "Reshape", "Cast", "Resize"];

/// Ops that mix channels by weights.
const WEIGHTED: &[&str] = &["Conv", "ConvTranspose", "MatMul", "Gemm"];

/// The image-like values between an input of this layout and the target behind `output` (the first by default), in the order they
/// are computed.
pub fn cam_layers(typed: &TypedGraph, output: Option<&str>, layout: Option<Layout>) -> Result<Vec<Layer>> {
    let path = path_of(typed, output)?;
    let images = images(typed, &path, layout)?;
    let mut layers = vec![];
    let between = || typed.graph.nodes.iter().zip(&path.between).enumerate().filter(|(_, (_, between))| **between);
    // Where scores are of places, the last weights on every way make them.
    let target = find_target(typed, output)?.logits;
    let of_places = images.get(target.as_str()).and_then(|layout| layout.split(&typed.facts.get(&target)?.shape));
    let is_of_places = target.ends_with(OVER_PLACES) || of_places.is_some_and(|(_, h, w)| h * w > 1);
    let made = if is_of_places { made_of_scores(typed, &target) } else { HashSet::new() };
    for (at, (node, _)) in between() {
        let Some((name, &layout)) = node.output(0).and_then(|name| Some((name, images.get(name)?))) else { continue };
        let shape = typed.facts[name].shape.clone();
        if layout.split(&shape).is_some_and(|(_, h, w)| h * w > 1) {
            let scores = made.contains(&at);
            layers.push(Layer { name: name.to_string(), op: node.op.clone(), shape, layout, scores });
        }
    }
    Ok(layers)
}

/// The nodes between the last weights, on every way, and the target: those that give the scores, and what is made of them.
fn made_of_scores(typed: &TypedGraph, target: &str) -> HashSet<usize> {
    let producers = typed.graph.producers();
    let (mut made, mut open) = (HashSet::new(), vec![target]);
    while let Some(value) = open.pop() {
        let Some(&at) = producers.get(value) else { continue };
        let node = &typed.graph.nodes[at];
        if made.insert(at) && !WEIGHTED.contains(&node.op.as_str()) {
            open.extend(inputs_of(node));
        }
    }
    made
}

/// The values between the input and the target behind `output`, with the ops that give them, in the order they are computed.
pub fn values_between(typed: &TypedGraph, output: Option<&str>) -> Result<Vec<(String, String)>> {
    let path = path_of(typed, output)?;
    let nodes = typed.graph.nodes.iter().zip(&path.between).filter(|(_, between)| **between);
    Ok(nodes.filter_map(|(node, _)| Some((node.output(0)?.to_string(), node.op.clone()))).collect())
}

/// What lies between the input and the target behind `output`.
pub(super) fn path_of(typed: &TypedGraph, output: Option<&str>) -> Result<Path> {
    let input = sole_input(&typed.graph)?.name.clone();
    Ok(find_path(typed, &[&input], &find_target(typed, output)?.logits))
}

/// The values on the path that are images because the input is one, of this layout, and where their channels are.
pub(super) fn images<'a>(
    typed: &'a TypedGraph,
    path: &Path,
    layout: Option<Layout>,
) -> Result<HashMap<&'a str, Layout>> {
    let mut images: HashMap<&str, Layout> = HashMap::new();
    let mut unfolded: HashMap<&str, Origin> = HashMap::new();
    let input = sole_input(&typed.graph)?;
    if let Some(layout) = layout.filter(|l| typed.facts.get(&input.name).is_some_and(|f| l.split(&f.shape).is_some())) {
        images.insert(&input.name, layout);
    }
    for node in &typed.graph.nodes {
        let active = || node.outputs.iter().filter(|o| path.active.contains(*o)).map(String::as_str);
        let origin = origin(node, typed, &images, &unfolded);
        let back = origin.and_then(|origin| origin.is_back(&typed.facts.get(node.output(0)?)?.shape));
        match (image_layout(node, typed, &images).or(back), origin) {
            (Some(layout), _) => images.extend(active().map(|o| (o, layout))),
            (None, Some(origin)) => unfolded.extend(active().map(|o| (o, origin))),
            (None, None) => {}
        }
    }
    Ok(images)
}

/// An image whose values lie in another shape, in their order but for groups of channels: between two Reshape, as in a shuffle of
/// channels or a norm of groups of them.
#[derive(Clone, Copy)]
struct Origin<'a> {
    shape: &'a [usize],
    layout: Layout,
}

impl Origin<'_> {
    /// The layout of a value that has the image's own shape again.
    fn is_back(self, shape: &[usize]) -> Option<Layout> {
        (shape == self.shape).then_some(self.layout)
    }
}

/// What image a node's output is, where it is one in another shape.
fn origin<'a>(
    node: &Node,
    typed: &'a TypedGraph,
    images: &HashMap<&str, Layout>,
    unfolded: &HashMap<&str, Origin<'a>>,
) -> Option<Origin<'a>> {
    let input = node.input(0)?;
    let shape = |name: &str| Some(typed.facts.get(name)?.shape.as_slice());
    let (from, to) = (shape(input)?, shape(node.output(0)?)?);
    let whole = || Some(Origin { shape: from, layout: *images.get(input)? });
    let origin = unfolded.get(input).copied().or_else(whole)?;
    let (_, height, width) = origin.layout.split(origin.shape)?;
    let is_kept = match node.op.as_str() {
        "Reshape" => true,
        // Channels change places, pixels do not.
        "Transpose" if unfolded.contains_key(input) => {
            let axes = from.len();
            let pixels = match origin.layout {
                Layout::ChannelsFirst => axes.checked_sub(2)?..axes,
                Layout::ChannelsLast => 1..3,
            };
            let perm = node.ints("perm")?;
            from.get(pixels.clone()) == Some(&[height, width][..])
                && pixels.into_iter().all(|axis| perm.get(axis) == Some(&(axis as i64)))
        }
        "InstanceNormalization" | "Add" | "Sub" | "Mul" | "Div" | "Relu" | "Identity" | "Cast" => {
            unfolded.contains_key(input) && from == to
        }
        _ => false,
    };
    is_kept.then_some(origin)
}

/// The layer taken by default: the last image-like value that is not merely pooled or passed on, nor the scores of every place.
pub fn default_layer(layers: &[Layer]) -> Option<&Layer> {
    layers.iter().rev().find(|l| !l.scores && !NOT_DEFAULT.contains(&l.op.as_str()))
}

/// The layer of this name, or the default one.
pub fn choose_layer(layers: &[Layer], name: Option<&str>) -> Result<Layer> {
    match name {
        None => default_layer(layers).cloned().ok_or_else(|| {
            Error::usage(
                "the model has no layer of features with rows and columns, which CAM methods need; use another method",
            )
        }),
        Some(name) => layers.iter().find(|l| l.name == name).cloned().ok_or_else(|| {
            Error::usage(format!("'{name}' is no layer that a CAM method can use; `whyline inspect` lists them"))
        }),
    }
}

/// The layout of a node's output, where that is still an image because its input was one.
fn image_layout(node: &Node, typed: &TypedGraph, images: &HashMap<&str, Layout>) -> Option<Layout> {
    let layout = *node.inputs.iter().find_map(|i| images.get(i.as_str()))?;
    let shape = &typed.facts.get(node.output(0)?)?.shape;
    layout.split(shape)?;
    let channels_last = layout == Layout::ChannelsLast;
    match node.op.as_str() {
        "Transpose" => match node.ints("perm") {
            Some([0, 2, 3, 1]) if !channels_last => Some(Layout::ChannelsLast),
            Some([0, 3, 1, 2]) if channels_last => Some(Layout::ChannelsFirst),
            Some([0, 1, 2, 3]) => Some(layout),
            _ => None,
        },
        "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" | "Expand" | "Tile" | "Gather" | "Einsum" | "Gemm" => None,
        // A matrix product over the last axis mixes channels only if they are last.
        "MatMul" | "LayerNormalization" => channels_last.then_some(layout),
        op if op.starts_with("Reduce") || op == "Softmax" => {
            let input = &typed.facts.get(node.input(0)?)?.shape;
            (layout.split(input)?.1 == layout.split(shape)?.1).then_some(layout)
        }
        _ => Some(layout),
    }
}
