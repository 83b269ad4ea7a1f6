//! Guided backpropagation (Springenberg et al. 2014): the gradient under the `guided` composite.

use super::{Entry, Method, Needs, Outcome, Parameter, Properties, Task};
use crate::attribution::Attribution;
use crate::error::Result;
use crate::gradient::composite::{Composite, GUIDED, GUIDED_RECTIFIERS};

pub(super) const ENTRY: Entry = Entry {
    name: "guided-backprop",
    aliases: &["guided"],
    summary: "the gradient, passing only positive cotangents through each Relu",
    paper: "Springenberg et al. 2014",
    properties: Properties { complete: false, linear_exact: true, stochastic: false, signed: true },
    parameters: &[Parameter {
        name: "ops",
        default: "relu",
        help: "ops the rule holds for: relu, or rectifiers (Clip, LeakyRelu and PRelu too)",
    }],
    build: |params| match params.text("ops") {
        "relu" => Ok(Box::new(GuidedBackprop(&GUIDED))),
        "rectifiers" => Ok(Box::new(GuidedBackprop(&GUIDED_RECTIFIERS))),
        _ => Err(params.refuse("ops", "relu or rectifiers")),
    },
};

struct GuidedBackprop(&'static Composite);

impl Method for GuidedBackprop {
    fn needs(&self) -> Needs {
        Needs { composite: self.0, layer: false }
    }

    fn explain(&self, task: &mut Task) -> Result<Outcome> {
        let signal = task.gradient_at(task.input)?.input.to_vec();
        Ok(Outcome::of(Attribution::features(signal, task.session.input_shape())))
    }
}
