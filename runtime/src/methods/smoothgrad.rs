//! SmoothGrad (Smilkov et al. 2017): the mean of a method's maps over noisy copies of the input.

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
