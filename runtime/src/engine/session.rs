//! A prepared model: what methods call, and all they know of it.

use std::ops::ControlFlow;

use crate::error::{Error, Result};
use crate::onnx::WeightNoise;

/// A tapped value and its gradient.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tap<'a> {
    /// The value's extents.
    pub shape: &'a [usize],
    /// The value.
    pub value: &'a [f32],
    /// The derivative of the target with respect to it.
    pub gradient: &'a [f32],
}

/// What one gradient pass gives, until the next pass.
#[derive(Clone, Copy, Debug, Default)]
pub struct Gradient<'a> {
    /// All components that could be explained.
    pub logits: &'a [f32],
    /// The derivative with respect to the input; empty where the session was made without.
    pub input: &'a [f32],
}

impl Gradient<'_> {
    /// The target, for the cotangent `seed`.
    pub fn target(&self, seed: &[f32]) -> f64 {
        self.logits.iter().zip(seed).map(|(l, s)| *l as f64 * *s as f64).sum()
    }
}

/// Writes the point of a number.
pub type Make<'a> = &'a (dyn Fn(usize, &mut [f32]) + Sync);

/// Is handed the gradient at the point of a number, and says whether the next one is wanted.
pub type Take<'a> = &'a mut (dyn FnMut(usize, Gradient<'_>) -> Result<ControlFlow<()>> + Send);

/// What sessions say whose graph takes no differences.
pub(super) const NO_BASELINE: &str = "the gradient graph has no baseline; it was made with another composite";

/// What sessions say whose weights stay as they are.
pub(super) const FIXED_WEIGHTS: &str =
    "the session's weights can't be perturbed; prepare the method from the forward model";

/// How many passes of a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Passes {
    /// Forward alone.
    pub forward: u64,
    /// Forward and backward.
    pub gradient: u64,
}

impl Passes {
    /// Of both.
    pub fn plus(self, other: Passes) -> Passes {
        let [forward, gradient] =
            [(self.forward, other.forward), (self.gradient, other.gradient)].map(|(a, b)| a.saturating_add(b));
        Passes { forward, gradient }
    }

    /// Both kinds together.
    pub fn all(self) -> u64 {
        self.forward.saturating_add(self.gradient)
    }

    /// So many times as many.
    pub fn times(self, count: u64) -> Passes {
        let [forward, gradient] = [self.forward, self.gradient].map(|passes| passes.saturating_mul(count));
        Passes { forward, gradient }
    }
}

/// A model ready to run, with its input's shape fixed.
///
/// Implementations wrap each other: a session that counts, delays or fails lets budgets be tested without
/// clocks.
pub trait Session {
    /// Extents of the input.
    fn input_shape(&self) -> &[usize];

    /// The logits of `input`. One forward pass.
    fn forward(&mut self, input: &[f32]) -> Result<&[f32]>;

    /// The logits of `input`, where gradients there are likely to be wanted next: those that follow at once at the same
    /// input need not compute them again. One forward pass.
    fn prepare(&mut self, input: &[f32]) -> Result<&[f32]> {
        self.forward(input)
    }

    /// Whether a gradient at `input` would go without the forward part.
    fn is_prepared(&self, _input: &[f32]) -> bool {
        false
    }

    /// Sets what differences are taken from, in the input's shape, for a graph whose composite passes multipliers of
    /// differences; its gradients are multipliers.
    fn set_baseline(&mut self, _baseline: &[f32]) -> Result<()> {
        Err(Error::usage(NO_BASELINE))
    }

    /// Puts noise on the model's weights for the passes that follow; none gives them their own values back.
    fn perturb_weights(&mut self, _noise: Option<WeightNoise>) -> Result<()> {
        Err(Error::usage(FIXED_WEIGHTS))
    }

    /// Passes that run at a time in [`Session::gradients`].
    fn threads(&self) -> usize {
        1
    }

    /// Passes that the budget still has room for.
    fn room(&self) -> u64 {
        u64::MAX
    }

    /// Counts passes that did not have to be taken: they are spent of the budget all the same.
    fn spend(&mut self, _passes: u64) {}

    /// The logits, and the gradients of `seed . logits`. One gradient pass.
    fn gradient(&mut self, input: &[f32], seed: &[f32]) -> Result<Gradient<'_>>;

    /// The gradients of `seed . logits` at `count` points: `make` writes the point of a number, `take` is handed
    /// the gradients one after the other, in the points' order, until it wants no more. As many gradient passes; several at
    /// a time where the session has threads, of which those that are under way when it breaks off come to nothing. Fewer
    /// where the budget has no more room, but one at least.
    fn gradients(&mut self, seed: &[f32], count: usize, make: Make, take: Take) -> Result<()> {
        let mut point = vec![0.0; self.input_shape().iter().product()];
        for i in 0..count {
            make(i, &mut point);
            if take(i, self.gradient(&point, seed)?)?.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// The logits at `count` points, handed over as [`Session::gradients`] does it, with no gradient. As many forward passes.
    fn forwards(&mut self, count: usize, make: Make, take: Take) -> Result<()> {
        let mut point = vec![0.0; self.input_shape().iter().product()];
        for i in 0..count {
            make(i, &mut point);
            if take(i, Gradient { logits: self.forward(&point)?, input: &[] })?.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// What the latest pass, which must have been a gradient pass, left at a tap, by its place in the order asked
    /// for.
    fn tap(&self, index: usize) -> Option<Tap<'_>>;
}
