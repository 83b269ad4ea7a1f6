//! Region perturbation (Samek et al. 2017): the area over the curve of the probability while square regions are replaced by
//! noise, the most relevant first: `AOPC = 1/(L+1) sum over k of f(x) - f(x_k)`.
//!
//! Cost: a forward pass per region, and one.

use super::curves::{PROBABILITY, TOLERANCE, output_of, tolerance_of};
use super::{Better, Cost, Entry, Family, Grid, Metric, Output, Sample, Score, Undefined, Wants, patches};
use crate::baseline::{self, Baseline};
use crate::error::Result;
use crate::params::Parameter;
use whyline_stream::curve::Curve;

/// The side of a patch.
pub(super) const SIZE: Parameter = Parameter { name: "size", default: "9", help: "pixels along a side of a patch" };

pub(super) const ENTRY: Entry = Entry {
    name: "region-perturbation",
    aliases: &["aopc"],
    family: Family::Faithfulness,
    summary: "the mean loss of probability while regions become noise, the most relevant first",
    paper: "Samek et al. 2017",
    better: Better::Higher,
    wants: Wants::Nothing,
    parameters: &[
        SIZE,
        Parameter { name: "regions", default: "100", help: "regions replaced at most" },
        Parameter { default: "uniform", ..baseline::OF_METRICS },
        PROBABILITY,
        TOLERANCE,
    ],
    build: |params| {
        Ok(Box::new(RegionPerturbation {
            size: params.whole("size", 1, 1 << 16)? as usize,
            regions: params.whole("regions", 1, 1 << 20)? as usize,
            baseline: Baseline::parse(params)?,
            output: output_of(params)?,
            tolerance: tolerance_of(params)?,
        }))
    },
};

struct RegionPerturbation {
    size: usize,
    regions: usize,
    baseline: Baseline,
    output: Output,
    tolerance: f64,
}

impl Metric for RegionPerturbation {
    fn cost(&self, grid: &Grid) -> Cost {
        Cost::forward(patches::count(grid, self.size).min(self.regions) as u64 + 1)
    }

    fn measure(&self, sample: &mut Sample) -> Result<Score> {
        if sample.is_constant() {
            return Ok(Err(Undefined::ConstantMap));
        }
        let (baseline, own) = (sample.baseline(&self.baseline)?, sample.own_output(self.output)?);
        let mut losses = Curve::default();
        let ranked = patches::ranked(sample, self.size);
        let heights = patches::heights(sample, self.output, &baseline, &ranked, (self.regions, self.tolerance))?;
        heights.into_iter().for_each(|height| losses.push(own - height));
        Ok(losses.mean().ok_or(Undefined::TooFewFeatures))
    }
}
