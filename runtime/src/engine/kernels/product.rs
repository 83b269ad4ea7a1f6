//! The matrix product under all dense kernels: rows (pixels) by columns (output channels).
//!
//! Columns come in blocks of sixteen. A tile of a few rows by one block, or two where registers suffice, stays in
//! registers while `k` runs; longer sums are cut into parts of [`PART`], which keeps a block's weights in the
//! first cache. Each part starts from zero and the bias comes last: one running sum from a large bias on would
//! round off several times as much. Weights lie in the order in which they are read, [`Packing`] says where, so that they stream from
//! memory.
//!
//! Parts whose left operand is zero throughout are left out where the weights are known to be finite: the cotangent of
//! one class among a thousand is zero nearly everywhere, and the layer behind it would read all its weights in vain.
//!
//! Weights kept in half precision are made floats block by block. Where the left operand comes as halves too, products
//! are added up as halves sixteen at a time, and those sums as floats.

use std::mem::MaybeUninit;
use std::ops::Range;

use half::f16;

use super::left::Left;
use super::stored::Weights;
use super::tile::{Ahead, BLOCKED, Columns, End, PLAIN, ROWS, half_rows_of, rows_of};
use crate::simd::{Half, HalfKernel, Isa, Kernel, LANES, Simd};

/// Terms of the left operand that callers pack at a time.
pub const DEPTH: usize = 256;

/// Terms that one running sum adds before its part goes to the result.
pub const PART: usize = 128;

/// How packed weights lie: `[part of k][block][k within the part][16]`.
#[derive(Clone, Copy, Debug)]
pub struct Packing {
    /// Terms of each sum.
    pub depth: usize,
    /// Blocks of columns.
    pub blocks: usize,
}

impl Packing {
    /// Numbers in all.
    pub fn len(self) -> usize {
        self.depth * self.blocks * LANES
    }

    /// Where the sixteen weights of term `k` for a block begin.
    #[inline(always)]
    pub fn at(self, k: usize, block: usize) -> usize {
        let (part, inside) = (k / PART * PART, k % PART);
        let depth = PART.min(self.depth - part);
        (part * self.blocks + block * depth + inside) * LANES
    }
}

/// One product of `rows` by `blocks` times sixteen columns.
pub struct Product<'a> {
    /// The left operand.
    pub left: Left<'a>,
    /// Rows of the result.
    pub rows: usize,
    /// Terms of each sum; a multiple of 16 where the left operand is blocked.
    pub depth: usize,
    /// Packed, of which `depth` terms from `from` on are used.
    pub weights: Weights<'a>,
    /// How they lie.
    pub packed: Packing,
    /// The first term used: a multiple of [`DEPTH`].
    pub from: usize,
    /// The blocks that are computed.
    pub columns: Range<usize>,
    /// The result: sixteen columns side by side.
    pub result: &'a mut [f32],
    /// From one block of the result to the next.
    pub block_stride: usize,
    /// From one row of a block to the next.
    pub row_stride: usize,
    /// Whether the sums are added to what the result holds.
    pub add: bool,
    /// A value per column of the whole, added last; empty for none.
    pub bias: &'a [f32],
    /// Whether the weights are known to be finite, so that zero times any of them is zero.
    pub finite: bool,
}

impl Product<'_> {
    /// Whether every access lies inside its slice.
    pub(super) fn fits(&self) -> bool {
        let blocked = |stride: usize, len: usize| {
            self.depth.is_multiple_of(LANES) && (self.depth / LANES - 1) * stride + self.rows * LANES <= len
        };
        let left = match self.left {
            Left::Blocked(left, stride) => blocked(stride, left.len()),
            Left::Rows(left, stride) => (self.depth - 1) * stride + self.rows <= left.len(),
            Left::Plain(left, stride) => (self.rows - 1) * stride + self.depth <= left.len(),
            Left::Halves(left, stride, _) => blocked(stride, left.len()) && matches!(self.weights, Weights::Half(..)),
        };
        let bias = self.bias.is_empty() || self.bias.len() >= self.packed.blocks * LANES;
        left && bias
            && self.from.is_multiple_of(PART)
            && self.from + self.depth <= self.packed.depth
            && self.packed.len() <= self.weights.len()
            && self.columns.end <= self.packed.blocks
            && (self.columns.len() - 1) * self.block_stride + (self.rows - 1) * self.row_stride + LANES
                <= self.result.len()
    }

    /// Computes it.
    pub fn run(self, isa: Isa) {
        if self.rows == 0 || self.columns.is_empty() || self.depth == 0 {
            return;
        }
        assert!(self.fits(), "a matrix product reaches outside its buffers");
        match self.left {
            Left::Halves(..) => isa.run_halves(self),
            _ => isa.run(self),
        }
    }

    /// The part of the sums whose terms begin at `at`; none where they come to nothing.
    fn part(&self, at: usize) -> Option<Part> {
        let depth = PART.min(self.depth - at);
        let last = self.depth - at <= PART;
        let zero = self.finite && self.left.vanishes(self.rows, at..at + depth);
        // The first terms, zero or not, begin the result, and the last add the bias.
        let (begins, adds_bias) = (at == 0 && !self.add, last && !self.bias.is_empty());
        let skipped = zero && !begins && !adds_bias;
        (!skipped).then_some(Part { at, depth: if zero { 0 } else { depth }, last })
    }

    /// A part's columns from a block on, up to `most` blocks.
    fn panel(&self, part: Part, block: usize, most: usize) -> Panel {
        Panel {
            part,
            weights: self.packed.at(self.from + part.at, block),
            block,
            blocks: most.min(self.columns.end - block),
            place: block - self.columns.start,
        }
    }

    /// The weights that are read after a panel's, which follow them, over its tiles of so many rows.
    fn ahead(&self, panel: &Panel, tile: usize) -> Ahead {
        let numbers = panel.blocks * panel.part.depth * LANES;
        let at = panel.weights + numbers;
        let (from, each) = match self.weights {
            Weights::Single(weights) => (weights.as_ptr().wrapping_add(at).cast(), size_of::<f32>()),
            Weights::Half(weights, _) => (weights.as_ptr().wrapping_add(at).cast(), size_of::<f16>()),
        };
        Ahead::over(from, numbers * each, panel.part.depth, self.rows.div_ceil(tile))
    }

    /// What becomes of a panel's sums.
    ///
    /// # Safety
    /// Of `S`; and `fits`.
    #[inline(always)]
    unsafe fn end<S: Simd, const BLOCKS: usize>(&self, panel: &Panel, result: *mut f32, factor: f32) -> End<S, BLOCKS> {
        // SAFETY: `fits` has checked how long the bias and the result are.
        unsafe {
            let mut bias = None;
            if panel.part.last && !self.bias.is_empty() {
                let mut own = [S::splat(0.0); BLOCKS];
                for (i, own) in own.iter_mut().enumerate() {
                    *own = S::load(self.bias.as_ptr().add((panel.block + i) * LANES));
                }
                bias = Some(own);
            }
            let result = result.add(panel.place * self.block_stride);
            let (block_stride, stride) = (self.block_stride, self.row_stride);
            End { result, block_stride, factor, add: self.add || panel.part.at > 0, bias, stride }
        }
    }
}

/// One part of the sums.
#[derive(Clone, Copy)]
struct Part {
    /// The first term, and how many.
    at: usize,
    depth: usize,
    /// Whether these are the last terms.
    last: bool,
}

/// One part of the sums of one block of columns, or more.
struct Panel {
    part: Part,
    /// Where its weights begin.
    weights: usize,
    /// The first block, among all and among those computed, and how many.
    block: usize,
    place: usize,
    blocks: usize,
}

impl Kernel for Product<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let result = self.result.as_mut_ptr();
        for part in (0..self.depth).step_by(PART).filter_map(|at| self.part(at)) {
            for block in self.columns.clone().step_by(S::BLOCKS) {
                let panel = self.panel(part, block, S::BLOCKS);
                // SAFETY: the caller's; a panel has no more blocks than it was asked for.
                unsafe {
                    match panel.blocks {
                        2 if S::BLOCKS >= 2 => self.multiply::<S, 2>(&panel, result),
                        _ => self.multiply::<S, 1>(&panel, result),
                    }
                }
            }
        }
    }
}

impl Product<'_> {
    /// Computes one panel.
    ///
    /// # Safety
    /// Of `S`; `fits`, and the panel has so many blocks.
    #[inline(always)]
    unsafe fn multiply<S: Simd, const BLOCKS: usize>(&self, panel: &Panel, result: *mut f32) {
        let mut room = [[const { MaybeUninit::<f32>::uninit() }; PART * LANES]; BLOCKS];
        let (rows, depth) = (self.rows, panel.part.depth);
        // SAFETY: `fits` has checked the furthest element of each operand; a panel has at most `PART` terms.
        unsafe {
            let end = self.end::<S, BLOCKS>(panel, result, 1.0);
            let next = self.packed.at(self.from + panel.part.at, panel.block + 1) - panel.weights;
            let weights = match self.weights {
                Weights::Single(weights) => Columns { weights: weights.as_ptr().add(panel.weights), stride: next },
                Weights::Half(weights, factor) => {
                    for (i, room) in room.iter_mut().enumerate() {
                        for k in (0..depth * LANES).step_by(LANES) {
                            let w = S::widen(weights.as_ptr().add(panel.weights + i * next + k));
                            S::store(room.as_mut_ptr().cast::<f32>().add(k), S::mul(S::splat(factor), w));
                        }
                    }
                    Columns { weights: room.as_ptr().cast(), stride: PART * LANES }
                }
            };
            let ahead = self.ahead(panel, S::TILE);
            match self.left {
                Left::Blocked(left, stride) => {
                    let left = left.as_ptr().add(panel.part.at / LANES * stride);
                    rows_of::<S, BLOCKED, BLOCKS>(left, stride, rows, depth, weights, ahead, end);
                }
                Left::Rows(left, stride) => {
                    let left = left.as_ptr().add(panel.part.at * stride);
                    rows_of::<S, ROWS, BLOCKS>(left, stride, rows, depth, weights, ahead, end);
                }
                Left::Plain(left, stride) => {
                    let left = left.as_ptr().add(panel.part.at);
                    rows_of::<S, PLAIN, BLOCKS>(left, stride, rows, depth, weights, ahead, end);
                }
                Left::Halves(..) => unreachable!("halves have a kernel of their own"),
            }
        }
    }
}

impl HalfKernel for Product<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<H: Half>(self) {
        let (Left::Halves(left, stride, factor), Weights::Half(weights, other)) = (self.left, self.weights) else {
            return;
        };
        let result = self.result.as_mut_ptr();
        for part in (0..self.depth).step_by(PART).filter_map(|at| self.part(at)) {
            for block in self.columns.clone() {
                let panel = self.panel(part, block, 1);
                // SAFETY: `fits` has checked the furthest element of each operand.
                unsafe {
                    let end = self.end::<H::Single, 1>(&panel, result, factor * other);
                    let (left, weights) =
                        (left.as_ptr().add(part.at / LANES * stride), weights.as_ptr().add(panel.weights));
                    half_rows_of::<H>(left, stride, self.rows, part.depth, weights, end);
                }
            }
        }
    }
}
