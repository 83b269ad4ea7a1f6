//! DeepLIFT through ops of several values, taken apart into linear ops, products and functions of one value, each with its
//! own exact multiplier: what arrives is all handed on.

use super::Rule;
use super::rescale::over_difference;
use crate::gradient::emit::Name;
use crate::gradient::site::{Refusal, Site};

/// Normalisations and Softmax.
pub const NORMS: Rule =
    Rule { name: "rescale", covers: &[&[("LayerNormalization", layer_norm), ("Softmax", softmax)]] };

/// `c = x - mean x`, `v = mean c^2 + eps`, `r = 1 / sqrt v`, `y = scale c r + bias`. The slope of `r` over `v` is
/// `-1 / (sqrt v sqrt v' (sqrt v + sqrt v'))`.
fn layer_norm(s: &mut Site) -> Result<(), Refusal> {
    s.constant_only(1, "scale")?;
    s.constant_only(2, "bias")?;
    let shape = s.x_shape(0);
    let axes: Vec<usize> = (s.axis("axis", -1)?..shape.len()).collect();
    let count: usize = axes.iter().map(|&a| shape[a]).product();
    let (g, x, scale) = (s.g(), s.x(0), s.x(1));
    let x_ref = s.reference(&x);
    let g = s.emit.mul(&g, &scale);
    let (centre, root) = centred(s, &x, &axes);
    let (centre_ref, root_ref) = centred(s, &x_ref, &axes);
    let both = half_sum(s, &centre, &centre_ref);
    // The product's two sides.
    let (inverse, inverse_ref) = (s.emit.op("Reciprocal", &[&root]), s.emit.op("Reciprocal", &[&root_ref]));
    let inverses = half_sum(s, &inverse, &inverse_ref);
    let direct = s.emit.mul(&g, &inverses);
    let product = s.emit.mul(&g, &both);
    let of_inverse = s.emit.reduce("ReduceSum", &product, &axes);
    // Through the root and the mean of squares.
    let roots = s.emit.add(&root, &root_ref);
    let steep = s.emit.mul(&inverse, &inverse_ref);
    let steep = s.emit.div(&steep, &roots);
    let of_variance = s.emit.mul(&of_inverse, &steep);
    let of_square = s.emit.scale(&of_variance, -2.0 / count as f32);
    let through = s.emit.mul(&of_square, &both);
    let of_centred = s.emit.add(&direct, &through);
    let mean = s.emit.reduce("ReduceMean", &of_centred, &axes);
    let dx = s.emit.sub(&of_centred, &mean);
    s.give(0, dx);
    Ok(())
}

/// `x - mean x` over the axes, and `sqrt(mean (x - mean x)^2 + eps)`.
fn centred(s: &mut Site, x: &str, axes: &[usize]) -> (Name, Name) {
    let mean = s.emit.reduce("ReduceMean", x, axes);
    let centred = s.emit.sub(x, &mean);
    let square = s.emit.mul(&centred, &centred);
    let variance = s.emit.reduce("ReduceMean", &square, axes);
    let shifted = s.emit.shift(&variance, s.node.float("epsilon", 1e-5));
    let root = s.emit.op("Sqrt", &[&shifted]);
    (centred, root)
}

fn half_sum(s: &mut Site, a: &str, b: &str) -> Name {
    let sum = s.emit.add(a, b);
    s.emit.scale(&sum, 0.5)
}

/// `y = exp u` with `u = x - L` and `L = log sum exp x`. Through `L` with `e = exp(x - m)` and `s = sum e`, where `m` is one
/// shift for the input and its baseline: the slope of `L` over `s` times that of `e` over `x`. No number exceeds what it
/// explains by much, however far apart the two are.
fn softmax(s: &mut Site) -> Result<(), Refusal> {
    let axes = [s.axis("axis", -1)?];
    let (g, x, y) = (s.g(), s.x(0), s.y());
    let (x_ref, y_ref) = (s.reference(&x), s.reference(&y));
    let (most, most_ref) = (s.emit.reduce("ReduceMax", &x, &axes), s.emit.reduce("ReduceMax", &x_ref, &axes));
    let shift = s.emit.op("Max", &[&most, &most_ref]);
    let exponentials = |s: &mut Site, x: &str, shift: &str| {
        let below = s.emit.sub(x, shift);
        let e = s.emit.op("Exp", &[&below]);
        let sum = s.emit.reduce("ReduceSum", &e, &axes);
        (e, sum)
    };
    let log_sum = |s: &mut Site, x: &str, most: &str| {
        let (_, sum) = exponentials(s, x, most);
        let log = s.emit.op("Log", &[&sum]);
        s.emit.add(&log, most)
    };
    let (total, total_ref) = (log_sum(s, &x, &most), log_sum(s, &x_ref, &most_ref));
    let (u, u_ref) = (s.emit.sub(&x, &total), s.emit.sub(&x_ref, &total_ref));
    let of_u = slope_times(s, &g, (&y, &y_ref), &y_ref, (&u, &u_ref));
    let of_total = s.emit.reduce("ReduceSum", &of_u, &axes);
    let (e, sum) = exponentials(s, &x, &shift);
    let (e_ref, sum_ref) = exponentials(s, &x_ref, &shift);
    let inverse = s.emit.op("Reciprocal", &[&sum_ref]);
    let of_sum = slope_times(s, &of_total, (&total, &total_ref), &inverse, (&sum, &sum_ref));
    let through = slope_times(s, &of_sum, (&e, &e_ref), &e_ref, (&x, &x_ref));
    let dx = s.emit.sub(&of_u, &through);
    s.give(0, dx);
    Ok(())
}

/// `g (y - y') / (x - x')`, or `g` times `local` where `x` and `x'` are the same.
fn slope_times(s: &mut Site, g: &str, (y, y_ref): (&str, &str), local: &str, (x, x_ref): (&str, &str)) -> Name {
    let change = s.emit.sub(y, y_ref);
    let change = s.emit.mul(g, &change);
    let local = s.emit.mul(g, local);
    over_difference(s, &change, &local, x, x_ref)
}
