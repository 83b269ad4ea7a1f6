//! Completeness (Sundararajan et al. 2017): how far the map's sum is from the output lost at the baseline, as a share of it:
//! `|sum a - (f(x) - f(x'))| / |f(x) - f(x')|`. The baseline is the method's own, where the method promises to be complete.
//!
//! Cost: one forward pass at most.

use super::curves::{LOGIT, output_of};
use super::{Better, Cost, Entry, Family, Grid, Metric, Output, Sample, Score, Undefined, Wants};
use crate::baseline::Baseline;
use crate::error::Result;
use crate::params::Parameter;

pub(super) const ENTRY: Entry = Entry {
    name: "completeness",
    aliases: &["completeness-gap"],
    family: Family::Axiomatic,
    summary: "how far the map's sum is from what the baseline loses, as a share of that",
    paper: "Sundararajan et al. 2017",
    better: Better::Lower,
    wants: Wants::Nothing,
    parameters: &[
        Parameter {
            name: "baseline",
            default: OWN,
            help: "own, for what the method itself says it compared with (zero, where it says nothing), or as of other metrics: zero, \
                   a number, mean, blur, rise, uniform, max-distance",
        },
        LOGIT,
    ],
    build: |params| {
        let is_own = params.text("baseline") == OWN;
        let baseline = if is_own { Baseline::Constant(0.0) } else { Baseline::parse(params)? };
        Ok(Box::new(Completeness { is_own, baseline, output: output_of(params)? }))
    },
};

/// The method's own baseline.
const OWN: &str = "own";

struct Completeness {
    is_own: bool,
    baseline: Baseline,
    output: Output,
}

impl Metric for Completeness {
    fn cost(&self, _: &Grid) -> Cost {
        Cost::forward(1)
    }

    fn measure(&self, sample: &mut Sample) -> Result<Score> {
        let sum: f64 = sample.elements.unwrap_or(sample.map).iter().map(|&v| v as f64).sum();
        let gap =
            |lost: f64| if lost == 0.0 { Err(Undefined::ConstantOutput) } else { Ok((sum - lost).abs() / lost.abs()) };
        if let Some(promised) = sample.completeness.filter(|_| self.is_own && self.output == Output::Logit) {
            return Ok(gap(promised.difference));
        }
        let (own, baseline) = (sample.own_output(self.output)?, sample.baseline(&self.baseline)?);
        let at_baseline = sample.outputs(self.output, 1, &|_, point: &mut [f32]| point.copy_from_slice(&baseline))?;
        Ok(gap(own - at_baseline[0]))
    }
}
