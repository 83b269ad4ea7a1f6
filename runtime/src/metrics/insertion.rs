//! Insertion (Petsiuk et al. 2018): the area under the class's probability while pixels of the input are put into its blurred
//! copy, the most important first. The copy is blurred as their program does.
//!
//! Cost: a forward pass per step, and one.

use super::curves::{Area, PROBABILITY, STEP, Steps, TOLERANCE};
use super::{Better, Entry, Family, Wants};
use crate::baseline;
use crate::params::Parameter;

pub(super) const ENTRY: Entry = Entry {
    name: "insertion",
    aliases: &["insertion-auc"],
    family: Family::Faithfulness,
    summary: "the area under the probability while the most important pixels come into a blurred image",
    paper: "Petsiuk et al. 2018",
    better: Better::Higher,
    wants: Wants::Nothing,
    parameters: &[STEP, Parameter { default: "rise", ..baseline::OF_METRICS }, PROBABILITY, TOLERANCE],
    build: |params| Ok(Box::new(Area { steps: Steps::parse(params)?, inserts: true })),
};
