//! DeepLIFT's Rescale rule (Shrikumar et al. 2017): what passes backwards are multipliers, `difference of the target /
//! difference of the value`, where differences are those from a baseline `x'`. Multiplied by the input's difference they add
//! up to the target's.

use super::Rule;
use super::reuse::{MOVES, own, own_for};
use crate::gradient::emit::Name;
use crate::gradient::site::{OUTPUT, Refusal, Site};

/// Ops that are linear in each input: the true gradient.
pub const LINEAR: Rule = Rule {
    name: "rescale",
    covers: &[
        MOVES,
        &[
            ("Conv", own),
            ("ConvTranspose", own),
            ("Add", own),
            ("Sum", own),
            ("Sub", own),
            ("Neg", own),
            ("AveragePool", own),
            ("GlobalAveragePool", own),
            ("ReduceMean", own),
            ("ReduceSum", own),
            ("Resize", own),
            ("BatchNormalization", own),
        ],
    ],
};

/// Products of two values: `y1 y2 - y1' y2' = (y1 - y1') (y2 + y2')/2 + (y2 - y2') (y1 + y1')/2`.
pub const PRODUCTS: Rule = Rule {
    name: "rescale",
    covers: &[&[("Mul", bilinear), ("MatMul", bilinear), ("Gemm", bilinear), ("Einsum", bilinear), ("Div", quotient)]],
};

/// Functions of one value: `(y - y') / (x - x')`, or the derivative at the baseline where both are the same.
pub const ELEMENTWISE: Rule = Rule {
    name: "rescale",
    covers: &[&[
        ("Relu", secant),
        ("LeakyRelu", secant),
        ("PRelu", secant),
        ("Clip", secant),
        ("Elu", secant),
        ("Selu", secant),
        ("ThresholdedRelu", secant),
        ("Sigmoid", secant),
        ("HardSigmoid", secant),
        ("HardSwish", secant),
        ("Tanh", secant),
        ("Softplus", secant),
        ("Softsign", secant),
        ("Gelu", secant),
        ("Mish", secant),
        ("Erf", secant),
        ("Abs", secant),
        ("Sqrt", secant),
        ("Exp", secant),
        ("Log", secant),
        ("Reciprocal", secant),
        ("Pow", power),
        ("Sin", secant),
        ("Cos", secant),
        ("Atan", secant),
        ("Sinh", secant),
        ("Cosh", secant),
    ]],
};

fn bilinear(s: &mut Site) -> Result<(), Refusal> {
    let factors = if s.node.op == "Einsum" { s.node.inputs.len() } else { 2 };
    if factors > 2 {
        return Err("it multiplies more than two values".into());
    }
    let mut middles = vec![];
    for slot in (0..factors).filter(|&i| s.needs(i)).collect::<Vec<_>>() {
        let x = s.x(slot);
        middles.push((slot, middle(s, &x)));
    }
    let g = s.g();
    let given = own_for(s, &g, middles)?;
    given.into_iter().for_each(|(slot, d)| s.give(slot, d));
    Ok(())
}

/// `a / b = a * (1 / b)`, and `1/b - 1/b' = -(b - b') / (b b')`
fn quotient(s: &mut Site) -> Result<(), Refusal> {
    let (g, b, a) = (s.g(), s.x(1), s.x(0));
    let b_ref = s.reference(&b);
    let inverse = s.emit.op("Reciprocal", &[&b]);
    let inverse_ref = s.emit.op("Reciprocal", &[&b_ref]);
    if s.needs(0) {
        let sum = s.emit.add(&inverse, &inverse_ref);
        let half = s.emit.scale(&sum, 0.5);
        let da = s.emit.mul(&g, &half);
        s.give_broadcast(0, da);
    }
    if s.needs(1) {
        let a = middle(s, &a);
        let slope = s.emit.mul(&inverse, &inverse_ref);
        let slope = s.emit.mul(&slope, &a);
        let d = s.emit.mul(&g, &slope);
        let db = s.emit.op("Neg", &[&d]);
        s.give_broadcast(1, db);
    }
    Ok(())
}

fn power(s: &mut Site) -> Result<(), Refusal> {
    s.constant_only(1, "exponent")?;
    secant(s)
}

/// The slope from the baseline.
pub fn secant(s: &mut Site) -> Result<(), Refusal> {
    if s.x_shape(0) != s.y_shape() {
        return Err("it spreads its input over more values".into());
    }
    for slot in 1..s.node.inputs.len() {
        s.constant_only(slot, "second input")?;
    }
    let (g, x, y) = (s.g(), s.x(0), s.y());
    let (x_ref, y_ref) = (s.reference(&x), s.reference(&y));
    let local = own_for(s, &g, vec![(0, x_ref.clone()), (OUTPUT, y_ref.clone())])?;
    let Some((_, local)) = local.into_iter().next() else { return Ok(()) };
    let dy = s.emit.sub(&y, &y_ref);
    let steep = s.emit.mul(&g, &dy);
    let multiplier = over_difference(s, &steep, &local, &x, &x_ref);
    s.give(0, multiplier);
    Ok(())
}

/// `(a + a') / 2`
pub fn middle(s: &mut Site, value: &str) -> Name {
    let reference = s.reference(value);
    if reference == value {
        return reference;
    }
    let sum = s.emit.add(value, &reference);
    s.emit.scale(&sum, 0.5)
}

/// `change / (x - x')`, or `otherwise` where `x` and `x'` are the same to rounding.
pub fn over_difference(s: &mut Site, change: &str, otherwise: &str, x: &str, x_ref: &str) -> Name {
    let dx = s.emit.sub(x, x_ref);
    let (size, apart) = (s.emit.op("Abs", &[x_ref]), s.emit.op("Abs", &[&dx]));
    let rounding = s.emit.scale(&size, 1e-7);
    let rounding = s.emit.shift(&rounding, 1e-7);
    let differs = s.emit.op("Greater", &[&apart, &rounding]);
    let one = s.emit.scalar(1.0);
    let divisor = s.emit.op("Where", &[&differs, &dx, &one]);
    let ratio = s.emit.div(change, &divisor);
    s.emit.op("Where", &[&differs, &ratio, otherwise])
}
