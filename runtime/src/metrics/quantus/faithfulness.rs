//! Features removed one by one or in blocks. What is removed becomes the least value of the whole input.

use super::{COMPAT, Refusing, black, entry, of_scalars};
use crate::baseline::Baseline;
use crate::error::Result;
use crate::metrics::curves::Steps;
use crate::metrics::faithfulness_correlation::{RUNS, SEED, correlation, runs_of};
use crate::metrics::faithfulness_estimate::estimate;
use crate::metrics::monotonicity_correlation::{effects, spearman};
use crate::metrics::subsets::{losses, sum_of};
use crate::metrics::{Better, Cost, Entry, Family, Grid, Metric, Observer, Output, Sample, Score, Wants, road};
use crate::params::{Parameter, Params};
use crate::rng::Rng;
use crate::values::descending;

/// Quantus's default: one.
const STEP: Parameter = Parameter { name: "step", default: "1", help: "features removed together" };

fn step(params: &Params) -> Result<usize> {
    Ok(params.whole("step", 1, 1 << 24)? as usize)
}

/// How many blocks.
fn blocks(grid: &Grid, step: usize) -> usize {
    (grid.features() * grid.channels).div_ceil(step)
}

pub(super) const CORRELATION: Entry = entry(
    ("faithfulness-correlation", Family::Faithfulness, Better::Higher),
    Wants::Nothing,
    &[COMPAT, RUNS, Parameter { name: "size", default: "224", help: "features of a set" }, SEED],
    |params| {
        let (most, size) = (params.whole("runs", 2, 100_000)?, params.whole("size", 1, 1 << 24)? as usize);
        let seed = params.seed("seed")?;
        let cost = move |_: &Grid| most as usize;
        Ok(removed(cost, move |sample| {
            let runs = runs_of(sample, most, 1);
            correlation(sample, &Baseline::Constant(black(sample)), Output::Logit, seed, (runs, size))
        }))
    },
);

pub(super) const ESTIMATE: Entry =
    entry(("faithfulness-estimate", Family::Faithfulness, Better::Higher), Wants::Nothing, &[COMPAT, STEP], |params| {
        let step = step(params)?;
        let cost = move |grid: &Grid| blocks(grid, step);
        Ok(removed(cost, move |sample| {
            let count = sample.map.len().div_ceil(step);
            let baseline = vec![black(sample); sample.input.len()];
            estimate(sample, Output::Logit, &baseline, count, step)
        }))
    });

/// Blocks in ascending order of magnitude; the whole block becomes one number from 0 to 1, whatever the input's range is.
pub(super) const MONOTONICITY_CORRELATION: Entry = entry(
    ("monotonicity-correlation", Family::Faithfulness, Better::Higher),
    Wants::Nothing,
    &[COMPAT, STEP, Parameter { name: "draws", default: "100", help: "random numbers for each block" }, SEED],
    |params| {
        let (step, draws) = (step(params)?, params.whole("draws", 1, 100_000)? as usize);
        let seed = params.seed("seed")?;
        let cost = move |grid: &Grid| blocks(grid, step) * draws;
        Ok(removed(cost, move |sample| ascending(sample, step, draws, seed)))
    },
);

fn ascending(sample: &mut Sample, step: usize, draws: usize, seed: u64) -> Result<Score> {
    let negated: Vec<f32> = sample.map.iter().map(|v| -v.abs()).collect();
    let order = descending(&negated);
    let blocks: Vec<&[u32]> = order.chunks(step).collect();
    let (input, draw, own) = (sample.input, sample.draw, sample.own_output(Output::Probability)?);
    let outputs = sample.outputs(Output::Probability, blocks.len() * draws, &|number, point: &mut [f32]| {
        point.copy_from_slice(input);
        let value = Rng::new(seed ^ draw, number as u64).uniform(0);
        blocks[number / draws].iter().for_each(|&feature| point[feature as usize] = value);
    })?;
    let told: Vec<f64> = blocks.iter().map(|block| -sum_of(&negated, block)).collect();
    Ok(spearman(&told, &effects(&outputs, draws, own)))
}

/// The mean of the curve behind the input itself.
pub(super) const PIXEL_FLIPPING: Entry =
    entry(("pixel-flipping", Family::Faithfulness, Better::Lower), Wants::Nothing, &[COMPAT, STEP], |params| {
        let step = step(params)?;
        let cost = move |grid: &Grid| blocks(grid, step) + 1;
        Ok(removed(cost, move |sample| {
            let baseline = Baseline::Constant(black(sample));
            let steps = Steps {
                step: Some(step as u32),
                least_first: false,
                baseline,
                output: Output::Probability,
                tolerance: 0.0,
            };
            let (input, end) = (sample.input, vec![black(sample); sample.input.len()]);
            let heights = steps.heights(sample, input, &end)?;
            Ok(Ok(heights[1..].iter().sum::<f64>() / (heights.len() - 1) as f64))
        }))
    });

/// Noise in the input's units, not as a share of its range.
pub(super) const ROAD: Entry = entry(
    ("road", Family::Faithfulness, Better::Lower),
    Wants::Nothing,
    &[
        COMPAT,
        Parameter { name: "shares", default: "50", help: "how many shares of the pixels are removed, evenly apart" },
        Parameter { name: "noise", default: "0.01", help: "deviation of what is added" },
        SEED,
    ],
    |params| {
        let (shares, noise) = (params.whole("shares", 1, 1000)? as usize, params.size("noise")? as f32);
        Ok(Box::new(Refusing(road::Road::of_class(shares, road::Noise::Absolute(noise), params.seed("seed")?))))
    },
);

/// How many features of which only map or only model say that they do nothing.
pub(super) const NON_SENSITIVITY: Entry = entry(
    ("non-sensitivity", Family::Axiomatic, Better::Lower),
    Wants::Nothing,
    &[COMPAT, Parameter { name: "epsilon", default: "1e-5", help: "what is less is nothing" }],
    |params| {
        let epsilon = params.size("epsilon")?;
        let cost = move |grid: &Grid| blocks(grid, 1);
        Ok(removed(cost, move |sample| {
            let baseline = vec![black(sample); sample.input.len()];
            let lost = losses(sample, Output::Probability, &baseline, sample.map.len(), &|i| vec![i as u32])?;
            let told = super::normalised(sample.map);
            let apart = told.iter().zip(&lost).filter(|(n, lost)| (n.abs() < epsilon) != (lost.abs() < epsilon));
            Ok(Ok(apart.count() as f64))
        }))
    },
);

fn removed(
    cost: impl Fn(&Grid) -> usize + Send + 'static,
    score: impl Fn(&mut Sample) -> Result<Score> + Send + 'static,
) -> Box<dyn Observer> {
    Box::new(Refusing(Removed(cost, score)))
}

/// A cost, and a score of a sample whose features are scalars.
struct Removed<C, F>(C, F);

impl<C: Fn(&Grid) -> usize + Send, F: Fn(&mut Sample) -> Result<Score> + Send> Metric for Removed<C, F> {
    fn cost(&self, grid: &Grid) -> Cost {
        Cost::forward((self.0)(grid) as u64)
    }

    fn measure(&self, sample: &mut Sample) -> Result<Score> {
        of_scalars(sample, &self.1)
    }
}
