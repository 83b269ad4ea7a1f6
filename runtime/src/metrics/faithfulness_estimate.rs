//! Faithfulness estimate (Alvarez-Melis and Jaakkola 2018): Pearson's correlation of the map's sum over each block of features,
//! in the order of their relevance, with the output lost where that block alone is replaced by a baseline.
//!
//! Cost: a forward pass per block.

use super::curves::{LOGIT, STEP, Steps};
use super::subsets::{losses, sum_of};
use super::{Better, Cost, Entry, Family, Grid, Metric, Output, Sample, Score, Undefined, Wants};
use crate::baseline;
use crate::error::Result;
use whyline_stream::pearson::Pearson;

pub(super) const ENTRY: Entry = Entry {
    name: "faithfulness-estimate",
    aliases: &[],
    family: Family::Faithfulness,
    summary: "how well the map's sums over blocks agree with what the model loses without each",
    paper: "Alvarez-Melis and Jaakkola 2018",
    better: Better::Higher,
    wants: Wants::Nothing,
    parameters: &[STEP, baseline::OF_METRICS, LOGIT],
    build: |params| Ok(Box::new(FaithfulnessEstimate(Steps::parse(params)?))),
};

struct FaithfulnessEstimate(Steps);

impl Metric for FaithfulnessEstimate {
    fn cost(&self, grid: &Grid) -> Cost {
        Cost::forward(self.0.count(grid) as u64)
    }

    fn measure(&self, sample: &mut Sample) -> Result<Score> {
        if sample.is_constant() {
            return Ok(Err(Undefined::ConstantMap));
        }
        let (baseline, grid) = (sample.baseline(&self.0.baseline)?, sample.grid);
        estimate(sample, self.0.output, &baseline, self.0.count(&grid), self.0.each(&grid))
    }
}

/// The correlation over `count` blocks of `each` features.
pub(super) fn estimate(
    sample: &mut Sample,
    output: Output,
    baseline: &[f32],
    count: usize,
    each: usize,
) -> Result<Score> {
    let order = sample.order;
    let block =
        |number: usize| order[(number * each).min(order.len())..].iter().take(each).copied().collect::<Vec<_>>();
    let lost = losses(sample, output, baseline, count, &block)?;
    let mut pearson = Pearson::default();
    lost.iter().enumerate().for_each(|(i, lost)| pearson.push(sum_of(sample.map, &block(i)), *lost));
    Ok(pearson.correlation().ok_or(Undefined::ConstantOutput))
}
