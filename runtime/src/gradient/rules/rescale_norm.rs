//! DeepLIFT through ops of several values, taken apart into linear ops, products and functions of one value, each with its
//! own exact multiplier: what arrives is all handed on.

use super::Rule;
use super::rescale::over_difference;
use crate::gradient::adjoints::norm::{Response, Standardised};
use crate::gradient::emit::Name;
use crate::gradient::site::{Refusal, Site};

/// Normalisations and Softmax.
pub const NORMS: Rule = Rule {
    name: "rescale",
    covers: &[&[
        ("LayerNormalization", standardised),
        ("InstanceNormalization", standardised),
        ("GroupNormalization", standardised),
        ("LRN", local_response),
        ("Softmax", softmax),
    ]],
};

/// `c = x - mean x`, `v = mean c^2 + eps`, `r = 1 / sqrt v`, `y = scale c r + bias`. The slope of `r` over `v` is
/// `-1 / (sqrt v sqrt v' (sqrt v + sqrt v'))`.
fn standardised(s: &mut Site) -> Result<(), Refusal> {
    let norm = Standardised::of(s)?;
    let (g, x) = (s.g(), s.x(0));
    let x_ref = s.reference(&x);
    let g = norm.scaled(s, &g);
    let (x, x_ref) = (norm.arranged(s, &x), norm.arranged(s, &x_ref));
    let (centre, root) = norm.centred(s, &x);
    let (centre_ref, root_ref) = norm.centred(s, &x_ref);
    let both = half_sum(s, &centre, &centre_ref);
    // The product's two sides.
    let (inverse, inverse_ref) = (s.emit.op("Reciprocal", &[&root]), s.emit.op("Reciprocal", &[&root_ref]));
    let inverses = half_sum(s, &inverse, &inverse_ref);
    let direct = s.emit.mul(&g, &inverses);
    let product = s.emit.mul(&g, &both);
    let of_inverse = s.emit.reduce("ReduceSum", &product, &norm.axes);
    // Through the root and the mean of squares.
    let roots = s.emit.add(&root, &root_ref);
    let steep = s.emit.mul(&inverse, &inverse_ref);
    let steep = s.emit.div(&steep, &roots);
    let of_variance = s.emit.mul(&of_inverse, &steep);
    let of_square = s.emit.scale(&of_variance, -2.0 / norm.count() as f32);
    let through = s.emit.mul(&of_square, &both);
    let of_centred = s.emit.add(&direct, &through);
    let mean = s.emit.reduce("ReduceMean", &of_centred, &norm.axes);
    let dx = s.emit.sub(&of_centred, &mean);
    let dx = norm.back(s, &dx);
    s.give(0, dx);
    Ok(())
}

/// `y = x p` with `p = q^-beta`, a product of two, and `q` a sum of squares.
fn local_response(s: &mut Site) -> Result<(), Refusal> {
    let norm = Response::of(s);
    let (g, x) = (s.g(), s.x(0));
    let x_ref = s.reference(&x);
    let (g, x, x_ref) = (norm.arranged(s, &g), norm.arranged(s, &x), norm.arranged(s, &x_ref));
    let (q, q_ref) = (norm.divisor(s, &x), norm.divisor(s, &x_ref));
    let (p, p_ref) = (norm.factor(s, &q), norm.factor(s, &q_ref));
    let (both, factors) = (half_sum(s, &x, &x_ref), half_sum(s, &p, &p_ref));
    let direct = s.emit.mul(&g, &factors);
    let of_factor = s.emit.mul(&g, &both);
    let slope = s.emit.div(&p_ref, &q_ref);
    let slope = s.emit.scale(&slope, -norm.beta);
    let of_divisor = slope_times(s, &of_factor, (&p, &p_ref), &slope, (&q, &q_ref));
    let of_square = norm.to_squares(s, &of_divisor);
    let through = s.emit.mul(&of_square, &both);
    let through = s.emit.scale(&through, 2.0);
    let dx = s.emit.add(&direct, &through);
    norm.give(s, &dx);
    Ok(())
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
