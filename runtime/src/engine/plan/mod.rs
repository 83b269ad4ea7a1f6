//! A graph lowered to a flat list of kernel steps over one arena.
//!
//! [`planner`] walks the graph once and emits steps; elementwise nodes wait until somebody wants their value, so
//! that they end up in one chain, or as the epilogue of the kernel whose result they begin with. [`arena`] then
//! gives every buffer its place.

mod absorb;
mod activations;
pub mod arena;
mod bands;
mod builder;
mod chains;
mod convert;
mod dense;
mod elementwise;
mod even;
mod fallback;
mod finish;
mod fold_scales;
mod geometry;
mod in_place;
mod incremental;
mod indexing;
mod masks;
mod packs;
mod parts;
mod planner;
mod pooling;
mod products;
mod recipes;
mod resample;
mod row_grads;
mod rows;
mod run;
mod shapes;
mod slopes;
mod trunk;
mod truth;
mod values;
mod views;

pub use bands::Bands;
pub use even::{Even, apart_from};
pub use fold_scales::fold_scales;
pub use packs::Packs;
pub use planner::{make_plan, unpaired};
pub use recipes::pair_folds;
pub use run::{Numbers, Plan, StepReport};
pub use slopes::{Slopes, hoist_slopes};
pub use trunk::{Reads, Trunk};
