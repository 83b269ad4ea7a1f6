//! The adjoint of each op: what its node appends to the gradient graph. One file per family.

mod activation;
mod binary;
mod conv;
mod elementwise;
mod index;
mod linear;
pub(in crate::gradient) mod norm;
mod pool;
mod reduce;
mod resize;
mod shape;

use super::site::AdjointFn;

/// The families, each a list of (op, adjoint).
pub const ADJOINTS: &[&[(&str, AdjointFn)]] = &[
    activation::TABLE,
    binary::TABLE,
    conv::TABLE,
    elementwise::TABLE,
    index::TABLE,
    linear::TABLE,
    norm::TABLE,
    pool::TABLE,
    reduce::TABLE,
    resize::TABLE,
    shape::TABLE,
];

/// The adjoint of an op of the standard domain.
pub fn find(op: &str) -> Option<AdjointFn> {
    ADJOINTS.iter().flat_map(|family| family.iter()).find(|(name, _)| *name == op).map(|(_, adjoint)| *adjoint)
}

/// Every op that has an adjoint, by name.
pub fn covered_ops() -> Vec<&'static str> {
    let mut ops: Vec<&str> = ADJOINTS.iter().flat_map(|family| family.iter()).map(|(name, _)| *name).collect();
    ops.sort_unstable();
    ops
}
