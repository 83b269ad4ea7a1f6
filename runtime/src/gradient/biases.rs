//! The biases of a model, and the values that they are added to: what FullGrad adds up beside the input.

use super::graph::TapOutputs;
use super::layers::{images, path_of};
use crate::error::Result;
use crate::onnx::{Layout, Node, Tensor, TypedGraph};

/// A constant that is added on the way from the input to the target.
#[derive(Clone, Debug, PartialEq)]
pub struct Bias {
    /// The value that is the sum.
    pub value: String,
    /// Extents of the value.
    pub shape: Vec<usize>,
    /// Extents to which the constant is aligned, as many as the value has: each is the value's, or one.
    pub aligned: Vec<usize>,
    /// The constant.
    pub bias: Vec<f32>,
    /// Where the value's channels are, if it is an image.
    pub layout: Option<Layout>,
}

impl Bias {
    /// What is added to the value's element of this place.
    pub fn at(&self, mut place: usize) -> f32 {
        let (mut from, mut step) = (0, 1);
        for (&extent, &own) in self.shape.iter().zip(&self.aligned).rev() {
            from += if own == 1 { 0 } else { (place % extent) * step };
            place /= extent;
            step *= own;
        }
        self.bias[from]
    }

    /// Values of the value's extents, each times what is added there.
    pub fn times(&self, values: &[f32]) -> Vec<f32> {
        // Behind the last axis that it is aligned to it stays the same.
        let constant = self.aligned.iter().rev().take_while(|&&own| own == 1).count();
        let run: usize = self.shape[self.shape.len() - constant..].iter().product();
        let mut products = Vec::with_capacity(values.len());
        for (number, own) in values.chunks(run.max(1)).enumerate() {
            let bias = self.at(number * run);
            products.extend(own.iter().map(|value| value * bias));
        }
        products
    }
}

/// Every bias between the input, of this layout, and the target behind `output` (the first by default): of convolutions and dense layers, of
/// batch normalisations (`shift - scale mean / deviation`) and other norms, and constants that are added or subtracted.
pub fn find_biases(typed: &TypedGraph, output: Option<&str>, layout: Option<Layout>) -> Result<Vec<Bias>> {
    let path = path_of(typed, output)?;
    let images = images(typed, &path, layout)?;
    let between = typed.graph.nodes.iter().zip(&path.between).filter(|(_, between)| **between);
    let biases = between.filter_map(|(node, _)| bias_of(typed, node, &|name: &str| path.active.contains(name)));
    Ok(biases.map(|bias| Bias { layout: images.get(bias.value.as_str()).copied(), ..bias }).collect())
}

/// What stands for the implicit biases that a gradient graph hands out as taps: what is tapped is the whole product, so that
/// each counts once.
pub fn implicit_biases(
    typed: &TypedGraph,
    output: Option<&str>,
    layout: Option<Layout>,
    taps: &[TapOutputs],
) -> Result<Vec<Bias>> {
    let images = images(typed, &path_of(typed, output)?, layout)?;
    let one = |tap: &TapOutputs| {
        let (value, shape) = (tap.layer.clone(), typed.facts[&tap.layer].shape.clone());
        let (aligned, layout) = (vec![1; shape.len()], images.get(value.as_str()).copied());
        Bias { value, shape, aligned, bias: vec![1.0], layout }
    };
    Ok(taps.iter().map(one).collect())
}

fn bias_of(typed: &TypedGraph, node: &Node, is_active: &dyn Fn(&str) -> bool) -> Option<Bias> {
    let constant = |slot: usize| -> Option<&Tensor> { typed.graph.constants.get(node.input(slot)?) };
    let value = node.output(0)?;
    let shape = typed.facts.get(value)?.shape.clone();
    let rank = shape.len();
    let along = |axis: usize, len: usize| (0..rank).map(|i| if i == axis { len } else { 1 }).collect::<Vec<_>>();
    let aligned = |tensor: &Tensor| [vec![1; rank.saturating_sub(tensor.shape.len())], tensor.shape.clone()].concat();
    let scaled = |values: Vec<f32>, by: f32| values.into_iter().map(|v| v * by).collect::<Vec<_>>();
    let (bias, aligned) = match node.op.as_str() {
        "Conv" | "ConvTranspose" | "InstanceNormalization" => {
            let bias = constant(2)?.to_f32()?;
            let len = bias.len();
            (bias, along(1, len))
        }
        "Gemm" => (scaled(constant(2)?.to_f32()?, node.float("beta", 1.0)), aligned(constant(2)?)),
        "BatchNormalization" => {
            let (_, shift) = node.batch_norm(|name| typed.graph.constants.get(name)?.to_f32())?;
            let bias: Vec<f32> = shift.into_iter().map(|v| v as f32).collect();
            let len = bias.len();
            (bias, along(1, len))
        }
        "GroupNormalization" => {
            let bias = of_channels(constant(2)?, shape[1])?;
            (bias, along(1, shape[1]))
        }
        "LayerNormalization" => (constant(2)?.to_f32()?, aligned(constant(2)?)),
        "Add" | "Sub" => {
            let slot = (0..2).find(|&slot| constant(slot).is_some())?;
            is_active(node.input(1 - slot)?).then_some(())?;
            let sign = if node.op == "Sub" && slot == 1 { -1.0 } else { 1.0 };
            (scaled(constant(slot)?.to_f32()?, sign), aligned(constant(slot)?))
        }
        _ => return None,
    };
    let fits = aligned.len() == rank && aligned.iter().zip(&shape).all(|(a, s)| a == s || *a == 1);
    fits.then(|| Bias { value: value.to_string(), shape, aligned, bias, layout: None })
}

/// A bias for each of `channels`, of one for each or for each group of as many.
pub(super) fn of_channels(bias: &Tensor, channels: usize) -> Option<Vec<f32>> {
    let values = bias.to_f32()?;
    let each = channels.checked_div(values.len())?;
    (each * values.len() == channels).then(|| values.iter().flat_map(|v| std::iter::repeat_n(*v, each)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn biases_are_broadcast_as_their_extents_say() {
        let bias = |aligned: &[usize], bias: &[f32]| Bias {
            value: "v".into(),
            shape: vec![1, 2, 3],
            aligned: aligned.to_vec(),
            bias: bias.to_vec(),
            layout: None,
        };
        let all = |b: Bias| {
            let each: Vec<f32> = (0..6).map(|i| b.at(i)).collect();
            assert_eq!(b.times(&[1.0; 6]), each);
            each
        };
        assert_eq!(all(bias(&[1, 2, 1], &[1.0, 2.0])), [1.0, 1.0, 1.0, 2.0, 2.0, 2.0]);
        assert_eq!(all(bias(&[1, 1, 3], &[1.0, 2.0, 3.0])), [1.0, 2.0, 3.0, 1.0, 2.0, 3.0]);
        assert_eq!(all(bias(&[1, 1, 1], &[4.0])), [4.0; 6]);
        assert_eq!(all(bias(&[1, 2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    }
}
