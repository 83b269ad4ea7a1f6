//! Faithfulness correlation (Bhatt et al. 2020): Pearson's correlation, over random sets of features, of the map's sum over a
//! set with the output lost where the set is replaced by a baseline.
//!
//! Cost: a forward pass per set; with a standard error that is small enough twenty, and as many more as these say it takes.

use super::curves::{LOGIT, output_of};
use super::subsets::{draw, losses_while, sum_of};
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
        correlation(sample, &self.baseline, self.output, self.seed, (self.runs as usize, self.size as usize))
    }
}

/// How many sets tell how many more it takes. They are no part of the score: what ends where it happens to lie far from zero, and its
/// error to be small, would be too far from zero in the mean over samples.
const PILOT: usize = 20;

/// How many sets a standard error `(1 - r^2) / sqrt(n - 3)` takes, by what the pilot has found; as many as that at least, for the error
/// of a few is said too small. The pilot's `r` is taken for half its own error less than it is: so many sets are as exact as is wanted,
/// while with `r` as it is they fall short by a tenth.
fn draws_for(wanted: f64, pilot: &Pearson) -> usize {
    let r = pilot.correlation().map_or(0.0, |r| (r.abs() - 0.5 * pilot.standard_error()).max(0.0));
    let root = (1.0 - r * r) / wanted;
    PILOT.max((libm::ceil(root * root) as usize).saturating_add(3))
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
    let (map, wanted) = (sample.map, sample.standard_error.filter(|_| runs >= 2 * PILOT));
    let (mut pearson, mut run, mut end) = (Pearson::default(), 0, runs);
    losses_while(sample, output, &baseline, runs, &set, &mut |lost| {
        pearson.push(sum_of(map, &set(run)), lost);
        run += 1;
        if let Some(wanted) = wanted.filter(|_| run == PILOT) {
            end = runs.min(PILOT.saturating_add(draws_for(wanted, &pearson)));
            pearson = Pearson::default();
        }
        run < end
    })?;
    Ok(pearson.correlation().ok_or(Undefined::ConstantOutput))
}
