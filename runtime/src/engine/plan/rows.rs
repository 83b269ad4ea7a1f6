//! What works on whole rows.

use super::arena::Io;
use super::planner::{Lowered, Planner};
use super::run::Work;
use super::values::Order;
use crate::engine::kernels::rows::{RowOp, rows};
use crate::engine::simd::Isa;
use crate::error::Result;
use crate::onnx::{DType, Node};

/// Lowers what runs along the last axes of planes.
pub fn lower(planner: &mut Planner, node: &Node, _: usize) -> Result<Lowered> {
    let (Some(input), Some(output)) = (node.input(0), node.output(0)) else { return Ok(Lowered::Not) };
    let fact = planner.fact(input)?.clone();
    let rank = fact.shape.len();
    let floats = fact.dtype == DType::F32 && rank > 0 && !fact.shape.contains(&0);
    if !node.domain.is_empty() || !floats || planner.constant(input).is_some() || node.outputs.len() > 1 {
        return Ok(Lowered::Not);
    }
    // The axes that a row spans: from this one to the last.
    let first = match node.op.as_str() {
        "Softmax" | "LogSoftmax" | "LayerNormalization" => fact.axis(node.int("axis", -1)),
        "ReduceSum" | "ReduceMean" => last_axes(planner, node, rank),
        "GlobalAveragePool" if rank > 2 => Some(2),
        _ => None,
    };
    let Some(first) = first else { return Ok(Lowered::Not) };
    let len: usize = fact.shape[first..].iter().product();
    let kind = match node.op.as_str() {
        // One axis only: the later ones must be of extent one.
        "Softmax" | "LogSoftmax" if fact.shape[first] != len => return Ok(Lowered::Not),
        "Softmax" => Kind::Softmax,
        "LogSoftmax" => Kind::LogSoftmax,
        "ReduceSum" => Kind::Sum(1.0),
        "ReduceMean" | "GlobalAveragePool" => Kind::Sum(1.0 / len as f32),
        _ => {
            let vector = |slot: usize| node.input(slot).map(|n| planner.constant(n).and_then(|t| t.to_f32()));
            let (Some(Some(scale)), bias) = (vector(1), vector(2)) else { return Ok(Lowered::Not) };
            let Some(bias) = bias.unwrap_or(Some(vec![])) else { return Ok(Lowered::Not) };
            if scale.len() != len || !(bias.is_empty() || bias.len() == len) {
                return Ok(Lowered::Not);
            }
            Kind::Normalise { epsilon: node.float("epsilon", 1e-5), scale, bias }
        }
    };
    let read = planner.planes(input)?;
    let count = planner.fact(output)?.shape.iter().product();
    let write = planner.buffer(count);
    planner.step(output, Box::new(Rows { kind, len }), vec![read], vec![write]);
    planner.set(output, Order::Planes, write)?;
    Ok(Lowered::Done)
}

/// The first of the axes that a reduction runs over, where they are the last ones.
fn last_axes(planner: &Planner, node: &Node, rank: usize) -> Option<usize> {
    let axes = match node.input(1) {
        Some(name) => planner.constant(name)?.to_i64()?,
        None if node.int("noop_with_empty_axes", 0) == 0 => (0..rank as i64).collect(),
        None => return None,
    };
    let mut axes: Vec<i64> = axes.iter().map(|&a| if a < 0 { a + rank as i64 } else { a }).collect();
    axes.sort_unstable();
    let first = *axes.first()?;
    axes.iter().copied().eq(first..rank as i64).then_some(first as usize)
}

enum Kind {
    Sum(f32),
    Softmax,
    LogSoftmax,
    Normalise { epsilon: f32, scale: Vec<f32>, bias: Vec<f32> },
}

/// One operation on every row.
struct Rows {
    kind: Kind,
    len: usize,
}

impl Work for Rows {
    fn kernel(&self) -> &str {
        match self.kind {
            Kind::Sum(_) => "row sums",
            Kind::Softmax => "softmax",
            Kind::LogSoftmax => "log softmax",
            Kind::Normalise { .. } => "layer norm",
        }
    }

    fn run(&self, isa: Isa, mut io: Io<'_>) -> Result<()> {
        let op = match &self.kind {
            Kind::Sum(factor) => RowOp::Sum(*factor),
            Kind::Softmax => RowOp::Softmax,
            Kind::LogSoftmax => RowOp::LogSoftmax,
            Kind::Normalise { epsilon, scale, bias } => RowOp::Normalise { epsilon: *epsilon, scale, bias },
        };
        rows(isa, op, self.len, io.read[0], io.write[0]);
        Ok(())
    }
}
