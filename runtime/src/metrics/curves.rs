//! Scores while features are replaced one after the other, the most important first.

use super::{Metric, Output, Sample, Score, Undefined};
use crate::baseline::Baseline;
use crate::error::Result;
use crate::params::{Parameter, Params};
use whyline_stream::curve::Curve;
use whyline_stream::refined::Refined;

/// How many features each step replaces.
pub(super) const STEP: Parameter = Parameter {
    name: "step",
    default: "row",
    help: "features replaced at each step: a number, or as many as a row has, or more where those are over 1024 steps (row)",
};

/// What of the model is looked at.
pub(super) const PROBABILITY: Parameter =
    Parameter { name: "output", default: "probability", help: "what is looked at: probability or logit" };

/// The same, for metrics of the logit.
pub(super) const LOGIT: Parameter = Parameter { default: "logit", ..PROBABILITY };

/// Which features go first.
pub(super) const ORDER: Parameter =
    Parameter { name: "order", default: "morf", help: "most relevant first (morf) or least relevant first (lerf)" };

/// [`ORDER`], told to take the least relevant first.
pub(super) const LEAST_FIRST: &str = "order=lerf";

/// The parameter `output`.
pub(super) fn output_of(params: &Params) -> Result<Output> {
    match params.text("output") {
        "probability" => Ok(Output::Probability),
        "logit" => Ok(Output::Logit),
        _ => Err(params.refuse("output", "probability or logit")),
    }
}

/// Whether the parameter `order`, where there is one, takes the least relevant first.
pub(super) fn least_first(params: &Params) -> Result<bool> {
    match params.text("order") {
        "morf" | "" => Ok(false),
        "lerf" => Ok(true),
        _ => Err(params.refuse("order", "morf or lerf")),
    }
}

/// How a curve is made.
#[derive(Clone, Debug)]
pub(super) struct Steps {
    /// None: as many as a row has.
    pub step: Option<u32>,
    /// Most relevant first, or last.
    pub least_first: bool,
    /// What features are replaced by.
    pub baseline: Baseline,
    /// What is looked at.
    pub output: Output,
    /// How far the mean height may be off.
    pub tolerance: f64,
}

impl Steps {
    /// From parameters.
    pub fn parse(params: &Params) -> Result<Steps> {
        Steps::of(params, Baseline::parse(params)?)
    }

    /// From parameters, for a baseline that is none of them.
    pub fn of(params: &Params, baseline: Baseline) -> Result<Steps> {
        let step = match params.text("step") {
            "row" => None,
            _ => Some(params.whole("step", 1, 1 << 24)?),
        };
        // Metrics of single blocks have no such parameter.
        let tolerance = if params.text("tolerance").is_empty() { 0.0 } else { tolerance_of(params)? };
        Ok(Steps { step, least_first: least_first(params)?, baseline, output: output_of(params)?, tolerance })
    }

    /// How many features a step replaces; the last one may have fewer.
    pub fn each(&self, grid: &super::Grid) -> usize {
        let each = self.step.map_or(grid.width.max(grid.features().div_ceil(1024)), |step| step as usize);
        each.min(grid.features())
    }

    /// How many points behind the first.
    pub fn count(&self, grid: &super::Grid) -> usize {
        grid.features().div_ceil(self.each(grid))
    }

    /// The area under a curve of heights at these steps, whose axis is the share of features replaced.
    fn area(&self, grid: &super::Grid, heights: &[f64]) -> Option<f64> {
        let (each, mut curve) = (self.each(grid), Curve::default());
        heights.iter().for_each(|height| curve.push(*height));
        curve.area_with_last((grid.features() - (self.count(grid) - 1) * each) as f64 / each as f64)
    }

    /// The outputs of the sample with none, some, and all of its features replaced, from `start` to `end`.
    pub fn heights(&self, sample: &mut Sample, start: &[f32], end: &[f32]) -> Result<Vec<f64>> {
        let (grid, count, each) = (sample.grid, self.count(&sample.grid), self.each(&sample.grid));
        let mut order = sample.order.to_vec();
        if self.least_first {
            order.reverse();
        }
        heights(sample, self.output, count, self.tolerance, &|step, point: &mut [f32]| {
            point.copy_from_slice(start);
            grid.copy(order[..(step * each).min(order.len())].iter().copied(), end, point);
        })
    }
}

/// How exact the curve must be.
pub(super) const TOLERANCE: Parameter = Parameter {
    name: "tolerance",
    default: "0",
    help: "about how far the mean height may be off: steps are then taken only where the curve bends; of zero, all",
};

/// The parameter `tolerance`.
pub(super) fn tolerance_of(params: &Params) -> Result<f64> {
    params.size("tolerance")
}

/// Steps that are taken of a curve with a tolerance at most.
const MOST: usize = 1100;

/// The outputs at `count` steps behind the first; where there is a tolerance, on lines between those that were taken.
pub(super) fn heights(
    sample: &mut Sample,
    output: Output,
    count: usize,
    tolerance: f64,
    make: crate::engine::Make,
) -> Result<Vec<f64>> {
    if tolerance == 0.0 {
        return sample.outputs(output, count + 1, make);
    }
    let last = u32::try_from(count).unwrap_or(u32::MAX);
    let mut curve = Refined::<MOST>::new(last);
    let mut wanted = curve.first();
    while !wanted.is_empty() {
        let steps = &wanted;
        let found = sample.outputs(output, steps.len(), &|i, point: &mut [f32]| make(steps[i] as usize, point))?;
        wanted.iter().zip(found).for_each(|(step, height)| curve.tell(*step, height));
        wanted = curve.more(tolerance);
    }
    Ok((0..=last).map(|step| curve.height(step)).collect())
}

/// A metric that is the area under the curve between the input and a baseline.
pub(super) struct Area {
    /// How the curve is made.
    pub steps: Steps,
    /// Whether features come into the baseline, in place of going from the input.
    pub inserts: bool,
}

impl Metric for Area {
    fn cost(&self, grid: &super::Grid) -> super::Cost {
        super::Cost::forward(self.steps.count(grid) as u64 + 1)
    }

    fn measure(&self, sample: &mut Sample) -> Result<Score> {
        if sample.is_constant() {
            return Ok(Err(Undefined::ConstantMap));
        }
        let (input, baseline) = (sample.input, sample.baseline(&self.steps.baseline)?);
        let (start, end) = if self.inserts { (&baseline[..], input) } else { (input, &baseline[..]) };
        let heights = self.steps.heights(sample, start, end)?;
        Ok(self.steps.area(&sample.grid, &heights).ok_or(Undefined::TooFewFeatures))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_a_row_or_as_many_features_as_give_1024_steps_at_most() {
        let of = |step, height, width| {
            let grid = crate::metrics::Grid { layout: None, channels: 1, height, width };
            let baseline = Baseline::Constant(0.0);
            let steps = Steps { step, least_first: false, baseline, output: Output::Logit, tolerance: 0.0 };
            (steps.each(&grid), steps.count(&grid))
        };
        assert_eq!(of(None, 224, 224), (224, 224));
        // Of 6,000 features a 1024th are 5.9, so six.
        assert_eq!(of(None, 3000, 2), (6, 1000));
        assert_eq!(of(Some(1), 3000, 2), (1, 6000), "what is told is done");
        assert_eq!(of(Some(7000), 3000, 2), (6000, 1));
    }
}
