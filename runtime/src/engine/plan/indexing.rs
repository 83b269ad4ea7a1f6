//! Pads and gathers: values laid into a larger one, and slices picked by constant indices.

use super::arena::Io;
use super::planner::{Lowered, Planner};
use super::run::Work;
use super::shapes::strides;
use super::values::Order;
use super::views::View;
use crate::engine::kernels::moves::Move;
use crate::error::Result;
use crate::onnx::{DType, Node};
use crate::simd::Isa;

/// Lowers them.
pub fn lower(planner: &mut Planner, node: &Node, _: usize) -> Result<Lowered> {
    let (Some(input), Some(output)) = (node.input(0), node.output(0)) else { return Ok(Lowered::Not) };
    let known = |name: &str| planner.fact(name).is_ok_and(|f| f.dtype == DType::F32 && !f.shape.contains(&0));
    if !node.domain.is_empty() || !known(input) || !known(output) {
        return Ok(Lowered::Not);
    }
    let work: Option<Box<dyn Work>> = match node.op.as_str() {
        "Pad" => pad(planner, node, input, output)?.map(|w| Box::new(w) as _),
        "Gather" => match view_of_run(planner, node, input, output)? {
            Some(view) => return planner.look(output, view),
            None => gather(planner, node, input)?.map(|w| Box::new(w) as _),
        },
        _ => None,
    };
    let Some(work) = work else { return Ok(Lowered::Not) };
    let read = planner.planes(input)?;
    let len = planner.fact(output)?.shape.iter().product();
    let write = planner.buffer(len);
    planner.step(output, work, vec![read], vec![write]);
    planner.set(output, Order::Planes, write)?;
    Ok(Lowered::Done)
}

/// Constant pads, with a constant number.
fn pad(planner: &Planner, node: &Node, input: &str, output: &str) -> Result<Option<Pad>> {
    let (own, to) = (planner.fact(input)?.shape.clone(), planner.fact(output)?.shape.clone());
    let pads = node.input(1).and_then(|n| planner.constant(n)).and_then(|t| t.to_i64());
    let value = match node.input(2) {
        Some(_) => planner.number(node, 2),
        None => Some(0.0),
    };
    let (Some(pads), Some(value)) = (pads, value) else { return Ok(None) };
    let axes = node.input(3).is_none() && pads.len() == 2 * own.len() && pads.iter().all(|&p| p >= 0);
    if !axes || node.text("mode", "constant") != "constant" {
        return Ok(None);
    }
    let writes = strides(&to);
    let first = pads.iter().zip(&writes).map(|(p, s)| *p as usize * s).sum();
    let moved = Move { from: 0, to: first, reads: strides(&own), writes, extents: own };
    Ok(Some(Pad { value, moved: moved.simplified() }))
}

/// An axis, and constant indices along it.
fn indices(planner: &Planner, node: &Node, input: &str) -> Result<Option<(usize, Vec<usize>)>> {
    let fact = planner.fact(input)?;
    let indices = node.input(1).and_then(|n| planner.constant(n)).and_then(|t| t.to_i64());
    let (Some(axis), Some(indices)) = (fact.axis(node.int("axis", 0)), indices) else { return Ok(None) };
    let extent = fact.shape[axis];
    let inside = |&i: &i64| usize::try_from(if i < 0 { i + extent as i64 } else { i }).ok().filter(|&i| i < extent);
    let indices: Option<Vec<usize>> = indices.iter().map(inside).collect();
    Ok(indices.map(|indices| (axis, indices)))
}

/// Along one axis, by constant indices.
fn gather(planner: &Planner, node: &Node, input: &str) -> Result<Option<Gather>> {
    let shape = &planner.fact(input)?.shape;
    let of = |(axis, indices): (usize, _)| {
        let inner = shape[axis + 1..].iter().product();
        Gather { extent: shape[axis], inner, indices }
    };
    Ok(indices(planner, node, input)?.map(of))
}

/// What a gather of indices one after the other reads.
fn view_of_run(planner: &Planner, node: &Node, input: &str, output: &str) -> Result<Option<View>> {
    let Some((axis, indices)) = indices(planner, node, input)? else { return Ok(None) };
    let Some(&start) = indices.first() else { return Ok(None) };
    if !indices.iter().copied().eq(start..start + indices.len()) {
        return Ok(None);
    }
    let mut shape = planner.fact(input)?.shape.clone();
    let mut first = vec![0; shape.len()];
    (first[axis], shape[axis]) = (start, indices.len());
    let view = planner.viewed_for(output, input)?.cut(&first, &vec![1; shape.len()]);
    Ok(view.reshaped(&shape, &planner.fact(output)?.shape))
}

/// Fills with a number, then lays the value into it.
struct Pad {
    value: f32,
    moved: Move,
}

impl Work for Pad {
    fn kernel(&self) -> &str {
        "pad"
    }

    fn run(&self, isa: Isa, mut io: Io<'_>) -> Result<()> {
        io.write[0].fill(self.value);
        self.moved.run(isa, io.read[0], io.write[0]);
        Ok(())
    }
}

/// Of every `extent` runs of `inner` elements, those with these indices.
struct Gather {
    extent: usize,
    inner: usize,
    indices: Vec<usize>,
}

impl Work for Gather {
    fn kernel(&self) -> &str {
        "gather"
    }

    fn run(&self, _: Isa, mut io: Io<'_>) -> Result<()> {
        let parts = io.write[0].chunks_exact_mut(self.indices.len() * self.inner);
        for (from, to) in io.read[0].chunks_exact(self.extent * self.inner).zip(parts) {
            for (&index, to) in self.indices.iter().zip(to.chunks_exact_mut(self.inner)) {
                to.copy_from_slice(&from[index * self.inner..(index + 1) * self.inner]);
            }
        }
        Ok(())
    }
}
