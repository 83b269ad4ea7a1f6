//! A session that counts the passes of another.

use super::session::{Gradient, Passes, Session};
use crate::error::Result;

/// Is told the passes taken so far, after each.
pub type Watcher<'a> = Box<dyn FnMut(Passes) + 'a>;

/// Counts what methods ask for.
pub struct Counting<'a, S> {
    inner: S,
    passes: Passes,
    watcher: Option<Watcher<'a>>,
}

impl<'a, S: Session> Counting<'a, S> {
    /// Counts from zero.
    pub fn new(inner: S) -> Self {
        Counting { inner, passes: Passes::default(), watcher: None }
    }

    /// The passes since the last reset.
    pub fn passes(&self) -> Passes {
        self.passes
    }

    /// Tells `watcher` of every pass from now on.
    pub fn watch(&mut self, watcher: Watcher<'a>) {
        self.watcher = Some(watcher);
    }

    fn tell(&mut self) {
        if let Some(watcher) = &mut self.watcher {
            watcher(self.passes);
        }
    }

    /// Counts from zero again.
    pub fn reset(&mut self) {
        self.passes = Passes::default();
    }
}

impl<S: Session> Session for Counting<'_, S> {
    fn input_shape(&self) -> &[usize] {
        self.inner.input_shape()
    }

    fn forward(&mut self, input: &[f32]) -> Result<Vec<f32>> {
        let logits = self.inner.forward(input)?;
        self.passes.forward += 1;
        self.tell();
        Ok(logits)
    }

    fn gradient(&mut self, input: &[f32], seed: &[f32]) -> Result<Gradient> {
        let gradient = self.inner.gradient(input, seed)?;
        self.passes.gradient += 1;
        self.tell();
        Ok(gradient)
    }
}
