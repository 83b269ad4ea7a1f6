//! Bilinear resizing of maps.

/// Resizes a map of `from` (height, width) to `to`, with half-pixel centres and the border repeated.
pub fn bilinear(map: &[f32], from: (usize, usize), to: (usize, usize)) -> Vec<f32> {
    if from == to {
        return map.to_vec();
    }
    let rows = taps(from.0, to.0);
    let columns = taps(from.1, to.1);
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
fn taps(from: usize, to: usize) -> Vec<(usize, usize, f32)> {
    let last = from.saturating_sub(1) as f32;
    let tap = |place: usize| {
        let at = ((place as f32 + 0.5) * from as f32 / to as f32 - 0.5).clamp(0.0, last);
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
    fn a_constant_stays_and_a_ramp_stays_a_ramp_inside() {
        assert!(bilinear(&[3.0; 6], (2, 3), (5, 7)).iter().all(|v| (v - 3.0).abs() < 1e-6));
        let ramp: Vec<f32> = (0..8).map(|i| i as f32).collect();
        let wide = bilinear(&ramp, (1, 8), (1, 16));
        assert!(wide[1..15].windows(2).all(|w| ((w[1] - w[0]) - 0.5).abs() < 1e-6), "{wide:?}");
    }
}
