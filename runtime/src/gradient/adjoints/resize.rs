//! Resize: along each axis a sparse matrix from input to output places; the adjoint is its transpose.

use crate::gradient::emit::Name;
use crate::gradient::site::{AdjointFn, Refusal, Site};
use crate::onnx::Tensor;
use crate::onnx::resize::{Resized, resized};

pub const TABLE: &[(&str, AdjointFn)] = &[("Resize", resize)];

/// The matrix of an axis is dense; larger ones than this are refused.
pub(super) const MOST_WEIGHTS: usize = 1 << 26;

fn resize(s: &mut Site) -> Result<(), Refusal> {
    let (x, mut shape) = (s.x_shape(0), s.y_shape());
    let mut value = s.g();
    for own in resized(s.node, &x, &shape, s.constant(2))? {
        let (axis, input, output) = (own.axis, own.input, own.places.len());
        if input.saturating_mul(output) > MOST_WEIGHTS {
            return Err(format!("resizing an axis from {input} to {output} is too large for its adjoint"));
        }
        value = contract(s, &value, &shape, &own);
        shape[axis] = input;
    }
    s.give(0, value);
    Ok(())
}

/// Multiplies an axis of `value` by the transpose of how much of each input place each output place reads.
pub(super) fn contract(s: &mut Site, value: &str, shape: &[usize], own: &Resized) -> Name {
    let (axis, input, output) = (own.axis, own.input, own.places.len());
    // The axis before the last is multiplied from the left.
    let from_left = axis + 2 == shape.len();
    let mut matrix = vec![0.0f32; output * input];
    for (place, made_of) in own.places.iter().enumerate() {
        for &(from, weight) in made_of {
            matrix[if from_left { from * output + place } else { place * input + from }] = weight;
        }
    }
    if from_left {
        let matrix = s.emit.constant(Tensor::f32(&[input, output], &matrix));
        return s.emit.op("MatMul", &[&matrix, value]);
    }
    let matrix = s.emit.constant(Tensor::f32(&[output, input], &matrix));
    let last = shape.len() - 1;
    let mut perm: Vec<usize> = (0..shape.len()).collect();
    perm.swap(axis, last);
    let turned = s.emit.transpose(value, &perm);
    let product = s.emit.op("MatMul", &[&turned, &matrix]);
    s.emit.transpose(&product, &perm)
}
