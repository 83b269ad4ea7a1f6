//! From a forward graph to its gradient graph.
//!
//! [`differentiate`] walks the forward nodes backwards and appends nodes; the result is an ordinary ONNX
//! graph. What is appended for an op is its adjoint ([`adjoints`]), unless the [`Composite`] in force has a
//! rule for that op ([`rules`]).

pub mod adjoints;
pub mod biases;
mod canonical;
pub mod composite;
pub mod coverage;
mod differentiate;
mod emit;
pub mod functions;
mod graph;
pub mod head;
mod implicit;
mod known;
pub mod layers;
mod over;
pub mod ready_made;
pub mod rules;
mod settings;
mod site;
mod soften;
pub mod target;
mod twin;
mod walk;

pub use composite::{COMPOSITES, Composite};
pub use differentiate::{differentiate, sole_input};
pub use emit::Emit;
pub use graph::{GradientGraph, Spec, TapOutputs};
pub use over::over_places;
pub use settings::{Bounds, Settings};
pub use site::{AdjointFn, Refusal, Site};

/// Names of the inputs and outputs that a gradient graph adds, and of its metadata.
pub mod names {
    /// All names that a gradient graph adds begin so.
    pub const PREFIX: &str = "why.";
    /// Input: the cotangent of the logits.
    pub const SEED: &str = "why.seed";
    /// Input: the baseline, where differences from one are passed backwards.
    pub const BASELINE: &str = "why.baseline";
    /// Prefix of what is computed for the baseline.
    pub const REFERENCE: &str = "why.reference.";
    /// Output: the logits, where the file's own output is a Softmax of them.
    pub const LOGITS: &str = "why.logits";
    /// Output: the probabilities, where they are explained.
    pub const PROBABILITIES: &str = "why.probabilities";
    /// Behind the name of scores of places: their means by class.
    pub const OVER_PLACES: &str = " over places";
    /// Output prefix: the gradient with respect to an input or tap.
    pub const GRAD: &str = "why.grad.";
    /// Output prefix: the value of a tap.
    pub const VALUE: &str = "why.value.";
    /// Output prefix: the implicit bias of what writes a value, times the value's gradient.
    pub const IMPLICIT: &str = "why.implicit.";
    /// Metadata: version of this layout of a gradient graph.
    pub const FORMAT: &str = "why.format";
    /// The layout that this build writes and reads.
    pub const FORMAT_VERSION: &str = "1";
    /// Metadata prefix: where the channels of a tap are, `nchw` or `nhwc`.
    pub const TAP_LAYOUT: &str = "why.layout.";
    /// Metadata: the composite that the graph was made with.
    pub const COMPOSITE: &str = "why.composite";
    /// Metadata: what half precision does to maps of this model, as JSON.
    pub const HALVES: &str = "why.f16";
    /// Metadata: SHA-256 of the forward model's file.
    pub const SOURCE: &str = "why.source_sha256";
    /// Metadata: the value whose components are explained.
    pub const TARGET: &str = "why.target";
    /// Metadata: which places the scores are means over, as JSON.
    pub const OVER: &str = "why.over";
    /// Metadata: the model card.
    pub const CARD: &str = "why.card";
}
