//! Adjoints of what works on whole rows.

use super::arena::Io;
use super::planner::{Lowered, Planner};
use super::run::Work;
use super::values::Order;
use crate::engine::kernels::row_grads::{RowGrad, row_grads};
use crate::error::Result;
use crate::gradient::functions::{DOMAIN, OF_ROWS, SOFTMAX_GRAD};
use crate::onnx::{Graph, Node, Tensor};
use crate::simd::Isa;

/// Whether there is a kernel for a node of our functions: one that works along the last axis, whatever else it is given being constant.
pub fn takes(graph: &Graph, node: &Node) -> bool {
    let constant = |slot: usize| graph.constants.get(node.input(slot)?);
    let own = node.domain == DOMAIN && OF_ROWS.iter().any(|own| own.name == node.op);
    own && constant(2).and_then(Tensor::to_i64).is_some_and(|axes| axes == [-1]) && op_of(graph, node).is_some()
}

fn op_of(graph: &Graph, node: &Node) -> Option<RowGrad> {
    if node.op == SOFTMAX_GRAD.name {
        return Some(RowGrad::Softmax);
    }
    let epsilon = graph.constants.get(node.input(3)?)?.number()?;
    Some(RowGrad::Standardise { epsilon })
}

/// Lowers them.
pub fn lower(planner: &mut Planner, node: &Node, _: usize) -> Result<Lowered> {
    let (Some(g), Some(with), Some(output)) = (node.input(0), node.input(1), node.output(0)) else {
        return Ok(Lowered::Not);
    };
    let shape = planner.fact(output)?.shape.clone();
    let (Some(&len), Some(op), true) = (shape.last(), op_of(planner.graph, node), takes(planner.graph, node)) else {
        return Ok(Lowered::Not);
    };
    let reads = vec![planner.planes(g)?, planner.planes(with)?];
    let write = planner.buffer(shape.iter().product());
    planner.step(output, Box::new(RowGrads { op, len }), reads, vec![write]);
    planner.set(output, Order::Planes, write)?;
    Ok(Lowered::Done)
}

struct RowGrads {
    op: RowGrad,
    len: usize,
}

impl Work for RowGrads {
    fn kernel(&self) -> &str {
        match self.op {
            RowGrad::Softmax => "softmax adjoint",
            RowGrad::Standardise { .. } => "row norm adjoint",
        }
    }

    fn run(&self, isa: Isa, mut io: Io<'_>) -> Result<()> {
        row_grads(isa, self.op, self.len, io.read[0], io.read[1], io.write[0]);
        Ok(())
    }
}
