//! Rectified gradient (Kim et al. 2019): at each Relu only cotangents pass whose product with the activation is among the
//! layer's largest; the result times the input.
//!
//! Through each Relu with output `a` passes `R_below = R_above [a R_above > tau]`, with `tau` the 98th percentile of `a
//! R_above` over the layer. Map: the input's shape, signed. Cost: one gradient, and a selection per layer.

use super::{Entry, Family, Local, Method, Needs, Outcome, Parameter, Properties, Task};
use crate::error::Result;
use crate::gradient::Settings;
use crate::gradient::composite::RECTIFIED;

pub(super) const ENTRY: Entry = Entry {
    name: "rectgrad",
    aliases: &["rectified-gradient"],
    family: Family::Gradient,
    summary: "the gradient, passing each Relu only where it matters most, times the input",
    paper: "Kim et al. 2019",
    properties: Properties { complete: false, linear_exact: true, stochastic: false, signed: true },
    parameters: &[Parameter {
        name: "percentile",
        default: "98",
        help: "share of each layer's products of activation and cotangent that pass nothing, from 0 to below 100",
    }],
    build: |params| {
        let percentile = params.size("percentile")? as f32;
        if percentile >= 100.0 {
            return Err(params.refuse("percentile", "below 100"));
        }
        Ok(Box::new(RectGrad { percentile }))
    },
};

struct RectGrad {
    percentile: f32,
}

const TIMES_INPUT: Local = Local { map: |signal, x| signal * x, reads_input: true, composite: &RECTIFIED };

impl Method for RectGrad {
    fn needs(&self) -> Needs {
        Needs { settings: Settings { percentile: self.percentile, ..Settings::default() }, ..Needs::of(&RECTIFIED) }
    }

    fn local(&self) -> Option<Local> {
        Some(TIMES_INPUT)
    }

    fn explain(&self, task: &mut Task) -> Result<Outcome> {
        TIMES_INPUT.explain(task)
    }
}
