//! Adjoints of what works on whole rows.

use super::rows::{fetch, mean_and_factor, put, sum};
use crate::simd::{Isa, Kernel, LANES, Simd};

/// What becomes of each row of cotangents `g`.
#[derive(Clone, Copy, Debug)]
pub enum RowGrad {
    /// `y (g - sum(g y))`, beside the values `y` of a softmax.
    Softmax,
    /// `(g - mean(g) - n mean(g n)) f` with `n = (x - mean(x)) f` and `f = 1 / sqrt(variance(x) + epsilon)`, beside the values `x`.
    Standardise {
        /// Added to the variance.
        epsilon: f32,
    },
}

/// Applies `op` to rows of `len` elements, and as many of what they go along with.
pub fn row_grads(isa: Isa, op: RowGrad, len: usize, g: &[f32], with: &[f32], output: &mut [f32]) {
    isa.run(RowGrads { op, len, g, with, output });
}

struct RowGrads<'a> {
    op: RowGrad,
    len: usize,
    g: &'a [f32],
    with: &'a [f32],
    output: &'a mut [f32],
}

impl Kernel for RowGrads<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let rows = self.g.chunks_exact(self.len).zip(self.with.chunks_exact(self.len));
        for ((g, with), to) in rows.zip(self.output.chunks_exact_mut(self.len)) {
            // SAFETY: the machine has the instruction set; every access is to a slice.
            unsafe {
                match self.op {
                    RowGrad::Softmax => softmax::<S>(g, with, to),
                    RowGrad::Standardise { epsilon } => standardise::<S>(g, with, epsilon, to),
                }
            }
        }
    }
}

/// `sum(g (with - shift))`
#[inline(always)]
unsafe fn products<S: Simd>(g: &[f32], with: &[f32], shift: f32) -> f32 {
    let ((g, g_rest), (with, with_rest)) = (g.as_chunks::<LANES>(), with.as_chunks::<LANES>());
    // SAFETY: the caller's; whole vectors.
    unsafe {
        let shift = S::splat(shift);
        // Four that run beside each other.
        let mut sums = [S::splat(0.0); 4];
        for (i, (g, with)) in g.iter().zip(with).enumerate() {
            let far = S::sub(S::load(with.as_ptr()), shift);
            sums[i % 4] = S::fma(S::load(g.as_ptr()), far, sums[i % 4]);
        }
        let last = S::mul(fetch::<S>(g_rest, 0.0), S::sub(fetch::<S>(with_rest, 0.0), shift));
        S::total(S::add(S::add(S::add(sums[0], sums[1]), S::add(sums[2], sums[3])), last))
    }
}

#[inline(always)]
unsafe fn softmax<S: Simd>(g: &[f32], y: &[f32], to: &mut [f32]) {
    // SAFETY: the caller's.
    unsafe {
        let own = [S::splat(products::<S>(g, y, 0.0)); 4];
        each::<S, true>(g, y, own, to);
    }
}

#[inline(always)]
unsafe fn standardise<S: Simd>(g: &[f32], x: &[f32], epsilon: f32, to: &mut [f32]) {
    let count = g.len() as f32;
    // SAFETY: the caller's.
    unsafe {
        let (mean, factor) = mean_and_factor::<S>(x, epsilon);
        let along = factor * products::<S>(g, x, mean) / count;
        let own = [mean, factor, sum::<S>(g) / count, along].map(|v| S::splat(v));
        each::<S, false>(g, x, own, to);
    }
}

/// What each element becomes.
#[inline(always)]
unsafe fn each<S: Simd, const SOFTMAX: bool>(g: &[f32], with: &[f32], own: [S::V; 4], to: &mut [f32]) {
    let ((g, g_rest), (with, with_rest)) = (g.as_chunks::<LANES>(), with.as_chunks::<LANES>());
    let (to, to_rest) = to.as_chunks_mut::<LANES>();
    // SAFETY: the caller's; whole vectors, and what is left.
    unsafe {
        for ((g, with), to) in g.iter().zip(with).zip(to) {
            S::store(to.as_mut_ptr(), one::<S, SOFTMAX>(S::load(g.as_ptr()), S::load(with.as_ptr()), own));
        }
        if !to_rest.is_empty() {
            put::<S>(to_rest, one::<S, SOFTMAX>(fetch::<S>(g_rest, 0.0), fetch::<S>(with_rest, 0.0), own));
        }
    }
}

/// `with (g - total)`, or `(g - g_mean - normal along) factor` with `normal = (with - mean) factor`.
#[inline(always)]
unsafe fn one<S: Simd, const SOFTMAX: bool>(g: S::V, with: S::V, own: [S::V; 4]) -> S::V {
    // SAFETY: the caller's.
    unsafe {
        if SOFTMAX {
            return S::mul(with, S::sub(g, own[0]));
        }
        let [mean, factor, g_mean, along] = own;
        let normal = S::mul(S::sub(with, mean), factor);
        S::mul(S::sub(S::sub(g, g_mean), S::mul(normal, along)), factor)
    }
}
