//! Runs graphs: plans of our kernels over one arena, and tract for what they do not cover. tract's types stay in
//! here.

mod counting;
mod kernels;
mod operators;
#[cfg(feature = "ort")]
pub mod ort_session;
mod plan;
mod plan_session;
mod plans;
mod precision;
mod remembering;
mod repeats;
mod resources;
mod runner;
mod session;
mod tract_session;
mod turns;

pub use crate::simd::Isa;
pub use counting::{Counting, Limit, Stop, Watcher};
pub use kernels::peak::peak_flops;
pub use operators::{PlanOperators, TractOperators, Types};
pub use plan::arena::Spare;
pub use plan::{Bands, Packs, Reads, StepReport};
pub use plan_session::PlanSession;
pub use plans::{Halves, Plans};
pub use precision::Precision;
pub use remembering::{Remembered, Remembering};
pub use resources::{Engine, Memory, Resources};
pub use runner::{Reweigh, Runner};
pub use session::{Gradient, Make, Passes, Session, Take, Tap};
pub use tract_session::{Device, TractSession};
