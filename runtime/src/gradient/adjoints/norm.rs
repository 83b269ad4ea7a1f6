//! Normalisations.

use crate::gradient::emit::Name;
use crate::gradient::functions::STANDARDISE_GRAD;
use crate::gradient::site::{AdjointFn, Refusal, Site};
use crate::onnx::Tensor;

pub const TABLE: &[(&str, AdjointFn)] = &[
    ("BatchNormalization", batch),
    ("InstanceNormalization", standardise),
    ("LayerNormalization", standardise),
    ("GroupNormalization", standardise),
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

/// A normalisation `y = scale (x - mean) / sqrt(variance + eps) + bias` by statistics of its own input.
pub struct Standardised {
    /// Extents in which what shares its statistics lies along whole axes.
    extents: Vec<usize>,
    /// Those axes.
    pub axes: Vec<usize>,
    /// The factor, along the extents.
    scale: Name,
    /// What is added to the variance.
    eps: f32,
}

impl Standardised {
    /// What the node normalises together.
    pub fn of(s: &mut Site) -> Result<Standardised, Refusal> {
        s.constant_only(1, "scale")?;
        s.constant_only(2, "bias")?;
        let shape = s.x_shape(0);
        let rank = shape.len();
        let (extents, first, scale) = match s.node.op.as_str() {
            "InstanceNormalization" => (shape.clone(), 2, s.emit.reshape(&s.x(1), &along_channels(shape[1], rank))),
            "GroupNormalization" => {
                let groups = s.node.int("num_groups", 1).max(1) as usize;
                let (each, pixels) = (shape[1] / groups, shape[2..].iter().product());
                // A factor per group up to op set 20, per channel after.
                let per_channel = s.x_shape(1).iter().product::<usize>() == shape[1];
                let scale = s.emit.reshape(&s.x(1), &[1, groups, if per_channel { each } else { 1 }, 1]);
                (vec![shape[0], groups, each, pixels], 2, scale)
            }
            _ => (shape.clone(), s.axis("axis", -1)?, s.x(1)),
        };
        let axes = (first..extents.len()).collect();
        Ok(Standardised { extents, axes, scale, eps: s.node.float("epsilon", 1e-5) })
    }

    /// A value of the input's extents, in those that statistics are taken in.
    pub fn arranged(&self, s: &mut Site, value: &str) -> Name {
        match s.x_shape(0) == self.extents {
            true => value.to_string(),
            false => s.emit.reshape(value, &self.extents),
        }
    }

    /// The cotangent of the normalised input for that of the output, arranged.
    pub fn scaled(&self, s: &mut Site, g: &str) -> Name {
        let g = self.arranged(s, g);
        s.emit.mul(&g, &self.scale)
    }

    /// What is arranged, in the input's extents again.
    pub fn back(&self, s: &mut Site, arranged: &str) -> Name {
        let shape = s.x_shape(0);
        match shape == self.extents {
            true => arranged.to_string(),
            false => s.emit.reshape(arranged, &shape),
        }
    }

    /// How many values share their statistics.
    pub fn count(&self) -> usize {
        self.axes.iter().map(|&axis| self.extents[axis]).product()
    }

    /// `x - mean x` over the axes, and `sqrt(mean (x - mean x)^2 + eps)`, of an arranged `x`.
    pub fn centred(&self, s: &mut Site, x: &str) -> (Name, Name) {
        let mean = s.emit.reduce("ReduceMean", x, &self.axes);
        let centred = s.emit.sub(x, &mean);
        let root = root(s, &centred, &self.axes, self.eps);
        (centred, root)
    }
}

fn standardise(s: &mut Site) -> Result<(), Refusal> {
    let norm = Standardised::of(s)?;
    let (g, x) = (s.g(), s.x(0));
    let (g, x) = (norm.scaled(s, &g), norm.arranged(s, &x));
    let (axes, eps) = (s.emit.axes(&norm.axes, norm.extents.len()), s.emit.scalar(norm.eps));
    let dx = s.emit.call(&STANDARDISE_GRAD, &[&g, &x, &axes, &eps]);
    let dx = norm.back(s, &dx);
    s.give(0, dx);
    Ok(())
}

/// `sqrt(mean(x^2) + eps)`
fn root(s: &mut Site, x: &str, axes: &[usize], eps: f32) -> Name {
    let square = s.emit.mul(x, x);
    let mean = s.emit.reduce("ReduceMean", &square, axes);
    let shifted = s.emit.shift(&mean, eps);
    s.emit.op("Sqrt", &[&shifted])
}

/// `y = scale * x / sqrt(mean(x^2) + eps)`
fn root_mean_square(s: &mut Site) -> Result<(), Refusal> {
    s.constant_only(1, "scale")?;
    let axes: Vec<usize> = (s.axis("axis", -1)?..s.x_shape(0).len()).collect();
    let (g, x, scale) = (s.g(), s.x(0), s.x(1));
    let g = s.emit.mul(&g, &scale);
    let root = root(s, &x, &axes, s.node.float("epsilon", 1e-5));
    let inverse = s.emit.op("Reciprocal", &[&root]);
    let normal = s.emit.mul(&x, &inverse);
    let product = s.emit.mul(&g, &normal);
    let mean = s.emit.reduce("ReduceMean", &product, &axes);
    let along = s.emit.mul(&normal, &mean);
    let inner = s.emit.sub(&g, &along);
    let dx = s.emit.mul(&inner, &inverse);
    s.give(0, dx);
    Ok(())
}

/// `y = x q^-beta` with `q = bias + alpha/size * (sum of x^2 over a window of channels)`. The windows are a banded matrix over
/// the channels, and its transpose in the adjoint.
pub struct Response {
    flat: [usize; 3],
    /// The transposed windows.
    spread: Name,
    /// `alpha / size`
    share: f32,
    /// The power of `q`.
    pub beta: f32,
    bias: f32,
    windows: Name,
}

impl Response {
    /// What the node normalises by.
    pub fn of(s: &mut Site) -> Response {
        let shape = s.x_shape(0);
        let size = s.node.int("size", 1).max(1) as usize;
        let (alpha, beta, bias) = (s.node.float("alpha", 1e-4), s.node.float("beta", 0.75), s.node.float("bias", 1.0));
        let channels = shape[1];
        let mut windows = vec![0.0; channels * channels];
        for row in 0..channels {
            let last = (row + size / 2).min(channels - 1);
            for column in row.saturating_sub((size - 1) / 2)..=last {
                windows[row * channels + column] = 1.0;
            }
        }
        let spread: Vec<f32> =
            (0..channels * channels).map(|i| windows[i % channels * channels + i / channels]).collect();
        let mut constant = |values: &[f32]| s.emit.constant(Tensor::f32(&[channels, channels], values));
        let (windows, spread) = (constant(&windows), constant(&spread));
        let flat = [shape[0], channels, shape[2..].iter().product()];
        Response { flat, spread, share: alpha / size as f32, beta, bias, windows }
    }

    /// A value of the input's extents as one row of pixels per channel.
    pub fn arranged(&self, s: &mut Site, value: &str) -> Name {
        s.emit.reshape(value, &self.flat)
    }

    /// `q`
    pub fn divisor(&self, s: &mut Site, x: &str) -> Name {
        let squared = s.emit.mul(x, x);
        let sums = s.emit.op("MatMul", &[&self.windows, &squared]);
        let scaled = s.emit.scale(&sums, self.share);
        s.emit.shift(&scaled, self.bias)
    }

    /// `q^-beta`
    pub fn factor(&self, s: &mut Site, divisor: &str) -> Name {
        let power = s.emit.scalar(-self.beta);
        s.emit.op("Pow", &[divisor, &power])
    }

    /// The cotangent of the squares for that of `q`.
    pub fn to_squares(&self, s: &mut Site, of_divisor: &str) -> Name {
        let sums = s.emit.op("MatMul", &[&self.spread, of_divisor]);
        s.emit.scale(&sums, self.share)
    }

    /// Gives the input what is arranged.
    pub fn give(&self, s: &mut Site, dx: &str) {
        let dx = s.emit.reshape(dx, &s.x_shape(0));
        s.give(0, dx);
    }
}

/// `dx = g q^-beta - 2 alpha beta / size * x * sum'(g x q^(-beta-1))`
fn local_response(s: &mut Site) -> Result<(), Refusal> {
    let norm = Response::of(s);
    let (g, x) = (s.g(), s.x(0));
    let (g, x) = (norm.arranged(s, &g), norm.arranged(s, &x));
    let q = norm.divisor(s, &x);
    let shrink = norm.factor(s, &q);
    let direct = s.emit.mul(&g, &shrink);
    let product = s.emit.mul(&direct, &x);
    let product = s.emit.div(&product, &q);
    let gathered = norm.to_squares(s, &product);
    let across = s.emit.mul(&gathered, &x);
    let across = s.emit.scale(&across, 2.0 * norm.beta);
    let dx = s.emit.sub(&direct, &across);
    norm.give(s, &dx);
    Ok(())
}
