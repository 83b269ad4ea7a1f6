//! LRP's rules that look at weights alone: flat (Lapuschkin et al. 2019) shares evenly among what an output reads, w-squared
//! (Montavon et al. 2017) by the squares of weights.

use super::Rule;
use super::linear::{Layer, quotient};
use crate::gradient::site::{Refusal, Site};

/// Evenly.
pub const FLAT: Rule =
    Rule { name: "flat", covers: &[&[("Conv", flat), ("ConvTranspose", flat), ("Gemm", flat), ("MatMul", flat)]] };

/// By squares.
pub const W_SQUARED: Rule = Rule {
    name: "w-squared",
    covers: &[&[("Conv", squared), ("ConvTranspose", squared), ("Gemm", squared), ("MatMul", squared)]],
};

fn flat(s: &mut Site) -> Result<(), Refusal> {
    Layer::or_epsilon(s, |s, layer| by_weights(s, layer, |_| 1.0, |_| 0.0))
}

fn squared(s: &mut Site) -> Result<(), Refusal> {
    Layer::or_epsilon(s, |s, layer| by_weights(s, layer, |w| w * w, |b| b * b))
}

fn by_weights(s: &mut Site, layer: &Layer, weight: fn(f32) -> f32, bias: fn(f32) -> f32) -> Result<(), Refusal> {
    let ones = layer.ones(s);
    let part = layer.part(s, ones, weight);
    let bias = layer.bias(s, bias);
    let parts = vec![part];
    let z = layer.run(s, &parts, bias);
    let ratio = quotient(s, &z);
    let relevance = layer.share_out(s, parts, &ratio)?;
    layer.give(s, relevance);
    Ok(())
}
