//! How relevance passes one op backwards, where that is not the true gradient. One file per rule.

pub mod alpha_beta;
pub mod attention;
pub mod deconvnet;
pub mod epsilon;
pub mod gamma;
pub mod guided;
mod linear;
pub mod rectified;
pub mod rescale;
pub mod rescale_max;
pub mod rescale_norm;
mod reuse;
pub mod reveal_cancel;
pub mod weights_only;
pub mod z_box;

use super::site::AdjointFn;

/// A rule: the ops it covers, and what it appends for each.
#[derive(Debug)]
pub struct Rule {
    /// Its name.
    pub name: &'static str,
    /// Op and form, in lists that several rules may share.
    pub covers: &'static [&'static [(&'static str, AdjointFn)]],
}

impl Rule {
    /// What it appends for an op, if it covers that.
    pub fn form(&self, op: &str) -> Option<AdjointFn> {
        self.covers.iter().flat_map(|list| list.iter()).find(|(name, _)| *name == op).map(|(_, form)| *form)
    }
}
