//! Sparseness (Chalasani et al. 2020): Gini's index of the map's magnitudes, from 0 (all the same) to nearly 1 (all in one).
//!
//! Cost: nothing but a sort.

use super::{Better, Entry, Family, Metric, Sample, Score, Undefined, Wants};
use crate::error::Result;
use whyline_stream::spread::gini;

pub(super) const ENTRY: Entry = Entry {
    name: "sparseness",
    aliases: &["gini"],
    family: Family::Complexity,
    summary: "Gini's index of the map's magnitudes",
    paper: "Chalasani et al. 2020",
    better: Better::Higher,
    wants: Wants::Nothing,
    parameters: &[],
    build: |_| Ok(Box::new(Sparseness)),
};

struct Sparseness;

impl Metric for Sparseness {
    fn measure(&self, sample: &mut Sample) -> Result<Score> {
        let mut sizes: Vec<f32> = sample.map.iter().map(|v| v.abs()).collect();
        sizes.sort_unstable_by(f32::total_cmp);
        Ok(gini(sizes.iter().map(|&v| v as f64)).ok_or(Undefined::NothingPositive))
    }
}
