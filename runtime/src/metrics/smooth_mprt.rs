//! Smooth model parameter randomisation (Hedstrom et al. 2023): as [`super::mprt`], but what is compared are the means of the
//! maps over noisy copies of the input and the input itself, so that the noise of single gradients does not pass for a change.
//!
//! Cost: for every stage and once more, an explanation per copy.

use super::mprt::{MODELS, Models, Mprt, ORDER, STAGES, order_of};
use super::neighbours::{Neighbours, SEED};
use super::{Better, Entry, Family, Wants};
use crate::params::Parameter;

pub(super) const ENTRY: Entry = Entry {
    name: "smooth-mprt",
    aliases: &["smprt"],
    family: Family::Randomisation,
    summary: "how much the mean map of noisy copies stays the same while the model's layers are randomised",
    paper: "Hedstrom et al. 2023",
    better: Better::Lower,
    wants: Wants::Nothing,
    parameters: &[
        STAGES,
        Parameter { default: "bottom-up", ..ORDER },
        MODELS,
        Parameter { name: "draws", default: "10", help: "inputs whose maps are averaged: noisy copies, and the input" },
        Parameter { name: "sigma", default: "0.1", help: "deviation of the noise, as a share of the input's range" },
        SEED,
    ],
    build: |params| {
        let (stages, order) = (params.whole("stages", 1, 10_000)? as usize, order_of(params)?);
        let copies = Some(Neighbours::parse(params)?);
        Ok(Box::new(Mprt { stages, order, models: Models::parse(params)?, copies }))
    },
};
