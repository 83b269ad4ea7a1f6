//! XGrad-CAM (Fu et al. 2020): `L = relu(sum over k of w_k A^k)` with `w_k = sum of G A / (sum of A + 1e-7)`, so that the
//! map adds up to what the layer's activations times their gradients do.
//!
//! Map: height by width, never negative unless `relu=false`. Cost: one gradient, down to the layer.

use super::cam::{Cam, Layer, PARAMETERS, PROPERTIES};
use super::{Entry, Family};

pub(super) const ENTRY: Entry = Entry {
    name: "xgrad-cam",
    aliases: &["xgradcam"],
    family: Family::Cam,
    summary: "a layer's channels, weighted by gradients that count by activation",
    paper: "Fu et al. 2020",
    properties: PROPERTIES,
    parameters: PARAMETERS,
    build: |params| Cam::build(params, map),
};

fn map(layer: &Layer) -> Vec<f64> {
    layer.weighed(|channel| {
        let active = layer.sum(|pixel| layer.gradient(channel, pixel) * layer.activation(channel, pixel));
        active / (layer.sum(|pixel| layer.activation(channel, pixel)) + 1e-7)
    })
}
