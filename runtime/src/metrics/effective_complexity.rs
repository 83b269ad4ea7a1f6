//! Effective complexity (Nguyen and Martinez 2020): how many features it takes. By `count`, those whose magnitude is more than
//! a share `epsilon` of the largest; by `model`, the fewest of the largest magnitudes that alone, all others at the baseline,
//! leave the output lost less than `epsilon` of the input's, found by bisection.
//!
//! Cost: nothing; or a forward pass per halving.

use super::curves::{PROBABILITY, output_of};
use super::{Better, Cost, Entry, Family, Grid, Metric, Output, Sample, Score, Undefined, Wants};
use crate::baseline::{self, Baseline};
use crate::error::Result;
use crate::params::Parameter;
use crate::values::descending;

pub(super) const ENTRY: Entry = Entry {
    name: "effective-complexity",
    aliases: &[],
    family: Family::Complexity,
    summary: "how many features matter: by their size, or by what they alone let the model say",
    paper: "Nguyen and Martinez 2020",
    better: Better::Lower,
    wants: Wants::Nothing,
    parameters: &[
        Parameter { name: "form", default: "count", help: "count, or model" },
        Parameter { name: "epsilon", default: "0.1", help: "share of the largest magnitude, or of the output" },
        baseline::OF_METRICS,
        PROBABILITY,
    ],
    build: |params| {
        let by_model = match params.text("form") {
            "count" => false,
            "model" => true,
            _ => return Err(params.refuse("form", "count or model")),
        };
        let (baseline, output) = (Baseline::parse(params)?, output_of(params)?);
        Ok(Box::new(EffectiveComplexity { by_model, epsilon: params.size("epsilon")?, baseline, output }))
    },
};

struct EffectiveComplexity {
    by_model: bool,
    epsilon: f64,
    baseline: Baseline,
    output: Output,
}

impl Metric for EffectiveComplexity {
    fn cost(&self, grid: &Grid) -> Cost {
        let halvings = (usize::BITS - grid.features().leading_zeros()) as u64;
        if self.by_model { Cost::forward(halvings) } else { Cost::default() }
    }

    fn measure(&self, sample: &mut Sample) -> Result<Score> {
        let most = sample.map.iter().fold(0.0, |most: f64, v| most.max(v.abs() as f64));
        if most == 0.0 {
            return Ok(Err(Undefined::NothingPositive));
        }
        match self.by_model {
            false => Ok(Ok(sample.map.iter().filter(|v| v.abs() as f64 > self.epsilon * most).count() as f64)),
            true => self.by_model(sample),
        }
    }
}

impl EffectiveComplexity {
    fn by_model(&self, sample: &mut Sample) -> Result<Score> {
        // Which of equal features go first would decide.
        if sample.is_constant() {
            return Ok(Err(Undefined::ConstantMap));
        }
        let (own, baseline) = (sample.own_output(self.output)?, sample.baseline(&self.baseline)?);
        let (grid, input) = (sample.grid, sample.input);
        let order = descending(&sample.map.iter().map(|v| v.abs()).collect::<Vec<_>>());
        // So many do not suffice; so many do.
        let (mut few, mut enough) = (0, grid.features());
        while enough - few > 1 {
            let middle = few + (enough - few) / 2;
            let kept = sample.outputs(self.output, 1, &|_, point: &mut [f32]| {
                point.copy_from_slice(&baseline);
                grid.copy(order[..middle].iter().copied(), input, point);
            })?;
            match own - kept[0] < self.epsilon * own.abs() {
                true => enough = middle,
                false => few = middle,
            }
        }
        Ok(Ok(enough as f64))
    }
}
