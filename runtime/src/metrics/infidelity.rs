//! Infidelity (Yeh et al. 2019): the mean of `(I . a - (f(x) - f(x - I)))^2` over perturbations `I`, which here take one square
//! patch to a baseline. `I . a` is the map's sum over the patch, or, for maps that are gradients, of the map times what was
//! taken. With `scaled` the map is first multiplied by the factor that suits the model best.
//!
//! Cost: a forward pass per patch.

use super::curves::{LOGIT, output_of};
use super::region_perturbation::SIZE;
use super::subsets::{losses, sum_of};
use super::{Better, Cost, Entry, Family, Grid, Metric, Output, Sample, Score, Undefined, Wants, patches};
use crate::baseline::{self, Baseline};
use crate::error::{Error, Result};
use crate::params::Parameter;
use whyline_stream::moments::Moments;

pub(super) const ENTRY: Entry = Entry {
    name: "infidelity",
    aliases: &[],
    family: Family::Faithfulness,
    summary: "the squared error of the map as a forecast of what the model loses without a patch",
    paper: "Yeh et al. 2019",
    better: Better::Lower,
    wants: Wants::Nothing,
    parameters: &[
        Parameter { default: "8", ..SIZE },
        baseline::OF_METRICS,
        LOGIT,
        Parameter { name: "kind", default: "contribution", help: "what maps are: contribution, or gradient" },
        Parameter { name: "scaled", default: "false", help: "whether the map's scale is fitted to the model first" },
    ],
    build: |params| {
        let of_gradients = match params.text("kind") {
            "contribution" => false,
            "gradient" => true,
            _ => return Err(params.refuse("kind", "contribution or gradient")),
        };
        Ok(Box::new(Infidelity {
            size: params.whole("size", 1, 1 << 16)? as usize,
            baseline: Baseline::parse(params)?,
            output: output_of(params)?,
            of_gradients,
            scaled: params.flag("scaled")?,
        }))
    },
};

struct Infidelity {
    size: usize,
    baseline: Baseline,
    output: Output,
    of_gradients: bool,
    scaled: bool,
}

impl Metric for Infidelity {
    fn cost(&self, grid: &Grid) -> Cost {
        Cost::forward(patches::count(grid, self.size) as u64)
    }

    fn measure(&self, sample: &mut Sample) -> Result<Score> {
        let (baseline, patches) = (sample.baseline(&self.baseline)?, patches::patches(&sample.grid, self.size));
        let map = self.contributions(sample, &baseline)?;
        let lost = losses(sample, self.output, &baseline, patches.len(), &|i| patches[i].clone())?;
        let told: Vec<f64> = patches.iter().map(|patch| sum_of(&map, patch)).collect();
        let sum = |of: &dyn Fn(usize) -> f64| (0..told.len()).map(of).sum::<f64>();
        let squares = sum(&|i| told[i] * told[i]);
        let scale = if self.scaled { sum(&|i| told[i] * lost[i]) / squares } else { 1.0 };
        if !scale.is_finite() {
            return Ok(Err(Undefined::ConstantMap));
        }
        let mut errors = Moments::default();
        told.iter().zip(&lost).for_each(|(told, lost)| errors.push((scale * told - lost).powi(2)));
        Ok(Ok(errors.mean()))
    }
}

impl Infidelity {
    /// What the map says that each feature contributes.
    fn contributions(&self, sample: &Sample, baseline: &[f32]) -> Result<Vec<f32>> {
        if !self.of_gradients {
            return Ok(sample.map.to_vec());
        }
        let no_elements = || Error::usage("infidelity: a map of pixels is no gradient; tell it kind=contribution");
        let gradient = sample.elements.ok_or_else(no_elements)?;
        let taken: Vec<f32> =
            sample.input.iter().zip(baseline).zip(gradient).map(|((x, from), g)| (x - from) * g).collect();
        Ok(sample.grid.sums(&taken))
    }
}
