//! How fast this machine multiplies and adds at best.

use std::hint::black_box;
use std::time::Instant;

use crate::simd::{Isa, Kernel, LANES, Simd};

/// Sums that run beside each other: enough to hide the latency of one, few enough to stay in registers. How many that is depends
/// on the machine.
const FEW: usize = 5;
const MANY: usize = 12;
/// Multiply-adds of each sum per measurement, about a millisecond's worth.
const TERMS: usize = 400_000;

/// Floating-point operations per second of one thread, in a loop that touches no memory: the best of several
/// measurements.
pub fn peak_flops(isa: Isa) -> f64 {
    (0..20).map(|_| once::<FEW>(isa).max(once::<MANY>(isa))).fold(0.0, f64::max)
}

fn once<const SUMS: usize>(isa: Isa) -> f64 {
    let start = Instant::now();
    black_box(isa.run(Sums::<SUMS> { factor: black_box(0.999) }));
    (2 * SUMS * TERMS * LANES) as f64 / start.elapsed().as_secs_f64()
}

struct Sums<const SUMS: usize> {
    factor: f32,
}

impl<const SUMS: usize> Kernel for Sums<SUMS> {
    type Output = f32;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> f32 {
        // SAFETY: the machine has the instruction set; one vector is stored.
        unsafe {
            let factor = S::splat(self.factor);
            // Numbers that the compiler cannot know, and every lane is used: it leaves out what is equal or for nothing.
            let start: [[f32; LANES]; SUMS] = black_box([[1.0; LANES]; SUMS]);
            let mut sums = [factor; SUMS];
            for (sum, start) in sums.iter_mut().zip(&start) {
                *sum = S::load(start.as_ptr());
            }
            for _ in 0..TERMS {
                for sum in &mut sums {
                    *sum = S::fma(*sum, factor, factor);
                }
            }
            let total = sums.into_iter().fold(S::splat(0.0), |a, b| S::add(a, b));
            let mut lanes = [0.0; LANES];
            S::store(lanes.as_mut_ptr(), total);
            lanes.iter().sum()
        }
    }
}
