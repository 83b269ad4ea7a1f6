//! What relative stabilities (Agarwal et al. 2022) have in common: the largest relative change of the map over
//! noisy copies that keep the class, for the relative change of the input, `|(a - a_k) / a| / max(|(x - x_k) / x|, eps)`, or
//! for the change of the logits, `|(a - a_k) / a| / max(|h(x) - h(x_k)|, eps)`, or for the relative change of a layer's
//! values. What is divided by is at least `floor` of the largest, so that dead features do not decide alone.
//!
//! Cost: an explanation and a forward pass per copy.

use super::neighbours::{DRAWS, Neighbours, RADIUS, SEED, largest};
use super::{Cost, Grid, Metric, Model, Observer, Sample, Score, Undefined};
use crate::error::Result;
use crate::params::{Parameter, Params};
use crate::values::distance;

/// The least that is divided by.
const FLOOR: Parameter =
    Parameter { name: "floor", default: "1e-6", help: "the least that is divided by, as a share of the largest" };

/// The parameters of all.
pub(super) const PARAMETERS: &[Parameter] = &[DRAWS, RADIUS, FLOOR, SEED];

/// All three metrics.
pub(super) struct RelativeStability {
    pub neighbours: Neighbours,
    pub divisors: Divisors,
    pub under: Under,
}

/// What is done where what is divided by is near zero, and where a copy changes the class.
pub(super) enum Divisors {
    /// Divisors are at least this share of the largest; copies that change the class are passed over.
    Floor(f64),
    /// Noughts alone are replaced; there is no score where a copy changes the class (Quantus).
    Nought,
}

/// Whose change the map's is divided by.
pub(super) enum Under {
    /// The relative one of the input.
    Input,
    /// That of the logits.
    Output,
    /// The relative one of the values of a layer: the last that can be looked at, or the one named.
    Layer(Option<String>),
}

/// The least that a change is divided by, or what stands for nought.
const LEAST: f64 = 1e-6;

impl RelativeStability {
    /// For changes of one thing.
    pub fn build(params: &Params, under: Under) -> Result<Box<dyn Observer>> {
        let (neighbours, divisors) = (Neighbours::parse(params)?, Divisors::Floor(params.size("floor")?));
        Ok(Box::new(RelativeStability { neighbours, divisors, under }))
    }

    /// `|(a - b) / a|`
    fn relative(&self, a: &[f32], b: &[f32]) -> f64 {
        let floor = match self.divisors {
            Divisors::Floor(share) => share * a.iter().fold(0.0, |most: f64, v| most.max(v.abs() as f64)),
            Divisors::Nought => 0.0,
        };
        let divisor = |a: f32| if a == 0.0 { floor.max(self.nought()) } else { (a as f64).abs().max(floor) };
        let part = |(a, b): (&f32, &f32)| ((*a as f64 - *b as f64) / divisor(*a)).powi(2);
        // From a nought that is positive: a sum of nothing is not.
        a.iter().zip(b).filter(|(a, b)| a != b).map(part).fold(0.0, |sum, part| sum + part).sqrt()
    }

    fn nought(&self) -> f64 {
        if matches!(self.divisors, Divisors::Nought) { LEAST } else { 0.0 }
    }
}

impl Metric for RelativeStability {
    fn cost(&self, _: &Grid) -> Cost {
        let draws = u64::from(self.neighbours.draws);
        let reads = if matches!(self.under, Under::Layer(_)) { draws + 1 } else { 0 };
        Cost { forward: draws + reads, explanations: draws }
    }

    fn admits(&self, model: &Model) -> Result<()> {
        model.must_choose()?;
        match &self.under {
            Under::Layer(layer) => (model.layer)(layer.as_deref()),
            _ => Ok(()),
        }
    }

    fn measure(&self, sample: &mut Sample) -> Result<Score> {
        if let Some(reason) = self.neighbours.refuses(sample) {
            return Ok(Err(reason));
        }
        let layer = match &self.under {
            Under::Layer(layer) => Some(layer.as_deref()),
            _ => None,
        };
        let own = layer.map(|layer| sample.subject.representation(sample.input, layer)).transpose()?;
        let mut changes = vec![];
        for number in 0..self.neighbours.draws {
            let copy = self.neighbours.copy(sample, number);
            let logits = sample.logits_at(&copy)?;
            if sample.head.decision(&logits, sample.explained.class) != sample.decision() {
                match self.divisors {
                    Divisors::Floor(_) => continue,
                    Divisors::Nought => return Ok(Err(Undefined::ClassChanged)),
                }
            }
            let map = sample.subject.explain(&copy, sample.explained)?;
            let under = match (&self.under, &own) {
                (Under::Output, _) => distance(sample.logits, &logits),
                (Under::Layer(layer), Some(own)) => {
                    self.relative(own, &sample.subject.representation(&copy, layer.as_deref())?)
                }
                _ => self.relative(sample.input, &copy),
            };
            let under = match self.divisors {
                Divisors::Floor(_) => under.max(LEAST),
                Divisors::Nought if under == 0.0 => LEAST,
                Divisors::Nought => under,
            };
            changes.push(self.relative(sample.map, &map) / under);
        }
        Ok(largest(changes.into_iter()).map_err(|_| Undefined::ClassChanged))
    }
}
