//! Sensitivity-n (Ancona et al. 2018): faithfulness correlation for sets of growing size, from one feature to four fifths of
//! them, in the mean over the sizes.
//!
//! Cost: a forward pass per set of each size.

use super::curves::{LOGIT, output_of};
use super::faithfulness_correlation::{RUNS, SEED, correlation, runs_of};
use super::{Better, Cost, Entry, Family, Grid, Metric, Output, Sample, Score, Undefined, Wants};
use crate::baseline::{self, Baseline};
use crate::error::Result;
use crate::params::Parameter;
use whyline_stream::moments::Moments;

pub(super) const ENTRY: Entry = Entry {
    name: "sensitivity-n",
    aliases: &[],
    family: Family::Faithfulness,
    summary: "the same for sets of one feature to four fifths of all",
    paper: "Ancona et al. 2018",
    better: Better::Higher,
    wants: Wants::Nothing,
    parameters: &[
        RUNS,
        Parameter { name: "sizes", default: "8", help: "different sizes, each a like factor above the last" },
        baseline::OF_METRICS,
        LOGIT,
        SEED,
    ],
    build: |params| {
        Ok(Box::new(SensitivityN {
            runs: params.whole("runs", 2, 100_000)?,
            sizes: params.whole("sizes", 1, 64)?,
            baseline: Baseline::parse(params)?,
            output: output_of(params)?,
            seed: params.seed("seed")?,
        }))
    },
};

struct SensitivityN {
    runs: u32,
    sizes: u32,
    baseline: Baseline,
    output: Output,
    seed: u64,
}

/// Of all features, in the largest sets.
const MOST: f64 = 0.8;

impl SensitivityN {
    /// From one to four fifths of the features, each once.
    fn sizes(&self, features: usize) -> Vec<usize> {
        let most = (MOST * features as f64).max(1.0);
        let size = |i: u32| libm::round(libm::pow(most, i as f64 / (self.sizes.max(2) - 1) as f64)) as usize;
        let mut sizes: Vec<usize> = (0..self.sizes).map(size).collect();
        sizes.dedup();
        sizes
    }
}

impl Metric for SensitivityN {
    fn cost(&self, grid: &Grid) -> Cost {
        Cost::forward(self.runs as u64 * self.sizes(grid.features()).len() as u64)
    }

    fn ends_early(&self) -> bool {
        true
    }

    fn measure(&self, sample: &mut Sample) -> Result<Score> {
        let (mut mean, mut last) = (Moments::default(), Undefined::TooFewFeatures);
        let sizes = self.sizes(sample.grid.features());
        let runs = runs_of(sample, self.runs, sizes.len());
        for size in sizes {
            match correlation(sample, &self.baseline, self.output, self.seed, (runs, size))? {
                Ok(correlation) => mean.push(correlation),
                Err(reason) => last = reason,
            }
        }
        Ok(if mean.count() > 0 { Ok(mean.mean()) } else { Err(last) })
    }
}
