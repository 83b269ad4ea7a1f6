//! Means of samples that come in groups, such as those that one random model has scored: how far groups lie apart is part of
//! the mean's error, however many samples each has.

use crate::moments::{LARGEST, Moments};
use crate::wire::Wire;

/// Scores of up to `N` groups.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Groups<const N: usize> {
    groups: [Moments; N],
}

impl<const N: usize> Default for Groups<N> {
    fn default() -> Self {
        Groups { groups: [Moments::default(); N] }
    }
}

impl<const N: usize> Groups<N> {
    /// Takes in a value of a group; one of a group from `N` on is not taken in, and false is returned.
    pub fn push(&mut self, group: usize, value: f64) -> bool {
        let own = self.groups.get_mut(group).filter(|_| value.abs() <= LARGEST);
        own.map(|own| own.push(value)).is_some()
    }

    /// Takes in the values of another.
    pub fn merge(&mut self, other: &Groups<N>) {
        self.groups.iter_mut().zip(&other.groups).for_each(|(own, more)| own.merge(more));
    }

    /// How many values were taken in; none where nobody can have counted them.
    pub fn taken(&self) -> Option<u64> {
        self.groups.iter().try_fold(0u64, |sum, own| sum.checked_add(own.count()))
    }

    /// The mean of all values. With `n_g` of `n` values in each of `K` groups its standard error is
    /// `sqrt(K / (K - 1) sum_g (n_g / n)^2 (m_g - m)^2)`, of groups that are drawn; of one group, that of its values.
    pub fn mean(&self) -> Moments {
        let mut all = Moments::default();
        self.groups.iter().for_each(|own| all.merge(own));
        let used = || self.groups.iter().filter(|own| own.count() > 0);
        let count = used().count() as f64;
        if count < 2.0 {
            return all;
        }
        let part = |own: &Moments| {
            let apart = own.count() as f64 / all.count() as f64 * (own.mean() - all.mean());
            apart * apart
        };
        let squares: f64 = used().map(part).sum();
        Moments::of(all.count(), all.mean(), libm::sqrt(count / (count - 1.0) * squares))
    }
}

impl<const N: usize> Wire for Groups<N> {
    const BYTES: usize = N * Moments::BYTES;

    fn put<'a>(&self, out: &'a mut [u8]) -> &'a mut [u8] {
        self.groups.iter().fold(out, |out, own| own.put(out))
    }

    fn get(bytes: &[u8]) -> Option<(Groups<N>, &[u8])> {
        let (mut groups, mut rest) = (Groups::default(), bytes);
        for own in &mut groups.groups {
            (*own, rest) = Moments::get(rest)?;
        }
        groups.taken().is_some().then_some((groups, rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_groups_have_in_common_is_part_of_the_error() {
        let (mut groups, mut plain) = (Groups::<4>::default(), Moments::default());
        for i in 0..400 {
            // Each group has a value of its own, and hardly anything else.
            let value = [0.1, 0.9, 0.3, 0.5][i % 4] + 0.01 * libm::sin(i as f64);
            assert!(groups.push(i % 4, value));
            plain.push(value);
        }
        let mean = groups.mean();
        assert!((mean.mean() - plain.mean()).abs() < 1e-12 && mean.count() == 400);
        // Of four values that deviate by 0.34.
        assert!((mean.standard_error() - 0.1708).abs() < 1e-3 && plain.standard_error() < 0.02);
        assert!(!groups.push(4, 1.0) && !groups.push(0, f64::NAN));
    }

    #[test]
    fn groups_of_one_value_have_the_plain_error_and_so_has_a_single_group() {
        let values = [1.0, 4.0, 2.0, 9.0];
        let (mut apart, mut together, mut plain) = (Groups::<4>::default(), Groups::<4>::default(), Moments::default());
        for (i, value) in values.into_iter().enumerate() {
            apart.push(i, value);
            together.push(2, value);
            plain.push(value);
        }
        assert!((apart.mean().standard_error() - plain.standard_error()).abs() < 1e-12);
        assert_eq!(together.mean(), plain);
    }

    #[test]
    fn the_error_of_two_groups_by_hand() {
        let mut groups = Groups::<4>::default();
        [(0, 0.0), (0, 0.0), (1, 1.0), (1, 1.0)]
            .into_iter()
            .for_each(|(group, value)| assert!(groups.push(group, value)));
        // sqrt(2 / 1 * 2 * (2 / 4 * 1 / 2)^2); that of the four values would be sqrt(1 / 12).
        assert!((groups.mean().standard_error() - 0.5).abs() < 1e-12);
        assert_eq!(groups.taken(), Some(4));
    }
}
