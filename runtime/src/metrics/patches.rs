//! Square patches of an image, in the order of the map's sum over each.

use super::subsets::sum_of;
use super::{Grid, Sample};

/// The features of each patch of `size` by `size` pixels; those at the right and lower border may be smaller.
pub(super) fn patches(grid: &Grid, size: usize) -> Vec<Vec<u32>> {
    patches_from(grid, size, [0, 0])
}

/// As many of them, but the first begin so many rows and columns, less than `size`, before the image.
pub(super) fn patches_from(grid: &Grid, size: usize, before: [usize; 2]) -> Vec<Vec<u32>> {
    let along = |extent: usize, before: usize| {
        let ends = (0..extent.div_ceil(size)).map(move |number| (number * size, (number + 1) * size));
        ends.map(move |(start, end)| start.saturating_sub(before)..(end - before).min(extent))
    };
    let mut patches = vec![];
    for rows in along(grid.height, before[0]) {
        for columns in along(grid.width, before[1]) {
            let of_row = |r: usize| columns.clone().map(move |c| (r * grid.width + c) as u32);
            patches.push(rows.clone().flat_map(of_row).collect());
        }
    }
    patches
}

/// How many patches there are.
pub(super) fn count(grid: &Grid, size: usize) -> usize {
    grid.height.div_ceil(size) * grid.width.div_ceil(size)
}

/// Groups of features, the most relevant one first.
pub(super) struct Ranked {
    features: Vec<u32>,
    /// How many features belong to the first group, the first two, and so on.
    ends: Vec<usize>,
}

impl Ranked {
    /// The features of a group, by its rank.
    pub fn group(&self, rank: usize) -> &[u32] {
        let start = rank.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.features[start..self.ends[rank]]
    }
}

/// Patches by the map's sum over each.
pub(super) fn ranked(sample: &Sample, size: usize) -> Ranked {
    ranked_by_sum(sample.map, patches(&sample.grid, size))
}

/// Groups by the map's sum over each.
pub(super) fn ranked_by_sum(map: &[f32], groups: Vec<Vec<u32>>) -> Ranked {
    by(groups, |group| sum_of(map, group))
}

/// Groups by the map's mean over each.
pub(super) fn ranked_by_mean(map: &[f32], groups: Vec<Vec<u32>>) -> Ranked {
    by(groups, |group| sum_of(map, group) / group.len() as f64)
}

fn by(groups: Vec<Vec<u32>>, relevance: impl Fn(&[u32]) -> f64) -> Ranked {
    let mut groups: Vec<(f64, Vec<u32>)> = groups.into_iter().map(|group| (relevance(&group), group)).collect();
    // Stable: of groups alike the first is first, and zero is zero, whichever sign it has.
    groups.sort_by(|a, b| (b.0 + 0.0).total_cmp(&(a.0 + 0.0)));
    let mut ranked = Ranked { features: vec![], ends: vec![] };
    for (_, group) in groups {
        ranked.features.extend(group);
        ranked.ends.push(ranked.features.len());
    }
    ranked
}

/// The outputs with none, one, ... `most` of the groups replaced, the most relevant first.
pub(super) fn heights(
    sample: &mut Sample,
    output: super::Output,
    baseline: &[f32],
    Ranked { features, ends }: &Ranked,
    (most, tolerance): (usize, f64),
) -> crate::error::Result<Vec<f64>> {
    let (grid, input) = (sample.grid, sample.input);
    super::curves::heights(sample, output, ends.len().min(most), tolerance, &|step, point: &mut [f32]| {
        point.copy_from_slice(input);
        let end = step.checked_sub(1).map_or(0, |last| ends[last]);
        grid.copy(features[..end].iter().copied(), baseline, point);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_cover_every_pixel_once() {
        let grid = Grid { layout: None, channels: 1, height: 5, width: 7 };
        let mut all: Vec<u32> = patches(&grid, 3).concat();
        assert_eq!(patches(&grid, 3).len(), count(&grid, 3));
        all.sort_unstable();
        assert_eq!(all, (0..35).collect::<Vec<u32>>());
        assert_eq!(patches(&grid, 3)[5], [27, 34]);
        let mut all: Vec<u32> = patches_from(&grid, 3, [0, 1]).concat();
        all.sort_unstable();
        assert_eq!(all, (0..35).collect::<Vec<u32>>());
        assert_eq!(patches_from(&grid, 3, [0, 1])[0], [0, 1, 7, 8, 14, 15]);
        assert_eq!(patches_from(&grid, 3, [0, 1])[5], [26, 27, 33, 34]);
    }
}
