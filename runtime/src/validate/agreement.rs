//! How far two maps of one input agree.

use whyline_stream::pearson::Pearson;

use crate::values::{descending, distance, norm, ranked};

/// The cosine of the angle between two maps; one of two that are zero everywhere, zero where one is.
pub fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let (sizes, dot) = (norm(a) * norm(b), a.iter().zip(b).map(|(a, b)| *a as f64 * *b as f64).sum::<f64>());
    match sizes > 0.0 {
        true => dot / sizes,
        false => f64::from(norm(a) == norm(b)),
    }
}

/// `|a - b| / |b|`; zero of two that are zero everywhere.
pub fn relative_distance(a: &[f32], b: &[f32]) -> f64 {
    match distance(a, b) {
        0.0 => 0.0,
        apart => apart / norm(b),
    }
}

/// Of the tenth of the places with the largest magnitudes, the share that both maps have there.
pub fn top_decile(a: &[f32], b: &[f32]) -> f64 {
    let count = a.len().div_ceil(10);
    let marked = |map: &[f32]| {
        let sizes: Vec<f32> = map.iter().map(|v| v.abs()).collect();
        let order = descending(&sizes);
        let mut marked = vec![false; sizes.len()];
        order.iter().take(count).for_each(|&i| marked[i as usize] = true);
        marked
    };
    marked(a).iter().zip(marked(b)).filter(|(a, b)| **a && *b).count() as f64 / count.max(1) as f64
}

/// Spearman's correlation of the values; one of two maps that are the same everywhere, zero where one is.
pub fn rank_correlation(a: &[f32], b: &[f32]) -> f64 {
    let ranks = |map: &[f32]| ranked(&map.iter().map(|v| *v as f64).collect::<Vec<_>>());
    let (a, b) = (ranks(a), ranks(b));
    Pearson::of(&a, &b).correlation().unwrap_or_else(|| f64::from(a == b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_agrees_with_itself_and_not_with_its_opposite() {
        let map: Vec<f32> = (0..40).map(|i| (i as f32 * 0.7).sin() * i as f32).collect();
        let opposite: Vec<f32> = map.iter().map(|v| -v).collect();
        assert_eq!((relative_distance(&map, &map), top_decile(&map, &opposite)), (0.0, 1.0));
        assert!((cosine(&map, &map) - 1.0).abs() < 1e-12 && (cosine(&map, &opposite) + 1.0).abs() < 1e-12);
        assert!((rank_correlation(&map, &map) - 1.0).abs() < 1e-12);
        assert!((rank_correlation(&map, &opposite) + 1.0).abs() < 1e-12);
        assert!((relative_distance(&opposite, &map) - 2.0).abs() < 1e-12);
        // The four largest magnitudes are the last but one and three more.
        let mut moved = map.clone();
        moved[39] = 0.0;
        assert!(top_decile(&map, &moved) < 1.0);
    }

    #[test]
    fn maps_without_values_agree_with_their_like_alone() {
        let (none, some) = ([0.0; 10], [0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -2.0]);
        assert_eq!((cosine(&none, &none), cosine(&none, &some), cosine(&some, &none)), (1.0, 0.0, 0.0));
        assert_eq!((rank_correlation(&none, &none), rank_correlation(&none, &some)), (1.0, 0.0));
        assert_eq!(relative_distance(&none, &none), 0.0);
        assert!(relative_distance(&some, &none).is_infinite());
    }
}
