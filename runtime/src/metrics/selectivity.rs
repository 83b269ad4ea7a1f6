//! Selectivity (Montavon et al. 2018): the area under the curve of the probability while square patches are replaced, the most
//! relevant first, until none is left.
//!
//! Cost: a forward pass per patch, and one.

use super::curves::{PROBABILITY, TOLERANCE, output_of, tolerance_of};
use super::region_perturbation::SIZE;
use super::{Better, Cost, Entry, Family, Grid, Metric, Output, Sample, Score, Undefined, Wants, patches};
use crate::baseline::{self, Baseline};
use crate::error::Result;
use crate::params::Parameter;
use whyline_stream::curve::Curve;

pub(super) const ENTRY: Entry = Entry {
    name: "selectivity",
    aliases: &[],
    family: Family::Faithfulness,
    summary: "the area under the probability while all patches go, the most relevant first",
    paper: "Montavon et al. 2018",
    better: Better::Lower,
    wants: Wants::Nothing,
    parameters: &[Parameter { default: "8", ..SIZE }, baseline::OF_METRICS, PROBABILITY, TOLERANCE],
    build: |params| {
        let size = params.whole("size", 1, 1 << 16)? as usize;
        Ok(Box::new(Selectivity {
            size,
            baseline: Baseline::parse(params)?,
            output: output_of(params)?,
            tolerance: tolerance_of(params)?,
        }))
    },
};

struct Selectivity {
    size: usize,
    baseline: Baseline,
    output: Output,
    tolerance: f64,
}

impl Metric for Selectivity {
    fn cost(&self, grid: &Grid) -> Cost {
        Cost::forward(patches::count(grid, self.size) as u64 + 1)
    }

    fn measure(&self, sample: &mut Sample) -> Result<Score> {
        if sample.is_constant() {
            return Ok(Err(Undefined::ConstantMap));
        }
        let baseline = sample.baseline(&self.baseline)?;
        let mut curve = Curve::default();
        let ranked = patches::ranked(sample, self.size);
        let heights = patches::heights(sample, self.output, &baseline, &ranked, (usize::MAX - 1, self.tolerance))?;
        heights.into_iter().for_each(|height| curve.push(height));
        Ok(curve.area().ok_or(Undefined::TooFewFeatures))
    }
}
