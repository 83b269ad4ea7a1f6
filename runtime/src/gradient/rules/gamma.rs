//! LRP's gamma rule (Montavon et al. 2019), in the form that holds for inputs and outputs of either sign: an output above zero
//! is shared out by contributions of which the positive count `1 + gamma` times, one below zero by contributions of which
//! the negative do.

use super::Rule;
use super::linear::{Layer, Part, Sign, quotient};
use crate::gradient::site::{AdjointFn, Refusal, Site};

/// In every layer with weights.
pub const ALL: Rule = Rule { name: "gamma", covers: &[CONV_FORMS, &[("Gemm", gamma), ("MatMul", gamma)]] };
/// In convolutions.
pub const CONV: Rule = Rule { name: "gamma", covers: &[CONV_FORMS] };

const CONV_FORMS: &[(&str, AdjointFn)] = &[("Conv", gamma), ("ConvTranspose", gamma)];

fn gamma(s: &mut Site) -> Result<(), Refusal> {
    Layer::or_epsilon(s, |s, layer| {
        favouring(s, layer, Sign::Plus)?;
        favouring(s, layer, Sign::Minus)
    })
}

/// Shares out the relevance of outputs of one sign.
fn favouring(s: &mut Site, layer: &Layer, sign: Sign) -> Result<(), Refusal> {
    let gamma = s.settings.gamma;
    let opposite = if sign == Sign::Plus { Sign::Minus } else { Sign::Plus };
    let mut parts: Vec<Part> = vec![];
    for (of_input, of_weight) in [(Sign::Plus, sign), (Sign::Minus, opposite)] {
        if let Some(input) = layer.clamped(s, of_input) {
            parts.push(layer.part(s, input, |w| w + gamma * of_weight.of(w)));
        }
    }
    let bias = layer.bias(s, |b| b + gamma * sign.of(b));
    let z = layer.run(s, &parts, bias);
    let ratio = quotient(s, &z);
    let (y, zero) = (s.y(), s.emit.scalar(0.0));
    let order = if sign == Sign::Plus { "Greater" } else { "Less" };
    let here = s.emit.op(order, &[&y, &zero]);
    let ratio = s.emit.keep_where(&here, &ratio);
    let relevance = layer.share_out(s, parts, &ratio)?;
    layer.give(s, relevance);
    Ok(())
}
