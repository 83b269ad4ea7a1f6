//! Matrix products of planes.

use std::sync::Arc;

use super::dense::{Host, HostKind};
use super::planner::{Lowered, Planner};
use super::run::Numbers;
use super::values::Order;
use super::views::{View, runs};
use crate::engine::kernels::matmul::{MatMul, Side, pack_right};
use crate::engine::kernels::phase::Epilogue;
use crate::engine::kernels::stored::Stored;
use crate::error::Result;
use crate::onnx::{DType, Node};
use crate::simd::{Isa, LANES};

/// Leaves Gemm and MatMul for later, so that they can take an epilogue.
pub fn lower(planner: &mut Planner, node: &Node, _: usize) -> Result<Lowered> {
    let lowered = match (node.domain.as_str(), node.op.as_str()) {
        ("", "Gemm") => gemm(planner, node),
        ("", "MatMul") => matmul(planner, node),
        _ => None,
    };
    let Some(mut plan) = lowered else { return Ok(Lowered::Not) };
    let (a, b, output) = (node.input(0).unwrap_or_default(), node.input(1).unwrap_or_default(), node.output(0));
    let output = output.unwrap_or_default();
    let halves = planner.packs.precision.multiplies_halves() && planner.constant(b).is_some();
    let (a, b) = (plan.read(planner, a, true, halves)?, plan.read(planner, b, false, halves)?);
    let mut reads = vec![planner.planes(&a)?];
    let mut fixed = None;
    match planner.constant(&b) {
        Some(tensor) => {
            let (isa, precision) = (planner.packs.isa, planner.packs.precision);
            plan.product.halves = precision.multiplies_halves();
            let panels = plan.product.panels();
            let pack = || {
                let packed = pack_right(isa, panels, &tensor.to_f32()?);
                Some(Arc::new(Stored::new(packed, precision.keeps_halves())))
            };
            fixed = planner.packs.panels.get((tensor.identity(), panels), pack);
        }
        None => reads.push(planner.planes(&b)?),
    }
    // A row that is added goes along as a bias; anything else is added when all products are there.
    let row = plan.added.as_ref().and_then(|c| planner.constant(c)).and_then(|t| t.to_f32());
    let mut bias = vec![];
    let mut added = plan.added.as_ref().map(|_| plan.added_scale);
    if let Some(row) = row.filter(|row| row.len() == plan.product.columns && plan.scale == 1.0) {
        bias = row.iter().map(|v| plan.added_scale * v).collect();
        bias.resize(bias.len().next_multiple_of(LANES), 0.0);
        added = None;
    }
    if let Some(c) = plan.added.filter(|_| added.is_some()) {
        reads.push(planner.planes(&c)?);
    }
    let products = Products { product: plan.product, fixed, scale: plan.scale, added, bias };
    let floats = planner.fact(output)?.shape.iter().product();
    let host =
        Host { reads, writes: vec![], kind: HostKind::Products(products), batch: 1, floats, order: Order::Planes };
    host.postpone(planner, output)
}

/// A product, and what is added to it.
struct Lowering {
    product: MatMul,
    scale: f32,
    added: Option<String>,
    added_scale: f32,
}

impl Lowering {
    /// What is read for a side, of floats or halves: in place of a view with lines of elements side by side, what it is a view of.
    fn read(&mut self, planner: &Planner, name: &str, left: bool, halves: bool) -> Result<String> {
        let (view, shape, product) =
            (planner.viewed_before_factor(name)?, &planner.fact(name)?.shape, &mut self.product);
        let own = if left { product.left } else { product.right };
        let Some(seen) = seen(&own, product.batch, &view, shape) else { return Ok(name.to_string()) };
        // Of a left side that becomes halves all is looked at as it is, from the first element of a matrix to its last.
        let line = if seen.transposed { product.rows } else { product.depth };
        let whole = seen.line == line && view.factor == 1.0;
        // What is packed beforehand has no factor.
        if (left && halves && !whole) || planner.constant(&view.of).is_some() {
            return Ok(name.to_string());
        }
        *if left { &mut product.left } else { &mut product.right } = seen;
        product.factors[usize::from(!left)] = view.factor;
        Ok(view.of)
    }
}

/// A side of so many matrices, or of all their rows as those of one, as a view of this shape.
fn seen(side: &Side, batch: usize, view: &View, shape: &[usize]) -> Option<Side> {
    let (of_matrices, of_places) = view.strides.split_at_checked(view.strides.len().checked_sub(2)?)?;
    let (matrices, places) = shape.split_at_checked(of_matrices.len())?;
    let (&[rows, columns], &[down, across]) = (places, of_places) else { return None };
    let (turned, line) = match (across == 1 || columns == 1, down == 1 || rows == 1) {
        (true, _) => (false, down),
        (false, true) => (true, across),
        (false, false) => return None,
    };
    let stride = match runs(matrices, of_matrices)[..] {
        [] => side.stride,
        [(count, stride)] if count == batch => stride,
        [(_, stride)] if batch == 1 && !turned && stride == rows * line => stride,
        _ => return None,
    };
    Some(Side { transposed: side.transposed != turned, from: view.from, line, stride })
}

fn gemm(planner: &Planner, node: &Node) -> Option<Lowering> {
    let shape = |slot: usize| match planner.values.get(node.input(slot)?) {
        Some(v) if v.fact.dtype == DType::F32 => Some(v.fact.shape.clone()),
        _ => None,
    };
    let ([a0, a1], [b0, b1]) = (shape(0)?.try_into().ok()?, shape(1)?.try_into().ok()?);
    let (left, right) = (node.int("transA", 0) != 0, node.int("transB", 0) != 0);
    let (rows, depth) = if left { (a1, a0) } else { (a0, a1) };
    let columns = if right { b0 } else { b1 };
    let added = node.input(2).map(str::to_string);
    // What is added must be a row, or a whole matrix: nothing else occurs often.
    if let Some(c) = shape(2)
        && ![&[columns][..], &[1, columns], &[rows, columns]].contains(&&c[..])
    {
        return None;
    }
    let product = MatMul {
        batch: 1,
        rows,
        depth,
        columns,
        left: Side { transposed: left, from: 0, line: a1, stride: 0 },
        right: Side { transposed: right, from: 0, line: b1, stride: 0 },
        factors: [1.0; 2],
        halves: false,
    };
    (rows * depth * columns > 0).then_some(Lowering {
        product,
        scale: node.float("alpha", 1.0),
        added,
        added_scale: node.float("beta", 1.0),
    })
}

/// Batches of equal extents, or one right side for all of them.
fn matmul(planner: &Planner, node: &Node) -> Option<Lowering> {
    let shape = |slot: usize| match planner.values.get(node.input(slot)?) {
        Some(v) if v.fact.dtype == DType::F32 && v.fact.shape.len() >= 2 => Some(v.fact.shape.clone()),
        _ => None,
    };
    let (a, b) = (shape(0)?, shape(1)?);
    let (left, right) = (&a[..a.len() - 2], &b[..b.len() - 2]);
    let (mut rows, depth, columns) = (a[a.len() - 2], a[a.len() - 1], b[b.len() - 1]);
    let (batches, others): (usize, usize) = (left.iter().product(), right.iter().product());
    let mut batch = batches;
    let stride = match others {
        1 => {
            // One right side: all rows at once.
            rows *= batches;
            batch = 1;
            0
        }
        _ if left == right => depth * columns,
        _ => return None,
    };
    if rows * depth * columns * batch == 0 || (others == 1 && right.len() > left.len() && batches != 1) {
        return None;
    }
    let product = MatMul {
        batch,
        rows,
        depth,
        columns,
        left: Side { transposed: false, from: 0, line: depth, stride: rows * depth },
        right: Side { transposed: false, from: 0, line: columns, stride },
        factors: [1.0; 2],
        halves: false,
    };
    Some(Lowering { product, scale: 1.0, added: None, added_scale: 0.0 })
}

/// `scale A B + added C`
pub struct Products {
    product: MatMul,
    /// The right side, packed, where it is constant.
    fixed: Option<Arc<Stored>>,
    scale: f32,
    added: Option<f32>,
    /// A constant row that is added, padded to blocks; empty for none.
    bias: Vec<f32>,
}

impl Products {
    /// Multiplications and additions, each counted.
    pub fn flops(&self) -> u64 {
        let p = &self.product;
        2 * (p.batch * p.rows * p.depth * p.columns) as u64
    }

    /// Floats of scratch memory.
    pub fn scratch(&self) -> usize {
        self.product.scratch(self.fixed.is_none())
    }

    /// Where the packed weights are, and their bytes.
    pub fn weights(&self) -> Option<(usize, usize)> {
        self.fixed.as_ref().map(|f| (Arc::as_ptr(f) as usize, f.bytes()))
    }

    /// What they multiply, if the right side is constant.
    pub fn numbers(&self) -> Option<Numbers> {
        self.fixed.as_ref().map(|f| Numbers::of(f.is_half(), self.product.halves))
    }

    /// Computes them from the left side, then the right one unless it is packed, then what is added.
    pub fn run(&self, isa: Isa, read: &[&[f32]], output: &mut [f32], scratch: &mut [f32], epilogue: Epilogue) {
        let right = if self.fixed.is_none() { read[1] } else { &[] };
        let plain = self.scale == 1.0 && self.added.is_none();
        let (fixed, bias) = (self.fixed.as_ref().map(|f| f.all()), &self.bias);
        self.product.run(isa, read[0], right, fixed, bias, output, scratch, &mut |at, part| {
            if plain {
                epilogue(at, part);
            }
        });
        if plain {
            return;
        }
        let row = self.product.columns;
        for (i, output) in output.chunks_exact_mut(row).enumerate() {
            output.iter_mut().for_each(|v| *v *= self.scale);
            if let (Some(factor), Some(c)) = (self.added, read.last()) {
                let c = if c.len() == row { c } else { &c[i * row..(i + 1) * row] };
                output.iter_mut().zip(c).for_each(|(v, c)| *v += factor * c);
            }
        }
        epilogue(0, output);
    }
}
