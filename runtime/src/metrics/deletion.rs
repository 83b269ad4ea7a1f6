//! Deletion (Petsiuk et al. 2018): the area under the class's probability while pixels are set to zero, the most important
//! first.
//!
//! Cost: a forward pass per step, and one.

use super::curves::{Area, PROBABILITY, STEP, Steps, TOLERANCE};
use super::{Better, Entry, Family, Wants};
use crate::baseline;

pub(super) const ENTRY: Entry = Entry {
    name: "deletion",
    aliases: &["deletion-auc"],
    family: Family::Faithfulness,
    summary: "the area under the probability while the most important pixels are deleted",
    paper: "Petsiuk et al. 2018",
    better: Better::Lower,
    wants: Wants::Nothing,
    parameters: &[STEP, baseline::OF_METRICS, PROBABILITY, TOLERANCE],
    build: |params| Ok(Box::new(Area { steps: Steps::parse(params)?, inserts: false })),
};
