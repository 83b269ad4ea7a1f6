//! How maps change where the input hardly does.

use super::{Defined, Sample, Score, Undefined};
use crate::error::Result;
use crate::params::{Parameter, Params};
use crate::rng::Rng;
use crate::values::{distance, norm, range};

/// The parameters of metrics of noisy copies.
pub(super) const DRAWS: Parameter =
    Parameter { name: "draws", default: "10", help: "noisy copies that are explained; papers take up to 200" };
/// How far copies are.
pub(super) const RADIUS: Parameter = Parameter {
    name: "radius",
    default: "0.02",
    help: "how far the noise reaches, as a share of the input's range; uniform",
};
/// What draws begin with.
pub(super) const SEED: Parameter = Parameter { name: "seed", default: "0", help: "of the noise" };

/// Noisy copies of an input.
pub(super) struct Neighbours {
    /// How many.
    pub draws: u32,
    shape: Shape,
    /// Whether the noise is a share of the input's range.
    of_range: bool,
    seed: u64,
}

/// Of noise.
#[derive(Clone, Copy)]
pub(super) enum Shape {
    /// Of this deviation.
    Normal(f32),
    /// From one to the other.
    Uniform(f32, f32),
}

/// A copy's distance from the input, and that of its map from the input's.
pub(super) struct Pair {
    pub inputs: f64,
    pub maps: f64,
}

impl Neighbours {
    /// From parameters: uniform noise within `radius`, or normal noise of deviation `sigma`.
    pub fn parse(params: &Params) -> Result<Neighbours> {
        let name = if params.text("sigma").is_empty() { "radius" } else { "sigma" };
        let shape = match (name, params.size(name)? as f32) {
            (_, 0.0) => return Err(params.refuse(name, "more than nothing")),
            ("sigma", deviation) => Shape::Normal(deviation),
            (_, radius) => Shape::Uniform(-radius, radius),
        };
        let copies = Neighbours::absolute(params.whole("draws", 1, 100_000)?, shape, params.seed("seed")?);
        Ok(Neighbours { of_range: true, ..copies })
    }

    /// Noise in the input's units.
    pub fn absolute(draws: u32, shape: Shape, seed: u64) -> Neighbours {
        Neighbours { draws, shape, of_range: false, seed }
    }

    /// Why copies of this sample would all be the sample.
    pub fn refuses(&self, sample: &Sample) -> Option<Undefined> {
        let (low, high) = range(sample.input);
        (self.of_range && low == high).then_some(Undefined::ConstantInput)
    }

    /// The copy of a number.
    pub fn copy(&self, sample: &Sample, number: u32) -> Vec<f32> {
        let (low, high) = range(sample.input);
        let scale = if self.of_range { high - low } else { 1.0 };
        let rng = Rng::new(self.seed ^ sample.draw, number.into());
        let mut copy = vec![0.0; sample.input.len()];
        match self.shape {
            Shape::Normal(deviation) => {
                rng.normals(&mut copy);
                copy.iter_mut().for_each(|noise| *noise *= deviation);
            }
            Shape::Uniform(from, to) => {
                rng.uniforms(&mut copy);
                copy.iter_mut().for_each(|noise| *noise = from + (to - from) * *noise);
            }
        }
        copy.iter_mut().zip(sample.input).for_each(|(to, x)| *to = x + scale * *to);
        copy
    }

    /// The distances of a copy of that number.
    fn pair(&self, sample: &mut Sample, number: u32) -> Result<Pair> {
        let copy = self.copy(sample, number);
        let map = sample.subject.explain(&copy, sample.explained)?;
        Ok(Pair { inputs: distance(sample.input, &copy), maps: distance(sample.map, &map) })
    }

    /// The distances of every copy.
    pub fn distances(&self, sample: &mut Sample) -> Result<Defined<Vec<Pair>>> {
        if let Some(reason) = self.refuses(sample) {
            return Ok(Err(reason));
        }
        (0..self.draws).map(|number| self.pair(sample, number)).collect::<Result<_>>().map(Ok)
    }

    /// The maps' relative changes `|a(x) - a(x_k)| / |a(x)|`, of every copy, as long as more are wanted.
    pub fn changes(&self, sample: &mut Sample, mut wants_more: impl FnMut(f64) -> bool) -> Result<Defined<()>> {
        if let Some(reason) = self.refuses(sample) {
            return Ok(Err(reason));
        }
        let size = norm(sample.map);
        for number in 0..self.draws {
            let pair = self.pair(sample, number)?;
            let change = match (pair.maps == 0.0, size == 0.0) {
                (true, _) => 0.0,
                (false, true) => return Ok(Err(Undefined::NothingPositive)),
                (false, false) => pair.maps / size,
            };
            if !wants_more(change) {
                break;
            }
        }
        Ok(Ok(()))
    }

    /// The maps' relative changes of every copy.
    pub fn all_changes(&self, sample: &mut Sample) -> Result<Defined<Vec<f64>>> {
        let mut all = vec![];
        let taken = self.changes(sample, |change| {
            all.push(change);
            true
        })?;
        Ok(taken.map(|()| all))
    }
}

/// A score of the largest of values.
pub(super) fn largest(values: impl Iterator<Item = f64>) -> Score {
    values.reduce(f64::max).ok_or(Undefined::TooFewFeatures)
}
