//! A few rows of a matrix, sixteen lanes each, as they are or with rows and columns exchanged.

use crate::simd::{LANES, Simd};

/// A few rows from a matrix that is so wide, from column `first` on, sixteen lanes each; zero where they have fewer columns, and
/// where there are fewer of them.
#[inline(always)]
pub unsafe fn moved<S: Simd>(from: &[f32], width: usize, first: usize, [rows, columns]: [usize; 2], to: &mut [f32]) {
    for (row, lanes) in to.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
        let own = if row < rows { &from[row * width + first..][..columns] } else { &[] };
        match own.first_chunk::<LANES>() {
            // SAFETY: sixteen floats each.
            Some(own) => unsafe { S::store(lanes.as_mut_ptr(), S::load(own.as_ptr())) },
            None => {
                *lanes = [0.0; LANES];
                lanes[..own.len()].copy_from_slice(own);
            }
        }
    }
}

/// The same, of columns in place of rows: those of up to sixteen rows, one lane each.
#[inline(always)]
pub unsafe fn turned<S: Simd>(from: &[f32], width: usize, first: usize, [rows, columns]: [usize; 2], to: &mut [f32]) {
    if [rows, columns] == [LANES; 2] {
        let from = &from[first..][..(LANES - 1) * width + LANES];
        // SAFETY: sixteen rows of sixteen floats.
        return unsafe { S::turn(from.as_ptr(), width, to[..LANES * LANES].as_mut_ptr(), LANES) };
    }
    to.fill(0.0);
    for row in 0..rows {
        let own = &from[row * width + first..][..columns];
        to[row..].iter_mut().step_by(LANES).zip(own).for_each(|(to, v)| *to = *v);
    }
}

/// Whole vectors, each multiplied by a number.
#[inline(always)]
pub unsafe fn scaled<S: Simd>(values: &mut [f32], factor: f32) {
    if factor == 1.0 {
        return;
    }
    for lanes in values.as_chunks_mut::<LANES>().0 {
        // SAFETY: sixteen floats.
        unsafe { S::store(lanes.as_mut_ptr(), S::mul(S::load(lanes.as_ptr()), S::splat(factor))) }
    }
}
