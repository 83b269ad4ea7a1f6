//! Runs graphs with tract. tract's types stay in here.

mod counting;
mod kernels;
mod operators;
mod plan;
mod plan_session;
mod session;
mod simd;
mod tract_session;

pub use counting::{Counting, Watcher};
pub use operators::TractOperators;
pub use plan::StepReport;
pub use plan_session::PlanSession;
pub use session::{Gradient, Passes, Session, Tap};
pub use simd::Isa;
pub use tract_session::TractSession;
