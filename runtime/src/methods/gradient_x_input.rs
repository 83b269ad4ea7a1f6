//! Gradient x input (Shrikumar et al. 2016): `A = x * df/dx`. Complete only for networks without biases.

use super::{Entry, Method, Outcome, Properties, Task};
use crate::attribution::Attribution;
use crate::error::Result;

pub(super) const ENTRY: Entry = Entry {
    name: "gradient-x-input",
    aliases: &["input-x-gradient", "gxi"],
    summary: "the gradient times the input",
    paper: "Shrikumar et al. 2016",
    properties: Properties { complete: false, linear_exact: true, stochastic: false, signed: true },
    parameters: &[],
    build: |_| Ok(Box::new(GradientXInput)),
};

struct GradientXInput;

impl Method for GradientXInput {
    fn explain(&self, task: &mut Task) -> Result<Outcome> {
        let input = task.input;
        let gradient = task.gradient_at(input)?.input;
        let products = gradient.iter().zip(input).map(|(g, x)| g * x).collect();
        Ok(Outcome::of(Attribution::features(products, task.session.input_shape())))
    }
}
