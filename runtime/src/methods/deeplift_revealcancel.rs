//! DeepLIFT with the RevealCancel rule (Shrikumar et al. 2017): as [`super::deeplift_rescale`], but behind layers with weights
//! what adds to a value and what takes from it have multipliers of their own, so that contributions which cancel are seen.
//!
//! For a Relu `s` with parts `d+` and `d-` of its input's difference, `dy+ = (s(z' + d+) - s(z') + s(z' + d+ + d-) -
//! s(z' + d-)) / 2`, and `dy-` likewise; the multiplier of each part is `m dy / d`. Map and cost: those of the Rescale
//! rule.

use super::deeplift_rescale::DeepLift;
use super::{Entry, Family, Parameter, Properties};
use crate::baseline::{self, Baseline};
use crate::gradient::composite::{REVEAL_CANCEL, REVEAL_CANCEL_DENSE};

pub(super) const ENTRY: Entry = Entry {
    name: "deeplift-revealcancel",
    aliases: &["revealcancel"],
    family: Family::Decomposition,
    summary: "deeplift with what adds to a value and what takes from it told apart",
    paper: "Shrikumar et al. 2017",
    properties: Properties { complete: true, linear_exact: true, stochastic: false, signed: true },
    parameters: &[
        Parameter {
            name: "layers",
            default: "all",
            help: "behind which layers they are told apart: all, or dense as in the paper's genomics, with slopes elsewhere",
        },
        baseline::PARAMETER,
    ],
    build: |params| {
        let composite = match params.text("layers") {
            "all" => &REVEAL_CANCEL,
            "dense" => &REVEAL_CANCEL_DENSE,
            _ => return Err(params.refuse("layers", "all or dense")),
        };
        Ok(Box::new(DeepLift { composite, baseline: Baseline::parse(params)? }))
    },
};
