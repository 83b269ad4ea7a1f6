//! Shared by methods that look for inputs of other classes: the model's own view of an input, and where inputs may lie.

use super::Task;
use crate::error::Result;
use crate::gradient::Bounds;
use crate::gradient::head::Head;

/// What a model gives an input.
pub(super) struct Scores {
    logits: Vec<f32>,
    head: Head,
}

impl Scores {
    /// One forward pass.
    pub fn at(task: &mut Task, input: &[f32]) -> Result<Scores> {
        Ok(Scores { logits: task.session.forward(input)?.to_vec(), head: task.head })
    }

    /// The same, where gradients follow.
    pub fn before(task: &mut Task, input: &[f32]) -> Result<Scores> {
        Ok(Scores { logits: task.session.prepare(input)?.to_vec(), head: task.head })
    }

    /// The class with the largest score among those that compete with one.
    pub fn winner(&self, class: usize) -> usize {
        self.head.winner(&self.logits, class)
    }

    /// What is decided where a class competes: which it is; of one alone, whether it is there.
    pub fn decision(&self, class: usize) -> usize {
        self.head.decision(&self.logits, class)
    }

    /// The cotangent that leads away from what is decided: to the best rival of the winner; of a score alone, to less of it where it
    /// is there, and to more where it is not.
    pub fn away(&self, class: usize) -> Vec<f32> {
        let mut seed = vec![0.0; self.logits.len()];
        let own = self.winner(class);
        match self.head.best_rival(&self.logits, own) {
            Some(rival) => (seed[rival], seed[own]) = (1.0, -1.0),
            None => seed[own] = if self.decision(own) == 1 { -1.0 } else { 1.0 },
        }
        seed
    }

    /// The probability of a class; its score where there are no probabilities.
    pub fn probability(&self, class: usize) -> f64 {
        self.head.probability(&self.logits, class).unwrap_or(self.logits[class] as f64)
    }

    /// The cotangent of the logits whose gradient is that of [`Scores::probability`].
    pub fn cotangent(&self, class: usize) -> Vec<f32> {
        self.head.cotangent(&self.logits, class)
    }
}

/// Moves values back to where inputs may lie. `shape` is the input's. What the input itself has is allowed, wherever it lies: a tensor
/// that is no picture need not keep to a card's bounds, and would else be moved by these most of all.
pub(super) fn clip(values: &mut [f32], input: &[f32], shape: &[usize], bounds: &Bounds) {
    let after: usize = shape.iter().skip(bounds.axis + 1).product();
    let channels = shape.get(bounds.axis).copied().unwrap_or(1);
    let of = |limits: &[f32], i: usize| limits[if limits.len() == channels { i / after % channels } else { 0 }];
    for (i, (v, &own)) in values.iter_mut().zip(input).enumerate() {
        *v = v.max(of(&bounds.low, i).min(own)).min(of(&bounds.high, i).max(own));
    }
}

/// The extent of what inputs may be.
pub(super) fn range(bounds: &Bounds) -> f32 {
    let high = bounds.high.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    high - bounds.low.iter().copied().fold(f32::INFINITY, f32::min)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_to_their_channels_bounds_or_to_the_inputs_own() {
        let bounds = Bounds { low: vec![0.0, -1.0], high: vec![1.0, 2.0], axis: 1 };
        let input = [0.5, 3.0, 0.0, -4.0];
        let mut values = [1.5, 3.5, -2.0, -3.0];
        clip(&mut values, &input, &[1, 2, 1, 2], &bounds);
        assert_eq!(values, [1.0, 3.0, -1.0, -3.0]);
    }
}
