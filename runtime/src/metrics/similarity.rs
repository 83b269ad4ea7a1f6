//! How alike two maps are.

use super::Grid;

/// The side of the windows.
const WINDOW: usize = 7;

/// The mean structural similarity (Wang et al. 2004) of two maps over all windows of 7 by 7 features that lie inside, with
/// sample covariances and the range of both together. None where that is zero, or the maps are smaller than a window's row.
pub(super) fn structural(grid: &Grid, a: &[f32], b: &[f32]) -> Option<f64> {
    let (low, high) = crate::values::range(a);
    let (low_b, high_b) = crate::values::range(b);
    let range = (high.max(high_b) - low.min(low_b)) as f64;
    let (rows, columns) = (WINDOW.min(grid.height), WINDOW.min(grid.width));
    if range <= 0.0 || rows * columns < 2 {
        return None;
    }
    let (c1, c2) = ((0.01 * range).powi(2), (0.03 * range).powi(2));
    let n = (rows * columns) as f64;
    let (mut sum, mut windows) = (0.0, 0);
    for top in 0..=grid.height - rows {
        for left in 0..=grid.width - columns {
            let (mut means, mut squares, mut product) = ([0.0; 2], [0.0; 2], 0.0);
            for row in top..top + rows {
                let places = row * grid.width + left..row * grid.width + left + columns;
                for (&x, &y) in a[places.clone()].iter().zip(&b[places]) {
                    // Shifted by the least value, so that squares stay small beside their differences.
                    let (x, y) = ((x - low) as f64, (y - low) as f64);
                    means = [means[0] + x, means[1] + y];
                    squares = [squares[0] + x * x, squares[1] + y * y];
                    product += x * y;
                }
            }
            let [x, y] = means.map(|sum| sum / n);
            let variance = |square: f64, mean: f64| (square - n * mean * mean) / (n - 1.0);
            let (vx, vy) = (variance(squares[0], x), variance(squares[1], y));
            let covariance = (product - n * x * y) / (n - 1.0);
            // The luminance term sees the maps' own means.
            let (x, y) = (x + low as f64, y + low as f64);
            sum += (2.0 * x * y + c1) * (2.0 * covariance + c2) / ((x * x + y * y + c1) * (vx + vy + c2));
            windows += 1;
        }
    }
    Some(sum / windows as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_is_like_itself_and_unlike_its_opposite() {
        let grid = Grid { layout: None, channels: 1, height: 9, width: 11 };
        let map: Vec<f32> = (0..99).map(|i| ((i * 37) % 23) as f32).collect();
        let opposite: Vec<f32> = map.iter().map(|v| 22.0 - v).collect();
        assert!((structural(&grid, &map, &map).unwrap() - 1.0).abs() < 1e-12);
        assert!(structural(&grid, &map, &opposite).unwrap() < 0.0);
        assert_eq!(structural(&grid, &[1.0; 99], &[1.0; 99]), None);
    }
}
