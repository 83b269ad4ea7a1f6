//! A graph lowered to a flat list of kernel steps over one arena.
//!
//! [`planner`] walks the graph once and emits steps; elementwise nodes wait until somebody wants their value, so
//! that they end up in one chain, or as the epilogue of the kernel whose result they begin with. [`arena`] then
//! gives every buffer its place.

pub mod arena;
mod dense;
mod elementwise;
mod fallback;
mod planner;
mod pooling;
mod products;
mod rows;
mod run;
mod shapes;
mod values;

pub use elementwise::pair_folds;
pub use planner::{Packs, make_plan, unpaired};
pub use run::{Plan, StepReport};
