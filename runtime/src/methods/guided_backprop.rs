//! Guided backpropagation (Springenberg et al. 2014): the gradient under the `guided` composite.
//!
//! Through each Relu passes `R_below = R_above [R_above > 0] [z > 0]`, through all else the true gradient. Map: the
//! input's shape, signed. Cost: one gradient.

use super::{Entry, Family, Local, Parameter, Properties};
use crate::gradient::composite::{GUIDED, GUIDED_RECTIFIERS};

pub(super) const ENTRY: Entry = Entry {
    name: "guided-backprop",
    aliases: &["guided"],
    family: Family::Gradient,
    summary: "the gradient, passing only positive cotangents through each Relu",
    paper: "Springenberg et al. 2014",
    properties: Properties { complete: false, linear_exact: true, stochastic: false, signed: true },
    parameters: &[Parameter {
        name: "ops",
        default: "relu",
        help: "ops the rule holds for: relu, or rectifiers (Clip, LeakyRelu and PRelu too)",
    }],
    build: |params| {
        let composite = match params.text("ops") {
            "relu" => &GUIDED,
            "rectifiers" => &GUIDED_RECTIFIERS,
            _ => return Err(params.refuse("ops", "relu or rectifiers")),
        };
        Ok(Box::new(Local { map: |signal, _| signal, reads_input: false, composite }))
    },
};
