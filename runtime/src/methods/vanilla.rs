//! Vanilla gradient (Simonyan, Vedaldi and Zisserman 2013): `A = df/dx`, signed.

use super::{Entry, Method, Outcome, Properties, Task};
use crate::attribution::Attribution;
use crate::error::Result;

pub(super) const ENTRY: Entry = Entry {
    name: "vanilla",
    aliases: &["gradient"],
    summary: "the gradient of the target",
    paper: "Simonyan et al. 2013",
    properties: Properties { complete: false, linear_exact: true, stochastic: false, signed: true },
    parameters: &[],
    build: |_| Ok(Box::new(Vanilla)),
};

struct Vanilla;

impl Method for Vanilla {
    fn explain(&self, task: &mut Task) -> Result<Outcome> {
        let gradient = task.gradient_at(task.input)?.input.to_vec();
        Ok(Outcome::of(Attribution::features(gradient, task.session.input_shape())))
    }
}
