//! Gradient x input (Shrikumar et al. 2016): `A = x * df/dx`. Complete only for networks without biases.
//!
//! Map: the input's shape, in the target's unit. Cost: one gradient.

use super::{Entry, Family, Local, Properties};
use crate::gradient::composite::GRADIENT;

pub(super) const ENTRY: Entry = Entry {
    name: "gradient-x-input",
    aliases: &["input-x-gradient", "gxi"],
    family: Family::Gradient,
    summary: "the gradient times the input",
    paper: "Shrikumar et al. 2016",
    properties: Properties { complete: false, linear_exact: true, stochastic: false, signed: true },
    parameters: &[],
    build: |_| Ok(Box::new(Local { map: |gradient, x| gradient * x, reads_input: true, composite: &GRADIENT })),
};
