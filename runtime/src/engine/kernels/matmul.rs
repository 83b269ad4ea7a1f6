//! Matrix products of row-major matrices: packs what needs packing around [`Product`].

use std::ops::Range;

use super::phase::Epilogue;
use half::f16;

use super::left::Left;
use super::lines::{moved, scaled, turned};
use super::product::{DEPTH, Packing, Product};
use super::stored::{Weights, to_halves, values_factor};
use crate::simd::{Isa, Kernel, LANES, Lined, Simd};

/// Rows that are packed and multiplied together.
const STRIP: usize = 252;

/// Rows from which on the left side is packed.
const FEW: usize = 4;

/// One side of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Side {
    /// Whether it is stored with rows and columns exchanged.
    pub transposed: bool,
    /// Where the first element is.
    pub from: usize,
    /// From a row that is stored to the next.
    pub line: usize,
    /// From one matrix of a batch to the next; zero where all share one.
    pub stride: usize,
}

impl Side {
    /// A matrix, and what comes behind it.
    fn matrix<'a>(&self, values: &'a [f32], number: usize) -> &'a [f32] {
        &values[self.from + number * self.stride..]
    }
}

/// A batch of products: `rows x depth` by `depth x columns`.
#[derive(Clone, Debug)]
pub struct MatMul {
    /// Products.
    pub batch: usize,
    /// Rows of the left side and the result.
    pub rows: usize,
    /// Columns of the left side, rows of the right.
    pub depth: usize,
    /// Columns of the right side and the result.
    pub columns: usize,
    /// How the left side is stored.
    pub left: Side,
    /// How the right side is stored.
    pub right: Side,
    /// What each side is multiplied by before.
    pub factors: [f32; 2],
    /// Whether halves are multiplied; wants a packed right side in half precision, and a left one without gaps.
    pub halves: bool,
}

/// What a packed right side depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Panels {
    matrices: usize,
    /// Rows, and as many as they are padded to.
    depth: [usize; 2],
    columns: usize,
    side: Side,
}

/// The right side as [`Product`] wants it, one matrix after the other.
pub fn pack_right(isa: Isa, panels: Panels, right: &[f32]) -> Lined<f32> {
    let each = panels.packed().len();
    let mut packed = Lined::zeros(panels.matrices * each);
    for (i, to) in packed.chunks_exact_mut(each).enumerate() {
        isa.run(PackRight { panels, right: panels.side.matrix(right, i), factor: 1.0, to });
    }
    packed
}

impl Panels {
    /// How a matrix lies, packed.
    fn packed(&self) -> Packing {
        Packing { depth: self.depth[1], blocks: self.columns.div_ceil(LANES) }
    }
}

impl MatMul {
    /// Whether the left side is packed. A few rows are read where they are; of more, which lie far apart, a tile's pointers would
    /// not fit the registers.
    fn packs_left(&self) -> bool {
        self.left.transposed || self.halves || self.rows >= FEW || self.factors[0] != 1.0
    }

    /// Terms of each sum; where the left side is packed, padded.
    pub fn padded_depth(&self) -> usize {
        if self.packs_left() { self.depth.next_multiple_of(LANES) } else { self.depth }
    }

    /// How the right side is packed.
    pub fn panels(&self) -> Panels {
        let matrices = if self.right.stride == 0 { 1 } else { self.batch };
        Panels { matrices, depth: [self.depth, self.padded_depth()], columns: self.columns, side: self.right }
    }

    /// How a matrix of the right side lies, packed.
    fn packed(&self) -> Packing {
        self.panels().packed()
    }

    /// Floats of one packed right side.
    fn panel(&self) -> usize {
        self.packed().len()
    }

    /// Floats of scratch memory; `packs` says that the right side comes unpacked.
    pub fn scratch(&self, packs: bool) -> usize {
        let strip = STRIP.min(self.rows);
        let depth = DEPTH.min(self.padded_depth());
        let left = match (self.packs_left(), self.halves) {
            (true, true) => strip * (depth + depth / 2),
            (true, false) => strip * depth,
            _ => 0,
        };
        left + strip * LANES + if packs { self.panel() } else { 0 }
    }

    #[allow(clippy::too_many_arguments)]
    /// Computes every product, plus `bias` per column padded to blocks, if there is one. `fixed` is the packed right
    /// side, where it is constant.
    pub fn run(
        &self,
        isa: Isa,
        left: &[f32],
        right: &[f32],
        fixed: Option<Weights>,
        bias: &[f32],
        output: &mut [f32],
        scratch: &mut [f32],
        epilogue: Epilogue,
    ) {
        let panel = if fixed.is_some() { 0 } else { self.panel() };
        let (own, scratch) = scratch.split_at_mut(panel);
        for (i, output) in output.chunks_exact_mut(self.rows * self.columns).enumerate() {
            let weights = match fixed {
                Some(fixed) if self.right.stride == 0 => fixed,
                Some(Weights::Single(all)) => Weights::Single(&all[i * self.panel()..]),
                Some(Weights::Half(all, factor)) => Weights::Half(&all[i * self.panel()..], factor),
                None => {
                    if i == 0 || self.right.stride > 0 {
                        let (right, factor) = (self.right.matrix(right, i), self.factors[1]);
                        isa.run(PackRight { panels: self.panels(), right, factor, to: own });
                    }
                    Weights::Single(own)
                }
            };
            let first = i * self.rows * self.columns;
            let mut finished = |at: usize, part: &mut [f32]| epilogue(first + at, part);
            let finite = fixed.is_some();
            self.one(isa, self.left.matrix(left, i), weights, finite, bias, output, scratch, &mut finished);
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn one(
        &self,
        isa: Isa,
        left: &[f32],
        weights: Weights,
        finite: bool,
        bias: &[f32],
        output: &mut [f32],
        scratch: &mut [f32],
        epilogue: Epilogue,
    ) {
        let depth = self.padded_depth();
        let factor = if self.halves { values_factor(isa, &left[..self.rows * self.depth]) } else { 1.0 };
        // Whole blocks of columns go where they belong; the last, if it is shorter, by way of scratch memory.
        let (whole, short) = (self.columns / LANES, self.columns % LANES);
        for from in (0..self.rows).step_by(STRIP) {
            let rows = STRIP.min(self.rows - from);
            let (packed, rest) = scratch.split_at_mut(if self.packs_left() { rows * DEPTH.min(depth) } else { 0 });
            let (halves, last) = rest.split_at_mut(if self.halves { rows * DEPTH.min(depth) / 2 } else { 0 });
            let halves: &mut [f16] = bytemuck::cast_slice_mut(halves);
            let output = &mut output[from * self.columns..][..rows * self.columns];
            for at in (0..depth).step_by(DEPTH) {
                let part = DEPTH.min(depth - at);
                let left = match self.packs_left() {
                    true => {
                        let packed = &mut packed[..rows * part];
                        isa.run(PackLeft { product: self, left, from, rows, at, to: packed });
                        match self.halves {
                            true => {
                                let halves = &mut halves[..rows * part];
                                to_halves(isa, packed, factor, halves);
                                Left::Halves(halves, rows * LANES, 1.0 / factor)
                            }
                            false => Left::Blocked(packed, rows * LANES),
                        }
                    }
                    false => Left::Plain(&left[from * self.left.line + at..], self.left.line),
                };
                let product = |columns: Range<usize>, result: &mut [f32], row_stride: usize| {
                    let (packed, add, block_stride) = (self.packed(), at > 0, LANES);
                    let bias = if at + part == depth { bias } else { &[] };
                    Product {
                        left,
                        rows,
                        depth: part,
                        weights,
                        packed,
                        from: at,
                        columns,
                        result,
                        block_stride,
                        row_stride,
                        add,
                        bias,
                        finite,
                    }
                    .run(isa);
                };
                product(0..whole, output, self.columns);
                if short > 0 {
                    product(whole..whole + 1, last, LANES);
                }
            }
            if short > 0 {
                for (row, lanes) in last.as_chunks::<LANES>().0.iter().enumerate().take(rows) {
                    output[row * self.columns + whole * LANES..][..short].copy_from_slice(&lanes[..short]);
                }
            }
            epilogue(from * self.columns, output);
        }
    }
}

/// A right side, packed: lanes of columns, term after term.
struct PackRight<'a> {
    panels: Panels,
    right: &'a [f32],
    factor: f32,
    to: &'a mut [f32],
}

impl Kernel for PackRight<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Panels { depth: [depth, _], columns, side, .. } = self.panels;
        let (packed, line) = (self.panels.packed(), side.line);
        for block in 0..packed.blocks {
            let first = block * LANES;
            let columns = LANES.min(columns - first);
            for k in (0..packed.depth).step_by(LANES) {
                let (at, terms) = (packed.at(k, block), LANES.min(packed.depth - k));
                let to = &mut self.to[at..][..terms * LANES];
                let terms = terms.min(depth.saturating_sub(k));
                // SAFETY: of the machine.
                unsafe {
                    match side.transposed {
                        true => turned::<S>(&self.right[first * line..], line, k, [columns, terms], to),
                        false => moved::<S>(&self.right[k * line..], line, first, [terms, columns], to),
                    }
                    scaled::<S>(to, self.factor);
                }
            }
        }
    }
}

/// Some rows of the left side and some terms, from `at` on, as `[k / 16][row][16]`.
struct PackLeft<'a> {
    product: &'a MatMul,
    left: &'a [f32],
    from: usize,
    rows: usize,
    at: usize,
    to: &'a mut [f32],
}

impl Kernel for PackLeft<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let (product, from, line) = (self.product, self.from, self.product.left.line);
        for (i, to) in self.to.chunks_exact_mut(self.rows * LANES).enumerate() {
            let first = self.at + i * LANES;
            let terms = LANES.min(product.depth.saturating_sub(first));
            for (row, to) in (from..).step_by(LANES).zip(to.chunks_mut(LANES * LANES)) {
                let rows = to.len() / LANES;
                // SAFETY: of the machine.
                unsafe {
                    match product.left.transposed {
                        true => turned::<S>(&self.left[first * line..], line, row, [terms, rows], to),
                        false => moved::<S>(&self.left[row * line..], line, first, [rows, terms], to),
                    }
                    scaled::<S>(to, product.factors[0]);
                }
            }
        }
    }
}
