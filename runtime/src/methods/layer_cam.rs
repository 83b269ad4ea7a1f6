//! LayerCAM (Jiang et al. 2021): `L = relu(sum over k of max(G^k, 0) A^k)`, place by place; it suits early layers too.
//!
//! Map: height by width, never negative unless `relu=false`. Cost: one gradient, down to the layer.

use super::cam::{Cam, Layer, PARAMETERS, PROPERTIES};
use super::{Entry, Family};

pub(super) const ENTRY: Entry = Entry {
    name: "layer-cam",
    aliases: &["layercam"],
    family: Family::Cam,
    summary: "a layer's activations times their own positive gradients",
    paper: "Jiang et al. 2021",
    properties: PROPERTIES,
    parameters: PARAMETERS,
    build: |params| Cam::build(params, map),
};

fn map(layer: &Layer) -> Vec<f64> {
    layer.over_channels(|channel, pixel| layer.gradient(channel, pixel).max(0.0) * layer.activation(channel, pixel))
}
