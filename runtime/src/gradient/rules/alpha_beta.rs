//! LRP's alpha-beta rule (Bach et al. 2015): relevance is shared out along positive contributions `alpha` times, and along
//! negative ones `beta = alpha - 1` times with the other sign. Z-plus is `alpha = 1`: positive contributions alone.

use super::Rule;
use super::linear::{Layer, Part, Sign, quotient};
use crate::gradient::site::{AdjointFn, Refusal, Site};

/// Alpha-beta in every layer with weights.
pub const ALL: Rule = Rule { name: "alpha-beta", covers: &[CONV_FORMS, DENSE_FORMS] };
/// Alpha-beta in convolutions.
pub const CONV: Rule = Rule { name: "alpha-beta", covers: &[CONV_FORMS] };
/// Z-plus in every layer with weights.
pub const Z_PLUS: Rule = Rule { name: "z-plus", covers: &[PLUS_CONV_FORMS, PLUS_DENSE_FORMS] };
/// Z-plus in convolutions.
pub const Z_PLUS_CONV: Rule = Rule { name: "z-plus", covers: &[PLUS_CONV_FORMS] };
/// Z-plus without biases, of inputs that can't be negative.
pub const DEEP_TAYLOR: Rule = Rule {
    name: "deep-taylor",
    covers: &[&[("Conv", taylor), ("ConvTranspose", taylor), ("Gemm", taylor), ("MatMul", taylor)], SUMS],
};
/// Z-plus without biases, of what of the inputs is positive.
pub const EXCITATION: Rule = Rule {
    name: "excitation",
    covers: &[&[("Conv", excite), ("ConvTranspose", excite), ("Gemm", excite), ("MatMul", excite)], SUMS],
};

const CONV_FORMS: &[(&str, AdjointFn)] = &[("Conv", alpha_beta), ("ConvTranspose", alpha_beta)];
const DENSE_FORMS: &[(&str, AdjointFn)] = &[("Gemm", alpha_beta), ("MatMul", alpha_beta)];
const PLUS_CONV_FORMS: &[(&str, AdjointFn)] = &[("Conv", z_plus), ("ConvTranspose", z_plus)];
const PLUS_DENSE_FORMS: &[(&str, AdjointFn)] = &[("Gemm", z_plus), ("MatMul", z_plus)];
/// Sums of branches, where a branch may be negative.
const SUMS: &[(&str, AdjointFn)] = &[("Add", positive_sum), ("Sum", positive_sum)];

fn z_plus(s: &mut Site) -> Result<(), Refusal> {
    Layer::or_epsilon(s, |s, layer| along(s, layer, Sign::Plus, 1.0, true))
}

fn alpha_beta(s: &mut Site) -> Result<(), Refusal> {
    Layer::or_epsilon(s, |s, layer| {
        let alpha = s.settings.alpha;
        along(s, layer, Sign::Plus, alpha, true)?;
        match alpha > 1.0 {
            true => along(s, layer, Sign::Minus, 1.0 - alpha, true),
            false => Ok(()),
        }
    })
}

fn taylor(s: &mut Site) -> Result<(), Refusal> {
    Layer::or_epsilon(s, |s, layer| {
        if !s.known.is_nonnegative(&layer.input(s)) {
            return Err("its input may be negative; deep Taylor decomposition wants Relu before every layer".into());
        }
        along(s, layer, Sign::Plus, 1.0, false)
    })
}

fn excite(s: &mut Site) -> Result<(), Refusal> {
    Layer::or_epsilon(s, |s, layer| {
        let parts = match layer.clamped(s, Sign::Plus) {
            Some(input) => vec![layer.part(s, input, |w| w.max(0.0))],
            None => vec![],
        };
        share(s, layer, parts, None, 1.0)
    })
}

/// To each branch in proportion to what of it is positive.
fn positive_sum(s: &mut Site) -> Result<(), Refusal> {
    let mut positive = vec![];
    for slot in 0..s.node.inputs.len() {
        let x = s.x(slot);
        positive.push(s.emit.op("Relu", &[&x]));
    }
    let mut sum = positive[0].clone();
    for branch in &positive[1..] {
        sum = s.emit.add(&sum, branch);
    }
    let ratio = quotient(s, &sum);
    for (slot, branch) in positive.iter().enumerate().filter(|(slot, _)| s.needs(*slot)).collect::<Vec<_>>() {
        let share = s.emit.mul(&ratio, branch);
        s.give_broadcast(slot, share);
    }
    Ok(())
}

/// Shares out `factor` of the relevance along contributions of one sign.
fn along(s: &mut Site, layer: &Layer, sign: Sign, factor: f32, biased: bool) -> Result<(), Refusal> {
    let opposite = if sign == Sign::Plus { Sign::Minus } else { Sign::Plus };
    let mut parts: Vec<Part> = vec![];
    for (of_input, of_weight) in [(Sign::Plus, sign), (Sign::Minus, opposite)] {
        if let Some(input) = layer.clamped(s, of_input) {
            parts.push(layer.part(s, input, |w| of_weight.of(w)));
        }
    }
    let bias = if biased { layer.bias(s, |b| sign.of(b)) } else { None };
    share(s, layer, parts, bias, factor)
}

fn share(
    s: &mut Site,
    layer: &Layer,
    parts: Vec<Part>,
    bias: Option<crate::gradient::emit::Name>,
    factor: f32,
) -> Result<(), Refusal> {
    let z = layer.run(s, &parts, bias);
    let ratio = quotient(s, &z);
    let ratio = s.emit.scale(&ratio, factor);
    let relevance = layer.share_out(s, parts, &ratio)?;
    layer.give(s, relevance);
    Ok(())
}
