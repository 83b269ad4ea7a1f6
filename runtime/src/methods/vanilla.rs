//! Vanilla gradient (Simonyan, Vedaldi and Zisserman 2013): `A = df/dx`, signed.
//!
//! Map: the input's shape, in the target's unit per unit of input. Cost: one gradient.

use super::{Entry, Family, Local, Properties};
use crate::gradient::composite::GRADIENT;

pub(super) const ENTRY: Entry = Entry {
    name: "vanilla",
    aliases: &["gradient"],
    family: Family::Gradient,
    summary: "the gradient of the target",
    paper: "Simonyan et al. 2013",
    properties: Properties { complete: false, linear_exact: true, stochastic: false, signed: true },
    parameters: &[],
    build: |_| Ok(Box::new(Local { map: |gradient, _| gradient, reads_input: false, composite: &GRADIENT })),
};
