//! The innermost part of a matrix product: a few rows by one block of sixteen columns, or two, that stay in registers.

use half::f16;

use crate::simd::{Arithmetic, Half, LANES, Simd};

/// Weights that are asked for while others are multiplied, so that their way from memory takes no time of its own: a few
/// bytes with every term, for the processor keeps track of no more than a dozen lines of the cache at a time.
#[derive(Clone, Copy)]
pub struct Ahead {
    from: *const u8,
    step: usize,
}

/// Bytes that memory gives at a time.
const LINE: usize = 64;

impl Ahead {
    /// `bytes`, spread over `tiles` of `depth` terms each.
    pub fn over(from: *const u8, bytes: usize, depth: usize, tiles: usize) -> Ahead {
        Ahead { from, step: bytes.div_ceil(depth.max(1) * tiles) }
    }

    /// Asks for a term's share, of `LINES` lines at most.
    #[inline(always)]
    unsafe fn step<S: Simd, const LINES: usize>(&mut self) {
        for line in 0..LINES {
            // SAFETY: a hint reads nothing.
            unsafe { S::ahead(self.from.wrapping_add(line * LINE)) };
        }
        self.from = self.from.wrapping_add(self.step);
    }
}

/// The orders of the left operand, for the compiler.
pub const BLOCKED: u8 = 0;
pub const ROWS: u8 = 1;
pub const PLAIN: u8 = 2;

/// What becomes of a tile's sums.
#[derive(Clone, Copy)]
pub struct End<S: Simd, const BLOCKS: usize> {
    /// Where the first row of the first block of the result goes.
    pub result: *mut f32,
    /// From one block of the result to the next.
    pub block_stride: usize,
    /// What halves are multiplied by.
    pub factor: f32,
    /// Whether they are added to the result.
    pub add: bool,
    /// What comes on top.
    pub bias: Option<[S::V; BLOCKS]>,
    /// From one row of the result to the next.
    pub stride: usize,
}

impl<S: Simd, const BLOCKS: usize> End<S, BLOCKS> {
    /// The same for the tile so many rows below.
    #[inline(always)]
    unsafe fn below(mut self, rows: usize) -> Self {
        // SAFETY: the caller's.
        self.result = unsafe { self.result.add(rows * self.stride) };
        self
    }
}

/// How rows are cut into tiles: evenly, because a tile of one row takes nearly as long as one of four.
struct Tiles {
    count: usize,
    /// Rows of the last tiles, and how many tiles at first have one more.
    rows: usize,
    longer: usize,
}

impl Tiles {
    #[inline(always)]
    fn of(rows: usize, most: usize) -> Tiles {
        let count = rows.div_ceil(most);
        // No rows have no tiles.
        let by = count.max(1);
        Tiles { count, rows: rows / by, longer: rows % by }
    }

    /// Rows of a tile.
    #[inline(always)]
    fn rows(&self, tile: usize) -> usize {
        self.rows + usize::from(tile < self.longer)
    }
}

/// The weights of one block of columns, or of more.
#[derive(Clone, Copy)]
pub struct Columns {
    /// Where those of the first block begin.
    pub weights: *const f32,
    /// From one block's to the next's.
    pub stride: usize,
}

/// All rows of some blocks of columns.
#[inline(always)]
pub unsafe fn rows_of<S: Simd, const ORDER: u8, const BLOCKS: usize>(
    left: *const f32,
    stride: usize,
    rows: usize,
    depth: usize,
    weights: Columns,
    mut ahead: Ahead,
    end: End<S, BLOCKS>,
) {
    let step = match ORDER {
        BLOCKED => LANES,
        ROWS => 1,
        _ => stride,
    };
    let (tiles, mut row) = (Tiles::of(rows, S::TILE), 0);
    for number in 0..tiles.count {
        let count = tiles.rows(number);
        // SAFETY: the rows lie inside `0..rows`.
        unsafe {
            let (left, end) = (left.add(row * step), end.below(row));
            match count {
                12 => tile::<S, 12, ORDER, BLOCKS>(left, stride, depth, weights, &mut ahead, end),
                11 => tile::<S, 11, ORDER, BLOCKS>(left, stride, depth, weights, &mut ahead, end),
                10 => tile::<S, 10, ORDER, BLOCKS>(left, stride, depth, weights, &mut ahead, end),
                9 => tile::<S, 9, ORDER, BLOCKS>(left, stride, depth, weights, &mut ahead, end),
                8 => tile::<S, 8, ORDER, BLOCKS>(left, stride, depth, weights, &mut ahead, end),
                7 => tile::<S, 7, ORDER, BLOCKS>(left, stride, depth, weights, &mut ahead, end),
                6 => tile::<S, 6, ORDER, BLOCKS>(left, stride, depth, weights, &mut ahead, end),
                5 => tile::<S, 5, ORDER, BLOCKS>(left, stride, depth, weights, &mut ahead, end),
                4 => tile::<S, 4, ORDER, BLOCKS>(left, stride, depth, weights, &mut ahead, end),
                3 => tile::<S, 3, ORDER, BLOCKS>(left, stride, depth, weights, &mut ahead, end),
                2 => tile::<S, 2, ORDER, BLOCKS>(left, stride, depth, weights, &mut ahead, end),
                _ => tile::<S, 1, ORDER, BLOCKS>(left, stride, depth, weights, &mut ahead, end),
            }
        }
        row += count;
    }
}

/// `M` rows by some blocks of columns, kept in registers.
#[inline(always)]
unsafe fn tile<S: Simd, const M: usize, const ORDER: u8, const BLOCKS: usize>(
    left: *const f32,
    stride: usize,
    depth: usize,
    Columns { mut weights, stride: apart }: Columns,
    ahead: &mut Ahead,
    end: End<S, BLOCKS>,
) {
    // SAFETY: the caller's.
    unsafe {
        let mut sums = [[S::splat(0.0); BLOCKS]; M];
        let mut left = left;
        if ORDER == BLOCKED {
            for _ in 0..depth / LANES {
                // The compiler unrolls the inner loop, but would not a longer one.
                for k in (0..LANES).step_by(4) {
                    for k in k..k + 4 {
                        ahead.step::<S, BLOCKS>();
                        add::<S, M, BLOCKS>(&mut sums, left.add(k), LANES, weights.add(k * LANES), apart);
                    }
                }
                left = left.add(stride);
                weights = weights.add(LANES * LANES);
            }
        } else if ORDER == ROWS {
            for _ in 0..depth {
                add::<S, M, BLOCKS>(&mut sums, left, 1, weights, apart);
                left = left.add(stride);
                weights = weights.add(LANES);
            }
        } else {
            for k in 0..depth {
                ahead.step::<S, BLOCKS>();
                add::<S, M, BLOCKS>(&mut sums, left.add(k), stride, weights.add(k * LANES), apart);
            }
        }
        finish::<S, M, BLOCKS>(sums, end);
    }
}

/// Adds one term to every sum: a number per row, `step` apart, times the weights of each block.
#[inline(always)]
unsafe fn add<S: Simd, const M: usize, const BLOCKS: usize>(
    sums: &mut [[S::V; BLOCKS]; M],
    left: *const f32,
    step: usize,
    weights: *const f32,
    apart: usize,
) {
    // SAFETY: the caller's.
    unsafe {
        let mut own = [S::splat(0.0); BLOCKS];
        for (block, own) in own.iter_mut().enumerate() {
            *own = S::load(weights.add(block * apart));
        }
        for (row, sums) in sums.iter_mut().enumerate() {
            let value = S::splat(*left.add(row * step));
            for (sum, own) in sums.iter_mut().zip(own) {
                *sum = S::fma(value, own, *sum);
            }
        }
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
    end: End<H::Single, 1>,
) {
    let (tiles, mut row) = (Tiles::of(rows, H::TILE), 0);
    for number in 0..tiles.count {
        let count = tiles.rows(number);
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
    end: End<H::Single, 1>,
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
        finish::<H::Single, M, 1>(sums.map(|sum| [sum]), end);
    }
}

/// Puts a tile's sums where they belong. Each of these loops is so short that it is unrolled, and the sums stay in registers.
#[inline(always)]
unsafe fn finish<S: Simd, const M: usize, const BLOCKS: usize>(mut sums: [[S::V; BLOCKS]; M], end: End<S, BLOCKS>) {
    // SAFETY: the caller's.
    unsafe {
        let place = |row: usize, block: usize| end.result.add(block * end.block_stride + row * end.stride);
        if end.add {
            for (row, sums) in sums.iter_mut().enumerate() {
                for (block, sum) in sums.iter_mut().enumerate() {
                    *sum = S::add(S::load(place(row, block)), *sum);
                }
            }
        }
        if let Some(bias) = end.bias {
            for sums in &mut sums {
                for (sum, bias) in sums.iter_mut().zip(bias) {
                    *sum = S::add(*sum, bias);
                }
            }
        }
        for (row, sums) in sums.into_iter().enumerate() {
            for (block, sum) in sums.into_iter().enumerate() {
                S::store(place(row, block), sum);
            }
        }
    }
}
