//! Which rule holds for which op of a model.

use super::adjoints;
use super::rules::{self, Rule};
use super::site::AdjointFn;

/// An assignment of rules to ops: the first rule that covers an op holds.
#[derive(Debug)]
pub struct Composite {
    /// As the command line and records name it.
    pub name: &'static str,
    /// One line for people.
    pub summary: &'static str,
    /// What passes backwards.
    pub kind: Kind,
    /// Holds for the linear nodes that the input reaches before any other, in place of the others.
    pub first: Option<&'static Rule>,
    /// In order of precedence.
    pub rules: &'static [&'static Rule],
    /// How the parts of a difference come to an op's output, where what adds and what takes are told apart.
    pub parts: Option<fn(&str) -> Option<AdjointFn>>,
}

/// What a composite passes backwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Cotangents. An op that no rule covers passes its true gradient.
    Gradient,
    /// Relevance, whose sum stays the same. Every op needs a rule; batch normalisations are folded into what they follow.
    Relevance(Start),
    /// Multipliers of the difference from a baseline, which is an input of the graph. Every op needs a rule.
    Difference,
}

/// The relevance that a backward pass begins with, beside the factor in its cotangent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// One.
    Unit,
    /// The logits.
    Logit,
    /// What of the logits is positive.
    PositiveLogit,
}

/// Every composite.
pub const COMPOSITES: &[&Composite] = &[
    &GRADIENT,
    &GUIDED,
    &GUIDED_RECTIFIERS,
    &DECONVNET,
    &RECTIFIED,
    &RESCALE,
    &REVEAL_CANCEL,
    &REVEAL_CANCEL_DENSE,
    &EPSILON,
    &GAMMA,
    &Z_PLUS,
    &ALPHA_BETA,
    &FLAT,
    &W_SQUARED,
    &Z_BOX,
    &EPSILON_PLUS,
    &EPSILON_PLUS_FLAT,
    &EPSILON_ALPHA_BETA,
    &EPSILON_ALPHA_BETA_FLAT,
    &EPSILON_GAMMA_BOX,
    &DEEP_TAYLOR,
    &EXCITATION,
];

/// The true gradient everywhere.
pub const GRADIENT: Composite = gradient("gradient", "the true gradient everywhere", &[]);

/// Guided backpropagation (Springenberg et al. 2014), on Relu alone.
pub const GUIDED: Composite =
    gradient("guided", "positive cotangents only, through every Relu", &[&rules::guided::RELU]);

/// Guided backpropagation on Clip, LeakyRelu and PRelu too.
pub const GUIDED_RECTIFIERS: Composite = gradient(
    "guided-rectifiers",
    "positive cotangents only, through every Relu, Clip, LeakyRelu and PRelu",
    &[&rules::guided::RELU, &rules::guided::RECTIFIERS],
);

/// Deconvnet (Zeiler and Fergus 2014).
pub const DECONVNET: Composite = gradient(
    "deconvnet",
    "positive cotangents only, through every Relu, whatever its activation",
    &[&rules::deconvnet::RELU],
);

/// Rectified gradients (Kim et al. 2019).
pub const RECTIFIED: Composite = gradient(
    "rectified",
    "cotangents through every Relu only where their product with the activation is among the largest",
    &[&rules::rectified::RELU],
);

/// DeepLIFT's Rescale rule (Shrikumar et al. 2017).
pub const RESCALE: Composite = Composite {
    name: "rescale",
    summary: "DeepLIFT: the slope from a baseline, through every op",
    kind: Kind::Difference,
    first: None,
    rules: &[
        &rules::rescale::LINEAR,
        &rules::rescale::PRODUCTS,
        &rules::rescale::ELEMENTWISE,
        &rules::rescale_max::POOL,
        &rules::rescale_norm::NORMS,
    ],
    parts: None,
};

/// DeepLIFT's RevealCancel rule (Shrikumar et al. 2017) behind every layer with weights, Rescale elsewhere.
pub const REVEAL_CANCEL: Composite = Composite {
    name: "reveal-cancel",
    summary: "DeepLIFT: what adds to a value and what takes from it told apart, behind every layer",
    parts: Some(rules::reveal_cancel::behind_layers),
    rules: REVEAL_CANCEL_RULES,
    ..RESCALE
};

/// The same behind dense layers alone.
pub const REVEAL_CANCEL_DENSE: Composite = Composite {
    name: "reveal-cancel-dense",
    summary: "DeepLIFT: what adds and what takes told apart behind dense layers, slopes elsewhere",
    parts: Some(rules::reveal_cancel::behind_dense),
    rules: REVEAL_CANCEL_RULES,
    ..RESCALE
};

const REVEAL_CANCEL_RULES: &[&Rule] = &[
    &rules::reveal_cancel::CANCEL,
    &rules::rescale::LINEAR,
    &rules::rescale::PRODUCTS,
    &rules::rescale::ELEMENTWISE,
    &rules::rescale_max::POOL,
    &rules::rescale_norm::NORMS,
];

/// Layer-wise relevance propagation (Bach et al. 2015) with the epsilon rule everywhere.
pub const EPSILON: Composite =
    relevance("epsilon", "LRP: in proportion to what was added up", None, &[&rules::epsilon::REST]);

/// LRP with the gamma rule in every layer with weights.
pub const GAMMA: Composite = relevance(
    "gamma",
    "LRP: positive weights favoured in every layer",
    None,
    &[&rules::gamma::ALL, &rules::epsilon::REST],
);

/// LRP with the z-plus rule in every layer with weights.
pub const Z_PLUS: Composite = relevance(
    "z-plus",
    "LRP: along positive contributions only",
    None,
    &[&rules::alpha_beta::Z_PLUS, &rules::epsilon::REST],
);

/// LRP with the alpha-beta rule in every layer with weights.
pub const ALPHA_BETA: Composite = relevance(
    "alpha-beta",
    "LRP: alpha times along positive contributions, less beta times along negative ones",
    None,
    &[&rules::alpha_beta::ALL, &rules::epsilon::REST],
);

/// LRP with the flat rule in every layer with weights.
pub const FLAT: Composite = relevance(
    "flat",
    "LRP: evenly over what each output reads",
    None,
    &[&rules::weights_only::FLAT, &rules::epsilon::REST],
);

/// LRP with the w-squared rule in every layer with weights.
pub const W_SQUARED: Composite = relevance(
    "w-squared",
    "LRP: by the squares of weights",
    None,
    &[&rules::weights_only::W_SQUARED, &rules::epsilon::REST],
);

/// LRP with the z-box rule in the first layers, whose inputs have bounds, and epsilon elsewhere.
pub const Z_BOX: Composite = relevance(
    "z-box",
    "LRP: z-box in the first layer, epsilon elsewhere",
    Some(&rules::z_box::ALL),
    &[&rules::epsilon::REST],
);

/// EpsilonPlus, as zennit names it.
pub const EPSILON_PLUS: Composite = relevance(
    "epsilon-plus",
    "LRP: z-plus in convolutions, epsilon in dense layers",
    None,
    &[&rules::alpha_beta::Z_PLUS_CONV, &rules::epsilon::REST],
);

/// EpsilonPlusFlat.
pub const EPSILON_PLUS_FLAT: Composite = relevance(
    "epsilon-plus-flat",
    "LRP: z-plus in convolutions, epsilon in dense layers, flat in the first",
    Some(&rules::weights_only::FLAT),
    &[&rules::alpha_beta::Z_PLUS_CONV, &rules::epsilon::REST],
);

/// EpsilonAlpha2Beta1.
pub const EPSILON_ALPHA_BETA: Composite = relevance(
    "epsilon-alpha2-beta1",
    "LRP: alpha-beta in convolutions, epsilon in dense layers",
    None,
    &[&rules::alpha_beta::CONV, &rules::epsilon::REST],
);

/// EpsilonAlpha2Beta1Flat.
pub const EPSILON_ALPHA_BETA_FLAT: Composite = relevance(
    "epsilon-alpha2-beta1-flat",
    "LRP: alpha-beta in convolutions, epsilon in dense layers, flat in the first",
    Some(&rules::weights_only::FLAT),
    &[&rules::alpha_beta::CONV, &rules::epsilon::REST],
);

/// EpsilonGammaBox.
pub const EPSILON_GAMMA_BOX: Composite = relevance(
    "epsilon-gamma-box",
    "LRP: gamma in convolutions, epsilon in dense layers, z-box in the first",
    Some(&rules::z_box::ALL),
    &[&rules::gamma::CONV, &rules::epsilon::REST],
);

/// Deep Taylor decomposition (Montavon et al. 2017) of networks of Relu.
pub const DEEP_TAYLOR: Composite = Composite {
    name: "deep-taylor",
    summary: "deep Taylor decomposition: z-plus without biases, z-box in the first layer",
    kind: Kind::Relevance(Start::PositiveLogit),
    first: Some(&rules::z_box::ALL),
    rules: &[&rules::alpha_beta::DEEP_TAYLOR, &rules::epsilon::REST],
    parts: None,
};

/// Excitation backpropagation (Zhang et al. 2016).
pub const EXCITATION: Composite = Composite {
    name: "excitation",
    summary: "excitation backpropagation: probabilities along excitatory weights",
    kind: Kind::Relevance(Start::Unit),
    first: None,
    rules: &[&rules::alpha_beta::EXCITATION, &rules::epsilon::REST],
    parts: None,
};

const fn gradient(name: &'static str, summary: &'static str, rules: &'static [&'static Rule]) -> Composite {
    Composite { name, summary, kind: Kind::Gradient, first: None, rules, parts: None }
}

const fn relevance(
    name: &'static str,
    summary: &'static str,
    first: Option<&'static Rule>,
    rules: &'static [&'static Rule],
) -> Composite {
    Composite { name, summary, kind: Kind::Relevance(Start::Logit), first, rules, parts: None }
}

impl PartialEq for Composite {
    /// Names are unique.
    fn eq(&self, other: &Composite) -> bool {
        self.name == other.name
    }
}

impl Composite {
    /// The composite of this name.
    pub fn named(name: &str) -> Option<&'static Composite> {
        COMPOSITES.iter().find(|c| c.name == name).copied()
    }

    /// What is appended for an op, `first` or not: a rule's form, or the adjoint if the composite leaves that; `None` where
    /// there is neither.
    pub fn adjoint(&self, op: &str, first: bool) -> Option<AdjointFn> {
        let own = || adjoints::find(op).filter(|_| self.kind == Kind::Gradient);
        self.first.filter(|_| first).and_then(|rule| rule.form(op)).or_else(|| self.rule(op)).or_else(own)
    }

    /// The form that one of this composite's rules gives an op.
    pub fn rule(&self, op: &str) -> Option<AdjointFn> {
        self.rules.iter().find_map(|rule| rule.form(op))
    }
}
