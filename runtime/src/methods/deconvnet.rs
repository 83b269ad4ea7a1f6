//! Deconvnet (Zeiler and Fergus 2014): the gradient under the `deconvnet` composite. Max pools keep the switches of the
//! forward pass, which is their true gradient.
//!
//! Through each Relu passes `R_below = R_above [R_above > 0]`, through all else the true gradient. Map: the input's
//! shape, signed. Cost: one gradient.

use super::{Entry, Family, Local, Properties};
use crate::gradient::composite::DECONVNET;

pub(super) const ENTRY: Entry = Entry {
    name: "deconvnet",
    aliases: &["deconvolution"],
    family: Family::Gradient,
    summary: "the gradient, with each Relu applied to the cotangent in place of the activation",
    paper: "Zeiler and Fergus 2014",
    properties: Properties { complete: false, linear_exact: true, stochastic: false, signed: true },
    parameters: &[],
    build: |_| Ok(Box::new(Local { map: |signal, _| signal, reads_input: false, composite: &DECONVNET })),
};
