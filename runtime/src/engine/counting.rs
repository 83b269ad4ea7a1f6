//! A session that counts the passes of another.

use super::session::{Gradient, Make, Passes, Session, Take, Tap};
use crate::error::Result;

/// Is told the passes taken so far, after each.
pub type Watcher<'a> = Box<dyn FnMut(Passes) + Send + 'a>;

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

    /// Counts from zero again.
    pub fn reset(&mut self) {
        self.passes = Passes::default();
    }
}

impl<S: Session> Session for Counting<'_, S> {
    fn input_shape(&self) -> &[usize] {
        self.inner.input_shape()
    }

    fn set_baseline(&mut self, baseline: &[f32]) -> Result<()> {
        self.inner.set_baseline(baseline)
    }

    fn forward(&mut self, input: &[f32]) -> Result<&[f32]> {
        let logits = self.inner.forward(input)?;
        self.passes.forward += 1;
        tell(&mut self.watcher, self.passes);
        Ok(logits)
    }

    fn gradient(&mut self, input: &[f32], seed: &[f32]) -> Result<Gradient<'_>> {
        let gradient = self.inner.gradient(input, seed)?;
        self.passes.gradient += 1;
        tell(&mut self.watcher, self.passes);
        Ok(gradient)
    }

    fn gradients(&mut self, seed: &[f32], count: usize, make: Make, take: Take) -> Result<()> {
        let (passes, watcher) = (&mut self.passes, &mut self.watcher);
        self.inner.gradients(seed, count, make, &mut |i, gradient| {
            passes.gradient += 1;
            tell(watcher, *passes);
            take(i, gradient)
        })
    }

    fn tap(&self, index: usize) -> Option<Tap<'_>> {
        self.inner.tap(index)
    }
}

fn tell(watcher: &mut Option<Watcher>, passes: Passes) {
    if let Some(watcher) = watcher {
        watcher(passes);
    }
}
