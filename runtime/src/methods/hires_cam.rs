//! HiResCAM (Draelos and Carin 2020): `L = relu(sum over k of G^k A^k)`, place by place, without averaging the gradient.
//!
//! Map: height by width, never negative unless `relu=false`. Cost: one gradient, down to the layer.

use super::cam::{Cam, Layer, PARAMETERS, PROPERTIES};
use super::{Entry, Family};

pub(super) const ENTRY: Entry = Entry {
    name: "hires-cam",
    aliases: &["hirescam"],
    family: Family::Cam,
    summary: "a layer's activations times their own gradients",
    paper: "Draelos and Carin 2020",
    properties: PROPERTIES,
    parameters: PARAMETERS,
    build: |params| Cam::build(params, map),
};

fn map(layer: &Layer) -> Vec<f64> {
    layer.over_channels(|channel, pixel| layer.gradient(channel, pixel) * layer.activation(channel, pixel))
}
