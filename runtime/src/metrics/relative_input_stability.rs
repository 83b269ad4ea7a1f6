//! Relative input stability (Agarwal et al. 2022): the largest relative change of the map over noisy copies that keep the
//! class, for the relative change of the input: `|(a - a_k) / a| / max(|(x - x_k) / x|, eps)`.
//!
//! Cost: an explanation and a forward pass per copy.

use super::relative_stability::{PARAMETERS, RelativeStability, Under};
use super::{Better, Entry, Family, Wants};

pub(super) const ENTRY: Entry = Entry {
    name: "relative-input-stability",
    aliases: &["ris"],
    family: Family::Robustness,
    summary: "the largest relative change of the map for one of the input, over noisy copies",
    paper: "Agarwal et al. 2022",
    better: Better::Lower,
    wants: Wants::Nothing,
    parameters: PARAMETERS,
    build: |params| RelativeStability::build(params, Under::Input),
};
