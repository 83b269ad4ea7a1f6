//! How often each class came with each label: what consistency is computed from, where labels are explanations, and the pointing
//! game, where they are classes of the dataset and hits.

use heapless::Vec;

use crate::moments::Moments;
use crate::wire::Wire;

/// How often a label came with a class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
struct Row {
    label: u64,
    class: u64,
    count: u64,
}

/// Counts of up to `N` pairs of a label, which is a hash, and a class. Where there are more, those of the largest labels are
/// dropped: as hashes are as good as drawn, what is kept is of a random part of the labels, and it is the same part for any
/// order and any split of the samples.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Table<const N: usize> {
    /// By label, then by class.
    rows: Vec<Row, N>,
    /// Labels from here on are dropped; none are where it is `u64::MAX`, which is no label.
    limit: u64,
    dropped: u64,
}

impl<const N: usize> Default for Table<N> {
    fn default() -> Self {
        Table { rows: Vec::new(), limit: u64::MAX, dropped: 0 }
    }
}

impl<const N: usize> Table<N> {
    /// Takes in a sample.
    pub fn push(&mut self, label: u64, class: u64) {
        self.add(Row { label: label.min(u64::MAX - 1), class, count: 1 });
    }

    /// Takes in the samples of another.
    pub fn merge(&mut self, other: &Table<N>) {
        self.dropped = self.dropped.saturating_add(other.dropped);
        if other.limit < self.limit {
            self.drop_from(other.limit);
        }
        other.rows.iter().for_each(|row| self.add(*row));
    }

    fn add(&mut self, row: Row) {
        let key = |r: &Row| (r.label, r.class);
        while row.label < self.limit {
            match self.rows.binary_search_by_key(&key(&row), key) {
                Ok(known) => self.rows[known].count = self.rows[known].count.saturating_add(row.count),
                Err(place) => {
                    if self.rows.insert(place, row).is_err() {
                        let last = self.rows.last().map_or(row.label, |last| last.label.max(row.label));
                        self.drop_from(last);
                        continue;
                    }
                }
            }
            return;
        }
        self.dropped = self.dropped.saturating_add(row.count);
    }

    fn drop_from(&mut self, label: u64) {
        self.limit = label;
        while let Some(last) = self.rows.last().copied().filter(|last| last.label >= label) {
            self.dropped = self.dropped.saturating_add(last.count);
            self.rows.truncate(self.rows.len() - 1);
        }
    }

    /// How many samples were taken in; none where nobody can have counted them.
    pub fn taken(&self) -> Option<u64> {
        self.rows.iter().try_fold(self.dropped, |sum, row| sum.checked_add(row.count))
    }

    /// How many samples are not in the counts, for want of room.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// The mean, over the samples, of the share of the others with a sample's label that have its class too; and how many
    /// samples are left out because they are alone with their label; with `alone_count` none are, and theirs is nought. As each
    /// counts in the others' shares, too, the standard error is that of [`Moments::jackknife`]; infinite of two samples, where
    /// without one there is nothing to compare the other with.
    pub fn agreement(&self, alone_count: bool) -> (Moments, u64) {
        let labels = || self.rows.chunk_by(|a, b| a.label == b.label);
        let of = |same: &[Row]| -> (u64, f64) {
            let pairs = |row: &Row| row.count as f64 * (row.count - 1) as f64;
            (same.iter().fold(0, |sum, row| sum.saturating_add(row.count)), same.iter().map(pairs).sum())
        };
        let (mut alone, mut samples, mut shares) = (0, 0u64, 0.0);
        for (count, pairs) in labels().map(of) {
            match count {
                1 if alone_count => samples = samples.saturating_add(1),
                1 => alone += 1,
                _ => (samples, shares) = (count.saturating_add(samples), shares + pairs / (count - 1) as f64),
            }
        }
        if samples == 0 {
            return (Moments::default(), alone);
        }
        let (mean, mut left_out) = (shares / samples as f64, Moments::default());
        for same in labels() {
            let (count, pairs) = of(same);
            for row in same.iter().filter(|_| count > 1 || alone_count) {
                // Of a pair the other one is alone then.
                let (gone, with, own) = match count {
                    1 => (1, 0.0, 0.0),
                    2 => (if alone_count { 1 } else { 2 }, pairs, 0.0),
                    _ => {
                        let own = (pairs - 2.0 * (row.count - 1) as f64) / (count - 2) as f64;
                        (1, pairs / (count - 1) as f64, own)
                    }
                };
                let rest = samples - gone;
                let without = (shares - with + own) / rest as f64;
                left_out.push_many(without, row.count);
            }
        }
        let error = if samples > 2 { left_out.jackknife() } else { f64::INFINITY };
        (Moments::of(samples, mean, error), alone)
    }

    /// The labels' mean share of samples that have `class`, whichever label has how many samples. The labels are what they are,
    /// and their samples drawn: with shares `p_l` of `n_l` samples its standard error is
    /// `sqrt(sum_l p_l (1 - p_l) / (n_l - 1)) / L`, where labels of one sample deviate as all samples do.
    pub fn mean_share(&self, class: u64) -> Moments {
        let (mut labels, mut samples) = (Moments::default(), Moments::default());
        let (mut squares, mut single) = (0.0, 0u64);
        for same in self.rows.chunk_by(|a, b| a.label == b.label) {
            let mut own = Moments::default();
            same.iter().for_each(|row| own.push_many(f64::from(u8::from(row.class == class)), row.count));
            match own.count() {
                1 => single += 1,
                count => squares += own.variance() / (count - 1) as f64,
            }
            labels.push(own.mean());
            samples.merge(&own);
        }
        if samples.count() < 2 {
            return samples;
        }
        let spread = samples.variance() * samples.count() as f64 / (samples.count() - 1) as f64;
        let error = libm::sqrt(squares + single as f64 * spread) / labels.count() as f64;
        Moments::of(samples.count(), labels.mean(), error)
    }
}

impl<const N: usize> Wire for Table<N> {
    const BYTES: usize = 3 * u64::BYTES + N * 3 * u64::BYTES;

    fn put<'a>(&self, out: &'a mut [u8]) -> &'a mut [u8] {
        let mut out = [self.limit, self.dropped, self.rows.len() as u64].put(out);
        for i in 0..N {
            let row = self.rows.get(i).copied().unwrap_or_default();
            out = [row.label, row.class, row.count].put(out);
        }
        out
    }

    fn get(bytes: &[u8]) -> Option<(Table<N>, &[u8])> {
        let ([limit, dropped, len], mut rest) = <[u64; 3]>::get(bytes)?;
        let mut table = Table { rows: Vec::new(), limit, dropped };
        for i in 0..N {
            let [label, class, count];
            ([label, class, count], rest) = <[u64; 3]>::get(rest)?;
            if (i as u64) < len {
                table.rows.push(Row { label, class, count }).ok()?;
            }
        }
        let ordered = table.rows.is_sorted_by(|a, b| (a.label, a.class) < (b.label, b.class));
        let sound = len <= N as u64 && ordered && table.rows.iter().all(|row| row.count > 0 && row.label < limit);
        (sound && table.taken().is_some()).then_some((table, rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_of_the_others() {
        let mut table = Table::<8>::default();
        [(5, 1), (5, 1), (5, 2), (9, 3), (7, 0), (7, 0)].into_iter().for_each(|(l, c)| table.push(l, c));
        let (shares, alone) = table.agreement(false);
        assert_eq!((shares.count(), alone, table.dropped()), (5, 1, 0));
        // Two halves and a nought of the first label, two ones of the last.
        assert!((shares.mean() - 3.0 / 5.0).abs() < 1e-12);
    }

    /// What the mean over datasets deviates by is what each says of itself.
    #[test]
    fn the_error_of_agreement_is_how_far_datasets_lie_apart() {
        let mut drawn = crate::tests::uniforms();
        // Of few samples a label it says somewhat more.
        for (labels, most) in [(2, 1.1), (30, 1.3), (50, 1.6), (75, 1.8)] {
            let (mut means, mut told) = (Moments::default(), Moments::default());
            for _ in 0..600 {
                let mut table = Table::<150>::default();
                (0..150).for_each(|i| table.push(i % labels, u64::from(drawn() < 0.8)));
                let (shares, alone) = table.agreement(false);
                assert_eq!((shares.count(), alone), (150, 0));
                means.push(shares.mean());
                told.push(shares.standard_error());
            }
            let ratio = told.mean() / libm::sqrt(means.variance());
            assert!((0.95..most).contains(&ratio), "{labels} labels: {ratio}");
        }
    }

    #[test]
    fn labels_count_alike_however_many_samples_they_have() {
        let of = |samples: &[(u64, u64)]| {
            let mut table = Table::<8>::default();
            samples.iter().for_each(|&(label, class)| table.push(label, class));
            table.mean_share(1)
        };
        // One of three, and both of two: 2/9 / 2, and nothing.
        let shares = of(&[(5, 1), (5, 0), (5, 0), (9, 1), (9, 1)]);
        assert!(shares.count() == 5 && (shares.mean() - 2.0 / 3.0).abs() < 1e-12);
        assert!((shares.standard_error() - 1.0 / 6.0).abs() < 1e-12);
        // One of two, twice: as likely one as the other.
        let shares = of(&[(3, 1), (3, 0), (7, 1), (7, 0)]);
        assert!(
            shares.count() == 4 && shares.mean() == 0.5 && (shares.standard_error() - 0.125f64.sqrt()).abs() < 1e-12
        );
        // A label of one sample deviates as all do: 3/16 * 4/3.
        let shares = of(&[(3, 1), (3, 1), (3, 1), (7, 0)]);
        assert!(shares.count() == 4 && shares.mean() == 0.5 && (shares.standard_error() - 0.25).abs() < 1e-12);
        // Of one label, and of samples that are alone with theirs: the plain mean and error.
        let mut plain = Moments::default();
        [1.0, 0.0, 1.0, 1.0].into_iter().for_each(|v| plain.push(v));
        for labels in [[4; 4], [1, 2, 3, 4]] {
            let shares = of(&[(labels[0], 1), (labels[1], 0), (labels[2], 1), (labels[3], 1)]);
            assert!((shares.mean() - plain.mean()).abs() < 1e-12 && shares.count() == 4);
            assert!((shares.standard_error() - plain.standard_error()).abs() < 1e-12);
        }
        assert_eq!(of(&[]), Moments::default());
    }

    #[test]
    fn counts_beyond_all_samples_are_refused() {
        for count in [7, u64::MAX] {
            let mut table = Table::<4>::default();
            table.push(1, 0);
            table.push(2, 0);
            table.rows[1].count = count;
            let mut bytes = [0; Table::<4>::BYTES];
            assert!(table.put(&mut bytes).is_empty());
            assert_eq!(Table::<4>::get(&bytes).is_some(), count == 7);
        }
    }

    #[test]
    fn the_jackknife_of_agreement_by_hand() {
        let mut table = Table::<8>::default();
        [(5, 1), (5, 1), (5, 2), (7, 0), (7, 0)].into_iter().for_each(|(l, c)| table.push(l, c));
        let (shares, _) = table.agreement(false);
        // The mean of 1/2, 1/2, 0, 1 and 1. Without each it is 1/2 (0, 0, 1, 1), again 1/2, 1 (all four), and twice 1/3 (1/2, 1/2, 0,
        // the other one of the pair being alone). About 8/15 these are -1, -1, 14, -6, -6 of thirty, whose squares sum to 270 / 900;
        // of that four fifths.
        assert!((shares.mean() - 0.6).abs() < 1e-12 && (shares.standard_error() - 0.24f64.sqrt()).abs() < 1e-12);
    }

    /// Without either one of a single pair there is no share at all.
    #[test]
    fn the_error_of_one_pair_is_unknown() {
        let pair = |classes: [u64; 2]| {
            let mut table = Table::<8>::default();
            [(5, classes[0]), (5, classes[1]), (6, 1)].into_iter().for_each(|(l, c)| table.push(l, c));
            let (shares, alone) = table.agreement(false);
            (shares.count(), shares.mean(), shares.standard_error(), alone)
        };
        assert_eq!([pair([1, 1]), pair([1, 2])], [(2, 1.0, f64::INFINITY, 1), (2, 0.0, f64::INFINITY, 1)]);
    }

    #[test]
    fn those_that_are_alone_count_as_having_none_where_they_are_to() {
        let mut table = Table::<8>::default();
        [(5, 1), (5, 1), (5, 2), (7, 0), (7, 0), (9, 4)].into_iter().for_each(|(l, c)| table.push(l, c));
        let (shares, alone) = table.agreement(true);
        // The mean of 1/2, 1/2, 0, 1, 1 and 0. Without each it is a fifth of 2, 2, 4, 1, 1 and 3; about 13/6 these are -1, -1, 11, -7,
        // -7 and 5 sixths, whose squares sum to 41/6; of that five sixths of a 25th.
        assert_eq!((shares.count(), alone), (6, 0));
        assert!(
            (shares.mean() - 0.5).abs() < 1e-12 && (shares.standard_error() - (41.0f64 / 180.0).sqrt()).abs() < 1e-12
        );
        let mut table = Table::<8>::default();
        table.push(5, 1);
        let of_two = |class| {
            let mut two = table.clone();
            two.push(5, class);
            (two.agreement(true).0.mean(), two.agreement(true).0.standard_error())
        };
        assert_eq!([of_two(1), of_two(2)], [(1.0, f64::INFINITY), (0.0, f64::INFINITY)]);
        let of_one = table.agreement(true).0;
        assert_eq!((of_one.count(), of_one.mean(), of_one.variance()), (1, 0.0, 0.0));
    }

    #[test]
    fn the_limit_of_another_holds_for_what_was_there_before() {
        let of = |samples: &[(u64, u64)]| {
            let mut table = Table::<2>::default();
            samples.iter().for_each(|&(label, class)| table.push(label, class));
            table
        };
        let mut merged = of(&[(3, 0)]);
        // The third pair has no room, so that label 2 is dropped with both its samples, and 3 after it.
        merged.merge(&of(&[(1, 0), (2, 0), (2, 1)]));
        assert_eq!(merged, of(&[(3, 0), (1, 0), (2, 0), (2, 1)]));
        assert_eq!(merged.dropped(), 3);
    }

    #[test]
    fn one_sample_has_a_share_and_no_spread() {
        let mut table = Table::<4>::default();
        table.push(3, 1);
        let share = table.mean_share(1);
        assert_eq!((share.count(), share.mean(), share.variance()), (1, 1.0, 0.0));
        assert_eq!(share.standard_error(), f64::INFINITY);
    }

    #[test]
    fn rows_out_of_order_are_refused_and_the_last_label_is_one() {
        let mut table = Table::<2>::default();
        [1, u64::MAX].into_iter().for_each(|label| table.push(label, 0));
        assert_eq!(table.dropped(), 0);
        let mut bytes = [0; Table::<2>::BYTES];
        assert!(table.put(&mut bytes).is_empty() && Table::<2>::get(&bytes).is_some());
        table.rows.reverse();
        assert!(table.put(&mut bytes).is_empty() && Table::<2>::get(&bytes).is_none());
    }
}
