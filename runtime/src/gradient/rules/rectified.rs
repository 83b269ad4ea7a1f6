//! Rectified gradients (Kim et al. 2019): `R_in = R_out * 1[a R_out > tau]`, with `a` the activation and `tau` a percentile
//! of `a R_out` over the layer.

use super::Rule;
use crate::gradient::site::{Refusal, Site};
use crate::onnx::Attr;

/// On Relu, as in the paper.
pub const RELU: Rule = Rule { name: "rectified", covers: &[&[("Relu", relu)]] };

fn relu(s: &mut Site) -> Result<(), Refusal> {
    let (g, y, shape) = (s.g(), s.y(), s.y_shape());
    let count: usize = shape.iter().product();
    // The percentile's nearest element, counted from the largest.
    let below = ((count - 1) as f64 * s.settings.percentile as f64 / 100.0).round() as usize;
    let above = count - below;
    let product = s.emit.mul(&y, &g);
    let flat = s.emit.reshape(&product, &[count]);
    let largest = s.emit.largest(&flat, above);
    let last = s.emit.ints(&[above as i64 - 1]);
    let threshold = s.emit.op_with("Gather", &[&largest, &last], vec![("axis", Attr::Int(0))]);
    let threshold = s.emit.reshape(&threshold, &vec![1; shape.len()]);
    let passes = s.emit.op("Greater", &[&product, &threshold]);
    let dx = s.emit.keep_where(&passes, &g);
    s.give(0, dx);
    Ok(())
}
