//! How much of a map is in how few of its values.

/// The entropy of magnitudes that come one after the other, as shares of their sum: `ln S - (1/S) sum |a| ln|a|`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Entropy {
    sum: f64,
    weighed: f64,
}

impl Entropy {
    /// Takes in a value.
    pub fn push(&mut self, value: f64) {
        let size = libm::fabs(value);
        // What is no number makes the sums none.
        if size != 0.0 {
            self.sum += size;
            self.weighed += size * libm::log(size);
        }
    }

    /// In nats, from 0 (all in one value) to the logarithm of their number; none where all are zero, or where one or their sum is
    /// no finite number.
    pub fn nats(&self) -> Option<f64> {
        let is_finite = self.sum.is_finite() && self.weighed.is_finite();
        (self.sum > 0.0 && is_finite).then(|| (libm::log(self.sum) - self.weighed / self.sum).max(0.0))
    }
}

/// Gini's index of magnitudes in ascending order, from 0 (all the same) to `(n - 1) / n` (all in one); none where all are zero, or
/// where their sum is no finite number.
pub fn gini(ascending: impl ExactSizeIterator<Item = f64>) -> Option<f64> {
    let n = ascending.len() as f64;
    let (mut sum, mut weighed) = (0.0, 0.0);
    for (i, value) in ascending.enumerate() {
        sum += value;
        weighed += (2.0 * (i + 1) as f64 - n - 1.0) * value;
    }
    (sum > 0.0 && sum.is_finite()).then(|| weighed / (n * sum))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extremes_of_entropy_and_gini() {
        let entropy = |values: &[f64]| {
            let mut entropy = Entropy::default();
            values.iter().for_each(|v| entropy.push(*v));
            entropy.nats()
        };
        assert_eq!(entropy(&[0.0, -3.0, 0.0]), Some(0.0));
        assert!((entropy(&[0.2; 8]).unwrap() - libm::log(8.0)).abs() < 1e-14);
        assert_eq!(entropy(&[0.0; 4]), None);
        // The sum is a number, but 1e307 times its logarithm, 706.9, is none.
        assert_eq!(entropy(&[1e307]), None);
        assert!([[1e308; 2], [f64::INFINITY, 1.0], [f64::NAN, 1.0]].iter().all(|values| entropy(values).is_none()));
        assert!((gini([0.0, 0.0, 0.0, 5.0].into_iter()).unwrap() - 0.75).abs() < 1e-15);
        assert_eq!(gini([1.0, f64::INFINITY].into_iter()), None);
        assert!(gini([2.0; 5].into_iter()).unwrap().abs() < 1e-15);
        assert_eq!(gini([0.0; 3].into_iter()), None);
    }
}
