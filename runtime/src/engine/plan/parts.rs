//! Buffers that are parts of others: what is joined or cut along the channels lies where it is, and nothing moves.

use std::collections::HashMap;

use super::arena::BufferId;
use super::run::Step;

/// Which buffers are parts, of which, and from which float on.
#[derive(Default)]
pub struct Parts(HashMap<BufferId, (BufferId, usize)>);

impl Parts {
    /// Says that a buffer is part of another.
    pub fn put(&mut self, part: BufferId, whole: BufferId, from: usize) {
        self.0.insert(part, (whole, from));
    }

    /// The buffer that is part of no other, and where in it a buffer begins.
    pub fn whole(&self, id: BufferId) -> (BufferId, usize) {
        match self.0.get(&id) {
            Some(&(whole, from)) => {
                let (whole, at) = self.whole(whole);
                (whole, at + from)
            }
            None => (id, 0),
        }
    }

    /// Whether some buffer is part of this one.
    pub fn has_parts(&self, id: BufferId) -> bool {
        self.0.values().any(|&(whole, _)| whole == id)
    }

    /// All parts.
    pub fn all(&self) -> impl Iterator<Item = BufferId> {
        self.0.keys().copied()
    }

    /// Whether a buffer can still be made part of another: a single step writes it, and it is none yet.
    pub fn is_free(&self, id: BufferId, steps: &[Step]) -> bool {
        !self.0.contains_key(&id) && steps.iter().filter(|s| s.writes.contains(&id)).count() == 1
    }
}
