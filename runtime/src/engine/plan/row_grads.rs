//! Adjoints of what works on whole rows.

use super::arena::Io;
use super::planner::{Lowered, Planner};
use super::run::Work;
use super::values::Order;
use crate::engine::kernels::row_grads::{RowGrad, row_grads};
use crate::error::Result;
use crate::gradient::functions::{DOMAIN, FusedOp, SOFTMAX_GRAD, STANDARDISE_GRAD};
use crate::onnx::{Graph, Node};
use crate::simd::Isa;

/// What a kernel does for a node of our functions, if one takes it: along the last axis, and whatever else it is given being constant.
pub fn kernel_of(graph: &Graph, node: &Node) -> Option<RowGrad> {
    let constant = |slot: usize| graph.constants.get(node.input(slot)?);
    let is = |own: &FusedOp| node.domain == DOMAIN && node.op == own.name;
    if constant(2)?.to_i64()? != [-1] {
        return None;
    }
    if is(&SOFTMAX_GRAD) {
        return Some(RowGrad::Softmax);
    }
    is(&STANDARDISE_GRAD).then_some(RowGrad::Standardise { epsilon: constant(3)?.number()? })
}

/// Lowers them.
pub fn lower(planner: &mut Planner, node: &Node, _: usize) -> Result<Lowered> {
    let (Some(g), Some(with), Some(output)) = (node.input(0), node.input(1), node.output(0)) else {
        return Ok(Lowered::Not);
    };
    let Some(op) = kernel_of(planner.graph, node) else { return Ok(Lowered::Not) };
    let shape = planner.fact(output)?.shape.clone();
    let Some(&len) = shape.last() else { return Ok(Lowered::Not) };
    let reads = vec![planner.planes(g)?, planner.planes(with)?];
    let write = planner.buffer(shape.iter().product());
    planner.step(output, Box::new(RowGrads { op, len, in_place: false }), reads, vec![write]);
    planner.set(output, Order::Planes, write)?;
    Ok(Lowered::Done)
}

struct RowGrads {
    op: RowGrad,
    len: usize,
    /// Whether the cotangents are where the result goes.
    in_place: bool,
}

impl Work for RowGrads {
    fn kernel(&self) -> &str {
        match self.op {
            RowGrad::Softmax => "softmax adjoint",
            RowGrad::Standardise { .. } => "row norm adjoint",
        }
    }

    fn may_overwrite(&self) -> Vec<usize> {
        vec![0]
    }

    fn overwrite(&mut self, _: usize) {
        self.in_place = true;
    }

    fn run(&self, isa: Isa, mut io: Io<'_>) -> Result<()> {
        let (g, with) = if self.in_place { (None, io.read[0]) } else { (Some(io.read[0]), io.read[1]) };
        row_grads(isa, self.op, self.len, g, with, io.write[0]);
        Ok(())
    }
}
