//! Faithfulness correlation (Bhatt et al. 2020): Pearson's correlation, over random sets of features, of the map's sum over a
//! set with the output lost where the set is replaced by a baseline.
//!
//! Cost: a forward pass per set; where a standard error is told, no more sets than any correlation takes for it.

use super::curves::{LOGIT, output_of};
use super::subsets::{draw, losses, sum_of};
use super::{Better, Cost, Entry, Family, Grid, Metric, Output, Sample, Score, Undefined, Wants};
use crate::baseline::{self, Baseline};
use crate::error::Result;
use crate::params::Parameter;
use crate::rng::Rng;
use whyline_stream::pearson::Pearson;

/// How many random sets.
pub(super) const RUNS: Parameter = Parameter { name: "runs", default: "100", help: "random sets" };

/// What draws begin with.
pub(super) const SEED: Parameter = Parameter { name: "seed", default: "0", help: "of the draws" };

pub(super) const ENTRY: Entry = Entry {
    name: "faithfulness-correlation",
    aliases: &[],
    family: Family::Faithfulness,
    summary: "how well the map's sums over random sets agree with what the model loses without them",
    paper: "Bhatt et al. 2020",
    better: Better::Higher,
    wants: Wants::Nothing,
    parameters: &[
        RUNS,
        Parameter { name: "size", default: "224", help: "features of a set" },
        baseline::OF_METRICS,
        LOGIT,
        SEED,
    ],
    build: |params| {
        Ok(Box::new(FaithfulnessCorrelation {
            runs: params.whole("runs", 2, 100_000)?,
            size: params.whole("size", 1, 1 << 24)?,
            baseline: Baseline::parse(params)?,
            output: output_of(params)?,
            seed: params.seed("seed")?,
        }))
    },
};

struct FaithfulnessCorrelation {
    runs: u32,
    size: u32,
    baseline: Baseline,
    output: Output,
    seed: u64,
}

impl Metric for FaithfulnessCorrelation {
    fn cost(&self, _: &Grid) -> Cost {
        Cost::forward(self.runs.into())
    }

    fn ends_early(&self) -> bool {
        true
    }

    fn measure(&self, sample: &mut Sample) -> Result<Score> {
        let runs = runs_of(sample, self.runs, 1);
        correlation(sample, &self.baseline, self.output, self.seed, (runs, self.size as usize))
    }
}

/// Of fewer sets a correlation is too near to zero, by a hundredth and more in the mean over samples.
const FEW: usize = 20;

/// How many sets each of so many correlations takes, `most` at the most, for their mean to be as exact as the sample wants it: those by
/// which a standard error, `(1 - r^2) / sqrt(n - 3)`, is as small whatever the correlation. To go by the correlation so far would end
/// where it happens to be large, and make means over samples too large.
pub(super) fn runs_of(sample: &Sample, most: u32, correlations: usize) -> usize {
    let enough =
        |error: f64| FEW.max((libm::ceil(1.0 / (error * error * correlations as f64)) as usize).saturating_add(3));
    sample.standard_error.map_or(most as usize, |error| enough(error).min(most as usize))
}

/// The correlation over so many random sets of so many features.
pub(super) fn correlation(
    sample: &mut Sample,
    baseline: &Baseline,
    output: Output,
    seed: u64,
    (runs, size): (usize, usize),
) -> Result<Score> {
    let features = sample.grid.features();
    if size >= features {
        return Ok(Err(Undefined::TooFewFeatures));
    }
    if sample.is_constant() {
        return Ok(Err(Undefined::ConstantMap));
    }
    let (baseline, first) = (sample.baseline(baseline)?, sample.draw.wrapping_add(size as u64));
    let set = |run: usize| draw(&Rng::new(seed ^ first, run as u64), size, features);
    let lost = losses(sample, output, &baseline, runs, &set)?;
    let mut pearson = Pearson::default();
    lost.into_iter().enumerate().for_each(|(run, lost)| pearson.push(sum_of(sample.map, &set(run)), lost));
    Ok(pearson.correlation().ok_or(Undefined::ConstantOutput))
}
