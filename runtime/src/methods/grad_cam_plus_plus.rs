//! Grad-CAM++ (Chattopadhay et al. 2018): `L = relu(sum over k of w_k A^k)`, `w_k = sum of alpha * max(G, 0)` with
//! `alpha = G^2 / (2 G^2 + S_k G^3 + 1e-6)`, zero where `G` is, and `S_k` the sum of channel k. That is the weighing of
//! the pixels of `exp(f)`, whose derivatives of higher order are powers of the first.
//!
//! Map: height by width, never negative unless `relu=false`. Cost: one gradient, down to the layer.

use super::cam::{Cam, Layer, PARAMETERS, PROPERTIES};
use super::{Entry, Family};

pub(super) const ENTRY: Entry = Entry {
    name: "grad-cam++",
    aliases: &["gradcam++", "grad-cam-plus-plus"],
    family: Family::Cam,
    summary: "Grad-CAM whose pixels count by derivatives of higher order, so that several objects show",
    paper: "Chattopadhay et al. 2018",
    properties: PROPERTIES,
    parameters: PARAMETERS,
    build: |params| Cam::build(params, map),
};

fn map(layer: &Layer) -> Vec<f64> {
    layer.weighed(|channel| {
        let total = layer.sum(|pixel| layer.activation(channel, pixel));
        layer.sum(|pixel| {
            let g = layer.gradient(channel, pixel);
            let alpha = if g == 0.0 { 0.0 } else { g * g / (2.0 * g * g + total * g * g * g + 1e-6) };
            alpha * g.max(0.0)
        })
    })
}
