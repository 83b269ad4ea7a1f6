//! What is asked of all the values of an input or a map. A search that may end at any value takes them one by one, so these
//! go by parts.

use crate::simd::{Isa, LANES, Loops};

/// Values that are looked at together.
const PART: usize = 64;

/// The first value that is not finite.
pub fn first_infinite(values: &[f32]) -> Option<usize> {
    struct Search<'a>(&'a [f32]);
    impl Loops for Search<'_> {
        type Output = Option<usize>;

        #[inline(always)]
        fn run(self) -> Option<usize> {
            self.0.chunks(PART).position(|part| !part.iter().fold(true, |all, v| all & v.is_finite()))
        }
    }
    let from = Isa::best().run_loops(Search(values))? * PART;
    values[from..].iter().position(|v| !v.is_finite()).map(|i| from + i)
}

/// Whether values are the same, bit by bit.
pub fn same(a: &[f32], b: &[f32]) -> bool {
    bytemuck::cast_slice::<f32, u8>(a) == bytemuck::cast_slice::<f32, u8>(b)
}

/// The least and largest of values.
pub fn range(values: &[f32]) -> (f32, f32) {
    struct Range<'a>(&'a [f32]);
    impl Loops for Range<'_> {
        type Output = (f32, f32);

        #[inline(always)]
        fn run(self) -> (f32, f32) {
            let (mut low, mut high) = ([f32::INFINITY; LANES], [f32::NEG_INFINITY; LANES]);
            for part in self.0.chunks(LANES) {
                low.iter_mut().zip(part).for_each(|(low, v)| *low = low.min(*v));
                high.iter_mut().zip(part).for_each(|(high, v)| *high = high.max(*v));
            }
            (low.into_iter().fold(f32::INFINITY, f32::min), high.into_iter().fold(f32::NEG_INFINITY, f32::max))
        }
    }
    Isa::best().run_loops(Range(values))
}

/// Euclid's distance of points with as many coordinates.
pub fn distance(a: &[f32], b: &[f32]) -> f64 {
    debug_assert_eq!(a.len(), b.len());
    struct Distance<'a>(&'a [f32], &'a [f32]);
    impl Loops for Distance<'_> {
        type Output = f64;

        #[inline(always)]
        fn run(self) -> f64 {
            let mut sums = [0.0f64; LANES];
            let (a, a_rest) = self.0.as_chunks::<LANES>();
            let (b, b_rest) = self.1.as_chunks::<LANES>();
            a.iter().zip(b).for_each(|(a, b)| add_squares(&mut sums, a, b));
            add_squares(&mut sums, a_rest, b_rest);
            sums.iter().sum::<f64>().sqrt()
        }
    }
    Isa::best().run_loops(Distance(a, b))
}

#[inline(always)]
fn add_squares(sums: &mut [f64; LANES], a: &[f32], b: &[f32]) {
    for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
        let apart = *a as f64 - *b as f64;
        *sum += apart * apart;
    }
}

/// Euclid's norm.
pub fn norm(values: &[f32]) -> f64 {
    values.iter().map(|v| (*v as f64).powi(2)).sum::<f64>().sqrt()
}

/// The places of values, from the largest value to the least, equal ones as they come.
pub fn descending(values: &[f32]) -> Vec<u32> {
    let mut order = vec![0; values.len()];
    whyline_stream::order::descending(values, &mut vec![0; 2 * values.len()], &mut order);
    order
}

/// The rank of each value: one for the least, the mean of their ranks for equal ones.
pub fn ranked(values: &[f64]) -> Vec<f64> {
    let mut ranks = vec![0.0; values.len()];
    whyline_stream::order::ranks(values, &mut vec![0; 2 * values.len()], &mut ranks);
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_counts_wherever_it_is() {
        for len in [0, 1, 15, 16, 17, 63, 64, 65, 200] {
            let zeros = vec![0.0; len];
            assert_eq!((first_infinite(&zeros), distance(&zeros, &zeros)), (None, 0.0));
            for at in 0..len {
                let mut values = zeros.clone();
                values[at] = -3.0;
                assert_eq!(
                    (range(&values), distance(&values, &zeros)),
                    ((-3.0, if len > 1 { 0.0 } else { -3.0 }), 3.0)
                );
                assert!(same(&values, &values.clone()) && !same(&values, &zeros));
                values[at] = f32::NAN;
                assert_eq!(first_infinite(&values), Some(at));
            }
        }
        assert_eq!(range(&[]), (f32::INFINITY, f32::NEG_INFINITY));
    }
}
