//! How relevance passes products of two values that both depend on the input, and normalisations (Arras et al. 2017; Ali et
//! al. 2022; Achtibat et al. 2024): a gate or an attention weight is a factor like any constant and takes nothing, two signals
//! share alike, and a normalisation's divisor is a constant.

use super::epsilon::proportionally;
use crate::gradient::adjoints::norm::Standardised;
use crate::gradient::site::{AdjointFn, Refusal, Site};

use super::linear::quotient;

/// Products, quotients and normalisations.
pub const FORMS: &[(&str, AdjointFn)] = &[
    ("Gemm", product),
    ("MatMul", product),
    ("Einsum", product),
    ("Mul", product),
    ("Div", division),
    ("LayerNormalization", standardised),
    ("InstanceNormalization", standardised),
    ("GroupNormalization", standardised),
    ("RMSNormalization", scaled),
    ("LRN", divided),
    ("Softmax", softmax),
];

/// To the factors that are signals; of a Gemm's addend besides.
fn product(s: &mut Site) -> Result<(), Refusal> {
    let factors = if s.node.op == "Einsum" { s.node.inputs.len() } else { 2 };
    let mut signals: Vec<usize> = (0..factors).filter(|&i| s.needs(i)).collect();
    if signals.iter().any(|&i| !s.known.is_gate(&s.x(i))) {
        signals.retain(|&i| !s.known.is_gate(&s.x(i)));
    }
    if s.needs(2) && factors == 2 {
        return Err("its addend depends on the input".into());
    }
    // Element by element nothing is added up: each hands on what it has, where its output is zero too.
    if s.node.op == "Mul" && signals.iter().all(|&slot| s.x_shape(slot) == s.y_shape()) {
        let g = s.g();
        let share = s.emit.scale(&g, 1.0 / signals.len().max(1) as f32);
        signals.iter().for_each(|&slot| s.give(slot, share.clone()));
        return Ok(());
    }
    proportionally(s, 1.0 / signals.len().max(1) as f32, |slot| signals.contains(&slot))
}

/// All to what is divided.
fn division(s: &mut Site) -> Result<(), Refusal> {
    if !s.needs(0) {
        return Err("only its divisor depends on the input".into());
    }
    if s.x_shape(0) == s.y_shape() {
        return divided(s);
    }
    proportionally(s, 1.0, |slot| slot == 0)
}

/// `y = c (x - mean x) / d + b` with a constant divisor `d`: linear in `x`.
fn standardised(s: &mut Site) -> Result<(), Refusal> {
    let norm = Standardised::of(s)?;
    let (x, y) = (s.x(0), s.y());
    let ratio = quotient(s, &y);
    let scaled = norm.scaled(s, &ratio);
    let arranged = norm.arranged(s, &x);
    let (_, deviation) = norm.centred(s, &arranged);
    let scaled = s.emit.div(&scaled, &deviation);
    let mean = s.emit.reduce("ReduceMean", &scaled, &norm.axes);
    let slope = s.emit.sub(&scaled, &mean);
    let slope = norm.back(s, &slope);
    let relevance = s.emit.mul(&x, &slope);
    s.give(0, relevance);
    Ok(())
}

/// A factor per element takes nothing.
fn scaled(s: &mut Site) -> Result<(), Refusal> {
    s.constant_only(1, "scale")?;
    divided(s)
}

/// Nor does what each element is divided by.
fn divided(s: &mut Site) -> Result<(), Refusal> {
    let g = s.g();
    s.give(0, g);
    Ok(())
}

fn softmax(_: &mut Site) -> Result<(), Refusal> {
    Err("relevance reaches this Softmax, which weighs nothing; there is no rule for that".into())
}
