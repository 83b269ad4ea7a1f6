//! Which rule holds for which op of a model.

use super::adjoints;
use super::rules::{self, Rule};
use super::site::AdjointFn;

/// An assignment of rules to ops: the first rule that covers an op holds; ops that none covers pass their
/// true gradient.
#[derive(Debug)]
pub struct Composite {
    /// As the command line and records name it.
    pub name: &'static str,
    /// One line for people.
    pub summary: &'static str,
    /// In order of precedence.
    pub rules: &'static [&'static Rule],
}

/// Every composite.
pub const COMPOSITES: &[&Composite] = &[&GRADIENT, &GUIDED, &GUIDED_RECTIFIERS, &DECONVNET];

/// The true gradient everywhere.
pub const GRADIENT: Composite = Composite { name: "gradient", summary: "the true gradient everywhere", rules: &[] };

/// Guided backpropagation (Springenberg et al. 2014), on Relu alone.
pub const GUIDED: Composite = Composite {
    name: "guided",
    summary: "positive cotangents only, through every Relu",
    rules: &[&rules::guided::RELU],
};

/// Guided backpropagation on Clip, LeakyRelu and PRelu too.
pub const GUIDED_RECTIFIERS: Composite = Composite {
    name: "guided-rectifiers",
    summary: "positive cotangents only, through every Relu, Clip, LeakyRelu and PRelu",
    rules: &[&rules::guided::RELU, &rules::guided::RECTIFIERS],
};

/// Deconvnet (Zeiler and Fergus 2014).
pub const DECONVNET: Composite = Composite {
    name: "deconvnet",
    summary: "positive cotangents only, through every Relu, whatever its activation",
    rules: &[&rules::deconvnet::RELU],
};

impl Composite {
    /// The composite of this name.
    pub fn named(name: &str) -> Option<&'static Composite> {
        COMPOSITES.iter().find(|c| c.name == name).copied()
    }

    /// What is appended for an op: a rule's form or the adjoint; `None` where there is neither.
    pub fn adjoint(&self, op: &str) -> Option<AdjointFn> {
        self.rule(op).or_else(|| adjoints::find(op))
    }

    /// The form that one of this composite's rules gives an op.
    pub fn rule(&self, op: &str) -> Option<AdjointFn> {
        self.rules.iter().flat_map(|rule| rule.covers).find(|(name, _)| *name == op).map(|(_, f)| *f)
    }
}
