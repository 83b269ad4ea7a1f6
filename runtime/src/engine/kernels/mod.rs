//! Kernels: arithmetic on slices. They know nothing of graphs.
//!
//! Images lie in blocks of sixteen channels, `[channel / 16][row][column][16]`.
#![allow(unsafe_code)]

pub mod across;
pub mod chain;
pub mod conv;
pub mod depthwise;
pub mod functions;
pub mod layout;
pub mod left;
pub mod lines;
mod links;
pub mod matmul;
pub mod moves;
pub mod narrow;
pub mod norm;
pub mod peak;
pub mod phase;
mod polynomials;
pub mod pool;
pub mod product;
pub mod reach;
pub mod resample;
pub mod row_grads;
pub mod rows;
pub mod stored;
mod strip;
pub mod sums;
mod tile;
mod transforms;
pub mod winograd;
