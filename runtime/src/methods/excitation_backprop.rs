//! Excitation backpropagation (Zhang et al. 2016): the probability that a random walk from the target backwards, along
//! excitatory weights and active units only, passes each place of a layer.
//!
//! Map: height by width of the input, enlarged from the layer's, where it adds up to one, less what dead ends hold. Cost: one
//! gradient with two products for each of a layer.

use super::cam::{Cam, PARAMETERS, PROPERTIES};
use super::{Entry, Family};
use crate::gradient::composite::EXCITATION;

pub(super) const ENTRY: Entry = Entry {
    name: "excitation-backprop",
    aliases: &["ebp"],
    family: Family::Decomposition,
    summary: "where a walk backwards along excitatory weights passes a layer",
    paper: "Zhang et al. 2016",
    properties: PROPERTIES,
    parameters: PARAMETERS,
    build: |params| Cam::under(&EXCITATION, params, |layer| layer.over_channels(|c, pixel| layer.gradient(c, pixel))),
};
