//! The innermost part of a matrix product: a few rows by sixteen columns that stay in registers.

use half::f16;

use crate::engine::simd::{Arithmetic, Half, LANES, Simd};

/// Weights that are asked for while others are multiplied, so that their way from memory takes no time of its own: a few
/// lines of the cache with every sixteen terms.
#[derive(Clone, Copy)]
pub struct Ahead {
    from: *const u8,
    lines: usize,
}

/// Bytes that memory gives at a time.
const LINE: usize = 64;

impl Ahead {
    /// `bytes`, spread over `tiles` of `depth` terms each.
    pub fn over(from: *const u8, bytes: usize, depth: usize, tiles: usize) -> Ahead {
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
pub const BLOCKED: u8 = 0;
pub const ROWS: u8 = 1;
pub const PLAIN: u8 = 2;

/// What becomes of a tile's sums.
#[derive(Clone, Copy)]
pub struct End<S: Simd> {
    /// Where the first row of the result goes.
    pub result: *mut f32,
    /// What halves are multiplied by.
    pub factor: f32,
    /// Whether they are added to the result.
    pub add: bool,
    /// What comes on top.
    pub bias: Option<S::V>,
    /// From one row of the result to the next.
    pub stride: usize,
}

impl<S: Simd> End<S> {
    /// The same for the tile so many rows below.
    #[inline(always)]
    unsafe fn below(mut self, rows: usize) -> End<S> {
        // SAFETY: the caller's.
        self.result = unsafe { self.result.add(rows * self.stride) };
        self
    }
}

/// Rows of the next tile: evenly, because a tile of one row takes nearly as long as one of four.
#[inline(always)]
fn tile_rows(rows: usize, most: usize) -> usize {
    rows.div_ceil(rows.div_ceil(most))
}

/// All rows of one block of columns.
#[inline(always)]
pub unsafe fn rows_of<S: Simd, const ORDER: u8>(
    left: *const f32,
    stride: usize,
    rows: usize,
    depth: usize,
    weights: *const f32,
    mut ahead: Ahead,
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
            let (left, end) = (left.add(row * step), end.below(row));
            match count {
                12 => tile::<S, 12, ORDER>(left, stride, depth, weights, &mut ahead, end),
                11 => tile::<S, 11, ORDER>(left, stride, depth, weights, &mut ahead, end),
                10 => tile::<S, 10, ORDER>(left, stride, depth, weights, &mut ahead, end),
                9 => tile::<S, 9, ORDER>(left, stride, depth, weights, &mut ahead, end),
                8 => tile::<S, 8, ORDER>(left, stride, depth, weights, &mut ahead, end),
                7 => tile::<S, 7, ORDER>(left, stride, depth, weights, &mut ahead, end),
                6 => tile::<S, 6, ORDER>(left, stride, depth, weights, &mut ahead, end),
                5 => tile::<S, 5, ORDER>(left, stride, depth, weights, &mut ahead, end),
                4 => tile::<S, 4, ORDER>(left, stride, depth, weights, &mut ahead, end),
                3 => tile::<S, 3, ORDER>(left, stride, depth, weights, &mut ahead, end),
                2 => tile::<S, 2, ORDER>(left, stride, depth, weights, &mut ahead, end),
                _ => tile::<S, 1, ORDER>(left, stride, depth, weights, &mut ahead, end),
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
        finish::<S, M>(sums, end);
    }
}

/// All rows of one block of columns of halves.
#[inline(always)]
pub unsafe fn half_rows_of<H: Half>(
    left: *const f16,
    stride: usize,
    rows: usize,
    depth: usize,
    weights: *const f16,
    end: End<H::Single>,
) {
    let mut row = 0;
    while row < rows {
        let count = tile_rows(rows - row, H::TILE);
        // SAFETY: the rows lie inside `0..rows`.
        unsafe {
            let (left, end) = (left.add(row * LANES), end.below(row));
            match count {
                4 => half_tile::<H, 4>(left, stride, depth, weights, end),
                3 => half_tile::<H, 3>(left, stride, depth, weights, end),
                2 => half_tile::<H, 2>(left, stride, depth, weights, end),
                _ => half_tile::<H, 1>(left, stride, depth, weights, end),
            }
        }
        row += count;
    }
}

/// `M` rows by sixteen columns of halves.
#[inline(always)]
unsafe fn half_tile<H: Half, const M: usize>(
    left: *const f16,
    stride: usize,
    depth: usize,
    weights: *const f16,
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
        finish::<H::Single, M>(sums, end);
    }
}

/// Puts a tile's sums where they belong.
#[inline(always)]
unsafe fn finish<S: Simd, const M: usize>(sums: [S::V; M], end: End<S>) {
    for (row, mut sum) in sums.into_iter().enumerate() {
        // SAFETY: the caller's.
        unsafe {
            if end.add {
                sum = S::add(S::load(end.result.add(row * end.stride)), sum);
            }
            if let Some(bias) = end.bias {
                sum = S::add(sum, bias);
            }
            S::store(end.result.add(row * end.stride), sum);
        }
    }
}
