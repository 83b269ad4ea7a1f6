//! DeepLIFT with the Rescale rule (Shrikumar et al. 2017): `A = (x - x') * m`, where the multipliers `m` pass backwards as
//! slopes from the baseline `x'`. Products, attention and normalisations are taken apart, so that the map adds up.
//!
//! By default from zeros. Map: the input's shape, in the target's unit; it adds up to `f(x) - f(x')`. Cost: one
//! gradient of a graph that computes both forward passes, and a forward pass.

use super::path::outcome;
use super::{Entry, Extents, Family, Method, Needs, Outcome, Passes, Properties, Task};
use crate::baseline::{self, Baseline};
use crate::error::Result;
use crate::gradient::composite::{Composite, RESCALE};

pub(super) const ENTRY: Entry = Entry {
    name: "deeplift-rescale",
    aliases: &["deeplift"],
    family: Family::Decomposition,
    summary: "slopes from a baseline, passed backwards, times the input's difference",
    paper: "Shrikumar et al. 2017",
    properties: Properties { complete: true, linear_exact: true, stochastic: false, signed: true },
    parameters: &[baseline::PARAMETER],
    build: |params| Ok(Box::new(DeepLift { composite: &RESCALE, baseline: Baseline::parse(params)? })),
};

/// Multipliers of some composite times the input's difference.
pub(super) struct DeepLift {
    pub composite: &'static Composite,
    pub baseline: Baseline,
}

impl Method for DeepLift {
    fn needs(&self) -> Needs {
        Needs::of(self.composite)
    }

    fn passes(&self, _model: Extents) -> Passes {
        Passes { forward: 1, gradient: 1 }
    }

    fn explain(&self, task: &mut Task) -> Result<Outcome> {
        let baseline = self.baseline.values(&task.origin())?;
        task.session.set_baseline(&baseline)?;
        let (input, seed) = (task.input, task.seed);
        let pass = task.gradient_at(input)?;
        let value = pass.target(seed);
        let differences = input.iter().zip(&baseline).map(|(&x, &b)| x as f64 - b as f64);
        let map: Vec<f64> = pass.input.iter().zip(differences).map(|(&m, difference)| m as f64 * difference).collect();
        let difference = value - task.target_at(&baseline)?;
        Ok(outcome(task, &map, difference))
    }
}
