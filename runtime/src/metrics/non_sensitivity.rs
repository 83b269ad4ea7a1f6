//! Non-sensitivity (Nguyen and Martinez 2020): the share of features of which the map says that they do nothing while the model
//! changes without them, or the other way round. A magnitude of at most `epsilon` times the largest that is
//! looked at counts as nothing; a feature goes alone, to the baseline.
//!
//! Cost: a forward pass per feature, of `features` drawn at random where there are more.

use super::curves::{LOGIT, output_of};
use super::neighbours::SEED;
use super::subsets::{draw, losses};
use super::{Better, Cost, Entry, Family, Grid, Metric, Output, Sample, Score, Undefined, Wants};
use crate::baseline::{self, Baseline};
use crate::error::Result;
use crate::params::Parameter;
use crate::rng::Rng;

pub(super) const ENTRY: Entry = Entry {
    name: "non-sensitivity",
    aliases: &[],
    family: Family::Axiomatic,
    summary: "the share of pixels where map and model disagree on whether it does anything",
    paper: "Nguyen and Martinez 2020",
    better: Better::Lower,
    wants: Wants::Nothing,
    parameters: &[
        Parameter { name: "epsilon", default: "0.001", help: "what is nothing, as a share of the largest" },
        Parameter { name: "features", default: "1000", help: "features looked at, at most" },
        baseline::OF_METRICS,
        LOGIT,
        SEED,
    ],
    build: |params| {
        Ok(Box::new(NonSensitivity {
            epsilon: params.size("epsilon")?,
            features: params.whole("features", 1, 1 << 24)? as usize,
            baseline: Baseline::parse(params)?,
            output: output_of(params)?,
            seed: params.seed("seed")?,
        }))
    },
};

struct NonSensitivity {
    epsilon: f64,
    features: usize,
    baseline: Baseline,
    output: Output,
    seed: u64,
}

impl Metric for NonSensitivity {
    fn cost(&self, grid: &Grid) -> Cost {
        Cost::forward(self.features.min(grid.features()) as u64)
    }

    fn measure(&self, sample: &mut Sample) -> Result<Score> {
        let features = sample.grid.features();
        let looked_at = draw(&Rng::new(self.seed ^ sample.draw, 0), self.features.min(features), features);
        let baseline = sample.baseline(&self.baseline)?;
        let lost = losses(sample, self.output, &baseline, looked_at.len(), &|i| vec![looked_at[i]])?;
        let largest = |sizes: &mut dyn Iterator<Item = f64>| sizes.fold(0.0, |most: f64, v| most.max(v.abs()));
        let in_map = largest(&mut looked_at.iter().map(|&feature| sample.map[feature as usize] as f64));
        let in_model = largest(&mut lost.iter().copied());
        if in_map == 0.0 {
            return Ok(Err(Undefined::NothingPositive));
        }
        let apart = looked_at.iter().zip(&lost).filter(|(feature, lost)| {
            let told = (sample.map[**feature as usize] as f64).abs() <= self.epsilon * in_map;
            told != (lost.abs() <= self.epsilon * in_model)
        });
        Ok(Ok(apart.count() as f64 / looked_at.len() as f64))
    }
}
