//! Weights as they are kept, and numbers on their way to halves.
//!
//! Halves carry a factor, a power of two, so that the largest lies where neither a short sum of products overflows nor
//! small ones vanish: weights below 64, values below 32, so that sums of sixteen products stay below the largest half,
//! and what is a millionth of the largest still has all its digits.

use std::ops::Range;

use half::f16;

use crate::simd::{Isa, Kernel, LANES, Lined, Simd};

/// Powers of two that the largest weight, and the largest value, stay below.
const WEIGHTS: i32 = 6;
const VALUES: i32 = 5;

/// Weights as a kernel keeps them.
#[derive(Clone, Debug)]
pub enum Stored {
    /// In single precision.
    Single(Lined<f32>),
    /// In half, each times a factor.
    Half(Lined<f16>, f32),
}

/// Part of such weights.
#[derive(Clone, Copy, Debug)]
pub enum Weights<'a> {
    /// In single precision.
    Single(&'a [f32]),
    /// In half, each times a factor.
    Half(&'a [f16], f32),
}

impl Stored {
    /// Keeps weights in half precision, or as they are.
    pub fn new(values: Lined<f32>, half: bool) -> Stored {
        if !half {
            return Stored::Single(values);
        }
        let largest = values.iter().fold(0.0, |a: f32, v| a.max(v.abs()));
        let up = factor(largest, WEIGHTS);
        Stored::Half(values.iter().map(|v| f16::from_f32(v * up)).collect(), 1.0 / up)
    }

    /// Their size.
    pub fn bytes(&self) -> usize {
        match self {
            Stored::Single(values) => size_of_val::<[_]>(values),
            Stored::Half(values, _) => size_of_val::<[_]>(values),
        }
    }

    /// Whether they are kept in half precision.
    pub fn is_half(&self) -> bool {
        matches!(self, Stored::Half(..))
    }

    /// Some of them.
    pub fn part(&self, range: Range<usize>) -> Weights<'_> {
        match self {
            Stored::Single(values) => Weights::Single(&values[range]),
            Stored::Half(values, factor) => Weights::Half(&values[range], *factor),
        }
    }

    /// All of them.
    pub fn all(&self) -> Weights<'_> {
        match self {
            Stored::Single(values) => Weights::Single(values),
            Stored::Half(values, factor) => Weights::Half(values, *factor),
        }
    }
}

impl Weights<'_> {
    /// How many they are.
    pub fn len(&self) -> usize {
        match self {
            Weights::Single(values) => values.len(),
            Weights::Half(values, _) => values.len(),
        }
    }
}

/// The power of two that takes `largest` below two to the power `below`, but not below half of that.
fn factor(largest: f32, below: i32) -> f32 {
    if largest == 0.0 || !largest.is_finite() {
        return 1.0;
    }
    let exponent = libm::frexpf(largest).1;
    libm::ldexpf(1.0, (below - exponent).clamp(-125, 100))
}

/// The factor that values are multiplied by on their way to halves.
pub fn values_factor(isa: Isa, values: &[f32]) -> f32 {
    factor(isa.run(Largest(values)), VALUES)
}

/// Rounds values times a factor to halves; whole vectors.
pub fn to_halves(isa: Isa, values: &[f32], factor: f32, halves: &mut [f16]) {
    isa.run(ToHalves { values, factor, halves });
}

/// The largest magnitude.
struct Largest<'a>(&'a [f32]);

impl Kernel for Largest<'_> {
    type Output = f32;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> f32 {
        let (vectors, rest) = self.0.as_chunks::<LANES>();
        let mut lanes = [0.0f32; LANES];
        // SAFETY: whole vectors.
        unsafe {
            let (zero, one) = (S::splat(0.0), S::splat(1.0));
            let mut largest = zero;
            for v in vectors {
                let v = S::load(v.as_ptr());
                largest = S::max(largest, S::max(S::sub(zero, v), S::mul(one, v)));
            }
            S::store(lanes.as_mut_ptr(), largest);
        }
        lanes.iter().chain(rest).fold(0.0, |a: f32, v| a.max(v.abs()))
    }
}

struct ToHalves<'a> {
    values: &'a [f32],
    factor: f32,
    halves: &'a mut [f16],
}

impl Kernel for ToHalves<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let vectors = self.values.as_chunks::<LANES>().0.iter().zip(self.halves.as_chunks_mut::<LANES>().0);
        // SAFETY: whole vectors.
        unsafe {
            let factor = S::splat(self.factor);
            for (from, to) in vectors {
                S::narrow(to.as_mut_ptr(), S::mul(factor, S::load(from.as_ptr())));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_are_powers_of_two_that_keep_the_largest_in_place() {
        for largest in [1e-30, 3e-7, 0.49, 0.5, 1.0, 31.9, 32.0, 7e8, 3e38] {
            let scaled = largest * factor(largest, VALUES);
            assert!((16.0..32.0).contains(&scaled) || largest < 1e-25 && scaled < 32.0, "{largest}: {scaled}");
            assert_eq!(libm::frexpf(factor(largest, VALUES)).0, 0.5);
        }
        for odd in [0.0, f32::INFINITY, f32::NAN] {
            assert_eq!(factor(odd, VALUES), 1.0);
        }
    }

    #[test]
    fn halves_round_to_even_and_keep_their_scale() {
        let values: Lined<f32> = (0..64).map(|i| (i as f32 - 31.0) * 1.2345e-6).collect();
        let Stored::Half(halves, back) = Stored::new(values.clone(), true) else { panic!("not halves") };
        for (v, h) in values.iter().zip(halves.iter()) {
            assert!((h.to_f32() * back - v).abs() <= v.abs() / 2048.0, "{v} became {}", h.to_f32() * back);
        }
        for &isa in Isa::here() {
            let mut to = vec![f16::ZERO; values.len()];
            let up = values_factor(isa, &values);
            to_halves(isa, &values, up, &mut to);
            assert!(values.iter().zip(&to).all(|(v, h)| *h == f16::from_f32(v * up)), "{}", isa.name());
            // Between two halves: to the even one.
            let ties = [2049.0, 2051.0, -2049.0, 65520.0, 1e-8, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0];
            let mut to = [f16::ZERO; LANES];
            to_halves(isa, &ties, 1.0, &mut to);
            let expected = [2048.0, 2052.0, -2048.0, f32::INFINITY, 0.0].map(f16::from_f32);
            assert_eq!(to[..5], expected, "{}", isa.name());
        }
    }
}
