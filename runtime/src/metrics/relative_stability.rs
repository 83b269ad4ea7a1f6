//! What relative stabilities (Agarwal et al. 2022) have in common: the largest relative change of the map over noisy copies that keep the class, for
//! the relative change of the input, `|(a - a_k) / a| / max(|(x - x_k) / x|, eps)`, or for the change of the logits,
//! `|(a - a_k) / a| / max(|h(x) - h(x_k)|, eps)`. What is divided by is at least `floor` of the largest, so that dead features
//! do not decide alone.
//!
//! Cost: an explanation and a forward pass per copy.

use super::neighbours::{DRAWS, Neighbours, RADIUS, SEED, distance, largest};
use super::{Cost, Grid, Metric, Sample, Score, Undefined};
use crate::error::Result;
use crate::gradient::target::top_class;
use crate::params::{Parameter, Params};

/// The least that is divided by.
const FLOOR: Parameter =
    Parameter { name: "floor", default: "1e-6", help: "the least that is divided by, as a share of the largest" };

/// The parameters of both.
pub(super) const PARAMETERS: &[Parameter] = &[DRAWS, RADIUS, FLOOR, SEED];

/// Both metrics.
pub(super) struct RelativeStability {
    neighbours: Neighbours,
    floor: f64,
    of_output: bool,
}

/// The least that a change is divided by.
const LEAST: f64 = 1e-6;

impl RelativeStability {
    /// For changes of the logits, or of the input.
    pub fn build(params: &Params, of_output: bool) -> Result<Box<dyn Metric>> {
        let (neighbours, floor) = (Neighbours::parse(params)?, params.size("floor")?);
        Ok(Box::new(RelativeStability { neighbours, floor, of_output }))
    }

    /// `|(a - b) / a|`
    fn relative(&self, a: &[f32], b: &[f32]) -> f64 {
        let floor = self.floor * a.iter().fold(0.0, |most: f64, v| most.max(v.abs() as f64));
        let part = |(a, b): (&f32, &f32)| ((*a as f64 - *b as f64) / (*a as f64).abs().max(floor)).powi(2);
        a.iter().zip(b).filter(|(a, b)| a != b).map(part).sum::<f64>().sqrt()
    }
}

impl Metric for RelativeStability {
    fn cost(&self, _: &Grid) -> Cost {
        Cost { forward: self.neighbours.draws.into(), explanations: self.neighbours.draws.into() }
    }

    fn measure(&self, sample: &mut Sample) -> Result<Score> {
        let mut changes = vec![];
        for number in 0..self.neighbours.draws {
            let copy = self.neighbours.copy(sample, number);
            let mut logits = vec![];
            sample.subject.forwards(1, &|_, point: &mut [f32]| point.copy_from_slice(&copy), &mut |_, pass| {
                logits = pass.logits.to_vec();
                Ok(std::ops::ControlFlow::Continue(()))
            })?;
            if top_class(&logits) != top_class(sample.logits) {
                continue;
            }
            let map = sample.subject.explain(&copy, sample.class)?;
            let under = match self.of_output {
                true => distance(sample.logits, &logits),
                false => self.relative(sample.input, &copy),
            };
            changes.push(self.relative(sample.map, &map) / under.max(LEAST));
        }
        Ok(largest(changes.into_iter()).map_err(|_| Undefined::ClassChanged))
    }
}
