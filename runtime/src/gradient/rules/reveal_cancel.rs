//! DeepLIFT's RevealCancel rule (Shrikumar et al. 2017): what adds to a value and what takes from it are told apart
//! (`Parts`), and each has a multiplier of its own, so that contributions that cancel are not lost.
//!
//! [`behind_layers`] says how parts come to an op's output, [`CANCEL`] how multipliers go back where an output has them.
//! Values without parts go by the Rescale rule.

use super::Rule;
use super::linear::Layer;
use super::rescale::secant;
use super::reuse::{own, own_for};
use crate::gradient::emit::{Emit, Name};
use crate::gradient::known::LAYERS;
use crate::gradient::site::{AdjointFn, OUTPUT, Parts, Refusal, Site};

/// What goes back through layers and functions.
pub const CANCEL: Rule = Rule {
    name: "reveal-cancel",
    covers: &[&[
        ("Conv", layer),
        ("ConvTranspose", layer),
        ("Gemm", layer),
        ("MatMul", layer),
        ("Relu", function),
        ("LeakyRelu", function),
        ("PRelu", function),
        ("Clip", function),
        ("Elu", function),
        ("Selu", function),
        ("Sigmoid", function),
        ("HardSigmoid", function),
        ("HardSwish", function),
        ("Tanh", function),
        ("Softplus", function),
        ("Softsign", function),
        ("Gelu", function),
        ("Mish", function),
        ("Erf", function),
        ("Abs", function),
    ]],
};

/// Whether an op is a function of one value, whose parts the rule tells apart.
pub fn is_function(op: &str) -> bool {
    CANCEL.form(op).is_some() && !LAYERS.contains(&op)
}

/// How parts come to an op's output, behind every layer with weights.
pub fn behind_layers(op: &str) -> Option<AdjointFn> {
    match op {
        "Conv" | "ConvTranspose" => Some(of_layer),
        _ => behind_dense(op),
    }
}

/// The same behind dense layers alone, as the rule's authors have it.
pub fn behind_dense(op: &str) -> Option<AdjointFn> {
    match op {
        "Gemm" | "MatMul" => Some(of_layer),
        "Add" | "Sum" => Some(of_sum),
        // Linear, and none of them changes a sign.
        "Identity" | "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" | "Transpose" => Some(onward),
        "AveragePool" | "GlobalAveragePool" | "ReduceMean" | "ReduceSum" => Some(onward),
        "Conv" | "ConvTranspose" => None,
        _ => CANCEL.form(op).map(|_| of_function as AdjointFn),
    }
}

/// Contributions `w d` above and below zero: half of what the outputs change by and of `sum |w d|`, together and apart.
fn of_layer(s: &mut Site) -> Result<(), Refusal> {
    let Some(layer) = weighed(s)? else { return Ok(()) };
    let (x, y) = (layer.input(s), s.y());
    let moved = difference(s, &x);
    let size = s.emit.op("Abs", &[&moved]);
    let part = layer.part(s, size, f32::abs);
    let sizes = layer.run(s, &[part], None);
    let change = difference(s, &y);
    let (sum, rest) = (s.emit.add(&sizes, &change), s.emit.sub(&sizes, &change));
    // Rounding may leave a little of the wrong sign.
    let (plus, minus) = (s.emit.op("Relu", &[&sum]), s.emit.op("Relu", &[&rest]));
    let parts = Parts { plus: s.emit.scale(&plus, 0.5), minus: s.emit.scale(&minus, -0.5) };
    s.set_parts(parts);
    Ok(())
}

/// Terms that have no parts count by the sign of their difference.
fn of_sum(s: &mut Site) -> Result<(), Refusal> {
    let terms: Vec<Name> = (0..s.node.inputs.len()).map(|slot| s.x(slot)).collect();
    if terms.iter().all(|term| s.parts(term).is_none()) {
        return Ok(());
    }
    let mut sum: Option<Parts> = None;
    for (slot, term) in terms.iter().enumerate().filter(|(slot, _)| s.needs(*slot)).collect::<Vec<_>>() {
        if s.x_shape(slot) != s.y_shape() {
            return Ok(());
        }
        let part = match s.parts(term) {
            Some(parts) => parts,
            None => {
                let (moved, zero) = (difference(s, term), s.emit.scalar(0.0));
                Parts { plus: s.emit.op("Relu", &[&moved]), minus: s.emit.op("Min", &[&moved, &zero]) }
            }
        };
        sum = Some(match sum {
            Some(sum) => Parts { plus: s.emit.add(&sum.plus, &part.plus), minus: s.emit.add(&sum.minus, &part.minus) },
            None => part,
        });
    }
    sum.into_iter().for_each(|sum| s.set_parts(sum));
    Ok(())
}

fn onward(s: &mut Site) -> Result<(), Refusal> {
    let x = s.x(0);
    if let Some(parts) = s.parts(&x) {
        let parts = Parts { plus: at(s, &parts.plus), minus: at(s, &parts.minus) };
        s.set_parts(parts);
    }
    Ok(())
}

/// Each part's effect is the mean of two: on the baseline, and on what the other part makes of it.
fn of_function(s: &mut Site) -> Result<(), Refusal> {
    let (x, y) = (s.x(0), s.y());
    let Some(parts) = s.parts(&x) else { return Ok(()) };
    let (x_ref, y_ref) = (s.reference(&x), s.reference(&y));
    let mut alone = |part: &str| {
        let to = s.emit.add(&x_ref, part);
        at(s, &to)
    };
    let (with_plus, with_minus) = (alone(&parts.plus), alone(&parts.minus));
    let mut effect = |with: &str, with_other: &str| {
        let first = s.emit.sub(with, &y_ref);
        let last = s.emit.sub(&y, with_other);
        let both = s.emit.add(&first, &last);
        s.emit.scale(&both, 0.5)
    };
    let parts = Parts { plus: effect(&with_plus, &with_minus), minus: effect(&with_minus, &with_plus) };
    s.set_parts(parts);
    Ok(())
}

/// A weight goes by the multiplier of the part that its contribution is in: `W'(p + m) / 2 + sign d |W|'(p - m) / 2`.
fn layer(s: &mut Site) -> Result<(), Refusal> {
    let plus = s.g();
    let (Some(layer), Some(minus)) = (weighed(s)?, s.take_minus()) else { return own_or_rescale(s) };
    let (sum, apart) = halves(s.emit, &plus, &minus);
    let x = layer.input(s);
    let moved = difference(s, &x);
    let sign = s.emit.op("Sign", &[&moved]);
    let sizes = layer.part(s, sign, f32::abs);
    let by_sign = layer.share_out(s, vec![sizes], &apart)?;
    let given = own_for(s, &sum, vec![])?;
    given.into_iter().for_each(|(slot, d)| s.give(slot, d));
    layer.give(s, by_sign);
    Ok(())
}

/// The layer, if one input alone decides.
fn weighed(s: &mut Site) -> Result<Option<Layer>, Refusal> {
    if s.needs(2) { Ok(None) } else { Layer::of(s) }
}

fn own_or_rescale(s: &mut Site) -> Result<(), Refusal> {
    match super::rescale::PRODUCTS.form(&s.node.op) {
        Some(product) => product(s),
        None => own(s),
    }
}

/// Each part by the ratio of what it is behind the function to what it was before.
fn function(s: &mut Site) -> Result<(), Refusal> {
    let (x, y) = (s.x(0), s.y());
    let (Some(before), Some(behind)) = (s.parts(&x), s.parts(&y)) else { return secant(s) };
    let plus = s.g();
    let minus = s.take_minus().unwrap_or_else(|| plus.clone());
    let (x_ref, y_ref) = (s.reference(&x), s.reference(&y));
    let size = s.emit.sub(&before.plus, &before.minus);
    let rounding = s.emit.scale(&size, 1e-6);
    for (is_plus, g, before, behind) in
        [(true, plus, before.plus, behind.plus), (false, minus, before.minus, behind.minus)]
    {
        let local = own_for(s, &g, vec![(0, x_ref.clone()), (OUTPUT, y_ref.clone())])?;
        let Some((_, local)) = local.into_iter().next() else { return Ok(()) };
        let change = s.emit.mul(&g, &behind);
        let apart = s.emit.op("Abs", &[&before]);
        let counts = s.emit.op("Greater", &[&apart, &rounding]);
        let one = s.emit.scalar(1.0);
        let divisor = s.emit.op("Where", &[&counts, &before, &one]);
        let ratio = s.emit.div(&change, &divisor);
        let multiplier = s.emit.op("Where", &[&counts, &ratio, &local]);
        if is_plus { s.give(0, multiplier) } else { s.give_minus(0, multiplier) }
    }
    Ok(())
}

/// One multiplier in place of two, for a value whose difference is all one part.
pub fn by_sign(emit: &mut Emit, (value, reference): (&str, &str), plus: &str, minus: &str) -> Name {
    let (sum, apart) = halves(emit, plus, minus);
    let moved = emit.sub(value, reference);
    let sign = emit.op("Sign", &[&moved]);
    let apart = emit.mul(&sign, &apart);
    emit.add(&sum, &apart)
}

/// `(p + m) / 2` and `(p - m) / 2`.
fn halves(emit: &mut Emit, plus: &str, minus: &str) -> (Name, Name) {
    let (sum, apart) = (emit.add(plus, minus), emit.sub(plus, minus));
    (emit.scale(&sum, 0.5), emit.scale(&apart, 0.5))
}

/// `x - x'`
fn difference(s: &mut Site, value: &str) -> Name {
    let reference = s.reference(value);
    s.emit.sub(value, &reference)
}

/// The node's function at another value.
fn at(s: &mut Site, value: &str) -> Name {
    let mut node = s.node.clone();
    node.inputs[0] = value.to_string();
    s.emit.again(&node)
}
