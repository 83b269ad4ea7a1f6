//! FusionGrad (Bykov et al. 2022): NoiseGrad over SmoothGrad: the mean of a method's maps over noisy copies of the model, and
//! for each over noisy copies of the input.
//!
//! By default 10 models times 10 inputs. Map: that of the base. Cost: `models * samples` times the base, and packing
//! the weights anew for each model.

use super::noise::{BASE, COPIES, Draws, Noise, SEED};
use super::noisegrad::WEIGHT_SIGMA;
use super::{Entry, Family, Parameter, Properties};

pub(super) const ENTRY: Entry = Entry {
    name: "fusiongrad",
    aliases: &[],
    family: Family::Noise,
    summary: "the mean of another method's maps over noisy copies of the model and of the input",
    paper: "Bykov et al. 2022",
    properties: Properties { complete: false, linear_exact: false, stochastic: true, signed: true },
    parameters: &[
        Parameter { name: "models", default: "10", help: "noisy copies of the model" },
        WEIGHT_SIGMA,
        Parameter { name: "samples", default: "10", help: "noisy copies of the input for each" },
        COPIES[1],
        SEED,
        BASE,
    ],
    build: |params| {
        let (weights, inputs) =
            (Draws::parse(params, "models", "weight-sigma")?, Draws::parse(params, "samples", "sigma")?);
        Noise::of_weights(params, weights, inputs)
    },
};
