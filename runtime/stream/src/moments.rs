//! Mean and spread of a stream, by Welford's recurrence.

use crate::wire::Wire;

/// Up to this size squares of values, and sums of more of them than anybody can take in, are finite.
pub const LARGEST: f64 = 1e140;

/// Count, mean and sum of squared deviations.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Moments {
    count: u64,
    mean: f64,
    squares: f64,
}

impl Moments {
    /// Of a mean that is known otherwise, and its standard error: as of `count` values. That of one value is infinite, whatever it is
    /// said to be.
    pub fn of(count: u64, mean: f64, standard_error: f64) -> Moments {
        let pairs = count.saturating_sub(1) as f64 * count as f64;
        let squares = if count > 1 { standard_error * standard_error * pairs } else { 0.0 };
        Moments { count, mean, squares }
    }

    /// Takes in one value.
    pub fn push(&mut self, value: f64) {
        self.count = self.count.saturating_add(1);
        let before = value - self.mean;
        self.mean += before / self.count as f64;
        self.squares += before * (value - self.mean);
    }

    /// Takes in one value so many times.
    pub fn push_many(&mut self, value: f64, count: u64) {
        self.merge(&Moments { count, mean: value, squares: 0.0 });
    }

    /// Takes in another stream's values (Chan et al.'s formula).
    pub fn merge(&mut self, other: &Moments) {
        if other.count == 0 {
            return;
        }
        if self.count == 0 {
            // As they are, not rounded.
            *self = *other;
            return;
        }
        let (a, b) = (self.count as f64, other.count as f64);
        let apart = other.mean - self.mean;
        self.mean += apart * (b / (a + b));
        // Shares first: the square of what may be large, times a count, is more than there is.
        self.squares += other.squares + apart * apart * (a * b / (a + b));
        self.count = self.count.saturating_add(other.count);
    }

    /// How many values were taken in.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Their mean; zero of none.
    pub fn mean(&self) -> f64 {
        self.mean
    }

    /// Their variance, divided by the count; zero of none.
    pub fn variance(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.squares / self.count as f64 }
    }

    /// The standard error of a mean, where the values are what it is without each of what it is of (the jackknife):
    /// `sqrt((n - 1) / n sum_k (m_k - m)^2)`; zero of none.
    pub fn jackknife(&self) -> f64 {
        libm::sqrt(self.variance() * self.count.saturating_sub(1) as f64)
    }

    /// The standard error of their mean; infinite of fewer than two.
    pub fn standard_error(&self) -> f64 {
        match self.count {
            0 | 1 => f64::INFINITY,
            count => libm::sqrt(self.squares / ((count - 1) as f64 * count as f64)),
        }
    }
}

impl Wire for Moments {
    const BYTES: usize = u64::BYTES + 2 * f64::BYTES;

    fn put<'a>(&self, out: &'a mut [u8]) -> &'a mut [u8] {
        self.squares.put(self.mean.put(self.count.put(out)))
    }

    fn get(bytes: &[u8]) -> Option<(Moments, &[u8])> {
        let (count, rest) = u64::get(bytes)?;
        let (mean, rest) = f64::get(rest)?;
        let (squares, rest) = f64::get(rest)?;
        let sound = mean.abs() <= LARGEST && squares.is_finite() && squares >= 0.0;
        // Of none there is no mean, and one deviates from nothing.
        let sound = sound && (count > 0 || mean == 0.0) && (count > 1 || squares == 0.0);
        sound.then_some((Moments { count, mean, squares }, rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[f64]) -> Moments {
        let mut moments = Moments::default();
        values.iter().for_each(|v| moments.push(*v));
        moments
    }

    #[test]
    fn agrees_with_the_definition() {
        let m = of(&[1.0, 2.0, 4.0, 9.0]);
        assert_eq!((m.count(), m.mean()), (4, 4.0));
        assert!((m.variance() - 9.5).abs() < 1e-12);
        assert!((m.standard_error() - libm::sqrt(38.0 / 12.0)).abs() < 1e-12);
        let told = Moments::of(4, m.mean(), m.standard_error());
        assert!(told.count() == 4 && told.mean() == 4.0 && (told.variance() - 9.5).abs() < 1e-12);
    }

    #[test]
    fn leaving_values_out_gives_the_error_of_their_mean() {
        let values = [1.0, 2.0, 4.0, 9.0];
        let without = values.map(|left_out| (16.0 - left_out) / 3.0);
        assert!((of(&without).jackknife() - of(&values).standard_error()).abs() < 1e-12);
        assert_eq!(Moments::default().jackknife(), 0.0);
    }

    #[test]
    fn merging_any_split_gives_the_same() {
        let values: [f64; 9] = core::array::from_fn(|i| libm::sin(i as f64 * 1.7) * 10.0);
        let whole = of(&values);
        for cut in 0..=values.len() {
            let mut merged = of(&values[..cut]);
            merged.merge(&of(&values[cut..]));
            assert_eq!(merged.count(), whole.count());
            assert!((merged.mean() - whole.mean()).abs() < 1e-12);
            assert!((merged.variance() - whole.variance()).abs() < 1e-12);
        }
    }

    #[test]
    fn nothing_and_others_are_the_others_to_the_bit() {
        for values in [[0.1; 3], [1e200; 3]] {
            let mut merged = Moments::default();
            merged.merge(&of(&values));
            merged.merge(&Moments::default());
            assert_eq!(merged, of(&values));
        }
    }

    #[test]
    fn bytes_that_nobody_can_have_written_are_refused() {
        let read = |count, mean, squares| {
            let mut bytes = [0; Moments::BYTES];
            assert!(Moments { count, mean, squares }.put(&mut bytes).is_empty());
            Moments::get(&bytes).is_some()
        };
        assert!(read(0, 0.0, 0.0) && read(1, 0.5, 0.0) && read(2, 0.5, 0.1));
        assert!(!read(0, 0.9, 0.0) && !read(0, 0.0, 0.1) && !read(1, 0.5, 0.1) && !read(2, 0.5, -0.1));
        assert!(!read(2, f64::NAN, 0.0) && !read(2, 1e308, 0.0) && !read(2, 0.0, f64::INFINITY));
    }

    #[test]
    fn the_farthest_states_merge_to_one_that_is_read_again() {
        // Squares of 2e140 times 2^45: (2e140)^2 is 4e280, and 2^46 * 2^46 / 2^47 is 3.5e13.
        let of = |mean| Moments { count: 1 << 46, mean, squares: 0.0 };
        let mut merged = of(LARGEST);
        merged.merge(&of(-LARGEST));
        assert!((merged.squares / (4e280 * (1u64 << 45) as f64) - 1.0).abs() < 1e-12, "{merged:?}");
        let mut bytes = [0; Moments::BYTES];
        assert!(merged.put(&mut bytes).is_empty());
        assert_eq!(Moments::get(&bytes).unwrap().0, merged);
    }
}
