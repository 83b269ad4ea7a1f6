//! Outputs with some of the features replaced by a baseline.

use super::{Output, Sample};
use crate::error::Result;
use crate::rng::Rng;

/// The output lost where the features of each set are replaced, each alone: `f(x) - f(x_S)`. `set` gives the features of a
/// number.
pub(super) fn losses(
    sample: &mut Sample,
    output: Output,
    baseline: &[f32],
    count: usize,
    set: &(dyn Fn(usize) -> Vec<u32> + Sync),
) -> Result<Vec<f64>> {
    let (own, grid, input) = (sample.own_output(output)?, sample.grid, sample.input);
    let left = sample.outputs(output, count, &|number, point: &mut [f32]| {
        point.copy_from_slice(input);
        grid.copy(set(number), baseline, point);
    })?;
    Ok(left.into_iter().map(|left| own - left).collect())
}

/// `size` different ones of `count` numbers, all alike likely, by Floyd's algorithm.
pub(super) fn draw(rng: &Rng, size: usize, count: usize) -> Vec<u32> {
    let mut taken = vec![false; count];
    let mut drawn = Vec::with_capacity(size);
    for last in count - size..count {
        let number = (((rng.bits(last as u64) >> 32) * (last as u64 + 1)) >> 32) as usize;
        let number = if taken[number] { last } else { number };
        taken[number] = true;
        drawn.push(number as u32);
    }
    drawn
}

/// The map's sum over features.
pub(super) fn sum_of(map: &[f32], set: &[u32]) -> f64 {
    set.iter().map(|&feature| map[feature as usize] as f64).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_of_different_numbers_and_reach_them_all() {
        let mut seen = [0; 10];
        for number in 0..2000 {
            let mut drawn = draw(&Rng::new(1, number), 4, 10);
            drawn.iter().for_each(|&d| seen[d as usize] += 1);
            drawn.sort_unstable();
            drawn.dedup();
            assert_eq!(drawn.len(), 4);
        }
        assert!(seen.iter().all(|&count| (700..900).contains(&count)), "{seen:?}");
        assert_eq!(draw(&Rng::new(1, 0), 3, 3).len(), 3);
    }
}
