//! Runs graphs with tract. tract's types stay in here.

mod counting;
mod operators;
mod session;
mod tract_session;

pub use counting::{Counting, Watcher};
pub use operators::TractOperators;
pub use session::{Gradient, Passes, Session, Tap};
pub use tract_session::TractSession;
