//! Methods whose map is a function of one gradient and the input, element by element.

use super::{Method, Needs, Outcome, Task};
use crate::attribution::Attribution;
use crate::error::Result;
use crate::gradient::Composite;

/// Such a method.
#[derive(Clone, Copy)]
pub struct Local {
    /// Of the gradient and the input.
    pub map: fn(f32, f32) -> f32,
    /// Whether it depends on the input beside its gradient.
    pub reads_input: bool,
    /// The rules that hold in the backward pass.
    pub composite: &'static Composite,
}

impl Local {
    /// The map.
    pub fn values(&self, gradient: &[f32], input: &[f32]) -> Vec<f32> {
        gradient.iter().zip(input).map(|(&g, &x)| (self.map)(g, x)).collect()
    }
}

impl Method for Local {
    fn needs(&self) -> Needs {
        Needs::of(self.composite)
    }

    fn local(&self) -> Option<Local> {
        Some(*self)
    }

    fn explain(&self, task: &mut Task) -> Result<Outcome> {
        let input = task.input;
        let values = self.values(task.gradient_at(input)?.input, input);
        Ok(Outcome::of(Attribution::features(values, task.session.input_shape())))
    }
}
