//! A session that counts the passes of another, times them, and keeps to a limit.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use super::session::{Gradient, Make, Passes, Session, Take, Tap};
use crate::error::Result;
use crate::onnx::WeightNoise;
pub use whyline_stream::budget::Stop;
use whyline_stream::budget::{Left, Pace, State};

/// Is told the passes taken so far, after each.
pub type Watcher<'a> = Box<dyn FnMut(Passes) + Send + 'a>;

/// Until when passes are taken.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limit {
    /// Passes of both kinds together.
    pub passes: Option<u64>,
    /// No pass that would end later is begun.
    pub deadline: Option<Instant>,
    /// Set by somebody who wants no more.
    pub interrupt: Option<&'static AtomicBool>,
}

/// Counts what methods ask for.
pub struct Counting<'a, S> {
    inner: S,
    meter: Meter,
    watcher: Option<Watcher<'a>>,
}

/// What has been taken of a limit.
#[derive(Clone, Debug, Default)]
struct Meter {
    passes: Passes,
    /// Passes of all sessions that share the limit.
    spent: Arc<AtomicU64>,
    limit: Limit,
    /// Of a gradient with what the method makes of the one before it.
    pace: Pace,
    /// When the latest gradient was handed over.
    handed: Option<Instant>,
}

/// One of them.
const GRADIENT: Passes = Passes { forward: 0, gradient: 1 };

impl<'a, S: Session> Counting<'a, S> {
    /// Counts from zero.
    pub fn new(inner: S) -> Self {
        Counting { inner, meter: Meter::default(), watcher: None }
    }

    /// The session whose passes were counted.
    pub fn into_inner(self) -> S {
        self.inner
    }

    /// The passes since the last reset.
    pub fn passes(&self) -> Passes {
        self.meter.passes
    }

    /// Keeps to one limit of passes together with another session.
    pub fn share_limit(&mut self, other: &Counting<'a, S>) {
        self.meter.spent = other.meter.spent.clone();
    }

    /// Tells `watcher` of every pass from now on.
    pub fn watch(&mut self, watcher: Watcher<'a>) {
        self.watcher = Some(watcher);
    }

    /// Counts from zero again, up to a limit.
    pub fn reset(&mut self, limit: Limit) {
        (self.meter.passes, self.meter.limit, self.meter.handed) = (Passes::default(), limit, None);
        self.meter.spent.store(0, Ordering::Relaxed);
    }

    /// Forgets how long passes have taken.
    pub fn forget_pace(&mut self) {
        self.meter.pace = Pace::default();
    }

    /// What the method has made of the latest gradient is a part of it, as where another one follows.
    pub fn settle(&mut self) {
        if let Some(handed) = self.meter.handed.take() {
            let latest = self.meter.pace.gradient();
            self.meter.pace.took_gradient(latest + handed.elapsed().as_secs_f64());
        }
    }

    /// Seconds that so many passes take, as passes have taken lately.
    pub fn seconds(&self, passes: Passes) -> f64 {
        self.meter.pace.seconds(passes.forward, passes.gradient)
    }

    /// Of passes and time, what is going to say so first, if anything is.
    pub fn nearest(&self) -> Option<Stop> {
        self.meter.pace.nearest(&self.meter.left())
    }

    /// What says that there is no room for another gradient, if anything does.
    pub fn stop(&self) -> Option<Stop> {
        self.meter.stop()
    }
}

impl Meter {
    /// Of the limit.
    fn left(&self) -> Left {
        let spent = self.spent.load(Ordering::Relaxed);
        let seconds = |deadline: Instant| deadline.saturating_duration_since(Instant::now()).as_secs_f64();
        Left {
            passes: self.limit.passes.map(|most| most.saturating_sub(spent)),
            seconds: self.limit.deadline.map(seconds),
            interrupted: self.limit.interrupt.is_some_and(|flag| flag.load(Ordering::Relaxed)),
        }
    }

    fn stop(&self) -> Option<Stop> {
        match self.pace.state(&self.left()) {
            State::Stop(stop) => Some(stop),
            State::Go(_) => None,
        }
    }

    /// A forward pass is over that began with `start`.
    fn forward(&mut self, start: Instant) {
        self.pace.took_forward(start.elapsed().as_secs_f64());
        self.count(Passes { forward: 1, gradient: 0 });
    }

    fn count(&mut self, more: Passes) {
        self.passes = self.passes.plus(more);
        self.spent.fetch_add(more.all(), Ordering::Relaxed);
    }

    /// A gradient has been handed over, whose making began with `start`, and which had so many seconds of it before.
    fn lap(&mut self, start: Instant, before: f64) {
        let now = Instant::now();
        self.pace.took_gradient(before + (now - start).as_secs_f64());
        self.handed = Some(now);
    }
}

impl<S: Session> Session for Counting<'_, S> {
    fn input_shape(&self) -> &[usize] {
        self.inner.input_shape()
    }

    fn perturb_weights(&mut self, noise: Option<WeightNoise>) -> Result<()> {
        // It is a part of the gradient that follows.
        self.meter.handed.get_or_insert_with(Instant::now);
        self.inner.perturb_weights(noise)
    }

    fn spend(&mut self, passes: u64) {
        self.meter.spent.fetch_add(passes, Ordering::Relaxed);
    }

    fn threads(&self) -> usize {
        self.inner.threads()
    }

    fn room(&self) -> u64 {
        match self.meter.pace.state(&self.meter.left()) {
            State::Stop(_) => 0,
            State::Go(room) => room,
        }
    }

    fn is_prepared(&self, input: &[f32]) -> bool {
        self.inner.is_prepared(input)
    }

    fn set_baseline(&mut self, baseline: &[f32]) -> Result<()> {
        self.inner.set_baseline(baseline)
    }

    fn forward(&mut self, input: &[f32]) -> Result<&[f32]> {
        let start = Instant::now();
        let logits = self.inner.forward(input)?;
        self.meter.forward(start);
        tell(&mut self.watcher, self.meter.passes);
        Ok(logits)
    }

    fn prepare(&mut self, input: &[f32]) -> Result<&[f32]> {
        let start = Instant::now();
        let logits = self.inner.prepare(input)?;
        self.meter.forward(start);
        tell(&mut self.watcher, self.meter.passes);
        Ok(logits)
    }

    fn gradient(&mut self, input: &[f32], seed: &[f32]) -> Result<Gradient<'_>> {
        let start = self.meter.handed.unwrap_or_else(Instant::now);
        // The forward part was taken before.
        let before = if self.inner.is_prepared(input) { self.meter.pace.forward() } else { 0.0 };
        let gradient = self.inner.gradient(input, seed)?;
        self.meter.lap(start, before);
        self.meter.count(GRADIENT);
        tell(&mut self.watcher, self.meter.passes);
        Ok(gradient)
    }

    fn gradients(&mut self, seed: &[f32], count: usize, make: Make, take: Take) -> Result<()> {
        let threads = self.inner.threads().max(1);
        let mut lap = self.meter.handed.unwrap_or_else(Instant::now);
        let (meter, watcher) = (&mut self.meter, &mut self.watcher);
        self.inner.gradients(seed, count, make, &mut |i, gradient| {
            meter.count(GRADIENT);
            tell(watcher, meter.passes);
            let flow = take(i, gradient)?;
            // Threads hand over one result each in the time of a pass.
            if (i + 1) % threads == 0 {
                meter.lap(lap, 0.0);
                lap = Instant::now();
            }
            Ok(if meter.stop().is_some() { ControlFlow::Break(()) } else { flow })
        })
    }

    fn forwards(&mut self, count: usize, make: Make, take: Take) -> Result<()> {
        let threads = self.inner.threads().max(1);
        let mut lap = Instant::now();
        let (meter, watcher) = (&mut self.meter, &mut self.watcher);
        self.inner.forwards(count, make, &mut |i, pass| {
            let flow = take(i, pass)?;
            match (i + 1) % threads {
                0 => {
                    meter.forward(lap);
                    lap = Instant::now();
                }
                _ => meter.count(Passes { forward: 1, gradient: 0 }),
            }
            tell(watcher, meter.passes);
            Ok(if meter.stop().is_some() { ControlFlow::Break(()) } else { flow })
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
