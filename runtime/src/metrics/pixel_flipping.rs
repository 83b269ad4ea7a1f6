//! Pixel flipping (Bach et al. 2015): the mean output while features are flipped to the other end of the input's range, or
//! replaced by another baseline, the most relevant first. The curve begins with the input itself, and its axis is the share of features replaced, so that scores of images of different
//! sizes can be compared.
//!
//! Cost: a forward pass per step, and one.

use super::curves::{Area, ORDER, PROBABILITY, STEP, Steps, TOLERANCE};
use super::{Better, Entry, Family, Wants};
use crate::baseline;
use crate::params::Parameter;

pub(super) const ENTRY: Entry = Entry {
    name: "pixel-flipping",
    aliases: &[],
    family: Family::Faithfulness,
    summary: "the mean probability while pixels are flipped, the most relevant first",
    paper: "Bach et al. 2015",
    better: Better::Lower,
    wants: Wants::Nothing,
    parameters: &[STEP, ORDER, Parameter { default: "max-distance", ..baseline::OF_METRICS }, PROBABILITY, TOLERANCE],
    build: |params| Ok(Box::new(Area { steps: Steps::parse(params)?, inserts: false })),
};
