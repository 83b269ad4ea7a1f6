//! What is to be derived, and what is.

use crate::onnx::{Facts, Graph};

use super::composite::{self, Composite};
use super::head::Head;
use super::settings::Settings;
use super::target::Score;

/// What to derive.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The rules in force.
    pub composite: &'static Composite,
    /// Intermediate values to hand out with their gradients.
    pub taps: Vec<String>,
    /// Whether the implicit bias of every op that has one is handed out too, times the cotangent of what the op writes.
    pub implicit_biases: bool,
    /// Whether the gradient with respect to the input is wanted; without it the walk stops at the taps.
    pub input_gradient: bool,
    /// The output explained; the first by default.
    pub output: Option<String>,
    /// What of a class is explained.
    pub score: Score,
    /// The numbers that rules go by.
    pub settings: Settings,
}

impl Default for Spec {
    fn default() -> Self {
        Spec {
            composite: &composite::GRADIENT,
            taps: vec![],
            implicit_biases: false,
            input_gradient: true,
            output: None,
            score: Score::Logit,
            settings: Settings::default(),
        }
    }
}

/// The names under which a tapped value and its gradient are handed out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TapOutputs {
    /// The tapped value.
    pub layer: String,
    /// The output that is its value.
    pub value: String,
    /// The output that is its gradient.
    pub gradient: String,
}

/// A graph that computes the forward outputs and the gradients.
#[derive(Clone, Debug)]
pub struct GradientGraph {
    /// The graph; its functions are ours.
    pub graph: Graph,
    /// Types of its inputs and outputs.
    pub facts: Facts,
    /// The forward input that is explained.
    pub input: String,
    /// The input that is the cotangent of the logits.
    pub seed: String,
    /// The input that is the baseline, for composites of differences.
    pub baseline: Option<String>,
    /// The output that is explained.
    pub logits: String,
    /// The output that is the gradient with respect to the input.
    pub input_gradient: Option<String>,
    /// In the order asked for; then the implicit biases, which are both the value and the gradient.
    pub taps: Vec<TapOutputs>,
    /// The rules it was made with.
    pub composite: String,
    /// Nodes on the path whose derivative is zero: name and op.
    pub flat: Vec<(String, String)>,
    /// How many nodes a rule of the composite was applied to.
    pub ruled: usize,
    /// What makes a probability of a score.
    pub head: Head,
    /// How many Relu are Softplus in it.
    pub softened: usize,
    /// Of rules that tell apart what adds and what takes: of how many functions they could, and of how many there are.
    pub apart: Option<(usize, usize)>,
}
