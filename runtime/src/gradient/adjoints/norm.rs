//! Normalisations.

use crate::gradient::emit::Name;
use crate::gradient::site::{AdjointFn, Refusal, Site};
use crate::onnx::Tensor;

pub const TABLE: &[(&str, AdjointFn)] = &[
    ("BatchNormalization", batch),
    ("InstanceNormalization", instance),
    ("LayerNormalization", layer),
    ("GroupNormalization", group),
    ("RMSNormalization", root_mean_square),
    ("LRN", local_response),
];

/// Extents that put a vector along axis 1.
fn along_channels(len: usize, rank: usize) -> Vec<usize> {
    let mut shape = vec![1; rank];
    shape[1] = len;
    shape
}

/// `scale / sqrt(var + eps)` per channel, computed here because the statistics are constant.
fn batch(s: &mut Site) -> Result<(), Refusal> {
    let vector = |s: &Site, i: usize, what: &str| -> Result<Vec<f32>, Refusal> {
        s.constant(i).and_then(Tensor::to_f32).ok_or_else(|| format!("its {what} is not constant"))
    };
    let (scale, variance) = (vector(s, 1, "scale")?, vector(s, 4, "variance")?);
    let eps = s.node.float("epsilon", 1e-5) as f64;
    let slope: Vec<f32> =
        scale.iter().zip(&variance).map(|(&c, &v)| (c as f64 / (v as f64 + eps).sqrt()) as f32).collect();
    let shape = along_channels(slope.len(), s.x_shape(0).len());
    let slope = s.emit.constant(Tensor::f32(&shape, &slope));
    s.give_slope(&slope)
}

/// The adjoint of `(x - mean) / sqrt(variance + eps)` over `axes`, for the cotangent `g` of the result:
/// `(g - mean(g) - n mean(g n)) / sqrt(variance + eps)` with the normalised value `n`.
fn standardised(s: &mut Site, x: &str, g: &str, axes: &[usize], eps: f32) -> Name {
    let mean = s.emit.reduce("ReduceMean", x, axes);
    let centred = s.emit.sub(x, &mean);
    let inverse = inverse_root(s, &centred, axes, eps);
    let normal = s.emit.mul(&centred, &inverse);
    let g_mean = s.emit.reduce("ReduceMean", g, axes);
    let g_centred = s.emit.sub(g, &g_mean);
    let along = along_normal(s, g, &normal, axes);
    let inner = s.emit.sub(&g_centred, &along);
    s.emit.mul(&inner, &inverse)
}

/// `1 / sqrt(mean(x^2) + eps)`
fn inverse_root(s: &mut Site, x: &str, axes: &[usize], eps: f32) -> Name {
    let square = s.emit.mul(x, x);
    let mean = s.emit.reduce("ReduceMean", &square, axes);
    let shifted = s.emit.shift(&mean, eps);
    let root = s.emit.op("Sqrt", &[&shifted]);
    s.emit.op("Reciprocal", &[&root])
}

/// `n mean(g n)`
fn along_normal(s: &mut Site, g: &str, normal: &str, axes: &[usize]) -> Name {
    let product = s.emit.mul(g, normal);
    let mean = s.emit.reduce("ReduceMean", &product, axes);
    s.emit.mul(normal, &mean)
}

fn instance(s: &mut Site) -> Result<(), Refusal> {
    s.constant_only(1, "scale")?;
    s.constant_only(2, "bias")?;
    let rank = s.x_shape(0).len();
    let scale = s.emit.reshape(&s.x(1), &along_channels(s.x_shape(1)[0], rank));
    let g = s.g();
    let g = s.emit.mul(&g, &scale);
    let axes: Vec<usize> = (2..rank).collect();
    let dx = standardised(s, &s.x(0), &g, &axes, s.node.float("epsilon", 1e-5));
    s.give(0, dx);
    Ok(())
}

fn layer(s: &mut Site) -> Result<(), Refusal> {
    s.constant_only(1, "scale")?;
    s.constant_only(2, "bias")?;
    let axes: Vec<usize> = (s.axis("axis", -1)?..s.x_shape(0).len()).collect();
    let (g, scale) = (s.g(), s.x(1));
    let g = s.emit.mul(&g, &scale);
    let dx = standardised(s, &s.x(0), &g, &axes, s.node.float("epsilon", 1e-5));
    s.give(0, dx);
    Ok(())
}

/// Statistics per group of channels; scale per group up to op set 20, per channel after.
fn group(s: &mut Site) -> Result<(), Refusal> {
    s.constant_only(1, "scale")?;
    s.constant_only(2, "bias")?;
    let shape = s.x_shape(0);
    let groups = s.node.int("num_groups", 1).max(1) as usize;
    let grouped = [shape[0], groups, shape[1..].iter().product::<usize>() / groups];
    let (mut g, x, scale) = (s.g(), s.x(0), s.x(1));
    let per_channel = s.emit.graph.opset >= 21;
    if per_channel {
        let scale = s.emit.reshape(&scale, &along_channels(shape[1], shape.len()));
        g = s.emit.mul(&g, &scale);
    }
    g = s.emit.reshape(&g, &grouped);
    if !per_channel {
        let scale = s.emit.reshape(&scale, &[1, groups, 1]);
        g = s.emit.mul(&g, &scale);
    }
    let x = s.emit.reshape(&x, &grouped);
    let dx = standardised(s, &x, &g, &[2], s.node.float("epsilon", 1e-5));
    let dx = s.emit.reshape(&dx, &shape);
    s.give(0, dx);
    Ok(())
}

/// `y = scale * x / sqrt(mean(x^2) + eps)`
fn root_mean_square(s: &mut Site) -> Result<(), Refusal> {
    s.constant_only(1, "scale")?;
    let axes: Vec<usize> = (s.axis("axis", -1)?..s.x_shape(0).len()).collect();
    let (g, x, scale) = (s.g(), s.x(0), s.x(1));
    let g = s.emit.mul(&g, &scale);
    let inverse = inverse_root(s, &x, &axes, s.node.float("epsilon", 1e-5));
    let normal = s.emit.mul(&x, &inverse);
    let along = along_normal(s, &g, &normal, &axes);
    let inner = s.emit.sub(&g, &along);
    let dx = s.emit.mul(&inner, &inverse);
    s.give(0, dx);
    Ok(())
}

/// `y = x q^-beta` with `q = bias + alpha/size * (sum of x^2 over a window of channels)`; the windows are a
/// banded matrix over the channels, and its transpose in the adjoint:
/// `dx = g q^-beta - 2 alpha beta / size * x * sum'(g x q^(-beta-1))`.
fn local_response(s: &mut Site) -> Result<(), Refusal> {
    let shape = s.x_shape(0);
    let size = s.node.int("size", 1).max(1) as usize;
    let (alpha, beta, bias) = (s.node.float("alpha", 1e-4), s.node.float("beta", 0.75), s.node.float("bias", 1.0));
    let (batch, channels) = (shape[0], shape[1]);
    let flat = [batch, channels, shape[2..].iter().product()];
    let mut band = vec![0.0; channels * channels];
    for row in 0..channels {
        let last = (row + size / 2).min(channels - 1);
        for column in row.saturating_sub((size - 1) / 2)..=last {
            band[row * channels + column] = 1.0;
        }
    }
    let transposed: Vec<f32> = (0..channels * channels).map(|i| band[i % channels * channels + i / channels]).collect();
    let square = [channels, channels];
    let (band, transposed) =
        (s.emit.constant(Tensor::f32(&square, &band)), s.emit.constant(Tensor::f32(&square, &transposed)));
    let (g, x) = (s.g(), s.x(0));
    let (g, x) = (s.emit.reshape(&g, &flat), s.emit.reshape(&x, &flat));
    let squared = s.emit.mul(&x, &x);
    let sums = s.emit.op("MatMul", &[&band, &squared]);
    let scaled = s.emit.scale(&sums, alpha / size as f32);
    let q = s.emit.shift(&scaled, bias);
    let power = s.emit.scalar(-beta);
    let shrink = s.emit.op("Pow", &[&q, &power]);
    let direct = s.emit.mul(&g, &shrink);
    let product = s.emit.mul(&direct, &x);
    let product = s.emit.div(&product, &q);
    let gathered = s.emit.op("MatMul", &[&transposed, &product]);
    let across = s.emit.mul(&gathered, &x);
    let across = s.emit.scale(&across, 2.0 * alpha * beta / size as f32);
    let dx = s.emit.sub(&direct, &across);
    let dx = s.emit.reshape(&dx, &shape);
    s.give(0, dx);
    Ok(())
}
