//! Functions of one value: `dx = g * f'(x)`.

use crate::gradient::site::{AdjointFn, Refusal, Site};

pub const TABLE: &[(&str, AdjointFn)] = &[
    ("Identity", identity),
    ("Cast", identity),
    ("Neg", neg),
    ("Abs", abs),
    ("Sqrt", sqrt),
    ("Exp", exp),
    ("Log", log),
    ("Reciprocal", reciprocal),
    ("Erf", erf),
    ("Sin", sin),
    ("Cos", cos),
    ("Atan", atan),
    ("Sinh", sinh),
    ("Cosh", cosh),
];

fn identity(s: &mut Site) -> Result<(), Refusal> {
    let g = s.g();
    s.give(0, g);
    Ok(())
}

fn neg(s: &mut Site) -> Result<(), Refusal> {
    let g = s.g();
    let dx = s.emit.op("Neg", &[&g]);
    s.give(0, dx);
    Ok(())
}

fn abs(s: &mut Site) -> Result<(), Refusal> {
    let sign = s.emit.op("Sign", &[&s.x(0)]);
    s.give_slope(&sign)
}

/// `1 / (2 y)`
fn sqrt(s: &mut Site) -> Result<(), Refusal> {
    let (g, y) = (s.g(), s.y());
    let half = s.emit.scale(&g, 0.5);
    let dx = s.emit.div(&half, &y);
    s.give(0, dx);
    Ok(())
}

fn exp(s: &mut Site) -> Result<(), Refusal> {
    let y = s.y();
    s.give_slope(&y)
}

fn log(s: &mut Site) -> Result<(), Refusal> {
    let (g, x) = (s.g(), s.x(0));
    let dx = s.emit.div(&g, &x);
    s.give(0, dx);
    Ok(())
}

/// `-y^2`
fn reciprocal(s: &mut Site) -> Result<(), Refusal> {
    let y = s.y();
    let square = s.emit.mul(&y, &y);
    let slope = s.emit.op("Neg", &[&square]);
    s.give_slope(&slope)
}

/// `2 / sqrt(pi) * exp(-x^2)`
fn erf(s: &mut Site) -> Result<(), Refusal> {
    let x = s.x(0);
    let square = s.emit.mul(&x, &x);
    let minus = s.emit.op("Neg", &[&square]);
    let bell = s.emit.op("Exp", &[&minus]);
    let slope = s.emit.scale(&bell, std::f32::consts::FRAC_2_SQRT_PI);
    s.give_slope(&slope)
}

fn sin(s: &mut Site) -> Result<(), Refusal> {
    let slope = s.emit.op("Cos", &[&s.x(0)]);
    s.give_slope(&slope)
}

fn cos(s: &mut Site) -> Result<(), Refusal> {
    let sine = s.emit.op("Sin", &[&s.x(0)]);
    let slope = s.emit.op("Neg", &[&sine]);
    s.give_slope(&slope)
}

/// `1 / (1 + x^2)`
fn atan(s: &mut Site) -> Result<(), Refusal> {
    let (g, x) = (s.g(), s.x(0));
    let square = s.emit.mul(&x, &x);
    let below = s.emit.shift(&square, 1.0);
    let dx = s.emit.div(&g, &below);
    s.give(0, dx);
    Ok(())
}

fn sinh(s: &mut Site) -> Result<(), Refusal> {
    let slope = s.emit.op("Cosh", &[&s.x(0)]);
    s.give_slope(&slope)
}

fn cosh(s: &mut Site) -> Result<(), Refusal> {
    let slope = s.emit.op("Sinh", &[&s.x(0)]);
    s.give_slope(&slope)
}
