//! Saliency (Baehrens et al. 2010, Simonyan et al. 2013): `A = |df/dx|`.

use super::{Entry, Method, Outcome, Properties, Task};
use crate::attribution::Attribution;
use crate::error::Result;

pub(super) const ENTRY: Entry = Entry {
    name: "saliency",
    aliases: &[],
    summary: "the size of the gradient",
    paper: "Baehrens et al. 2010",
    properties: Properties { complete: false, linear_exact: false, stochastic: false, signed: false },
    parameters: &[],
    build: |_| Ok(Box::new(Saliency)),
};

struct Saliency;

impl Method for Saliency {
    fn explain(&self, task: &mut Task) -> Result<Outcome> {
        let sizes = task.gradient_at(task.input)?.input.iter().map(|g| g.abs()).collect();
        Ok(Outcome::of(Attribution::features(sizes, task.session.input_shape())))
    }
}
