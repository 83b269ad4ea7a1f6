//! Relative output stability (Agarwal et al. 2022): the largest relative change of the map over noisy copies that keep the
//! class, for the change of the logits: `|(a - a_k) / a| / max(|h(x) - h(x_k)|, eps)`.
//!
//! Cost: an explanation and a forward pass per copy.

use super::relative_stability::{PARAMETERS, RelativeStability, Under};
use super::{Better, Entry, Family, Wants};

pub(super) const ENTRY: Entry = Entry {
    name: "relative-output-stability",
    aliases: &["ros"],
    family: Family::Robustness,
    summary: "the largest relative change of the map for a change of the logits, over noisy copies",
    paper: "Agarwal et al. 2022",
    better: Better::Lower,
    wants: Wants::Nothing,
    parameters: PARAMETERS,
    build: |params| RelativeStability::build(params, Under::Output),
};
