//! Pearson's correlation of two streams, in one pass, or of what is all there.

use crate::wire::Wire;

/// Means and co-moments of pairs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Pearson {
    count: u64,
    means: [f64; 2],
    squares: [f64; 2],
    product: f64,
}

/// Deviations whose share of the values themselves is less are rounding, and no deviations.
const ROUNDING: f64 = 1e-12;

impl Pearson {
    /// Of pairs that are all there: several at a time, in two passes. Shorter slices limit the others.
    pub fn of(a: &[f64], b: &[f64]) -> Pearson {
        let count = a.len().min(b.len());
        let (a, b) = (&a[..count], &b[..count]);
        if count == 0 {
            return Pearson::default();
        }
        // From the first on, so that what is the same everywhere has no deviations.
        let mean = |values: &[f64]| values[0] + sum(values, values, |v, _| v - values[0]) / count as f64;
        let means = [mean(a), mean(b)];
        let about = |x: &[f64], x_mean: f64, y: &[f64], y_mean: f64| sum(x, y, |x, y| (x - x_mean) * (y - y_mean));
        let squares = [about(a, means[0], a, means[0]), about(b, means[1], b, means[1])];
        Pearson { count: count as u64, means, squares, product: about(a, means[0], b, means[1]) }
    }

    /// Takes in a pair.
    pub fn push(&mut self, a: f64, b: f64) {
        self.count = self.count.saturating_add(1);
        let before = [a - self.means[0], b - self.means[1]];
        for (mean, before) in self.means.iter_mut().zip(before) {
            *mean += before / self.count as f64;
        }
        let after = [a - self.means[0], b - self.means[1]];
        for i in 0..2 {
            self.squares[i] += before[i] * after[i];
        }
        self.product += before[0] * after[1];
    }

    /// Takes in another stream's pairs.
    pub fn merge(&mut self, other: &Pearson) {
        if other.count == 0 {
            return;
        }
        if self.count == 0 {
            // As they are, not rounded.
            *self = *other;
            return;
        }
        let (n, m) = (self.count as f64, other.count as f64);
        let apart = [other.means[0] - self.means[0], other.means[1] - self.means[1]];
        let share = n * m / (n + m);
        for (i, apart) in apart.into_iter().enumerate() {
            self.means[i] += apart * m / (n + m);
            self.squares[i] += other.squares[i] + apart * apart * share;
        }
        self.product += other.product + apart[0] * apart[1] * share;
        self.count = self.count.saturating_add(other.count);
    }

    /// The standard error of their correlation, `(1 - r^2) / sqrt(n - 3)`: that of Fisher's transform, taken back; infinite where
    /// there is none.
    pub fn standard_error(&self) -> f64 {
        match self.correlation().filter(|_| self.count > 3) {
            Some(r) => (1.0 - r * r) / libm::sqrt((self.count - 3) as f64),
            None => f64::INFINITY,
        }
    }

    /// Their correlation, from -1 to 1; none where one of the two is constant, or deviates beyond what its squares can say.
    pub fn correlation(&self) -> Option<f64> {
        let spread = |i: usize| {
            let square = self.squares[i] / self.count as f64;
            square > ROUNDING * ROUNDING * self.means[i] * self.means[i] && square > f64::MIN_POSITIVE
        };
        let defined = self.count > 1 && spread(0) && spread(1);
        let scale = libm::sqrt(self.squares[0]) * libm::sqrt(self.squares[1]);
        let correlation = self.product / scale;
        (defined && correlation.is_finite()).then(|| correlation.clamp(-1.0, 1.0))
    }
}

/// The sum of something of each pair, in as many parts as vectors have lanes.
fn sum(a: &[f64], b: &[f64], of: impl Fn(f64, f64) -> f64) -> f64 {
    const PARTS: usize = 8;
    let mut parts = [0.0; PARTS];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<PARTS>(), b.as_chunks::<PARTS>());
    for (a, b) in a.iter().zip(b) {
        (0..PARTS).for_each(|i| parts[i] += of(a[i], b[i]));
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| of(*a, *b)).sum();
    parts.iter().sum::<f64>() + rest
}

impl Wire for Pearson {
    const BYTES: usize = u64::BYTES + 5 * f64::BYTES;

    fn put<'a>(&self, out: &'a mut [u8]) -> &'a mut [u8] {
        self.product.put(self.squares.put(self.means.put(self.count.put(out))))
    }

    fn get(bytes: &[u8]) -> Option<(Pearson, &[u8])> {
        let (count, rest) = u64::get(bytes)?;
        let (means, rest) = <[f64; 2]>::get(rest)?;
        let (squares, rest) = <[f64; 2]>::get(rest)?;
        let (product, rest) = f64::get(rest)?;
        let finite = means.iter().chain(&squares).all(|v| v.is_finite()) && product.is_finite();
        let sound = finite && squares.iter().all(|v| *v >= 0.0);
        sound.then_some((Pearson { count, means, squares, product }, rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::moments::Moments;

    fn of(range: core::ops::Range<i32>) -> Pearson {
        let mut pearson = Pearson::default();
        range.for_each(|i| pearson.push(libm::sin(i as f64), i as f64 + 1e3 * libm::cos(i as f64)));
        pearson
    }

    #[test]
    fn lines_correlate_and_constants_do_not() {
        let mut line = Pearson::default();
        (0..9).for_each(|i| line.push(i as f64, 3.0 - 2.0 * i as f64));
        assert!((line.correlation().unwrap() + 1.0).abs() < 1e-15);
        let mut constant = Pearson::default();
        (0..9).for_each(|i| constant.push(i as f64, 0.1));
        assert_eq!(constant.correlation(), None);
        assert_eq!(Pearson::default().correlation(), None);
    }

    #[test]
    fn what_overflows_has_no_correlation() {
        let mut wide = Pearson::default();
        (0..4).for_each(|i| wide.push(1e155 * libm::sin(i as f64), 1e155 * libm::cos(i as f64)));
        assert_eq!((wide.correlation(), wide.standard_error()), (None, f64::INFINITY));
    }

    /// How far correlations of many samples lie apart is what each says of itself, whatever it is.
    #[test]
    fn the_error_is_how_far_samples_lie_apart() {
        let mut drawn = crate::tests::uniforms();
        let mut normal = || (0..12).map(|_| drawn()).sum::<f64>() - 6.0;
        for rho in [0.0, 0.5, 0.9, 0.99] {
            let (mut found, mut told) = (Moments::default(), Moments::default());
            for _ in 0..400 {
                let mut pearson = Pearson::default();
                for _ in 0..60 {
                    let (a, b) = (normal(), normal());
                    pearson.push(a, rho * a + libm::sqrt(1.0 - rho * rho) * b);
                }
                found.push(pearson.correlation().unwrap());
                told.push(pearson.standard_error());
            }
            let ratio = told.mean() / libm::sqrt(found.variance());
            assert!((0.85..1.2).contains(&ratio), "{rho}: {ratio}");
        }
    }

    #[test]
    fn pairs_that_are_all_there_give_the_same_as_one_after_the_other() {
        let pairs: [[f64; 50]; 2] = [0.0, 0.5].map(|by| core::array::from_fn(|i| 1e3 + libm::sin(i as f64 + by)));
        for count in 0..=50 {
            let mut pushed = Pearson::default();
            (0..count).for_each(|i| pushed.push(pairs[0][i], pairs[1][i]));
            let [all, one] = [Pearson::of(&pairs[0][..count], &pairs[1]), pushed].map(|p| p.correlation());
            assert_eq!((all.is_some(), one.is_some()), (count > 1, count > 1));
            assert!(all.zip(one).is_none_or(|(all, one)| (all - one).abs() < 1e-12), "{count}: {all:?} and {one:?}");
        }
        let part = |range: core::ops::Range<usize>| Pearson::of(&pairs[0][range.clone()], &pairs[1][range]);
        let (mut merged, whole) = (part(0..20), part(0..50).correlation().unwrap());
        merged.merge(&part(20..50));
        assert!((merged.correlation().unwrap() - whole).abs() < 1e-12);
        assert_eq!(Pearson::of(&[0.1; 9], &pairs[0]).correlation(), None);
        let line: [f64; 10_000] = core::array::from_fn(|i| i as f64);
        assert_eq!(Pearson::of(&[0.1; 10_000], &line).correlation(), None);
    }

    #[test]
    fn merging_any_split_gives_the_same() {
        let whole = of(0..50).correlation().unwrap();
        for cut in 0..=50 {
            let mut merged = of(0..cut);
            merged.merge(&of(cut..50));
            assert!((merged.correlation().unwrap() - whole).abs() < 1e-12);
            let mut bytes = [0; Pearson::BYTES];
            assert!(merged.put(&mut bytes).is_empty());
            assert_eq!(Pearson::get(&bytes).unwrap().0, merged);
        }
    }

    #[test]
    fn the_error_of_a_correlation_by_hand() {
        let of = |pairs: &[f64]| {
            let mut pearson = Pearson::default();
            pairs.iter().enumerate().for_each(|(i, b)| pearson.push(i as f64, *b));
            pearson
        };
        // About 3 and 4/7 the squares sum to 28 and 12/7 and the products to 4: r^2 is 16 / 48, of seven pairs, and the error is 2/3
        // over the root of four.
        let seven = of(&[0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0]);
        assert!((seven.standard_error() - 1.0 / 3.0).abs() < 1e-12);
        // Three pairs on a line, whose correlation is one to the last bit.
        let three = of(&[0.0, 3.0, 6.0]);
        assert_eq!((three.correlation(), three.standard_error()), (Some(1.0), f64::INFINITY));
    }

    #[test]
    fn rounding_is_no_deviation_on_either_side_whatever_the_scale() {
        for scale in [1e-3, 1.0, 1e6] {
            for (apart, is_defined) in [(1e-13, false), (1e-11, true)] {
                let (mut first, mut second) = (Pearson::default(), Pearson::default());
                for i in 0..50 {
                    let wide = (i % 2) as f64;
                    let flat = scale * (1.0 + apart * wide);
                    first.push(flat, wide);
                    second.push(wide, flat);
                }
                let found = [first, second].map(|pearson| pearson.correlation().is_some());
                assert_eq!(found, [is_defined; 2], "{scale}, {apart}");
            }
        }
    }

    #[test]
    fn squares_below_zero_are_refused() {
        for (square, is_sound) in [(1.0, true), (-1.0, false)] {
            let mut bytes = [0; Pearson::BYTES];
            assert!(Pearson { count: 2, squares: [square, 1.0], ..Pearson::default() }.put(&mut bytes).is_empty());
            assert_eq!(Pearson::get(&bytes).is_some(), is_sound);
        }
    }
}
