//! Grad-CAM (Selvaraju et al. 2017): `L = relu(sum over k of alpha_k A^k)` with `alpha_k` the mean of the gradient over
//! channel k of a layer.
//!
//! Map: height by width, never negative unless `relu=false`. Cost: one gradient, down to the layer.

use super::cam::{Cam, Layer, PARAMETERS, PROPERTIES};
use super::{Entry, Family};

pub(super) const ENTRY: Entry = Entry {
    name: "grad-cam",
    aliases: &["gradcam"],
    family: Family::Cam,
    summary: "a layer's channels, weighted by their mean gradients",
    paper: "Selvaraju et al. 2017",
    properties: PROPERTIES,
    parameters: PARAMETERS,
    build: |params| Cam::build(params, map),
};

/// Before what is negative is dropped.
pub(super) fn map(layer: &Layer) -> Vec<f64> {
    layer.weighed(|channel| layer.sum(|pixel| layer.gradient(channel, pixel)) / layer.pixels() as f64)
}
