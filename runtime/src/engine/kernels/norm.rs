//! Normalisation of each channel of a channel-blocked image by its own mean and variance.

use super::phase::{Epilogue, row_parts};
use super::sums::added;
use crate::simd::{Isa, Kernel, LANES, Simd};

/// `(x - mean) / sqrt(variance + epsilon)`, times a scale, plus a bias.
#[derive(Clone, Debug)]
pub struct ChannelNorm {
    /// Rows and columns.
    pub extents: [usize; 2],
    /// Added to the variance.
    pub epsilon: f32,
    /// Per channel, up to a whole block.
    pub scale: Vec<f32>,
    /// Per channel, up to a whole block.
    pub bias: Vec<f32>,
}

impl ChannelNorm {
    /// Normalises an image; runs the epilogue on some rows of a block at a time.
    pub fn run(&self, isa: Isa, input: &[f32], output: &mut [f32], epilogue: Epilogue) {
        let (line, plane) = (self.extents[1] * LANES, self.extents[0] * self.extents[1] * LANES);
        let (scales, biases) = (self.scale.as_chunks::<LANES>().0, self.bias.as_chunks::<LANES>().0);
        let blocks = input.chunks_exact(plane).zip(output.chunks_exact_mut(plane));
        for ((block, (input, output)), (scale, bias)) in blocks.enumerate().zip(scales.iter().zip(biases)) {
            let channels = isa.run(Channels { norm: self, input: input.as_chunks().0, scale, bias });
            for rows in row_parts(0..self.extents[0], self.extents[1], 1) {
                let part = rows.start * line..rows.end * line;
                let (from, to) = (input[part.clone()].as_chunks().0, output[part.clone()].as_chunks_mut().0);
                isa.run(Normalise { channels, from, to });
                epilogue(block * plane + part.start, &mut output[part]);
            }
        }
    }
}

/// By what sixteen channels are normalised: `(x - mean) * factor + bias`.
#[derive(Clone, Copy)]
struct Factors {
    mean: [f32; LANES],
    factor: [f32; LANES],
    bias: [f32; LANES],
}

/// The means and variances of sixteen channels.
struct Channels<'a> {
    norm: &'a ChannelNorm,
    input: &'a [[f32; LANES]],
    scale: &'a [f32; LANES],
    bias: &'a [f32; LANES],
}

impl Kernel for Channels<'_> {
    type Output = Factors;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> Factors {
        let (mut mean, mut factor) = ([0.0; LANES], [0.0; LANES]);
        // SAFETY: the caller's; whole vectors.
        unsafe {
            let share = S::splat(1.0 / self.input.len() as f32);
            let middle = S::mul(added::<S, false>(self.input, S::splat(0.0)), share);
            S::store(mean.as_mut_ptr(), middle);
            S::store(factor.as_mut_ptr(), S::mul(added::<S, true>(self.input, middle), share));
        }
        for (factor, scale) in factor.iter_mut().zip(self.scale) {
            // Lanes of no channel have neither scale nor variance, and there may be no epsilon.
            *factor = if *scale == 0.0 { 0.0 } else { scale / (*factor + self.norm.epsilon).sqrt() };
        }
        Factors { mean, factor, bias: *self.bias }
    }
}

/// Some places of sixteen channels.
struct Normalise<'a> {
    channels: Factors,
    from: &'a [[f32; LANES]],
    to: &'a mut [[f32; LANES]],
}

impl Kernel for Normalise<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Factors { mean, factor, bias } = &self.channels;
        // SAFETY: the caller's; whole vectors.
        unsafe {
            let [mean, factor, bias] = [mean, factor, bias].map(|v| S::load(v.as_ptr()));
            for (from, to) in self.from.iter().zip(self.to) {
                S::store(to.as_mut_ptr(), S::fma(S::sub(S::load(from.as_ptr()), mean), factor, bias));
            }
        }
    }
}
