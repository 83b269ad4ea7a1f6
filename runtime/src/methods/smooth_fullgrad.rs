//! Smooth FullGrad: the mean of FullGrad's maps over noisy copies of the input.
//!
//! Map: height by width, never negative. Cost: `samples` gradients.

use super::fullgrad::{self, IMPLICIT, SCALE};
use super::noise::{COPIES, Noise, Statistic};
use super::{Entry, Family, Properties};

pub(super) const ENTRY: Entry = Entry {
    name: "smooth-fullgrad",
    aliases: &[],
    family: Family::Decomposition,
    summary: "the mean of FullGrad's maps over noisy copies of the input",
    paper: "Srinivas and Fleuret 2019",
    properties: Properties { complete: false, linear_exact: false, stochastic: true, signed: false },
    parameters: &[COPIES[0], COPIES[1], COPIES[2], SCALE, IMPLICIT],
    build: |params| Noise::over(params, fullgrad::build(params)?, Statistic::Mean, false),
};
