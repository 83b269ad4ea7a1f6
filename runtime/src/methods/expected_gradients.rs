//! Expected gradients (Erion et al. 2021): `A = E over x' and t of (x - x') * df/dx(x' + t (x - x'))`, with baselines `x'`
//! from a set and `t` uniform in [0, 1]: integrated gradients averaged over many baselines, by random draws. Baselines
//! take turns in a random order, so that each counts equally where `samples` is a multiple of their number, and none more than once
//! more than another. Its sum tends to `f(x) - mean f(x')`; the record has the sum's standard error.
//!
//! By default 100 draws. Map: the input's shape, in the target's unit. Cost: `samples` gradients.

use std::borrow::Cow;
use std::ops::ControlFlow;

use whyline_stream::moments::Moments;

use super::path::{between, spread};
use super::{Entry, Extents, Family, Method, Outcome, Parameter, Params, Passes, Properties, Status, Task};
use crate::attribution::Attribution;
use crate::baseline::{self, Baseline};
use crate::error::Result;
use crate::rng::Rng;

pub(super) const ENTRY: Entry = Entry {
    name: "expected-gradients",
    aliases: &["eg"],
    family: Family::Path,
    summary: "the gradient at random points between the input and a set of baselines, times their difference",
    paper: "Erion et al. 2021",
    properties: Properties { complete: false, linear_exact: true, stochastic: true, signed: true },
    parameters: &[
        Parameter { name: "samples", default: "100", help: "random points" },
        Parameter { name: "seed", default: "0", help: "of the draws" },
        PLACES,
        TOLERANCE,
        baseline::PARAMETER,
    ],
    build: |params| Ok(Box::new(Expected::parse(params, 0.0)?)),
};

/// Where between baseline and input points lie.
pub(super) const PLACES: Parameter = Parameter {
    name: "places",
    default: "random",
    help: "where points lie on the way from a baseline: random; or stratified: one at random in each of as many equal parts",
};

/// When there are points enough.
pub(super) const TOLERANCE: Parameter = Parameter {
    name: "tolerance",
    default: "0",
    help: "enough points, up to samples, when the standard error of the map's sum is this share of it",
};

/// Points that a standard error is told from at least.
const LEAST: u64 = 10;

/// A number of random points between the input, with or without noise, and baselines.
pub(super) struct Expected {
    samples: u32,
    seed: u64,
    tolerance: f64,
    stratified: bool,
    /// The noise's deviation, as a part of the input's range.
    sigma: f32,
    baseline: Baseline,
}

impl Expected {
    /// From the parameters of the method.
    pub fn parse(params: &Params, sigma: f32) -> Result<Expected> {
        let (samples, seed) = (params.whole("samples", 1, 1_000_000)?, params.seed("seed")?);
        let stratified = match params.text("places") {
            "random" => false,
            "stratified" => true,
            _ => return Err(params.refuse("places", "random or stratified")),
        };
        let (tolerance, baseline) = (params.size("tolerance")?, Baseline::parse(params)?);
        Ok(Expected { samples, seed, tolerance, stratified, sigma, baseline })
    }
}

impl Method for Expected {
    fn passes(&self, _model: Extents) -> Passes {
        Passes { forward: 0, gradient: self.samples as u64 }
    }

    fn least(&self, _model: Extents) -> Passes {
        Passes { forward: 0, gradient: 1 }
    }

    fn explain(&self, task: &mut Task) -> Result<Outcome> {
        let (input, seed) = (task.input, task.seed_of(self.seed));
        let set = self.baseline.set(&task.origin())?;
        let turns = turns(seed, self.samples as usize, set.len());
        let baseline = |draw: usize| &set[turns[draw] as usize];
        // Of each baseline's way, in an order in which the first ones lie all over it.
        let each = self.samples.div_ceil(set.len() as u32);
        let parts = if self.stratified { spread(each) } else { vec![] };
        let (low, high) = task.range();
        let deviation = self.sigma * (high - low);
        // The input with the noise of a draw; its first number is the draw's place between the two.
        let noisy = |draw: usize| -> Vec<f32> {
            let rng = Rng::new(seed, draw as u64);
            input.iter().enumerate().map(|(i, &x)| x + deviation * rng.normal(i as u64 + 1)).collect()
        };
        let make = |draw: usize, point: &mut [f32]| {
            let inside = Rng::new(seed, draw as u64).uniform(0) as f64;
            let part = parts.get(draw / set.len());
            let t = part.map_or(inside, |&part| (part as f64 + inside) / each as f64);
            match deviation > 0.0 {
                true => between(baseline(draw), &noisy(draw), t, point),
                false => between(baseline(draw), input, t, point),
            }
        };
        let mut map = vec![0.0f64; input.len()];
        let mut sums = Moments::default();
        task.gradients_at(self.samples as usize, &make, &mut |draw, pass| {
            let end = if deviation > 0.0 { Cow::Owned(noisy(draw)) } else { Cow::Borrowed(input) };
            let mut sum = 0.0;
            for ((total, &g), (&x, &b)) in map.iter_mut().zip(pass.input).zip(end.iter().zip(baseline(draw))) {
                let share = g as f64 * (x as f64 - b as f64);
                *total += share;
                sum += share;
            }
            sums.push(sum);
            let error = standard_error(&sums).filter(|_| sums.count() >= LEAST);
            let enough = error.is_some_and(|e| e <= self.tolerance * sums.mean().abs());
            Ok(if self.tolerance > 0.0 && enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        let samples = sums.count() as f64;
        let values = map.iter().map(|total| (total / samples) as f32).collect();
        let attribution = Attribution::features(values, task.session.input_shape());
        let error = standard_error(&sums);
        let precise = self.tolerance > 0.0 && error.is_some_and(|e| e <= self.tolerance * sums.mean().abs());
        let all = sums.count() == self.samples as u64 && self.tolerance == 0.0;
        let status = if precise || all { Status::Complete } else { Status::Degraded };
        Ok(Outcome { standard_error: error, status, ..Outcome::of(attribution) })
    }
}

/// Which of `count` baselines each draw takes: all of them in a random order, then all again in another.
fn turns(seed: u64, draws: usize, count: usize) -> Vec<u32> {
    let mut turns: Vec<u32> = Vec::with_capacity(draws.next_multiple_of(count));
    for round in 0..draws.div_ceil(count) {
        let first = turns.len();
        turns.extend(0..count as u32);
        Rng::new(seed ^ ORDER, round as u64).shuffle(&mut turns[first..]);
    }
    turns
}

/// Tells the order of baselines from other draws.
const ORDER: u64 = 0xbb67_ae85_84ca_a73b;

/// Of the mean, where there is more than one.
fn standard_error(sums: &Moments) -> Option<f64> {
    (sums.count() > 1).then(|| (sums.variance() / (sums.count() - 1) as f64).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn baselines_take_turns_in_an_order_that_is_drawn() {
        let (some, others) = (turns(1, 25, 10), turns(2, 25, 10));
        assert!(some[..10] != others[..10] && some[..10] != some[10..20]);
        for round in some.chunks(10) {
            let mut sorted = round.to_vec();
            sorted.sort_unstable();
            assert!(sorted.iter().copied().eq(0..10), "{round:?}");
        }
        // Of few draws, any baseline may be the first.
        let first: std::collections::BTreeSet<u32> = (0..200).map(|seed| turns(seed, 1, 10)[0]).collect();
        assert_eq!(first.len(), 10);
    }
}
