//! Lines of Winograd's tiles as polynomials: of weights and of the input to their values at the points, and of products
//! back. [`winograd`](super::winograd) says which points.

// An iterator over columns would be a closure, which is not compiled for the instruction set.
#![allow(clippy::needless_range_loop)]

use crate::simd::Arithmetic;

/// The large tile's points besides zero and infinity, both signs of each.
const NEAR: f32 = 2.0 / 3.0;
const FAR: f32 = 1.5;

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
pub unsafe fn weigh<A: Arithmetic, const FROM: usize>(g: [A::V; 3]) -> [A::V; FROM] {
    let mut values = [g[0]; FROM];
    // SAFETY: arithmetic only.
    unsafe {
        values[FROM - 1] = g[2];
        if FROM == 4 {
            let half = A::splat(0.5);
            let (even, odd) = (A::mul(half, A::add(g[0], g[2])), A::mul(half, g[1]));
            values[1] = A::add(even, odd);
            values[2] = A::sub(even, odd);
            return values;
        }
        [values[1], values[2]] = weigh_pair::<A>(g, NEAR as f64, FAR as f64);
        [values[3], values[4]] = weigh_pair::<A>(g, FAR as f64, NEAR as f64);
        values
    }
}

/// The values of a line of weights at `x` and `-x`, where `other` is the other pair of points.
#[inline(always)]
unsafe fn weigh_pair<A: Arithmetic>(g: [A::V; 3], x: f64, other: f64) -> [A::V; 2] {
    let by = 2.0 * x * x * (x * x - other * other);
    // SAFETY: arithmetic only.
    unsafe {
        let odd = A::mul(A::splat((x / by) as f32), g[1]);
        let even = A::fma(A::splat((x * x / by) as f32), g[2], A::mul(A::splat((1.0 / by) as f32), g[0]));
        [A::add(even, odd), A::sub(even, odd)]
    }
}

/// The values of a line of the input at the points, in the order of [`weigh`].
#[inline(always)]
pub unsafe fn inward<A: Arithmetic, const FROM: usize>(d: [A::V; FROM]) -> [A::V; FROM] {
    let mut values = d;
    // SAFETY: arithmetic only.
    unsafe {
        if FROM == 4 {
            values[0] = A::sub(d[0], d[2]);
            values[1] = A::add(d[2], d[1]);
            values[2] = A::sub(d[2], d[1]);
            values[3] = A::sub(d[3], d[1]);
            return values;
        }
        let (a, b, sum) = (A::splat(NEAR), A::splat(FAR), A::splat(-(NEAR * NEAR + FAR * FAR)));
        let even_near = A::fma(A::splat(-(FAR * FAR)), d[2], d[4]);
        let odd_near = A::sub(A::mul(a, d[3]), A::mul(b, d[1]));
        let even_far = A::fma(A::splat(-(NEAR * NEAR)), d[2], d[4]);
        let odd_far = A::sub(A::mul(b, d[3]), A::mul(a, d[1]));
        values[0] = A::add(A::fma(sum, d[2], d[4]), d[0]);
        values[1] = A::add(even_near, odd_near);
        values[2] = A::sub(even_near, odd_near);
        values[3] = A::add(even_far, odd_far);
        values[4] = A::sub(even_far, odd_far);
        values[5] = A::add(A::fma(sum, d[3], d[5]), d[1]);
        values
    }
}

/// The products of a line, one per point, to places of the output.
#[inline(always)]
pub unsafe fn outward<A: Arithmetic, const FROM: usize, const TO: usize>(m: [A::V; FROM]) -> [A::V; TO] {
    let mut places = [m[0]; TO];
    // SAFETY: arithmetic only.
    unsafe {
        let (even_near, odd_near) = (A::add(m[1], m[2]), A::sub(m[1], m[2]));
        if TO == 2 {
            places[0] = A::add(m[0], even_near);
            places[1] = A::add(m[3], odd_near);
            return places;
        }
        let (even_far, odd_far) = (A::add(m[3], m[4]), A::sub(m[3], m[4]));
        places[0] = A::add(m[0], A::add(even_near, even_far));
        places[1] = A::fma(A::splat(NEAR), odd_near, A::mul(A::splat(FAR), odd_far));
        places[2] = A::fma(A::splat(NEAR * NEAR), even_near, A::mul(A::splat(FAR * FAR), even_far));
        places[3] =
            A::add(m[5], A::fma(A::splat(NEAR * NEAR * NEAR), odd_near, A::mul(A::splat(FAR * FAR * FAR), odd_far)));
        places
    }
}
