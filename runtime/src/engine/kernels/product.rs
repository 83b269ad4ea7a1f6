//! The matrix product under all dense kernels: rows (pixels) by columns (output channels).
//!
//! Columns come in blocks of sixteen. A tile of a few rows by one block stays in registers while `k` runs;
//! longer sums are cut into parts of [`PART`], which keeps a block's weights in the first cache. Each part starts
//! from zero and the bias comes last: one running sum from a large bias on would round off several times as
//! much. Weights lie in the order in which they are read, [`Weights`] says where, so that they stream from
//! memory.

use std::ops::Range;

use crate::engine::simd::{Isa, Kernel, LANES, Simd};

/// Terms of the left operand that callers pack at a time.
pub const DEPTH: usize = 256;

/// Terms that one running sum adds before its part goes to the result.
const PART: usize = 128;

/// How packed weights lie: `[part of k][block][k within the part][16]`.
#[derive(Clone, Copy, Debug)]
pub struct Weights {
    /// Terms of each sum.
    pub depth: usize,
    /// Blocks of columns.
    pub blocks: usize,
}

impl Weights {
    /// Floats in all.
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

/// How the left operand lies.
#[derive(Clone, Copy, Debug)]
pub enum Left {
    /// `[k / 16][row][16]`; the stride from one sixteen of `k` to the next.
    Blocked(usize),
    /// `[k][row]`; the stride from one `k` to the next.
    Rows(usize),
    /// `[row][k]`; the stride from one row to the next.
    Plain(usize),
}

/// One product of `rows` by `blocks` times sixteen columns.
pub struct Product<'a> {
    /// The left operand.
    pub left: &'a [f32],
    /// How it lies.
    pub order: Left,
    /// Rows of the result.
    pub rows: usize,
    /// Terms of each sum; a multiple of 16 where the left operand is blocked.
    pub depth: usize,
    /// Packed, of which `depth` terms from `from` on are used.
    pub weights: &'a [f32],
    /// How they lie.
    pub packed: Weights,
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
}

impl Product<'_> {
    /// Whether every access lies inside its slice.
    fn fits(&self) -> bool {
        let left = match self.order {
            Left::Blocked(stride) => {
                self.depth.is_multiple_of(LANES)
                    && (self.depth / LANES - 1) * stride + self.rows * LANES <= self.left.len()
            }
            Left::Rows(stride) => (self.depth - 1) * stride + self.rows <= self.left.len(),
            Left::Plain(stride) => (self.rows - 1) * stride + self.depth <= self.left.len(),
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
        isa.run(self);
    }
}

impl Kernel for Product<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let mut from = 0;
        while from < self.depth {
            let depth = PART.min(self.depth - from);
            let last = from + depth == self.depth;
            for block in self.columns.clone() {
                let at = self.packed.at(self.from + from, block);
                // SAFETY: `fits` has checked the furthest element of each operand.
                unsafe {
                    let bias = match last && !self.bias.is_empty() {
                        true => Some(S::load(self.bias.as_ptr().add(block * LANES))),
                        false => None,
                    };
                    let end = End { add: self.add || from > 0, bias, stride: self.row_stride };
                    let weights = self.weights.as_ptr().add(at);
                    let result = self.result.as_mut_ptr().add((block - self.columns.start) * self.block_stride);
                    match self.order {
                        Left::Blocked(stride) => {
                            let left = self.left.as_ptr().add(from / LANES * stride);
                            panel::<S, BLOCKED>(left, stride, self.rows, depth, weights, result, end);
                        }
                        Left::Rows(stride) => {
                            let left = self.left.as_ptr().add(from * stride);
                            panel::<S, ROWS>(left, stride, self.rows, depth, weights, result, end);
                        }
                        Left::Plain(stride) => {
                            let left = self.left.as_ptr().add(from);
                            panel::<S, PLAIN>(left, stride, self.rows, depth, weights, result, end);
                        }
                    }
                }
            }
            from += depth;
        }
    }
}

/// The orders of the left operand, for the compiler.
const BLOCKED: u8 = 0;
const ROWS: u8 = 1;
const PLAIN: u8 = 2;

/// What becomes of a tile's sums.
#[derive(Clone, Copy)]
struct End<S: Simd> {
    /// Whether they are added to the result.
    add: bool,
    /// What comes on top.
    bias: Option<S::V>,
    /// From one row of the result to the next.
    stride: usize,
}

/// All rows of one block of columns.
#[inline(always)]
unsafe fn panel<S: Simd, const ORDER: u8>(
    left: *const f32,
    stride: usize,
    rows: usize,
    depth: usize,
    weights: *const f32,
    result: *mut f32,
    end: End<S>,
) {
    let step = match ORDER {
        BLOCKED => LANES,
        ROWS => 1,
        _ => stride,
    };
    let mut row = 0;
    while row < rows {
        // Evenly, because a tile of one row takes nearly as long as one of four.
        let count = (rows - row).div_ceil((rows - row).div_ceil(S::TILE));
        // SAFETY: the rows lie inside `0..rows`.
        unsafe {
            let (left, result) = (left.add(row * step), result.add(row * end.stride));
            match count {
                6 => tile::<S, 6, ORDER>(left, stride, depth, weights, result, end),
                5 => tile::<S, 5, ORDER>(left, stride, depth, weights, result, end),
                4 => tile::<S, 4, ORDER>(left, stride, depth, weights, result, end),
                3 => tile::<S, 3, ORDER>(left, stride, depth, weights, result, end),
                2 => tile::<S, 2, ORDER>(left, stride, depth, weights, result, end),
                _ => tile::<S, 1, ORDER>(left, stride, depth, weights, result, end),
            }
        }
        row += count;
    }
}

/// `M` rows by sixteen columns, kept in registers.
#[inline(always)]
unsafe fn tile<S: Simd, const M: usize, const ORDER: u8>(
    left: *const f32,
    stride: usize,
    depth: usize,
    weights: *const f32,
    result: *mut f32,
    end: End<S>,
) {
    // SAFETY: the caller's.
    unsafe {
        let mut sums = [S::splat(0.0); M];
        let (mut left, mut weights) = (left, weights);
        if ORDER == BLOCKED {
            for _ in 0..depth / LANES {
                for k in 0..LANES {
                    let w = S::load(weights.add(k * LANES));
                    for (row, sum) in sums.iter_mut().enumerate() {
                        *sum = S::fma(S::splat(*left.add(row * LANES + k)), w, *sum);
                    }
                }
                left = left.add(stride);
                weights = weights.add(LANES * LANES);
            }
        } else if ORDER == ROWS {
            for _ in 0..depth {
                let w = S::load(weights);
                for (row, sum) in sums.iter_mut().enumerate() {
                    *sum = S::fma(S::splat(*left.add(row)), w, *sum);
                }
                left = left.add(stride);
                weights = weights.add(LANES);
            }
        } else {
            for k in 0..depth {
                let w = S::load(weights.add(k * LANES));
                for (row, sum) in sums.iter_mut().enumerate() {
                    *sum = S::fma(S::splat(*left.add(row * stride + k)), w, *sum);
                }
            }
        }
        for (row, mut sum) in sums.into_iter().enumerate() {
            if end.add {
                sum = S::add(S::load(result.add(row * end.stride)), sum);
            }
            if let Some(bias) = end.bias {
                sum = S::add(sum, bias);
            }
            S::store(result.add(row * end.stride), sum);
        }
    }
}
