//! Relative representation stability (Agarwal et al. 2022): the largest relative change of the map over noisy copies that keep
//! the class, for the relative change of a layer's values: `|(a - a_k) / a| / max(|(L - L_k) / L|, eps)`.
//!
//! Cost: an explanation, a forward pass and a pass that reads the layer per copy, and one more of these.

use super::relative_stability::{PARAMETERS, RelativeStability, Under};
use super::{Better, Entry, Family, Wants};
use crate::params::{Parameter, Params};

pub(super) const ENTRY: Entry = Entry {
    name: "relative-representation-stability",
    aliases: &["rrs"],
    family: Family::Robustness,
    summary: "the largest relative change of the map for one of a layer's values, over noisy copies",
    paper: "Agarwal et al. 2022",
    better: Better::Lower,
    wants: Wants::Nothing,
    parameters: &[PARAMETERS[0], PARAMETERS[1], PARAMETERS[2], PARAMETERS[3], LAYER],
    build: |params| RelativeStability::build(params, Under::Layer(layer_of(params))),
};

/// Which layer.
pub(super) const LAYER: Parameter =
    Parameter { name: "layer", default: "last", help: "the layer: the last that Grad-CAM can look at, or a name" };

/// The parameter `layer`.
pub(super) fn layer_of(params: &Params) -> Option<String> {
    Some(params.text("layer")).filter(|name| !name.is_empty() && *name != "last").map(str::to_string)
}
