//! A session that counts the passes of another.

use super::session::{Gradient, Passes, Session};
use crate::error::Result;

/// Counts what methods ask for.
pub struct Counting<S> {
    inner: S,
    passes: Passes,
}

impl<S: Session> Counting<S> {
    /// Counts from zero.
    pub fn new(inner: S) -> Self {
        Counting { inner, passes: Passes::default() }
    }

    /// The passes since the last reset.
    pub fn passes(&self) -> Passes {
        self.passes
    }

    /// Counts from zero again.
    pub fn reset(&mut self) {
        self.passes = Passes::default();
    }
}

impl<S: Session> Session for Counting<S> {
    fn input_shape(&self) -> &[usize] {
        self.inner.input_shape()
    }

    fn forward(&mut self, input: &[f32]) -> Result<Vec<f32>> {
        self.passes.forward += 1;
        self.inner.forward(input)
    }

    fn gradient(&mut self, input: &[f32], seed: &[f32]) -> Result<Gradient> {
        self.passes.gradient += 1;
        self.inner.gradient(input, seed)
    }
}
