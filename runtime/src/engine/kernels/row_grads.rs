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

/// Applies `op` to rows of `len` elements, and as many of what they go along with. Cotangents that are not told are in the output.
pub fn row_grads(isa: Isa, op: RowGrad, len: usize, g: Option<&[f32]>, with: &[f32], output: &mut [f32]) {
    isa.run(RowGrads { op, len, g, with, output });
}

struct RowGrads<'a> {
    op: RowGrad,
    len: usize,
    g: Option<&'a [f32]>,
    with: &'a [f32],
    output: &'a mut [f32],
}

impl Kernel for RowGrads<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let len = self.len;
        for (i, (with, g)) in self.with.chunks_exact(len).zip(self.output.chunks_exact_mut(len)).enumerate() {
            if let Some(own) = self.g {
                g.copy_from_slice(&own[i * len..(i + 1) * len]);
            }
            // SAFETY: the machine has the instruction set; every access is to a slice.
            unsafe {
                match self.op {
                    RowGrad::Softmax => softmax::<S>(g, with),
                    RowGrad::Standardise { epsilon } => standardise::<S>(g, with, epsilon),
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
unsafe fn softmax<S: Simd>(g: &mut [f32], y: &[f32]) {
    // SAFETY: the caller's; whole vectors, and what is left.
    unsafe {
        let total = S::splat(products::<S>(g, y, 0.0));
        let ((g, g_rest), (y, y_rest)) = (g.as_chunks_mut::<LANES>(), y.as_chunks::<LANES>());
        for (g, y) in g.iter_mut().zip(y) {
            S::store(g.as_mut_ptr(), S::mul(S::load(y.as_ptr()), S::sub(S::load(g.as_ptr()), total)));
        }
        put::<S>(g_rest, S::mul(fetch::<S>(y_rest, 0.0), S::sub(fetch::<S>(g_rest, 0.0), total)));
    }
}

#[inline(always)]
unsafe fn standardise<S: Simd>(g: &mut [f32], x: &[f32], epsilon: f32) {
    let count = g.len() as f32;
    // SAFETY: the caller's; whole vectors, and what is left.
    unsafe {
        let (mean, factor) = mean_and_factor::<S>(x, epsilon);
        let along = factor * products::<S>(g, x, mean) / count;
        let own = [S::splat(mean), S::splat(factor), S::splat(sum::<S>(g) / count), S::splat(along)];
        let ((g, g_rest), (x, x_rest)) = (g.as_chunks_mut::<LANES>(), x.as_chunks::<LANES>());
        for (g, x) in g.iter_mut().zip(x) {
            S::store(g.as_mut_ptr(), standardised::<S>(S::load(g.as_ptr()), S::load(x.as_ptr()), own));
        }
        put::<S>(g_rest, standardised::<S>(fetch::<S>(g_rest, 0.0), fetch::<S>(x_rest, 0.0), own));
    }
}

/// `(g - g_mean - normal along) factor` with `normal = (x - mean) factor`.
#[inline(always)]
unsafe fn standardised<S: Simd>(g: S::V, x: S::V, [mean, factor, g_mean, along]: [S::V; 4]) -> S::V {
    // SAFETY: the caller's.
    unsafe {
        let normal = S::mul(S::sub(x, mean), factor);
        S::mul(S::sub(S::sub(g, g_mean), S::mul(normal, along)), factor)
    }
}
