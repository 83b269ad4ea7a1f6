//! Avg-sensitivity (Yeh et al. 2019): the mean relative change of the map, `|a(x) - a(x_k)| / |a(x)|`, over copies with uniform
//! noise.
//!
//! Cost: an explanation per copy.

use super::neighbours::{DRAWS, Neighbours, RADIUS, SEED};
use super::{Better, Cost, Entry, Family, Grid, Metric, Sample, Score, Wants};
use crate::error::Result;
use whyline_stream::moments::Moments;

pub(super) const ENTRY: Entry = Entry {
    name: "avg-sensitivity",
    aliases: &[],
    family: Family::Robustness,
    summary: "the mean relative change of the map over noisy copies",
    paper: "Yeh et al. 2019",
    better: Better::Lower,
    wants: Wants::Nothing,
    parameters: &[DRAWS, RADIUS, SEED],
    build: |params| Ok(Box::new(AvgSensitivity(Neighbours::parse(params)?))),
};

/// Of fewer draws the standard error says little.
const FEW: u64 = 5;

struct AvgSensitivity(Neighbours);

impl Metric for AvgSensitivity {
    fn cost(&self, _: &Grid) -> Cost {
        Cost::explanations(self.0.draws.into())
    }

    fn ends_early(&self) -> bool {
        true
    }

    fn measure(&self, sample: &mut Sample) -> Result<Score> {
        let (mut mean, enough) = (Moments::default(), sample.standard_error);
        let taken = self.0.changes(sample, |change| {
            mean.push(change);
            mean.count() < FEW || enough.is_none_or(|enough| mean.standard_error() > enough)
        })?;
        Ok(taken.map(|()| mean.mean()))
    }
}
