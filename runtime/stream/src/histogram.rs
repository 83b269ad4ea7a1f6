//! The area under a receiver operating characteristic from counts alone, in one pass and without sorting.

/// Counts of marked and unmarked scores in `N` bins of the same width.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Histogram<const N: usize> {
    low: f32,
    high: f32,
    unmarked: [u64; N],
    marked: [u64; N],
}

/// An area, and how far it may be from the exact one.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Area {
    /// Scores of a bin count as ties.
    pub area: f64,
    /// The exact area is no farther from it: half the share of pairs that lie in one bin.
    pub bound: f64,
}

impl<const N: usize> Histogram<N> {
    /// Of scores from `low` to `high`; others count as the nearer end.
    pub fn new(low: f32, high: f32) -> Histogram<N> {
        Histogram { low, high, unmarked: [0; N], marked: [0; N] }
    }

    /// Takes in a score.
    pub fn push(&mut self, score: f32, is_marked: bool) {
        let width = (self.high - self.low) / N as f32;
        // Conversions saturate, and no number is zero.
        let bin = if width > 0.0 { ((score - self.low) / width) as usize } else { 0 };
        let counts = if is_marked { &mut self.marked } else { &mut self.unmarked };
        if let Some(count) = counts.get_mut(bin.min(N.saturating_sub(1))) {
            *count = count.saturating_add(1);
        }
    }

    /// Takes in the scores of another, of the same range.
    pub fn merge(&mut self, other: &Histogram<N>) {
        let add = |(own, more): (&mut u64, &u64)| *own = own.saturating_add(*more);
        self.marked.iter_mut().zip(&other.marked).for_each(add);
        self.unmarked.iter_mut().zip(&other.unmarked).for_each(add);
    }

    /// The area; none where all or none are marked.
    pub fn area(&self) -> Option<Area> {
        let (mut above, mut pairs, mut tied) = (0.0, 0.0, 0.0);
        for (&marked, &unmarked) in self.marked.iter().zip(&self.unmarked).rev() {
            let own = 0.5 * marked as f64 * unmarked as f64;
            pairs += above * unmarked as f64 + own;
            tied += own;
            above += marked as f64;
        }
        let unmarked: f64 = self.unmarked.iter().map(|&count| count as f64).sum();
        let all = above * unmarked;
        (all > 0.0).then(|| Area { area: pairs / all, bound: tied / all })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::order::roc_area;

    #[test]
    fn the_exact_area_is_within_the_bound() {
        let score = |i: u32| libm::sinf(i as f32 * 12.9898) * 3.0;
        let is_marked = |i: u32| score(i) + libm::cosf(i as f32 * 78.233) > 0.5;
        let mut order: [u32; 200] = core::array::from_fn(|i| i as u32);
        order.sort_unstable_by(|&a, &b| score(b).total_cmp(&score(a)));
        let exact = roc_area(order.iter().map(|&i| (score(i), is_marked(i)))).unwrap();
        let mut histogram = Histogram::<32>::new(-3.0, 3.0);
        (0..200).for_each(|i| histogram.push(score(i), is_marked(i)));
        let found = histogram.area().unwrap();
        assert!((found.area - exact).abs() <= found.bound && found.bound < 0.02, "{found:?} for {exact}");
    }

    #[test]
    fn counts_go_beyond_four_thousand_millions() {
        let mut histogram = Histogram::<4>::new(0.0, 1.0);
        let scores = [(0.9, true), (0.9, true), (0.9, true), (0.1, true), (0.5, false)];
        scores.into_iter().for_each(|(score, is_marked)| histogram.push(score, is_marked));
        for _ in 0..40 {
            histogram.merge(&histogram.clone());
        }
        assert_eq!(histogram.area(), Some(Area { area: 0.75, bound: 0.0 }));
    }

    #[test]
    fn one_bin_is_a_tie_and_one_kind_is_nothing() {
        let mut histogram = Histogram::<4>::new(1.0, 1.0);
        histogram.push(1.0, true);
        assert_eq!(histogram.area(), None);
        histogram.push(1.0, false);
        assert_eq!(histogram.area(), Some(Area { area: 0.5, bound: 0.5 }));
    }

    #[test]
    fn scores_outside_count_as_the_nearer_end() {
        let of = |scores: &[(f32, bool)]| {
            let mut histogram = Histogram::<4>::new(0.0, 1.0);
            scores.iter().for_each(|&(score, is_marked)| histogram.push(score, is_marked));
            histogram.area()
        };
        // All marked ones are in the last bin, all others in the first, or in the third, where 0.5 begins.
        let all = Some(Area { area: 1.0, bound: 0.0 });
        assert_eq!(of(&[(1.0, true), (0.0, false)]), all);
        assert_eq!(of(&[(1.0, true), (7.0, true), (0.0, false), (-7.0, false)]), all);
        assert_eq!(of(&[(1.0, true), (7.0, true), (0.0, false), (-7.0, false), (0.5, false)]), all);
    }
}
