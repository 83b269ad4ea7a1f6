//! What works on whole rows.

use std::ops::Range;

use super::arena::Io;
use super::planner::{Lowered, Planner};
use super::run::Work;
use super::values::Order;
use crate::engine::kernels::across::{AcrossOp, across};
use crate::engine::kernels::rows::{RowOp, rows};
use crate::error::Result;
use crate::onnx::{DType, Node};
use crate::simd::Isa;

/// Lowers what runs along the last axes of planes.
pub fn lower(planner: &mut Planner, node: &Node, _: usize) -> Result<Lowered> {
    let (Some(input), Some(output)) = (node.input(0), node.output(0)) else { return Ok(Lowered::Not) };
    let fact = planner.fact(input)?.clone();
    let rank = fact.shape.len();
    let floats = fact.dtype == DType::F32 && rank > 0 && !fact.shape.contains(&0);
    if !node.domain.is_empty() || !floats || planner.constant(input).is_some() || node.outputs.len() > 1 {
        return Ok(Lowered::Not);
    }
    // The axes that a row spans, mostly to the last one.
    let axes = match node.op.as_str() {
        "Softmax" | "LogSoftmax" => fact.axis(node.int("axis", -1)).map(|axis| axis..axis + 1),
        "LayerNormalization" => fact.axis(node.int("axis", -1)).map(|first| first..rank),
        "ReduceSum" | "ReduceMean" => reduced(planner, node, rank),
        "GlobalAveragePool" | "InstanceNormalization" if rank > 2 => Some(2..rank),
        // Of a group, whose channels lie behind each other: an axis of so many of them.
        "GroupNormalization" if rank > 2 => Some(1..rank),
        _ => None,
    };
    let Some(axes) = axes else { return Ok(Lowered::Not) };
    let inner: usize = fact.shape[axes.end..].iter().product();
    let mut len: usize = fact.shape[axes].iter().product();
    let kind = match node.op.as_str() {
        "Softmax" if inner == 1 => Kind::Softmax,
        "Softmax" => Kind::Across(inner, AcrossOp::Softmax),
        "LogSoftmax" if inner == 1 => Kind::LogSoftmax,
        "LogSoftmax" => Kind::Across(inner, AcrossOp::LogSoftmax),
        "ReduceSum" | "ReduceMean" | "GlobalAveragePool" => {
            let factor = if node.op == "ReduceSum" { 1.0 } else { 1.0 / len as f32 };
            if inner == 1 { Kind::Sum(factor) } else { Kind::Across(inner, AcrossOp::Sum(factor)) }
        }
        _ => {
            let Some([scale, bias]) = scale_and_bias(planner, node) else { return Ok(Lowered::Not) };
            if node.op == "GroupNormalization" {
                len /= node.int("num_groups", 1).max(1) as usize;
            }
            // Elements that have one scale: all of a channel or of a group, or but one of a layer.
            let all = if node.op == "LayerNormalization" { len } else { fact.shape[1..].iter().product() };
            let each = all / scale.len().max(1);
            let fits =
                each > 0 && len > 0 && scale.len() * each == all && all.is_multiple_of(len) && len.is_multiple_of(each);
            if !fits || (node.op == "LayerNormalization" && each != 1) {
                return Ok(Lowered::Not);
            }
            Kind::Normalise { epsilon: node.float("epsilon", 1e-5), each, scale, bias }
        }
    };
    let read = planner.planes(input)?;
    let count = planner.fact(output)?.shape.iter().product();
    let write = planner.buffer(count);
    planner.step(output, Box::new(Rows { kind, len }), vec![read], vec![write]);
    planner.set(output, Order::Planes, write)?;
    Ok(Lowered::Done)
}

/// The constant scale and bias of a normalisation; a bias that there is not has none.
pub(super) fn scale_and_bias(planner: &Planner, node: &Node) -> Option<[Vec<f32>; 2]> {
    let vector = |name: &str| planner.constant(name)?.to_f32();
    let (scale, bias) = (vector(node.input(1)?)?, node.input(2).map_or(Some(vec![]), vector)?);
    (bias.is_empty() || bias.len() == scale.len()).then_some([scale, bias])
}

/// The axes that a reduction runs over, where they lie side by side.
fn reduced(planner: &Planner, node: &Node, rank: usize) -> Option<Range<usize>> {
    let axes = match node.input(1) {
        Some(name) => planner.constant(name)?.to_i64()?,
        None if node.int("noop_with_empty_axes", 0) == 0 => (0..rank as i64).collect(),
        None => return None,
    };
    let mut axes: Vec<i64> = axes.iter().map(|&a| if a < 0 { a + rank as i64 } else { a }).collect();
    axes.sort_unstable();
    let (first, last) = (*axes.first()?, *axes.last()?);
    axes.iter().copied().eq(first..last + 1).then_some(first as usize..last as usize + 1)
}

enum Kind {
    Sum(f32),
    /// Of rows of so many elements, element for element.
    Across(usize, AcrossOp),
    Softmax,
    LogSoftmax,
    Normalise {
        epsilon: f32,
        each: usize,
        scale: Vec<f32>,
        bias: Vec<f32>,
    },
}

/// One operation on every row.
struct Rows {
    kind: Kind,
    len: usize,
}

impl Work for Rows {
    fn kernel(&self) -> &str {
        match self.kind {
            Kind::Sum(_) | Kind::Across(_, AcrossOp::Sum(_)) => "row sums",
            Kind::Softmax | Kind::Across(_, AcrossOp::Softmax) => "softmax",
            Kind::LogSoftmax | Kind::Across(_, AcrossOp::LogSoftmax) => "log softmax",
            Kind::Normalise { .. } => "row norm",
        }
    }

    fn run(&self, isa: Isa, mut io: Io<'_>) -> Result<()> {
        let op = match &self.kind {
            Kind::Across(inner, op) => {
                across(isa, *op, self.len, *inner, io.read[0], io.write[0]);
                return Ok(());
            }
            Kind::Sum(factor) => RowOp::Sum(*factor),
            Kind::Softmax => RowOp::Softmax,
            Kind::LogSoftmax => RowOp::LogSoftmax,
            Kind::Normalise { epsilon, each, scale, bias } => {
                RowOp::Normalise { epsilon: *epsilon, each: *each, scale, bias }
            }
        };
        rows(isa, op, self.len, io.read[0], io.write[0]);
        Ok(())
    }
}
