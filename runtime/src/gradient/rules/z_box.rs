//! LRP's z-box rule (Montavon et al. 2017) for a layer whose input lies between bounds `l` and `h`:
//! `R_i = sum over j of (x_i w_ij - l_i w_ij+ - h_i w_ij-) R_j / sum over i of the same`; a bias cancels out.

use super::Rule;
use super::linear::{Layer, quotient};
use crate::gradient::emit::Name;
use crate::gradient::site::{Refusal, Site};
use crate::onnx::Tensor;

/// On layers with weights.
pub const ALL: Rule =
    Rule { name: "z-box", covers: &[&[("Conv", z_box), ("ConvTranspose", z_box), ("Gemm", z_box), ("MatMul", z_box)]] };

fn z_box(s: &mut Site) -> Result<(), Refusal> {
    Layer::or_epsilon(s, |s, layer| {
        let x = layer.input(s);
        let [low, high] = bounds(s, layer)?;
        let parts =
            vec![layer.part(s, x, |w| w), layer.part(s, low, |w| -w.max(0.0)), layer.part(s, high, |w| -w.min(0.0))];
        let z = layer.run(s, &parts, None);
        let ratio = quotient(s, &z);
        let relevance = layer.share_out(s, parts, &ratio)?;
        layer.give(s, relevance);
        Ok(())
    })
}

/// The bounds of what the layer reads: what the card's darkest and brightest pixels become, one for every channel or for all, on
/// the way through what normalises the input.
fn bounds(s: &mut Site, layer: &Layer) -> Result<[Name; 2], Refusal> {
    // What a convolution reads has its channels in front, also where the model's input does not.
    let axis = if ["Conv", "ConvTranspose"].contains(&s.node.op.as_str()) { 1 } else { s.settings.bounds.axis };
    let shape = layer.input_shape(s);
    let channels = shape.get(axis).copied().unwrap_or(1);
    let given = [&s.settings.bounds.low, &s.settings.bounds.high];
    let known = given.iter().all(|values| values.len() == channels);
    let [mut low, mut high] = given.map(|values| if known { values.clone() } else { vec![] });
    if !known {
        low = vec![given[0].iter().copied().fold(f32::INFINITY, f32::min); channels];
        high = vec![given[1].iter().copied().fold(f32::NEG_INFINITY, f32::max); channels];
    }
    for (op, constant) in normalisation(s, &layer.input(s))?.into_iter().rev() {
        if ![1, channels].contains(&constant.len()) {
            return Err("what it reads is normalised by more numbers than it has channels".into());
        }
        for (channel, (low, high)) in low.iter_mut().zip(&mut high).enumerate() {
            let c = constant[channel % constant.len()];
            let ends = [*low, *high].map(|v| match op {
                Affine::Add => v + c,
                Affine::Sub => v - c,
                Affine::From => c - v,
                Affine::Mul => v * c,
                Affine::Div => v / c,
            });
            (*low, *high) = (ends[0].min(ends[1]), ends[0].max(ends[1]));
        }
    }
    let mut extents = vec![1; shape.len()];
    if let Some(extent) = extents.get_mut(axis) {
        *extent = channels;
    }
    Ok([low, high].map(|values| {
        let constant = s.emit.constant(Tensor::f32(&extents, &values));
        s.emit.expand(&constant, &shape)
    }))
}

/// What a normalisation does with a value and a constant.
#[derive(Clone, Copy)]
enum Affine {
    Add,
    Sub,
    /// The constant less the value.
    From,
    Mul,
    Div,
}

/// The steps from the model's input to a value, the last first. Steps that leave values their bounds are none.
fn normalisation(s: &Site, value: &str) -> Result<Vec<(Affine, Vec<f32>)>, Refusal> {
    let (mut steps, mut value) = (vec![], value.to_string());
    while let Some(node) = s.emit.graph.nodes.iter().find(|node| node.outputs.contains(&value)) {
        let constant = |slot: usize| s.emit.graph.constants.get(node.input(slot)?)?.to_f32();
        let (step, from) = match (node.op.as_str(), constant(0), constant(1)) {
            ("Add", None, Some(c)) => (Some((Affine::Add, c)), 0),
            ("Add", Some(c), None) => (Some((Affine::Add, c)), 1),
            ("Sub", None, Some(c)) => (Some((Affine::Sub, c)), 0),
            ("Sub", Some(c), None) => (Some((Affine::From, c)), 1),
            ("Mul", None, Some(c)) => (Some((Affine::Mul, c)), 0),
            ("Mul", Some(c), None) => (Some((Affine::Mul, c)), 1),
            ("Div", None, Some(c)) => (Some((Affine::Div, c)), 0),
            ("BatchNormalization", ..) => {
                let (scale, shift) = node
                    .batch_norm(|name| s.emit.graph.constants.get(name)?.to_f32())
                    .ok_or_else(|| format!("'{}' normalises by numbers that are not constant", node.name))?;
                let single = |values: Vec<f64>| values.into_iter().map(|v| v as f32).collect();
                steps.push((Affine::Add, single(shift)));
                (Some((Affine::Mul, single(scale))), 0)
            }
            (op, ..) if KEEPS_BOUNDS.contains(&op) => (None, 0),
            (op, ..) => {
                return Err(format!("the bounds of what it reads are not known: '{}' ({op}) gives it", node.name));
            }
        };
        steps.extend(step);
        value = node.inputs[from].clone();
    }
    Ok(steps)
}

/// Ops whose results lie where their first input does.
const KEEPS_BOUNDS: &[&str] = &[
    "Identity",
    "Cast",
    "Reshape",
    "Flatten",
    "Squeeze",
    "Unsqueeze",
    "Transpose",
    "Slice",
    "Split",
    "Gather",
    "Expand",
    "Tile",
    "Pad",
    "MaxPool",
    "AveragePool",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "ReduceMean",
    "Resize",
    "DepthToSpace",
    "SpaceToDepth",
];
