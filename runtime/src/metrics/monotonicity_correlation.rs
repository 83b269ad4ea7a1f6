//! Monotonicity correlation (Nguyen and Martinez 2020): Spearman's correlation, over blocks of features in the order of their
//! magnitudes, of each block's magnitude with how much the output changes in the mean of squares when that block alone becomes
//! noise, as a share of the output's square.
//!
//! Cost: a forward pass per draw of each block.

use super::curves::{LOGIT, STEP, Steps};
use super::neighbours::SEED;
use super::subsets::sum_of;
use super::{Better, Cost, Entry, Family, Grid, Metric, Sample, Score, Undefined, Wants};
use crate::baseline::Baseline;
use crate::error::Result;
use crate::params::Parameter;
use crate::rng::Rng;
use crate::values::{descending, ranked};
use whyline_stream::pearson::Pearson;

pub(super) const ENTRY: Entry = Entry {
    name: "monotonicity-correlation",
    aliases: &["monotonicity-nguyen"],
    family: Family::Faithfulness,
    summary: "whether blocks that are larger in the map change the model more when they become noise",
    paper: "Nguyen and Martinez 2020",
    better: Better::Higher,
    wants: Wants::Nothing,
    parameters: &[
        STEP,
        Parameter { name: "draws", default: "10", help: "draws of noise for each block; the paper takes 100" },
        LOGIT,
        SEED,
    ],
    build: |params| {
        let steps = Steps::of(params, Baseline::Constant(0.0))?;
        let draws = params.whole("draws", 1, 100_000)? as usize;
        Ok(Box::new(MonotonicityCorrelation { steps, draws, seed: params.seed("seed")? }))
    },
};

struct MonotonicityCorrelation {
    steps: Steps,
    draws: usize,
    seed: u64,
}

impl Metric for MonotonicityCorrelation {
    fn cost(&self, grid: &Grid) -> Cost {
        Cost::forward((self.steps.count(grid) * self.draws) as u64)
    }

    fn measure(&self, sample: &mut Sample) -> Result<Score> {
        if sample.is_constant() {
            return Ok(Err(Undefined::ConstantMap));
        }
        let sizes: Vec<f32> = sample.map.iter().map(|v| v.abs()).collect();
        let order = descending(&sizes);
        let (grid, input, draw) = (sample.grid, sample.input, sample.draw);
        let blocks: Vec<&[u32]> = order.chunks(self.steps.each(&grid)).collect();
        let origin = sample.origin();
        let range = origin.ranges();
        let own = sample.own_output(self.steps.output)?;
        let outputs = sample.outputs(self.steps.output, blocks.len() * self.draws, &|number, point: &mut [f32]| {
            point.copy_from_slice(input);
            let rng = Rng::new(self.seed ^ draw, number as u64);
            for place in blocks[number / self.draws].iter().flat_map(|&feature| grid.places(feature)) {
                let (low, high) = range(place);
                point[place] = low + (high - low) * rng.uniform(place as u64);
            }
        })?;
        let told: Vec<f64> = blocks.iter().map(|block| sum_of(&sizes, block)).collect();
        Ok(spearman(&told, &effects(&outputs, self.draws, own)))
    }
}

/// Of each block, the mean square of what its draws change, as a share of the output's own where that is not too small.
pub(super) fn effects(outputs: &[f64], draws: usize, own: f64) -> Vec<f64> {
    let scale = if own.abs() >= LEAST { 1.0 / (own * own) } else { 1.0 };
    let effect = |found: &[f64]| scale * found.iter().map(|output| (output - own).powi(2)).sum::<f64>() / draws as f64;
    outputs.chunks(draws).map(effect).collect()
}

/// Outputs that are less are not divided by.
const LEAST: f64 = 1e-5;

/// Pearson's correlation of ranks; undefined where either is the same everywhere.
pub(super) fn spearman(map: &[f64], output: &[f64]) -> Score {
    of_ranks(&ranked(map), &ranked(output))
}

/// The same, of ranks.
pub(super) fn of_ranks(map: &[f64], output: &[f64]) -> Score {
    let pearson = Pearson::of(map, output);
    let constant = |values: &[f64]| values.iter().all(|v| *v == values[0]);
    pearson.correlation().ok_or(if constant(map) { Undefined::ConstantMap } else { Undefined::ConstantOutput })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn effects_are_mean_squares_as_shares_of_the_output() {
        // Two draws a block. From an output of two: 0 and 4, then 2 and 2, whose squares are 8 and 4 in the mean, of 4.
        let outputs = [2.0, 6.0, 4.0, 4.0];
        assert_eq!(effects(&outputs, 2, 2.0), [2.0, 1.0]);
        // Of nothing there is no share: (4 + 36) / 2 and (16 + 16) / 2.
        assert_eq!(effects(&outputs, 2, 0.0), [20.0, 16.0]);
    }
}
