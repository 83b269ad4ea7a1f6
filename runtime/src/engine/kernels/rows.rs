//! What works on whole rows: sums, softmax, normalisation.

use super::functions::exp;
use super::sums::added;
use crate::simd::{Isa, Kernel, LANES, Simd};

/// What becomes of each row.
#[derive(Clone, Copy, Debug)]
pub enum RowOp<'a> {
    /// Its sum, times a factor: one number.
    Sum(f32),
    /// Exponentials, divided by their sum.
    Softmax,
    /// `x - max - ln sum exp(x - max)`.
    LogSoftmax,
    /// `(x - mean) / sqrt(variance + epsilon)`, times a scale, plus a bias if there is one.
    Normalise {
        /// Added to the variance.
        epsilon: f32,
        /// Elements behind each other that have one scale and one bias.
        each: usize,
        /// Those of a row, or of several rows, whose turn it is again behind the last.
        scale: &'a [f32],
        /// As many, or none.
        bias: &'a [f32],
    },
}

/// Applies `op` to rows of `len` elements.
pub fn rows(isa: Isa, op: RowOp, len: usize, input: &[f32], output: &mut [f32]) {
    if let RowOp::Normalise { each, scale, bias, .. } = op {
        let of_row = len / each.max(1);
        assert!(each > 0 && len == of_row * each && scale.len().is_multiple_of(of_row), "scales do not fit to rows");
        assert!(bias.is_empty() || bias.len() == scale.len(), "there are as many biases as scales");
    }
    isa.run(Rows { op, len, input, output });
}

struct Rows<'a> {
    op: RowOp<'a>,
    len: usize,
    input: &'a [f32],
    output: &'a mut [f32],
}

impl Kernel for Rows<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let len = self.len;
        let each = if matches!(self.op, RowOp::Sum(_)) { 1 } else { len };
        for (i, (row, to)) in self.input.chunks_exact(len).zip(self.output.chunks_exact_mut(each)).enumerate() {
            // SAFETY: the machine has the instruction set; every access is to a slice.
            unsafe {
                match self.op {
                    RowOp::Sum(factor) => to[0] = sum::<S>(row) * factor,
                    RowOp::Softmax => softmax::<S>(row, to),
                    RowOp::LogSoftmax => {
                        softmax::<S>(row, to);
                        let most = row.iter().fold(f32::NEG_INFINITY, |a, &b| a.max(b));
                        // The largest term is one, so its share tells the sum without loss.
                        let share = to.iter().fold(0.0f32, |a, &b| a.max(b));
                        let shift = most - share.ln();
                        to.iter_mut().zip(row).for_each(|(to, v)| *to = v - shift);
                    }
                    RowOp::Normalise { epsilon, each, scale, bias } => {
                        let own = i * (len / each) % scale.len()..;
                        let (scale, bias) = (&scale[own.clone()], bias.get(own).unwrap_or_default());
                        normalise::<S>(row, epsilon, each, scale, bias, to);
                    }
                }
            }
        }
    }
}

/// A vector from up to sixteen elements, and `fill` beyond.
#[inline(always)]
pub(super) unsafe fn fetch<S: Simd>(part: &[f32], fill: f32) -> S::V {
    match part.first_chunk::<LANES>() {
        // SAFETY: the caller's; as many elements as there are.
        Some(lanes) => unsafe { S::load(lanes.as_ptr()) },
        None => unsafe { S::load_some(part.as_ptr(), part.len(), fill) },
    }
}

/// Stores the first elements of a vector.
#[inline(always)]
pub(super) unsafe fn put<S: Simd>(part: &mut [f32], v: S::V) {
    match part.first_chunk_mut::<LANES>() {
        // SAFETY: the caller's; as many elements as there are.
        Some(lanes) => unsafe { S::store(lanes.as_mut_ptr(), v) },
        None => unsafe { S::store_some(part.as_mut_ptr(), part.len(), v) },
    }
}

#[inline(always)]
pub(super) unsafe fn sum<S: Simd>(row: &[f32]) -> f32 {
    let (vectors, rest) = row.as_chunks();
    // SAFETY: the caller's.
    unsafe { S::total(S::add(added::<S, false>(vectors, S::splat(0.0)), fetch::<S>(rest, 0.0))) }
}

/// The largest element, where all are numbers.
#[inline(always)]
unsafe fn largest<S: Simd>(row: &[f32]) -> f32 {
    let (vectors, rest) = row.as_chunks::<LANES>();
    // SAFETY: the caller's.
    unsafe {
        let mut most = fetch::<S>(rest, f32::NEG_INFINITY);
        for vector in vectors {
            most = S::max(S::load(vector.as_ptr()), most);
        }
        S::largest(most)
    }
}

#[inline(always)]
unsafe fn softmax<S: Simd>(row: &[f32], to: &mut [f32]) {
    let (vectors, rest) = row.as_chunks::<LANES>();
    let (to, to_rest) = to.as_chunks_mut::<LANES>();
    // SAFETY: the caller's.
    unsafe {
        let (mut total, shift) = (S::splat(0.0), S::splat(largest::<S>(row)));
        for (vector, to) in vectors.iter().zip(&mut *to) {
            let e = exp::<S>(S::sub(S::load(vector.as_ptr()), shift));
            total = S::add(total, e);
            S::store(to.as_mut_ptr(), e);
        }
        let last = match rest.is_empty() {
            true => S::splat(0.0),
            false => exp::<S>(S::sub(fetch::<S>(rest, f32::NEG_INFINITY), shift)),
        };
        let share = S::splat(1.0 / S::total(S::add(total, last)));
        for to in to {
            S::store(to.as_mut_ptr(), S::mul(S::load(to.as_ptr()), share));
        }
        put::<S>(to_rest, S::mul(last, share));
    }
}

/// A row's mean, and one over the root of its variance and `epsilon`.
#[inline(always)]
pub(super) unsafe fn mean_and_factor<S: Simd>(row: &[f32], epsilon: f32) -> (f32, f32) {
    // SAFETY: the caller's.
    unsafe {
        let mean = sum::<S>(row) / row.len() as f32;
        let (shift, (vectors, rest)) = (S::splat(mean), row.as_chunks());
        let rest = S::sub(fetch::<S>(rest, mean), shift);
        let squares = S::fma(rest, rest, added::<S, true>(vectors, shift));
        (mean, 1.0 / (S::total(squares) / row.len() as f32 + epsilon).sqrt())
    }
}

/// `scale` and `bias` are those of the row, and perhaps of others behind it.
#[inline(always)]
unsafe fn normalise<S: Simd>(row: &[f32], epsilon: f32, each: usize, scale: &[f32], bias: &[f32], to: &mut [f32]) {
    // SAFETY: the caller's.
    unsafe {
        let (mean, factor) = mean_and_factor::<S>(row, epsilon);
        let (shift, factor) = (S::splat(mean), S::splat(factor));
        if each == 1 {
            for (i, (part, to)) in row.chunks(LANES).zip(to.chunks_mut(LANES)).enumerate() {
                let at = i * LANES..i * LANES + part.len();
                let scale = fetch::<S>(&scale[at.clone()], 0.0);
                let bias = fetch::<S>(bias.get(at).unwrap_or_default(), 0.0);
                move_and_scale::<S>(part, [shift, factor, scale, bias], to);
            }
            return;
        }
        for (i, (part, to)) in row.chunks(each).zip(to.chunks_mut(each)).enumerate() {
            let (scale, bias) = (S::splat(scale[i]), S::splat(bias.get(i).copied().unwrap_or(0.0)));
            for (part, to) in part.chunks(LANES).zip(to.chunks_mut(LANES)) {
                move_and_scale::<S>(part, [shift, factor, scale, bias], to);
            }
        }
    }
}

/// `(part - shift) * factor * scale + bias`
#[inline(always)]
unsafe fn move_and_scale<S: Simd>(part: &[f32], [shift, factor, scale, bias]: [S::V; 4], to: &mut [f32]) {
    // SAFETY: the caller's.
    unsafe {
        let v = S::mul(S::sub(fetch::<S>(part, 0.0), shift), factor);
        put::<S>(to, S::fma(v, scale, bias));
    }
}
