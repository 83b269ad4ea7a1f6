//! Weights that a file leaves out: graphs of real architectures without their data, filled from a seed
//! for work on latency and memory.
//!
//! Such a file says `why.weightless = 1` in its metadata; an initializer with extents but no data is to be
//! filled. What is filled in keeps activations of order one, so that gradients are neither zero nor infinite.

use std::collections::HashMap;

use tract_onnx::pb;

use super::graph::Graph;
use super::read::checked_shape;
use super::tensor::{DType, Tensor, element_count};
use crate::error::{Error, Result};
use crate::rng::Rng;

/// The metadata key that marks a file without weights.
pub const WEIGHTLESS: &str = "why.weightless";

/// Larger tensors than this are taken for a damaged file; on 32-bit machines they would not fit.
const MAX_ELEMENTS: usize = if usize::BITS > 32 { 1 << 31 } else { 1 << 27 };

/// The number of elements of a shape; `None` where no model has so many.
pub(crate) fn possible_count(shape: &[usize]) -> Option<usize> {
    element_count(shape).filter(|&n| n <= MAX_ELEMENTS)
}

/// A tensor that is to be filled.
pub(crate) struct Blank {
    pub name: String,
    shape: Vec<usize>,
}

/// Whether an initializer has extents but no data.
pub(crate) fn is_missing(tensor: &pb::TensorProto) -> bool {
    tensor.raw_data.is_empty()
        && tensor.float_data.is_empty()
        && tensor.data_type == DType::F32.onnx()
        && tensor.external_data.is_empty()
        && tensor.dims.iter().all(|&d| d != 0)
}

pub(crate) fn blank(tensor: &pb::TensorProto) -> Result<Blank> {
    Ok(Blank { name: tensor.name.clone(), shape: checked_shape(&tensor.name, &tensor.dims)? })
}

/// Fills the blanks from `seed`, by the part that each plays in the node that reads it.
pub(crate) fn fill(graph: &mut Graph, blanks: Vec<Blank>, seed: Option<u64>, model: &str) -> Result<()> {
    if blanks.is_empty() {
        return Ok(());
    }
    let Some(seed) = seed else {
        return Err(Error::NotOnnx {
            model: model.to_string(),
            reason: format!(
                "it is an architecture without weights ({} are missing); pass --random-weights",
                blanks.len()
            ),
        });
    };
    let mut part: HashMap<&str, (&str, usize)> = HashMap::new();
    for node in &graph.nodes {
        for (i, input) in node.inputs.iter().enumerate() {
            part.entry(input).or_insert((&node.op, i));
        }
    }
    let mut filled = Vec::with_capacity(blanks.len());
    for (draw, blank) in blanks.iter().enumerate() {
        let (op, slot) = part.get(blank.name.as_str()).copied().unwrap_or(("", 0));
        let (mean, deviation) = distribution(op, slot, &blank.shape);
        let rng = Rng::new(seed, draw as u64);
        let len: usize = blank.shape.iter().product();
        let value = |i| match (op, slot) {
            // Positive, and large enough that activations do not grow from block to block.
            ("BatchNormalization", 4) => 1.0 + 2.0 * rng.uniform(i),
            _ => mean + deviation * rng.normal(i),
        };
        let values: Vec<f32> = (0..len as u64).map(value).collect();
        filled.push((blank.name.clone(), Tensor::f32(&blank.shape, &values)));
    }
    graph.constants.extend(filled);
    Ok(())
}

/// Mean and standard deviation for the `slot`-th input of `op`.
fn distribution(op: &str, slot: usize, shape: &[usize]) -> (f32, f32) {
    let fan_in = |n: usize| (0.0, (2.0 / n.max(1) as f32).sqrt());
    match (op, slot, shape) {
        ("Conv", 1, [_, rest @ ..]) => fan_in(rest.iter().product()),
        ("ConvTranspose", 1, [first, _, rest @ ..]) => fan_in(first * rest.iter().product::<usize>()),
        ("Gemm", 1, [_, columns]) => fan_in(2 * columns),
        ("MatMul", 1, [.., rows, _]) => fan_in(2 * rows),
        ("BatchNormalization" | "LayerNormalization" | "InstanceNormalization" | "GroupNormalization", 1, _) => {
            (1.0, 0.1)
        }
        _ => (0.0, 0.05),
    }
}
