//! SmoothGrad (Smilkov et al. 2017): the mean of a method's maps over noisy copies of the input.
//!
//! `A = (1/N) sum of E(x + sigma (max x - min x) xi_s)`, by default 50 copies of `sigma = 0.15`. Map: that of the base.
//! Cost: `samples` times the base.

use super::noise::{Noise, PARAMETERS, Statistic};
use super::{Entry, Family, Properties};

pub(super) const ENTRY: Entry = Entry {
    name: "smoothgrad",
    aliases: &[],
    family: Family::Noise,
    summary: "the mean of another method's maps over noisy copies of the input",
    paper: "Smilkov et al. 2017",
    properties: Properties { complete: false, linear_exact: true, stochastic: true, signed: true },
    parameters: PARAMETERS,
    build: |params| Noise::build(params, Statistic::Mean),
};
