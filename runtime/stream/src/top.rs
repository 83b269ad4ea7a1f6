//! The largest values of a stream, of a fixed number.

use heapless::Vec;

/// The `N` largest of (index, value), of equal values those of lower indices.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Top<const N: usize> {
    /// From the largest on.
    kept: Vec<(u32, f32), N>,
}

impl<const N: usize> Top<N> {
    /// Takes in a value. One that is no number is less than all others.
    pub fn push(&mut self, index: u32, value: f32) {
        let value = if value.is_nan() { f32::NEG_INFINITY } else { value };
        let place = self.kept.partition_point(|(i, v)| *v > value || (*v == value && *i < index));
        if place == N {
            return;
        }
        if self.kept.is_full() {
            self.kept.pop();
        }
        // There is room now, and the place is inside or at the end.
        let _ = self.kept.insert(place, (index, value));
    }

    /// Takes in the values of another.
    pub fn merge(&mut self, other: &Top<N>) {
        other.kept.iter().for_each(|(index, value)| self.push(*index, *value));
    }

    /// Indices and values, from the largest on.
    pub fn largest(&self) -> &[(u32, f32)] {
        &self.kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_equal_values_the_first_stay() {
        let mut top = Top::<3>::default();
        [1.0, 5.0, f32::NAN, 5.0, -2.0, 5.0, 5.0].into_iter().enumerate().for_each(|(i, v)| top.push(i as u32, v));
        assert_eq!(top.largest(), [(1, 5.0), (3, 5.0), (5, 5.0)]);
        let mut empty = Top::<0>::default();
        empty.push(0, 1.0);
        assert!(empty.largest().is_empty());
    }
}
