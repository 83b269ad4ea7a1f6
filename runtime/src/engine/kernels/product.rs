//! The matrix product under all dense kernels: rows (pixels) by columns (output channels).
//!
//! Columns come in blocks of sixteen. A tile of a few rows by one block stays in registers while `k` runs;
//! longer sums are cut into parts of [`PART`], which keeps a block's weights in the first cache. Each part starts
//! from zero and the bias comes last: one running sum from a large bias on would round off several times as
//! much. Weights lie in the order in which they are read, [`Packing`] says where, so that they stream from
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
use crate::engine::simd::{Half, HalfKernel, Isa, Kernel, LANES, Simd};

/// Terms of the left operand that callers pack at a time.
pub const DEPTH: usize = 256;

/// Terms that one running sum adds before its part goes to the result.
const PART: usize = 128;

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
    fn fits(&self) -> bool {
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

    /// Every part of the sums and every block of columns.
    fn panels(&self) -> impl Iterator<Item = Panel> {
        (0..self.depth).step_by(PART).flat_map(move |at| {
            let depth = PART.min(self.depth - at);
            let last = self.depth - at <= PART;
            let zero = self.finite && self.left.vanishes(self.rows, at..at + depth);
            // The first terms, zero or not, begin the result, and the last add the bias.
            let (begins, adds_bias) = (at == 0 && !self.add, last && !self.bias.is_empty());
            let skipped = zero && !begins && !adds_bias;
            let columns = if skipped { 0..0 } else { self.columns.clone() };
            columns.map(move |block| Panel {
                at,
                depth: if zero { 0 } else { depth },
                last,
                weights: self.packed.at(self.from + at, block),
                block,
                place: block - self.columns.start,
            })
        })
    }

    /// Where the weights lie that are read after a panel's.
    fn next(&self, panel: &Panel) -> *const u8 {
        let numbers = panel.weights + panel.depth * LANES;
        match self.weights {
            Weights::Single(weights) => weights.as_ptr().wrapping_add(numbers).cast(),
            Weights::Half(weights, _) => weights.as_ptr().wrapping_add(numbers).cast(),
        }
    }

    /// What becomes of a panel's sums.
    ///
    /// # Safety
    /// Of `S`; and `fits`.
    #[inline(always)]
    unsafe fn end<S: Simd>(&self, panel: &Panel, factor: f32) -> End<S> {
        // SAFETY: `fits` has checked how long the bias is.
        unsafe {
            let bias = match panel.last && !self.bias.is_empty() {
                true => Some(S::load(self.bias.as_ptr().add(panel.block * LANES))),
                false => None,
            };
            End { factor, add: self.add || panel.at > 0, bias, stride: self.row_stride }
        }
    }
}

/// One part of the sums of one block of columns.
struct Panel {
    /// The first term, and how many.
    at: usize,
    depth: usize,
    /// Whether these are the last terms.
    last: bool,
    /// Where their weights begin.
    weights: usize,
    /// The block, among all and among those computed.
    block: usize,
    place: usize,
}

impl Kernel for Product<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let mut room = [const { MaybeUninit::<f32>::uninit() }; PART * LANES];
        let result = self.result.as_mut_ptr();
        for panel in self.panels() {
            // SAFETY: `fits` has checked the furthest element of each operand; a panel has at most `PART` terms.
            unsafe {
                let end = self.end::<S>(&panel, 1.0);
                let weights = match self.weights {
                    Weights::Single(weights) => weights.as_ptr().add(panel.weights),
                    Weights::Half(weights, factor) => {
                        let room = room.as_mut_ptr().cast::<f32>();
                        for k in (0..panel.depth * LANES).step_by(LANES) {
                            let w = S::widen(weights.as_ptr().add(panel.weights + k));
                            S::store(room.add(k), S::mul(S::splat(factor), w));
                        }
                        room.cast_const()
                    }
                };
                let result = result.add(panel.place * self.block_stride);
                let (rows, depth) = (self.rows, panel.depth);
                // The next panel's weights follow, as they are kept.
                let bytes =
                    if matches!(self.weights, Weights::Single(_)) { size_of::<f32>() } else { size_of::<f16>() };
                let ahead = Ahead::over(self.next(&panel), depth * LANES * bytes, depth, rows.div_ceil(S::TILE));
                match self.left {
                    Left::Blocked(left, stride) => {
                        let left = left.as_ptr().add(panel.at / LANES * stride);
                        rows_of::<S, BLOCKED>(left, stride, rows, depth, weights, ahead, result, end);
                    }
                    Left::Rows(left, stride) => {
                        let left = left.as_ptr().add(panel.at * stride);
                        rows_of::<S, ROWS>(left, stride, rows, depth, weights, ahead, result, end);
                    }
                    Left::Plain(left, stride) => {
                        rows_of::<S, PLAIN>(
                            left.as_ptr().add(panel.at),
                            stride,
                            rows,
                            depth,
                            weights,
                            ahead,
                            result,
                            end,
                        );
                    }
                    Left::Halves(..) => unreachable!("halves have a kernel of their own"),
                }
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
        for panel in self.panels() {
            // SAFETY: `fits` has checked the furthest element of each operand.
            unsafe {
                let end = self.end::<H::Single>(&panel, factor * other);
                let (left, weights) =
                    (left.as_ptr().add(panel.at / LANES * stride), weights.as_ptr().add(panel.weights));
                let result = result.add(panel.place * self.block_stride);
                let mut row = 0;
                while row < self.rows {
                    let count = tile_rows(self.rows - row, H::TILE);
                    let (left, result) = (left.add(row * LANES), result.add(row * self.row_stride));
                    match count {
                        4 => half_tile::<H, 4>(left, stride, panel.depth, weights, result, end),
                        3 => half_tile::<H, 3>(left, stride, panel.depth, weights, result, end),
                        2 => half_tile::<H, 2>(left, stride, panel.depth, weights, result, end),
                        _ => half_tile::<H, 1>(left, stride, panel.depth, weights, result, end),
                    }
                    row += count;
                }
            }
        }
    }
}

/// Weights that are asked for while others are multiplied, so that their way from memory takes no time of its own: a few
/// lines of the cache with every sixteen terms.
#[derive(Clone, Copy)]
struct Ahead {
    from: *const u8,
    lines: usize,
}

/// Bytes that memory gives at a time.
const LINE: usize = 64;

impl Ahead {
    /// `bytes`, spread over `tiles` of `depth` terms each.
    fn over(from: *const u8, bytes: usize, depth: usize, tiles: usize) -> Ahead {
        Ahead { from, lines: bytes.div_ceil(LINE).div_ceil((depth / LANES).max(1) * tiles) }
    }

    /// Asks for the next lines.
    #[inline(always)]
    unsafe fn step<S: Simd>(&mut self) {
        for _ in 0..self.lines {
            // SAFETY: a hint reads nothing.
            unsafe { S::ahead(self.from) };
            self.from = self.from.wrapping_add(LINE);
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
    /// What halves are multiplied by.
    factor: f32,
    /// Whether they are added to the result.
    add: bool,
    /// What comes on top.
    bias: Option<S::V>,
    /// From one row of the result to the next.
    stride: usize,
}

/// Rows of the next tile: evenly, because a tile of one row takes nearly as long as one of four.
#[inline(always)]
fn tile_rows(rows: usize, most: usize) -> usize {
    rows.div_ceil(rows.div_ceil(most))
}

/// All rows of one block of columns.
#[inline(always)]
unsafe fn rows_of<S: Simd, const ORDER: u8>(
    left: *const f32,
    stride: usize,
    rows: usize,
    depth: usize,
    weights: *const f32,
    mut ahead: Ahead,
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
        let count = tile_rows(rows - row, S::TILE);
        // SAFETY: the rows lie inside `0..rows`.
        unsafe {
            let (left, result) = (left.add(row * step), result.add(row * end.stride));
            match count {
                6 => tile::<S, 6, ORDER>(left, stride, depth, weights, &mut ahead, result, end),
                5 => tile::<S, 5, ORDER>(left, stride, depth, weights, &mut ahead, result, end),
                4 => tile::<S, 4, ORDER>(left, stride, depth, weights, &mut ahead, result, end),
                3 => tile::<S, 3, ORDER>(left, stride, depth, weights, &mut ahead, result, end),
                2 => tile::<S, 2, ORDER>(left, stride, depth, weights, &mut ahead, result, end),
                _ => tile::<S, 1, ORDER>(left, stride, depth, weights, &mut ahead, result, end),
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
    ahead: &mut Ahead,
    result: *mut f32,
    end: End<S>,
) {
    // SAFETY: the caller's.
    unsafe {
        let mut sums = [S::splat(0.0); M];
        let (mut left, mut weights) = (left, weights);
        if ORDER == BLOCKED {
            for _ in 0..depth / LANES {
                ahead.step::<S>();
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
                if k % LANES == 0 {
                    ahead.step::<S>();
                }
                let w = S::load(weights.add(k * LANES));
                for (row, sum) in sums.iter_mut().enumerate() {
                    *sum = S::fma(S::splat(*left.add(row * stride + k)), w, *sum);
                }
            }
        }
        finish::<S, M>(sums, result, end);
    }
}

/// `M` rows by sixteen columns of halves.
#[inline(always)]
unsafe fn half_tile<H: Half, const M: usize>(
    left: *const f16,
    stride: usize,
    depth: usize,
    weights: *const f16,
    result: *mut f32,
    end: End<H::Single>,
) {
    // SAFETY: the caller's.
    unsafe {
        let mut sums = [H::Single::splat(0.0); M];
        let (mut left, mut weights) = (left, weights);
        for _ in 0..depth / LANES {
            let mut short = [H::zero(); M];
            for k in 0..LANES {
                let w = H::load(weights.add(k * LANES));
                for (row, sum) in short.iter_mut().enumerate() {
                    *sum = H::fma(H::splat(left.add(row * LANES + k)), w, *sum);
                }
            }
            for (sum, short) in sums.iter_mut().zip(short) {
                *sum = H::Single::add(*sum, H::widen(short));
            }
            left = left.add(stride);
            weights = weights.add(LANES * LANES);
        }
        for sum in &mut sums {
            *sum = H::Single::mul(H::Single::splat(end.factor), *sum);
        }
        finish::<H::Single, M>(sums, result, end);
    }
}

/// Puts a tile's sums where they belong.
#[inline(always)]
unsafe fn finish<S: Simd, const M: usize>(sums: [S::V; M], result: *mut f32, end: End<S>) {
    for (row, mut sum) in sums.into_iter().enumerate() {
        // SAFETY: the caller's.
        unsafe {
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
