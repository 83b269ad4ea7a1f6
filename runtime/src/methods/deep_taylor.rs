//! Deep Taylor decomposition (Montavon et al. 2017) of networks of Relu: relevance along positive contributions, without
//! biases, and between the bounds of the pixels in the first layer. The map is never negative, and
//! adds up to the target, where that is positive, less what units without active inputs had.
//!
//! Map: the input's shape, in the target's unit. Cost: one gradient with up to three products for each of a layer.

use super::lrp::Relevance;
use super::{Entry, Family, Needs, Properties};
use crate::gradient::composite::DEEP_TAYLOR;

pub(super) const ENTRY: Entry = Entry {
    name: "deep-taylor",
    aliases: &[],
    family: Family::Decomposition,
    summary: "the target's value, passed backwards along positive contributions through a network of Relu",
    paper: "Montavon et al. 2017",
    properties: Properties { complete: false, linear_exact: false, stochastic: false, signed: false },
    parameters: &[],
    build: |_| Ok(Box::new(Relevance { needs: Needs::of(&DEEP_TAYLOR) })),
};
