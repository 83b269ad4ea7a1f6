//! A metric's scores over a stream of samples: what a dataset's score is made of.

use crate::moments::{LARGEST, Moments};
use crate::undefined::Undefined;
use crate::wire::Wire;

const REASONS: usize = Undefined::ALL.len();

/// Mean and spread of the defined scores, and how many samples had none, for which reason. Any split of the samples into
/// parts that are merged gives the same, to rounding.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Scores {
    moments: Moments,
    undefined: [u64; REASONS],
}

impl Scores {
    /// Takes in a sample's score. One that is not finite is none.
    pub fn push(&mut self, score: Result<f64, Undefined>) {
        match score {
            Ok(score) if score.abs() <= LARGEST => self.moments.push(score),
            Ok(_) => self.push_undefined(Undefined::Failed, 1),
            Err(reason) => self.push_undefined(reason, 1),
        }
    }

    /// Takes in the scores of other samples.
    pub fn merge(&mut self, other: &Scores) {
        self.moments.merge(&other.moments);
        self.undefined.iter_mut().zip(&other.undefined).for_each(|(own, more)| *own = own.saturating_add(*more));
    }

    /// Takes in scores that somebody has added up.
    pub fn push_all(&mut self, scores: &Moments) {
        self.moments.merge(scores);
    }

    /// Takes in so many samples without a score.
    pub fn push_undefined(&mut self, reason: Undefined, count: u64) {
        let own = &mut self.undefined[reason as usize];
        *own = own.saturating_add(count);
    }

    /// How many samples were taken in; none where nobody can have counted them.
    pub fn taken(&self) -> Option<u64> {
        self.undefined.iter().try_fold(self.moments.count(), |sum, count| sum.checked_add(*count))
    }

    /// Of the defined scores.
    pub fn moments(&self) -> &Moments {
        &self.moments
    }

    /// How many samples had no score, for each reason that occurred.
    pub fn undefined(&self) -> impl Iterator<Item = (Undefined, u64)> + '_ {
        Undefined::ALL.into_iter().zip(self.undefined).filter(|(_, count)| *count > 0)
    }
}

impl Wire for Scores {
    const BYTES: usize = Moments::BYTES + <[u64; REASONS]>::BYTES;

    fn put<'a>(&self, out: &'a mut [u8]) -> &'a mut [u8] {
        self.undefined.put(self.moments.put(out))
    }

    fn get(bytes: &[u8]) -> Option<(Scores, &[u8])> {
        let (moments, rest) = Moments::get(bytes)?;
        let (undefined, rest) = Wire::get(rest)?;
        Some((Scores { moments, undefined }, rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_split_in_any_order_gives_the_same_and_survives_its_bytes() {
        let sample = |i: u32| match i % 7 {
            3 => Err(Undefined::EmptyMask),
            5 => Ok([f64::NAN, 1e308, f64::NEG_INFINITY][i as usize % 3]),
            _ => Ok(libm::sin(i as f64)),
        };
        let of = |range: core::ops::Range<u32>| {
            let mut scores = Scores::default();
            range.for_each(|i| scores.push(sample(i)));
            let mut bytes = [0u8; Scores::BYTES];
            assert!(scores.put(&mut bytes).is_empty());
            let (read, rest) = Scores::get(&bytes).unwrap();
            assert!(rest.is_empty() && read == scores);
            read
        };
        let whole = of(0..60);
        for cut in 0..=60 {
            let mut merged = of(cut..60);
            merged.merge(&of(0..cut));
            assert_eq!(merged.undefined, whole.undefined);
            assert_eq!(merged.moments.count(), whole.moments.count());
            assert!((merged.moments.mean() - whole.moments.mean()).abs() < 1e-12);
            assert!((merged.moments.standard_error() - whole.moments.standard_error()).abs() < 1e-12);
        }
        assert_eq!(whole.undefined().map(|(_, count)| count).sum::<u64>(), 17);
    }

    #[test]
    fn reasons_are_those_that_occurred() {
        let mut scores = Scores::default();
        scores.push(Err(Undefined::NoMask));
        assert!(scores.undefined().eq([(Undefined::NoMask, 1)]));
    }
}
