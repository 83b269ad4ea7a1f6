//! Bilinear resizing of maps.

/// Resizes a map of `from` (height, width) to `to`, with half-pixel centres and the border repeated.
pub fn bilinear(map: &[f32], from: (usize, usize), to: (usize, usize)) -> Vec<f32> {
    resized(map, from, to, |place, from, to| (place + 0.5) * from / to - 0.5)
}

/// The same, with the corners' centres where they were.
pub fn bilinear_corners(map: &[f32], from: (usize, usize), to: (usize, usize)) -> Vec<f32> {
    resized(map, from, to, |place, from, to| place * (from - 1.0) / (to - 1.0).max(1.0))
}

/// What lies at the start of each place, which PyTorch calls nearest.
pub fn nearest(map: &[f32], from: (usize, usize), to: (usize, usize)) -> Vec<f32> {
    let rows = 0..to.0;
    rows.flat_map(|r| (0..to.1).map(move |c| map[r * from.0 / to.0 * from.1 + c * from.1 / to.1])).collect()
}

/// Where a place of the new axis lies on the old one, given the extents of both.
type Old = fn(place: f32, from: f32, to: f32) -> f32;

fn resized(map: &[f32], from: (usize, usize), to: (usize, usize), old: Old) -> Vec<f32> {
    if from == to {
        return map.to_vec();
    }
    let rows = taps(from.0, to.0, old);
    let columns = taps(from.1, to.1, old);
    let mut out = Vec::with_capacity(to.0 * to.1);
    for &(r0, r1, down) in &rows {
        for &(c0, c1, right) in &columns {
            let at = |r: usize, c: usize| map[r * from.1 + c];
            let above = at(r0, c0) * (1.0 - right) + at(r0, c1) * right;
            let below = at(r1, c0) * (1.0 - right) + at(r1, c1) * right;
            out.push(above * (1.0 - down) + below * down);
        }
    }
    out
}

/// For each place of the new axis: the two old places it lies between, and how far along.
fn taps(from: usize, to: usize, old: Old) -> Vec<(usize, usize, f32)> {
    let last = from.saturating_sub(1) as f32;
    let tap = |place: usize| {
        let at = old(place as f32, from as f32, to as f32).clamp(0.0, last);
        let below = at.floor();
        (below as usize, (below + 1.0).min(last) as usize, at - below)
    };
    (0..to).map(tap).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubling_follows_half_pixel_centres() {
        assert_eq!(bilinear(&[0.0, 4.0], (1, 2), (1, 4)), [0.0, 1.0, 3.0, 4.0]);
    }

    #[test]
    fn corners_and_nearest_places_are_where_they_were() {
        assert_eq!(bilinear_corners(&[0.0, 4.0], (1, 2), (1, 5)), [0.0, 1.0, 2.0, 3.0, 4.0]);
        assert_eq!(nearest(&[1.0, 2.0], (1, 2), (2, 5)), [1.0, 1.0, 1.0, 2.0, 2.0, 1.0, 1.0, 1.0, 2.0, 2.0]);
    }

    #[test]
    fn a_constant_stays_and_a_ramp_stays_a_ramp_inside() {
        assert!(bilinear(&[3.0; 6], (2, 3), (5, 7)).iter().all(|v| (v - 3.0).abs() < 1e-6));
        let ramp: Vec<f32> = (0..8).map(|i| i as f32).collect();
        let wide = bilinear(&ramp, (1, 8), (1, 16));
        assert!(wide[1..15].windows(2).all(|w| ((w[1] - w[0]) - 0.5).abs() < 1e-6), "{wide:?}");
    }
}
