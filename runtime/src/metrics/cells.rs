//! A map on fewer cells than pixels.

use super::Grid;

/// The means of what the map has in each of at most `rows` by `columns` cells, row by row.
pub(super) fn pooled(grid: &Grid, map: &[f32], (rows, columns): (usize, usize)) -> Vec<f32> {
    let (rows, columns) = (rows.min(grid.height), columns.min(grid.width));
    let (mut sums, mut counts) = (vec![0.0; rows * columns], vec![0u32; rows * columns]);
    for (feature, value) in map.iter().enumerate() {
        let (row, column) = (feature / grid.width, feature % grid.width);
        let cell = row * rows / grid.height * columns + column * columns / grid.width;
        sums[cell] += *value as f64;
        counts[cell] += 1;
    }
    sums.into_iter().zip(counts).map(|(sum, count)| (sum / count as f64) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_means_and_a_small_map_stays() {
        let grid = Grid { layout: None, channels: 1, height: 3, width: 4 };
        let map: Vec<f32> = (0..12).map(|i| i as f32).collect();
        assert_eq!(pooled(&grid, &map, (1, 2)), [4.5, 6.5]);
        assert_eq!(pooled(&grid, &map, (16, 16)), map);
    }
}
