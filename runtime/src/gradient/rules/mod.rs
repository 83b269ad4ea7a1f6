//! How relevance passes one op backwards, where that is not the true gradient. One file per rule.

pub mod deconvnet;
pub mod guided;

use super::site::AdjointFn;

/// A rule: the ops it covers, and what it appends for each.
#[derive(Debug)]
pub struct Rule {
    /// Its name.
    pub name: &'static str,
    /// Op and form.
    pub covers: &'static [(&'static str, AdjointFn)],
}

/// Every rule.
pub const RULES: &[&Rule] = &[&deconvnet::RELU, &guided::RELU, &guided::RECTIFIERS];
