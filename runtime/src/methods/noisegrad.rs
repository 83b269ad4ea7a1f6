//! NoiseGrad (Bykov et al. 2022): the mean of a method's maps over noisy copies of the model, `W (1 + sigma xi)`.
//!
//! By default 25 models with `sigma = 0.2`. Map: that of the base. Cost: `models` times the base, and packing the
//! weights anew for each.

use super::noise::{BASE, Draws, Noise, SEED};
use super::{Entry, Family, Parameter, Properties};

/// Of the weights' factors.
pub(super) const WEIGHT_SIGMA: Parameter =
    Parameter { name: "weight-sigma", default: "0.2", help: "deviation of the factors that weights are multiplied by" };

pub(super) const ENTRY: Entry = Entry {
    name: "noisegrad",
    aliases: &[],
    family: Family::Noise,
    summary: "the mean of another method's maps over noisy copies of the model",
    paper: "Bykov et al. 2022",
    properties: Properties { complete: false, linear_exact: false, stochastic: true, signed: true },
    parameters: &[
        Parameter { name: "models", default: "25", help: "noisy copies of the model" },
        WEIGHT_SIGMA,
        SEED,
        BASE,
    ],
    build: |params| Noise::of_weights(params, Draws::parse(params, "models", "weight-sigma")?, Draws::ONCE),
};
