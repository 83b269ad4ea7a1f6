//! Saliency (Baehrens et al. 2010, Simonyan et al. 2013): `A = |df/dx|`.
//!
//! Map: the input's shape, never negative. Cost: one gradient.

use super::{Entry, Family, Local, Properties};
use crate::gradient::composite::GRADIENT;

pub(super) const ENTRY: Entry = Entry {
    name: "saliency",
    aliases: &[],
    family: Family::Gradient,
    summary: "the size of the gradient",
    paper: "Baehrens et al. 2010",
    properties: Properties { complete: false, linear_exact: false, stochastic: false, signed: false },
    parameters: &[],
    build: |_| Ok(Box::new(Local { map: |gradient, _| gradient.abs(), reads_input: false, composite: &GRADIENT })),
};
