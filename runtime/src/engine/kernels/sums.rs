//! Sums of whole channels, and what sums of any length are made of.

use crate::simd::{Isa, Kernel, LANES, Simd};

/// Vectors whose sum goes to the whole at once: one running sum of millions rounds off more with every element.
const PART: usize = 256;

/// Adds vectors up, lane by lane; with `SQUARES` the squares of how far they are from `from`.
///
/// # Safety
/// The machine has the instruction set.
#[inline(always)]
pub unsafe fn added<S: Simd, const SQUARES: bool>(vectors: &[[f32; LANES]], from: S::V) -> S::V {
    // SAFETY: whole vectors.
    unsafe {
        let mut total = S::splat(0.0);
        for part in vectors.chunks(PART) {
            // Four sums that run beside each other are faster, and add up more exactly.
            let mut sums = [S::splat(0.0); 4];
            for (i, v) in part.iter().enumerate() {
                let v = S::load(v.as_ptr());
                sums[i % 4] = if SQUARES {
                    let far = S::sub(v, from);
                    S::fma(far, far, sums[i % 4])
                } else {
                    S::add(sums[i % 4], v)
                };
            }
            total = S::add(total, S::add(S::add(sums[0], sums[1]), S::add(sums[2], sums[3])));
        }
        total
    }
}

/// The sum of each channel, times `scale`: planes of `[place][16]` give `[16]` each.
pub fn sum_channels(isa: Isa, input: &[f32], scale: f32, output: &mut [f32]) {
    isa.run(Sums { input, scale, output });
}

struct Sums<'a> {
    input: &'a [f32],
    scale: f32,
    output: &'a mut [f32],
}

impl Kernel for Sums<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let plane = self.input.len() / (self.output.len() / LANES);
        let planes = self.input.chunks_exact(plane);
        for (output, plane) in self.output.as_chunks_mut::<LANES>().0.iter_mut().zip(planes) {
            // SAFETY: the caller's; a whole vector.
            unsafe {
                let sum = added::<S, false>(plane.as_chunks().0, S::splat(0.0));
                S::store(output.as_mut_ptr(), S::mul(sum, S::splat(self.scale)));
            }
        }
    }
}
