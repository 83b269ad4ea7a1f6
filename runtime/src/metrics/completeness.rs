//! Completeness (Sundararajan et al. 2017): how far the map's sum is from the output lost at the baseline, as a share of it:
//! `|sum a - (f(x) - f(x'))| / |f(x) - f(x')|`.
//!
//! Cost: one forward pass.

use super::curves::{LOGIT, output_of};
use super::{Better, Cost, Entry, Family, Grid, Metric, Output, Sample, Score, Undefined, Wants};
use crate::baseline::{self, Baseline};
use crate::error::Result;

pub(super) const ENTRY: Entry = Entry {
    name: "completeness",
    aliases: &["completeness-gap"],
    family: Family::Axiomatic,
    summary: "how far the map's sum is from what the baseline loses, as a share of that",
    paper: "Sundararajan et al. 2017",
    better: Better::Lower,
    wants: Wants::Nothing,
    parameters: &[baseline::OF_METRICS, LOGIT],
    build: |params| Ok(Box::new(Completeness { baseline: Baseline::parse(params)?, output: output_of(params)? })),
};

struct Completeness {
    baseline: Baseline,
    output: Output,
}

impl Metric for Completeness {
    fn cost(&self, _: &Grid) -> Cost {
        Cost::forward(1)
    }

    fn measure(&self, sample: &mut Sample) -> Result<Score> {
        let (own, baseline) = (sample.own_output(self.output)?, sample.baseline(&self.baseline)?);
        let at_baseline = sample.outputs(self.output, 1, &|_, point: &mut [f32]| point.copy_from_slice(&baseline))?;
        let lost = own - at_baseline[0];
        let sum: f64 = sample.elements.unwrap_or(sample.map).iter().map(|&v| v as f64).sum();
        Ok(if lost == 0.0 { Err(Undefined::ConstantOutput) } else { Ok((sum - lost).abs() / lost.abs()) })
    }
}
