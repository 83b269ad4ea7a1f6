//! VarGrad (Adebayo et al. 2018): the variance of a method's maps over noisy copies of the input, zero where noise changes
//! nothing. It takes the passes of SmoothGrad, and twice its memory.
//!
//! `A = (1/N) sum of (E(x_s) - mean)^2`. Map: the base's shape, never negative.

use super::noise::{Noise, PARAMETERS, Statistic};
use super::{Entry, Family, Properties};

pub(super) const ENTRY: Entry = Entry {
    name: "vargrad",
    aliases: &[],
    family: Family::Noise,
    summary: "the variance of another method's maps over noisy copies of the input",
    paper: "Adebayo et al. 2018",
    properties: Properties { complete: false, linear_exact: false, stochastic: true, signed: false },
    parameters: PARAMETERS,
    build: |params| Noise::build(params, Statistic::Spread(|_, variance| variance)),
};
