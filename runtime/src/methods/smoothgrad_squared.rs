//! SmoothGrad squared (Hooker et al. 2019): the mean of the squares of a method's maps over noisy copies of the input.
//!
//! `A = (1/N) sum of E(x_s)^2`. Map: the base's shape, never negative. Cost: `samples` times the base.

use super::noise::{Noise, PARAMETERS, Statistic};
use super::{Entry, Family, Properties};

pub(super) const ENTRY: Entry = Entry {
    name: "smoothgrad-squared",
    aliases: &["smoothgrad2"],
    family: Family::Noise,
    summary: "the mean square of another method's maps over noisy copies of the input",
    paper: "Hooker et al. 2019",
    properties: Properties { complete: false, linear_exact: false, stochastic: true, signed: false },
    parameters: PARAMETERS,
    build: |params| Noise::build(params, Statistic::Spread(|mean, variance| variance + mean * mean)),
};
