//! Arithmetic of several values, with broadcasting.

use crate::gradient::site::{AdjointFn, Refusal, Site};
use crate::onnx::Attr;

pub const TABLE: &[(&str, AdjointFn)] = &[
    ("Add", sum),
    ("Sum", sum),
    ("Sub", sub),
    ("Mul", mul),
    ("Div", div),
    ("Pow", pow),
    ("Max", |s| extremum(s)),
    ("Min", |s| extremum(s)),
    ("Where", select),
];

fn sum(s: &mut Site) -> Result<(), Refusal> {
    let g = s.g();
    for i in 0..s.node.inputs.len() {
        if s.needs(i) {
            s.give_broadcast(i, g.clone());
        }
    }
    Ok(())
}

fn sub(s: &mut Site) -> Result<(), Refusal> {
    let g = s.g();
    if s.needs(0) {
        s.give_broadcast(0, g.clone());
    }
    if s.needs(1) {
        let minus = s.emit.op("Neg", &[&g]);
        s.give_broadcast(1, minus);
    }
    Ok(())
}

fn mul(s: &mut Site) -> Result<(), Refusal> {
    let g = s.g();
    for i in 0..2 {
        if s.needs(i) {
            let other = s.x(1 - i);
            let d = s.emit.mul(&g, &other);
            s.give_broadcast(i, d);
        }
    }
    Ok(())
}

/// `da = g / b`, `db = -g y / b`
fn div(s: &mut Site) -> Result<(), Refusal> {
    let (g, b, y) = (s.g(), s.x(1), s.y());
    let da = s.emit.div(&g, &b);
    if s.needs(1) {
        let product = s.emit.mul(&da, &y);
        let db = s.emit.op("Neg", &[&product]);
        s.give_broadcast(1, db);
    }
    if s.needs(0) {
        s.give_broadcast(0, da);
    }
    Ok(())
}

/// `dx = g p x^(p-1)`, `dp = g y ln x`
fn pow(s: &mut Site) -> Result<(), Refusal> {
    let (g, x, p, y) = (s.g(), s.x(0), s.x(1), s.y());
    if s.needs(0) {
        let squared =
            s.constant(1).and_then(|t| t.to_f32().or_else(|| Some(t.to_i64()?.iter().map(|&v| v as f32).collect())));
        let slope = match squared.as_deref() {
            Some([0.0]) => s.emit.scalar(0.0),
            Some([v]) if *v == 2.0 => s.emit.scale(&x, 2.0),
            Some([v]) => {
                let below = s.emit.scalar(v - 1.0);
                let power = s.emit.op("Pow", &[&x, &below]);
                s.emit.scale(&power, *v)
            }
            _ => {
                // Exponents may be integers.
                let p = s.emit.op_with("Cast", &[&p], vec![("to", Attr::Int(1))]);
                let below = s.emit.shift(&p, -1.0);
                let power = s.emit.op("Pow", &[&x, &below]);
                s.emit.mul(&power, &p)
            }
        };
        let dx = s.emit.mul(&g, &slope);
        s.give_broadcast(0, dx);
    }
    if s.needs(1) {
        let log = s.emit.op("Log", &[&x]);
        let slope = s.emit.mul(&y, &log);
        let dp = s.emit.mul(&g, &slope);
        s.give_broadcast(1, dp);
    }
    Ok(())
}

/// The cotangent goes to the input that the result was taken from; to the first of equal ones.
fn extremum(s: &mut Site) -> Result<(), Refusal> {
    let (mut rest, y) = (s.g(), s.y());
    for i in 0..s.node.inputs.len() {
        let here = s.emit.op("Equal", &[&s.x(i), &y]);
        if s.needs(i) {
            let d = s.emit.keep_where(&here, &rest);
            s.give_broadcast(i, d);
        }
        let zero = s.emit.scalar(0.0);
        rest = s.emit.op("Where", &[&here, &zero, &rest]);
    }
    Ok(())
}

fn select(s: &mut Site) -> Result<(), Refusal> {
    let (g, condition) = (s.g(), s.x(0));
    let zero = s.emit.scalar(0.0);
    if s.needs(1) {
        let d = s.emit.op("Where", &[&condition, &g, &zero]);
        s.give_broadcast(1, d);
    }
    if s.needs(2) {
        let d = s.emit.op("Where", &[&condition, &zero, &g]);
        s.give_broadcast(2, d);
    }
    Ok(())
}
