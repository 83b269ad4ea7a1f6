//! Monotonicity (Arya et al. 2019): whether the probability grows with every block of features that comes into the baseline,
//! the least relevant first. The score is the share of steps at which it does not fall; one means monotone.
//!
//! Cost: a forward pass per step, and one.

use super::curves::{PROBABILITY, STEP, Steps};
use super::{Better, Cost, Entry, Family, Grid, Metric, Sample, Score, Undefined, Wants};
use crate::baseline;
use crate::error::Result;

pub(super) const ENTRY: Entry = Entry {
    name: "monotonicity",
    aliases: &["monotonicity-arya"],
    family: Family::Faithfulness,
    summary: "the share of steps at which the probability does not fall while pixels come in, the least relevant first",
    paper: "Arya et al. 2019",
    better: Better::Higher,
    wants: Wants::Nothing,
    parameters: &[STEP, baseline::OF_METRICS, PROBABILITY],
    build: |params| Ok(Box::new(Monotonicity(Steps { least_first: true, ..Steps::parse(params)? }))),
};

struct Monotonicity(Steps);

impl Metric for Monotonicity {
    fn cost(&self, grid: &Grid) -> Cost {
        Cost::forward(self.0.count(grid) as u64 + 1)
    }

    fn measure(&self, sample: &mut Sample) -> Result<Score> {
        if sample.is_constant() {
            return Ok(Err(Undefined::ConstantMap));
        }
        let (input, baseline) = (sample.input, sample.baseline(&self.0.baseline)?);
        let heights = self.0.heights(sample, &baseline, input)?;
        let steps = heights.windows(2);
        let total = steps.len();
        let kept = steps.filter(|pair| pair[1] >= pair[0]).count();
        Ok(if total > 0 { Ok(kept as f64 / total as f64) } else { Err(Undefined::TooFewFeatures) })
    }
}
