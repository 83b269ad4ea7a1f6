//! Max-sensitivity (Yeh et al. 2019): the largest relative change of the map, `|a(x) - a(x_k)| / |a(x)|`, over copies with
//! uniform noise.
//!
//! Cost: an explanation per copy.

use super::neighbours::{DRAWS, Neighbours, RADIUS, SEED, largest};
use super::{Better, Cost, Entry, Family, Grid, Metric, Sample, Score, Wants};
use crate::error::Result;

pub(super) const ENTRY: Entry = Entry {
    name: "max-sensitivity",
    aliases: &[],
    family: Family::Robustness,
    summary: "the largest relative change of the map over noisy copies",
    paper: "Yeh et al. 2019",
    better: Better::Lower,
    wants: Wants::Nothing,
    parameters: &[DRAWS, RADIUS, SEED],
    build: |params| Ok(Box::new(MaxSensitivity(Neighbours::parse(params)?))),
};

struct MaxSensitivity(Neighbours);

impl Metric for MaxSensitivity {
    fn cost(&self, _: &Grid) -> Cost {
        Cost::explanations(self.0.draws.into())
    }

    fn measure(&self, sample: &mut Sample) -> Result<Score> {
        Ok(self.0.all_changes(sample)?.and_then(|changes| largest(changes.into_iter())))
    }
}
