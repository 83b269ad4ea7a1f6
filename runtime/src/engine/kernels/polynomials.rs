//! Lines of Winograd's tiles as polynomials: of weights and of the input to their values at the points, and of products
//! back. [`winograd`](super::winograd) says which points.

// An iterator over columns would be a closure, which is not compiled for the instruction set.
#![allow(clippy::needless_range_loop)]

use crate::simd::Simd;

/// The large tile's points besides zero and infinity, both signs of each.
const A: f32 = 2.0 / 3.0;
const B: f32 = 1.5;

/// One column of a tile.
#[inline(always)]
pub fn column_of<V: Copy, const ROWS: usize, const COLUMNS: usize>(rows: &[[V; COLUMNS]; ROWS], j: usize) -> [V; ROWS] {
    let mut column = [rows[0][j]; ROWS];
    for i in 1..ROWS {
        column[i] = rows[i][j];
    }
    column
}

/// The values of a line of weights at the points, in the order zero, a, -a, b, -b, infinity.
#[inline(always)]
pub unsafe fn weigh<S: Simd, const FROM: usize>(g: [S::V; 3]) -> [S::V; FROM] {
    let mut values = [g[0]; FROM];
    // SAFETY: arithmetic only.
    unsafe {
        values[FROM - 1] = g[2];
        if FROM == 4 {
            let half = S::splat(0.5);
            let (even, odd) = (S::mul(half, S::add(g[0], g[2])), S::mul(half, g[1]));
            values[1] = S::add(even, odd);
            values[2] = S::sub(even, odd);
            return values;
        }
        [values[1], values[2]] = weigh_pair::<S>(g, A as f64, B as f64);
        [values[3], values[4]] = weigh_pair::<S>(g, B as f64, A as f64);
        values
    }
}

/// The values of a line of weights at `x` and `-x`, where `other` is the other pair of points.
#[inline(always)]
unsafe fn weigh_pair<S: Simd>(g: [S::V; 3], x: f64, other: f64) -> [S::V; 2] {
    let by = 2.0 * x * x * (x * x - other * other);
    // SAFETY: arithmetic only.
    unsafe {
        let odd = S::mul(S::splat((x / by) as f32), g[1]);
        let even = S::fma(S::splat((x * x / by) as f32), g[2], S::mul(S::splat((1.0 / by) as f32), g[0]));
        [S::add(even, odd), S::sub(even, odd)]
    }
}

/// The values of a line of the input at the points, in the order of [`weigh`].
#[inline(always)]
pub unsafe fn inward<S: Simd, const FROM: usize>(d: [S::V; FROM]) -> [S::V; FROM] {
    let mut values = d;
    // SAFETY: arithmetic only.
    unsafe {
        if FROM == 4 {
            values[0] = S::sub(d[0], d[2]);
            values[1] = S::add(d[2], d[1]);
            values[2] = S::sub(d[2], d[1]);
            values[3] = S::sub(d[3], d[1]);
            return values;
        }
        let sum = S::splat(-(A * A + B * B));
        values[0] = S::add(S::fma(sum, d[2], d[4]), d[0]);
        [values[1], values[2]] = inward_pair::<S, FROM>(d, A, B);
        [values[3], values[4]] = inward_pair::<S, FROM>(d, B, A);
        values[5] = S::add(S::fma(sum, d[3], d[5]), d[1]);
        values
    }
}

/// The values of a line of the input at `x` and `-x`, where `other` is the other pair of points.
#[inline(always)]
unsafe fn inward_pair<S: Simd, const FROM: usize>(d: [S::V; FROM], x: f32, other: f32) -> [S::V; 2] {
    // SAFETY: arithmetic only.
    unsafe {
        let by = S::splat(-(other * other));
        let (even, odd) = (S::fma(by, d[2], d[4]), S::fma(by, d[1], d[3]));
        [S::fma(S::splat(x), odd, even), S::fma(S::splat(-x), odd, even)]
    }
}

/// The products of a line, one per point, to places of the output.
#[inline(always)]
pub unsafe fn outward<S: Simd, const FROM: usize, const TO: usize>(m: [S::V; FROM]) -> [S::V; TO] {
    let mut places = [m[0]; TO];
    // SAFETY: arithmetic only.
    unsafe {
        let (even_near, odd_near) = (S::add(m[1], m[2]), S::sub(m[1], m[2]));
        if TO == 2 {
            places[0] = S::add(m[0], even_near);
            places[1] = S::add(m[3], odd_near);
            return places;
        }
        let (even_far, odd_far) = (S::add(m[3], m[4]), S::sub(m[3], m[4]));
        places[0] = S::add(m[0], S::add(even_near, even_far));
        places[1] = S::fma(S::splat(A), odd_near, S::mul(S::splat(B), odd_far));
        places[2] = S::fma(S::splat(A * A), even_near, S::mul(S::splat(B * B), even_far));
        places[3] = S::fma(S::splat(A * A * A), odd_near, S::fma(S::splat(B * B * B), odd_far, m[5]));
        places
    }
}
