//! What works along an axis with others behind it: on rows that lie behind each other, element for element.

use std::ops::Range;

use super::functions::exp;
use super::rows::{fetch, put};
use crate::simd::{Isa, Kernel, LANES, Simd};

/// What becomes of the elements at one place of all rows.
#[derive(Clone, Copy, Debug)]
pub enum AcrossOp {
    /// Their sum, times a factor: one row of them all.
    Sum(f32),
    /// Exponentials, divided by their sum.
    Softmax,
    /// `x - max - ln sum exp(x - max)`.
    LogSoftmax,
}

/// Applies `op` to `len` rows of `inner` elements each; to one such part of the input after the other.
pub fn across(isa: Isa, op: AcrossOp, len: usize, inner: usize, input: &[f32], output: &mut [f32]) {
    isa.run(Across { op, len, inner, input, output });
}

struct Across<'a> {
    op: AcrossOp,
    len: usize,
    inner: usize,
    input: &'a [f32],
    output: &'a mut [f32],
}

impl Kernel for Across<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let (inner, whole) = (self.inner, self.len * self.inner);
        let each = if matches!(self.op, AcrossOp::Sum(_)) { inner } else { whole };
        for (part, to) in self.input.chunks_exact(whole).zip(self.output.chunks_exact_mut(each)) {
            for first in (0..inner).step_by(LANES) {
                let at = first..inner.min(first + LANES);
                // SAFETY: the machine has the instruction set; every access is to a slice.
                unsafe {
                    match self.op {
                        AcrossOp::Sum(factor) => {
                            let mut sum = S::splat(0.0);
                            for row in part.chunks_exact(inner) {
                                sum = S::add(sum, fetch::<S>(&row[at.clone()], 0.0));
                            }
                            put::<S>(&mut to[at], S::mul(sum, S::splat(factor)));
                        }
                        AcrossOp::Softmax => softmax::<S>(part, inner, at, to),
                        AcrossOp::LogSoftmax => log_softmax::<S>(part, inner, at, to),
                    }
                }
            }
        }
    }
}

/// The largest of some elements of each row, where all are numbers.
#[inline(always)]
unsafe fn largest<S: Simd>(part: &[f32], inner: usize, at: &Range<usize>) -> S::V {
    // SAFETY: the caller's.
    unsafe {
        let mut most = S::splat(f32::NEG_INFINITY);
        for row in part.chunks_exact(inner) {
            most = S::max(fetch::<S>(&row[at.clone()], 0.0), most);
        }
        most
    }
}

#[inline(always)]
unsafe fn softmax<S: Simd>(part: &[f32], inner: usize, at: Range<usize>, to: &mut [f32]) {
    // SAFETY: the caller's.
    unsafe {
        let (most, mut total) = (largest::<S>(part, inner, &at), S::splat(0.0));
        for (row, to) in part.chunks_exact(inner).zip(to.chunks_exact_mut(inner)) {
            let e = exp::<S>(S::sub(fetch::<S>(&row[at.clone()], 0.0), most));
            total = S::add(total, e);
            put::<S>(&mut to[at.clone()], e);
        }
        let share = S::div(S::splat(1.0), total);
        for to in to.chunks_exact_mut(inner) {
            let scaled = S::mul(fetch::<S>(&to[at.clone()], 0.0), share);
            put::<S>(&mut to[at.clone()], scaled);
        }
    }
}

#[inline(always)]
unsafe fn log_softmax<S: Simd>(part: &[f32], inner: usize, at: Range<usize>, to: &mut [f32]) {
    let mut lanes = [0.0; LANES];
    // SAFETY: the caller's; sixteen elements.
    unsafe {
        let (most, mut total) = (largest::<S>(part, inner, &at), S::splat(0.0));
        for row in part.chunks_exact(inner) {
            total = S::add(total, exp::<S>(S::sub(fetch::<S>(&row[at.clone()], 0.0), most)));
        }
        S::store(lanes.as_mut_ptr(), total);
        lanes.iter_mut().for_each(|v| *v = v.ln());
        let log = S::load(lanes.as_ptr());
        for (row, to) in part.chunks_exact(inner).zip(to.chunks_exact_mut(inner)) {
            put::<S>(&mut to[at.clone()], S::sub(S::sub(fetch::<S>(&row[at.clone()], 0.0), most), log));
        }
    }
}
