//! Nodes without a kernel of ours run through tract, one at a time.

use std::sync::Arc;

use tract_onnx::prelude::{DatumType, IntoTValue, TVec, Tensor, TypedRunnableModel};

use super::arena::{BufferId, Io};
use super::planner::{Lowered, Planner};
use super::run::Work;
use super::values::Order;
use crate::engine::operators::{datum_type, engine_error, quietly, runnable_node};
use crate::error::Result;
use crate::onnx::graph::outputs_of;
use crate::onnx::{Fact, Node};
use crate::simd::Isa;

/// Lowers any node that tract can run.
pub fn lower(planner: &mut Planner, node: &Node, _: usize) -> Result<Lowered> {
    let mut inputs: Vec<(String, Fact)> = vec![];
    for name in super::planner::reads(node) {
        if planner.constant(&name).is_none() && !inputs.iter().any(|(n, _)| *n == name) {
            inputs.push((name.clone(), planner.fact(&name)?.clone()));
        }
    }
    let constants = node.inputs.iter().filter_map(|n| Some((n.clone(), planner.constant(n)?.clone())));
    let model = runnable_node(node, planner.graph.opset, &inputs, constants.collect())?;
    let reads: Vec<BufferId> = inputs.iter().map(|(n, _)| planner.planes(n)).collect::<Result<_>>()?;
    let (mut writes, mut outputs) = (vec![], vec![]);
    for output in outputs_of(node) {
        let fact = planner.fact(output)?;
        outputs.push((datum_type(fact.dtype), fact.shape.iter().product()));
        let bytes = fact.shape.iter().product::<usize>() * fact.dtype.size();
        let id = planner.buffer(bytes.div_ceil(4));
        planner.set(output, Order::Planes, id)?;
        writes.push(id);
    }
    let inputs = inputs.into_iter().map(|(_, f)| (datum_type(f.dtype), f.shape)).collect();
    let work = Fallback { model, inputs, outputs, name: format!("tract {}", node.op) };
    planner.step(&node.name, Box::new(work), reads, writes);
    Ok(Lowered::Done)
}

/// A node as a model of its own.
struct Fallback {
    model: Arc<TypedRunnableModel>,
    inputs: Vec<(DatumType, Vec<usize>)>,
    /// Types and numbers of elements.
    outputs: Vec<(DatumType, usize)>,
    name: String,
}

impl Work for Fallback {
    fn kernel(&self) -> &str {
        &self.name
    }

    fn run(&self, _: Isa, mut io: Io<'_>) -> Result<()> {
        let run = || {
            let mut inputs = TVec::new();
            for ((datum, shape), values) in self.inputs.iter().zip(&io.read) {
                let bytes = shape.iter().product::<usize>() * datum.size_of();
                let values = &bytemuck::cast_slice::<f32, u8>(values)[..bytes];
                let mut tensor = Tensor::zero_dt(*datum, shape)?;
                tensor.try_as_plain_ram_mut()?.as_bytes_mut().copy_from_slice(values);
                inputs.push(tensor.into_tvalue());
            }
            self.model.run(inputs)
        };
        let outputs = quietly(run).map_err(|reason| engine_error("run a node", reason))?;
        let failed = |reason: String| engine_error("hand out a result", reason);
        for ((value, (datum, count)), to) in outputs.iter().zip(&self.outputs).zip(io.write.iter_mut()) {
            if value.len() != *count {
                return Err(failed(format!("{} gives {} elements in place of {count}", self.name, value.len())));
            }
            // tract computes integers that may be extents in a type of its own.
            let value = value.cast_to_dt(*datum).map_err(|e| failed(e.to_string()))?;
            let bytes = value.try_as_plain_ram().map_err(|e| failed(e.to_string()))?.as_bytes();
            bytemuck::cast_slice_mut::<f32, u8>(to)[..bytes.len()].copy_from_slice(bytes);
        }
        Ok(())
    }
}
