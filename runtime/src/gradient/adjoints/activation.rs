//! Activation functions. Where one has a kink, the derivative there is that of the flat side (0 for Relu).

use crate::gradient::functions::{CLIP_GRAD, RELU_GRAD};
use crate::gradient::site::{AdjointFn, Refusal, Site};

pub const TABLE: &[(&str, AdjointFn)] = &[
    ("Relu", relu),
    ("LeakyRelu", leaky_relu),
    ("PRelu", prelu),
    ("Clip", clip),
    ("Elu", elu),
    ("Selu", selu),
    ("ThresholdedRelu", thresholded_relu),
    ("Sigmoid", sigmoid),
    ("HardSigmoid", hard_sigmoid),
    ("HardSwish", hard_swish),
    ("Tanh", tanh),
    ("Softplus", softplus),
    ("Softsign", softsign),
    ("Gelu", gelu),
    ("Mish", mish),
];

fn relu(s: &mut Site) -> Result<(), Refusal> {
    let (g, x) = (s.g(), s.x(0));
    let dx = s.emit.call(&RELU_GRAD, &[&g, &x]);
    s.give(0, dx);
    Ok(())
}

/// Gives `g` where `x > 0` and `g * below` elsewhere.
fn give_below_zero(s: &mut Site, below: &str) -> Result<(), Refusal> {
    let (g, x) = (s.g(), s.x(0));
    let zero = s.emit.scalar(0.0);
    let above = s.emit.op("Greater", &[&x, &zero]);
    let scaled = s.emit.mul(&g, below);
    let dx = s.emit.op("Where", &[&above, &g, &scaled]);
    s.give(0, dx);
    Ok(())
}

fn leaky_relu(s: &mut Site) -> Result<(), Refusal> {
    let alpha = s.node.float("alpha", 0.01);
    let below = s.emit.scalar(alpha);
    give_below_zero(s, &below)
}

fn prelu(s: &mut Site) -> Result<(), Refusal> {
    s.constant_only(1, "slope")?;
    let slope = s.x(1);
    give_below_zero(s, &slope)
}

fn clip(s: &mut Site) -> Result<(), Refusal> {
    s.constant_only(1, "lower bound")?;
    s.constant_only(2, "upper bound")?;
    let bound = |s: &mut Site, i: usize, none: f32| match s.node.input(i) {
        Some(name) => name.to_string(),
        None => s.emit.scalar(none),
    };
    let (low, high) = (bound(s, 1, f32::NEG_INFINITY), bound(s, 2, f32::INFINITY));
    let (g, x) = (s.g(), s.x(0));
    let dx = s.emit.call(&CLIP_GRAD, &[&g, &x, &low, &high]);
    s.give(0, dx);
    Ok(())
}

/// Below zero `y = alpha (e^x - 1)`, whose slope is `y + alpha`.
fn elu(s: &mut Site) -> Result<(), Refusal> {
    let alpha = s.node.float("alpha", 1.0);
    let below = s.emit.shift(&s.y(), alpha);
    give_below_zero(s, &below)
}

fn selu(s: &mut Site) -> Result<(), Refusal> {
    let alpha = s.node.float("alpha", 1.673_263_2);
    let gamma = s.node.float("gamma", 1.050_701);
    let below = s.emit.shift(&s.y(), alpha * gamma);
    let (g, x) = (s.g(), s.x(0));
    let zero = s.emit.scalar(0.0);
    let on = s.emit.op("Greater", &[&x, &zero]);
    let above = s.emit.scalar(gamma);
    let slope = s.emit.op("Where", &[&on, &above, &below]);
    let dx = s.emit.mul(&g, &slope);
    s.give(0, dx);
    Ok(())
}

fn thresholded_relu(s: &mut Site) -> Result<(), Refusal> {
    let (g, x) = (s.g(), s.x(0));
    let alpha = s.emit.scalar(s.node.float("alpha", 1.0));
    let on = s.emit.op("Greater", &[&x, &alpha]);
    let dx = s.emit.keep_where(&on, &g);
    s.give(0, dx);
    Ok(())
}

/// `v (1 - v)` of a sigmoid's value
fn sigmoid_slope(s: &mut Site, v: &str) -> String {
    let one = s.emit.scalar(1.0);
    let rest = s.emit.sub(&one, v);
    s.emit.mul(v, &rest)
}

fn sigmoid(s: &mut Site) -> Result<(), Refusal> {
    let y = s.y();
    let slope = sigmoid_slope(s, &y);
    s.give_slope(&slope)
}

/// `alpha` where `0 < alpha x + beta < 1`
fn hard_sigmoid(s: &mut Site) -> Result<(), Refusal> {
    let (alpha, beta) = (s.node.float("alpha", 0.2), s.node.float("beta", 0.5));
    let (g, x) = (s.g(), s.x(0));
    let scaled = s.emit.scale(&x, alpha);
    let line = s.emit.shift(&scaled, beta);
    let (low, high) = (s.emit.scalar(0.0), s.emit.scalar(1.0));
    let steep = s.emit.scale(&g, alpha);
    let dx = s.emit.call(&CLIP_GRAD, &[&steep, &line, &low, &high]);
    s.give(0, dx);
    Ok(())
}

/// 0 up to -3, 1 from 3 on, `(2x + 3) / 6` between
fn hard_swish(s: &mut Site) -> Result<(), Refusal> {
    let (g, x) = (s.g(), s.x(0));
    let (low, high) = (s.emit.scalar(-3.0), s.emit.scalar(3.0));
    let third = s.emit.scale(&x, 1.0 / 3.0);
    let line = s.emit.shift(&third, 0.5);
    let inner = s.emit.mul(&g, &line);
    let below = s.emit.op("Less", &[&x, &high]);
    let upper = s.emit.op("Where", &[&below, &inner, &g]);
    let above = s.emit.op("Greater", &[&x, &low]);
    let dx = s.emit.keep_where(&above, &upper);
    s.give(0, dx);
    Ok(())
}

/// `1 - v^2` of a hyperbolic tangent's value
fn tanh_slope(s: &mut Site, v: &str) -> String {
    let square = s.emit.mul(v, v);
    let one = s.emit.scalar(1.0);
    s.emit.sub(&one, &square)
}

fn tanh(s: &mut Site) -> Result<(), Refusal> {
    let y = s.y();
    let slope = tanh_slope(s, &y);
    s.give_slope(&slope)
}

fn softplus(s: &mut Site) -> Result<(), Refusal> {
    let slope = s.emit.op("Sigmoid", &[&s.x(0)]);
    s.give_slope(&slope)
}

/// `1 / (1 + |x|)^2`
fn softsign(s: &mut Site) -> Result<(), Refusal> {
    let (g, x) = (s.g(), s.x(0));
    let size = s.emit.op("Abs", &[&x]);
    let below = s.emit.shift(&size, 1.0);
    let square = s.emit.mul(&below, &below);
    let dx = s.emit.div(&g, &square);
    s.give(0, dx);
    Ok(())
}

fn gelu(s: &mut Site) -> Result<(), Refusal> {
    let slope = match s.node.text("approximate", "none") {
        "none" => gelu_slope(s),
        "tanh" => gelu_tanh_slope(s),
        other => return Err(format!("approximation '{other}' is not known")),
    };
    s.give_slope(&slope)
}

/// `Phi(x) + x phi(x)`, with the standard normal's distribution and density
fn gelu_slope(s: &mut Site) -> String {
    let x = s.x(0);
    let scaled = s.emit.scale(&x, std::f32::consts::FRAC_1_SQRT_2);
    let erf = s.emit.op("Erf", &[&scaled]);
    let shifted = s.emit.shift(&erf, 1.0);
    let distribution = s.emit.scale(&shifted, 0.5);
    let square = s.emit.mul(&x, &x);
    let exponent = s.emit.scale(&square, -0.5);
    let bell = s.emit.op("Exp", &[&exponent]);
    let density = s.emit.scale(&bell, 0.398_942_3);
    let moved = s.emit.mul(&x, &density);
    s.emit.add(&distribution, &moved)
}

/// With `u = sqrt(2/pi) (x + c x^3)` and `t = tanh u`: `(1 + t)/2 + x (1 - t^2)/2 * u'`
fn gelu_tanh_slope(s: &mut Site) -> String {
    const ROOT: f32 = 0.797_884_6;
    const C: f32 = 0.044_715;
    let x = s.x(0);
    let square = s.emit.mul(&x, &x);
    let curve = s.emit.scale(&square, C);
    let factor = s.emit.shift(&curve, 1.0);
    let inner = s.emit.mul(&x, &factor);
    let u = s.emit.scale(&inner, ROOT);
    let t = s.emit.op("Tanh", &[&u]);
    let shifted = s.emit.shift(&t, 1.0);
    let left = s.emit.scale(&shifted, 0.5);
    let steep = s.emit.scale(&square, 3.0 * C);
    let steep = s.emit.shift(&steep, 1.0);
    let inner_slope = s.emit.scale(&steep, 0.5 * ROOT);
    let bend = tanh_slope(s, &t);
    let right = s.emit.mul(&bend, &inner_slope);
    let right = s.emit.mul(&x, &right);
    s.emit.add(&left, &right)
}

/// With `t = tanh(softplus x)`: `t + x (1 - t^2) sigmoid x`
fn mish(s: &mut Site) -> Result<(), Refusal> {
    let x = s.x(0);
    let soft = s.emit.op("Softplus", &[&x]);
    let t = s.emit.op("Tanh", &[&soft]);
    let bend = tanh_slope(s, &t);
    let gate = s.emit.op("Sigmoid", &[&x]);
    let moved = s.emit.mul(&x, &bend);
    let moved = s.emit.mul(&moved, &gate);
    let slope = s.emit.add(&t, &moved);
    s.give_slope(&slope)
}
