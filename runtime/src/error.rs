//! Every error the runtime can give: what is wrong, where, and what to do about it.

use std::path::PathBuf;

/// The result of a runtime call.
pub type Result<T> = std::result::Result<T, Error>;

/// Who has to act on an error; the command line maps each kind to an exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An argument or parameter is not one that exists or fits.
    Usage,
    /// The model file can't be read, checked, differentiated or run.
    Model,
    /// The input image or tensor doesn't fit the model.
    Input,
    /// The work asked for doesn't fit the budget.
    Budget,
}

/// A node on the path from the input to the target that can't be differentiated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The node's name in the file.
    pub node: String,
    /// Its op type, with the domain where that is not the standard one.
    pub op: String,
    /// The value through which the path to the input is cut.
    pub cut_at: String,
    /// Why: no adjoint at all, or an attribute that the adjoint does not cover.
    pub reason: String,
}

/// What went wrong. The fields are what the message tells.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum Error {
    /// A file can't be read.
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    /// A file can't be written; nothing was left behind.
    #[error("cannot write {}: {source}", path.display())]
    Write { path: PathBuf, source: std::io::Error },
    /// The bytes are not an ONNX model.
    #[error("{model} is not a usable ONNX model: {reason}")]
    NotOnnx { model: String, reason: String },
    /// The graph is malformed.
    #[error("the model's graph is malformed: {reason}")]
    Graph { reason: String },
    /// A node is malformed, or tract can't type or run it.
    #[error("node '{node}' ({op}): {reason}")]
    Node { node: String, op: String, reason: String },
    /// A tensor stored in the model can't be used.
    #[error("tensor '{tensor}': {reason}")]
    Tensor { tensor: String, reason: String },
    /// Ops that this build can't execute.
    #[error("{}", list_unknown(nodes))]
    UnknownOps { nodes: Vec<Gap> },
    /// Nodes on the path from target to input without an adjoint.
    #[error("{}", list_gaps(gaps))]
    NoAdjoint { gaps: Vec<Gap> },
    /// The model has no scalar that could be explained, or no input that could be.
    #[error("{reason}")]
    NoTarget { reason: String },
    /// tract could not prepare or run a graph.
    #[error("tract could not {action}: {reason}")]
    Engine { action: &'static str, reason: String },
    /// Another engine, to be compared with, could not do its part.
    #[error("ONNX Runtime could not {action}: {reason}")]
    OtherEngine { action: &'static str, reason: String },
    /// A graph could not be made a plan.
    #[error("could not make a plan of the model: {reason}")]
    Plan { reason: String },
    /// The model card is not valid.
    #[error("model card {source_name}: {reason}")]
    Card { source_name: String, reason: String },
    /// An input file is not an image or tensor that can be used.
    #[error("{}: {reason}", path.display())]
    Input { path: PathBuf, reason: String },
    /// An input's values or shape do not fit.
    #[error("the input {reason}")]
    BadInput { reason: String },
    /// The target named is not one of the model's.
    #[error("{reason}")]
    Target { reason: String },
    /// No such method, parameter, rule, layer, or a value out of range.
    #[error("{reason}")]
    Usage { reason: String },
    /// The work does not fit the budget.
    #[error("{reason}")]
    Budget { reason: String },
}

impl Error {
    /// Who has to act on it.
    pub fn kind(&self) -> Kind {
        match self {
            Error::Usage { .. } | Error::Target { .. } | Error::Write { .. } => Kind::Usage,
            Error::Input { .. } | Error::BadInput { .. } => Kind::Input,
            Error::Budget { .. } => Kind::Budget,
            _ => Kind::Model,
        }
    }

    pub(crate) fn graph(reason: impl Into<String>) -> Error {
        Error::Graph { reason: reason.into() }
    }

    pub(crate) fn usage(reason: impl Into<String>) -> Error {
        Error::Usage { reason: reason.into() }
    }

    pub(crate) fn bad_input(reason: impl Into<String>) -> Error {
        Error::BadInput { reason: reason.into() }
    }

    pub(crate) fn tensor(tensor: &str, reason: impl Into<String>) -> Error {
        Error::Tensor { tensor: tensor.to_string(), reason: reason.into() }
    }
}

fn list_unknown(nodes: &[Gap]) -> String {
    let mut text = format!("{} of the model's nodes can't be executed by this build:", nodes.len());
    for gap in nodes {
        text += &format!("\n  {} ({}): {}", gap.node, gap.op, gap.reason);
    }
    text
}

fn list_gaps(gaps: &[Gap]) -> String {
    let mut text = format!(
        "{} node{} between the target and the input can't be differentiated:",
        gaps.len(),
        if gaps.len() == 1 { "" } else { "s" }
    );
    for gap in gaps {
        text +=
            &format!("\n  {} ({}) cuts the path to the input at '{}': {}", gap.node, gap.op, gap.cut_at, gap.reason);
    }
    text + "\nexplain another output (--output), or replace these nodes when exporting the model"
}
