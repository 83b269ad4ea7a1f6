//! Layer-wise relevance propagation (Bach et al. 2015): the target's value passed backwards so that its sum stays the same,
//! but for what biases and `epsilon` absorb, which is the map's completeness gap.
//!
//! The rules are in `gradient/rules/`; by default z-plus in convolutions, epsilon in dense layers, flat in the first.
//! Map: the input's shape, in the target's unit. Cost: one gradient with up to four products for each of a layer.

use super::path::outcome;
use super::{Entry, Family, Method, Needs, Outcome, Parameter, Properties, Task};
use crate::error::{Error, Result};
use crate::gradient::Settings;
use crate::gradient::composite::{self, Composite, Kind, Start};

/// The composites by the names that zennit gives them.
const COMPOSITES: &[&Composite] = &[
    &composite::EPSILON,
    &composite::GAMMA,
    &composite::ALPHA_BETA,
    &composite::Z_PLUS,
    &composite::FLAT,
    &composite::W_SQUARED,
    &composite::Z_BOX,
    &composite::EPSILON_PLUS,
    &composite::EPSILON_PLUS_FLAT,
    &composite::EPSILON_ALPHA_BETA,
    &composite::EPSILON_ALPHA_BETA_FLAT,
    &composite::EPSILON_GAMMA_BOX,
];

pub(super) const ENTRY: Entry = Entry {
    name: "lrp",
    aliases: &[],
    family: Family::Decomposition,
    summary: "the target's value, passed backwards as relevance whose sum stays the same",
    paper: "Bach et al. 2015",
    properties: Properties { complete: false, linear_exact: false, stochastic: false, signed: true },
    parameters: &[
        Parameter {
            name: "rules",
            default: "epsilon-plus-flat",
            help: "epsilon, gamma, alpha-beta, z-plus, flat, w-squared, z-box, epsilon-plus, epsilon-plus-flat, \
                   epsilon-alpha2-beta1, epsilon-alpha2-beta1-flat, or epsilon-gamma-box",
        },
        Parameter {
            name: "epsilon",
            default: "1e-6",
            help: "what the epsilon rule adds to a layer's outputs, which weak contributions come to nothing beside",
        },
        Parameter { name: "gamma", default: "0.25", help: "how much more positive weights count in the gamma rule" },
        Parameter {
            name: "alpha",
            default: "2",
            help: "how much positive contributions count in the alpha-beta rule; negative ones count alpha - 1",
        },
    ],
    build: |params| {
        let named = COMPOSITES.iter().find(|c| c.name == params.text("rules"));
        let names: Vec<&str> = COMPOSITES.iter().map(|c| c.name).collect();
        let composite = named.ok_or_else(|| params.refuse("rules", &format!("one of {}", names.join(", "))))?;
        let alpha = params.size("alpha")? as f32;
        if alpha < 1.0 {
            return Err(params.refuse("alpha", "at least 1"));
        }
        let (epsilon, gamma) = (params.size("epsilon")? as f32, params.size("gamma")? as f32);
        if epsilon == 0.0 {
            return Err(params.refuse("epsilon", "above zero: relevance is divided by sums that may be zero"));
        }
        let settings = Settings { epsilon, gamma, alpha, ..Settings::default() };
        Ok(Box::new(Relevance { needs: Needs { settings, ..Needs::of(composite) } }))
    },
};

/// A method whose map is the relevance that comes to the input.
pub(super) struct Relevance {
    /// Whose rules it goes by.
    pub needs: Needs,
}

impl Method for Relevance {
    fn needs(&self) -> Needs {
        self.needs.clone()
    }

    fn wants_one_class(&self) -> bool {
        self.needs.composite.kind == Kind::Relevance(Start::PositiveLogit)
    }

    fn explain(&self, task: &mut Task) -> Result<Outcome> {
        let (input, seed) = (task.input, task.seed);
        // Where what is positive of a score is passed backwards, what speaks against a class is no relevance.
        let composite = self.needs.composite;
        if self.wants_one_class() && seed.iter().any(|s| *s < 0.0) {
            let name = composite.name;
            let reason = format!("{name} explains a class, not how far it is ahead of another; leave --against out");
            return Err(Error::usage(reason));
        }
        let pass = task.gradient_at(input)?;
        let (relevance, value) = (pass.input.iter().map(|&r| r as f64).collect::<Vec<_>>(), pass.target(seed));
        Ok(outcome(task, &relevance, value))
    }
}
