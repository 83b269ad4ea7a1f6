//! Insertion (Petsiuk et al. 2018): the area under the class's probability while pixels of the input are put into its blurred
//! copy, the most important first.
//!
//! Cost: a forward pass per step, and one.

use super::curves::{PROBABILITY, STEP, Steps};
use super::{Better, Cost, Entry, Family, Grid, Metric, Sample, Score, Undefined};
use crate::baseline;
use crate::error::Result;
use crate::params::Parameter;

pub(super) const ENTRY: Entry = Entry {
    name: "insertion",
    aliases: &["insertion-auc"],
    family: Family::Faithfulness,
    summary: "the area under the probability while the most important pixels come into a blurred image",
    paper: "Petsiuk et al. 2018",
    better: Better::Higher,
    wants_mask: false,
    parameters: &[STEP, Parameter { default: "blur:5", ..baseline::PARAMETER }, PROBABILITY],
    build: |params| Ok(Box::new(Insertion(Steps::parse(params)?))),
};

struct Insertion(Steps);

impl Metric for Insertion {
    fn cost(&self, grid: &Grid) -> Cost {
        Cost::forward(self.0.count(grid) as u64 + 1)
    }

    fn measure(&self, sample: &mut Sample) -> Result<Score> {
        if sample.is_constant() {
            return Ok(Err(Undefined::ConstantMap));
        }
        let (input, baseline) = (sample.input, sample.baseline(&self.0.baseline)?);
        let curve = self.0.curve(sample, &baseline, input)?;
        Ok(curve.area().ok_or(Undefined::TooFewFeatures))
    }
}
