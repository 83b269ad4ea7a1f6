//! Complexity (Bhatt et al. 2020): the entropy of the map's magnitudes as shares of their sum, in nats, from 0 (all in one) to
//! the logarithm of the number of features.
//!
//! Cost: one reading of the map.

use super::{Better, Entry, Family, Metric, Sample, Score, Undefined, Wants};
use crate::error::Result;
use whyline_stream::spread::Entropy;

pub(super) const ENTRY: Entry = Entry {
    name: "complexity",
    aliases: &["entropy"],
    family: Family::Complexity,
    summary: "the entropy of the map's magnitudes, in nats",
    paper: "Bhatt et al. 2020",
    better: Better::Lower,
    wants: Wants::Nothing,
    parameters: &[],
    build: |_| Ok(Box::new(Complexity)),
};

struct Complexity;

impl Metric for Complexity {
    fn measure(&self, sample: &mut Sample) -> Result<Score> {
        let mut entropy = Entropy::default();
        sample.map.iter().for_each(|&v| entropy.push(v as f64));
        Ok(entropy.nats().ok_or(Undefined::NothingPositive))
    }
}
