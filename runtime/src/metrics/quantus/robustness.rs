//! Maps of changed inputs. Noise is in the input's units, whatever its range is.

use super::{COMPAT, Refusing, black, entry, normalised, refused};
use crate::error::Result;
use crate::metrics::continuity::shifted;
use crate::metrics::neighbours::{DRAWS, Neighbours, SEED, Shape};
use crate::metrics::relative_representation_stability::{LAYER, layer_of};
use crate::metrics::relative_stability::{Divisors, RelativeStability, Under};
use crate::metrics::{
    Better, Cost, Entry, Family, Grid, Metric, Model, Observation, Observed, Observer, Sample, Score, Tally, Undefined,
    Wants,
};
use crate::params::{Parameter, Params};
use crate::values::distance;

const fn robust(
    name: &'static str,
    parameters: &'static [Parameter],
    build: fn(&Params) -> Result<Box<dyn Observer>>,
) -> Entry {
    entry((name, Family::Robustness, Better::Lower), Wants::Nothing, parameters, build)
}

/// Quantus takes 200.
const MANY: Parameter = Parameter { default: "200", ..DRAWS };

fn copies(params: &Params, shape: Shape) -> Result<Neighbours> {
    Ok(Neighbours::absolute(params.whole("draws", 1, 100_000)?, shape, params.seed("seed")?))
}

/// Each map over its own largest magnitude.
pub(super) const LOCAL_LIPSCHITZ: Entry = robust(
    "local-lipschitz",
    &[COMPAT, MANY, Parameter { name: "sigma", default: "0.1", help: "deviation of the noise" }, SEED],
    |params| {
        let copies = copies(params, Shape::Normal(params.size("sigma")? as f32))?;
        Ok(Box::new(Refusing(LocalLipschitz(copies))))
    },
);

struct LocalLipschitz(Neighbours);

impl Metric for LocalLipschitz {
    fn cost(&self, _: &Grid) -> Cost {
        Cost::explanations(self.0.draws.into())
    }

    fn measure(&self, sample: &mut Sample) -> Result<Score> {
        let (own, mut most) = (normalised(sample.map), 0.0f64);
        for number in 0..self.0.draws {
            let copy = self.0.copy(sample, number);
            let map = normalised(&sample.subject.explain(&copy, sample.explained)?);
            let maps = own.iter().zip(&map).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
            most = most.max(maps / (distance(sample.input, &copy) + 1e-10));
        }
        Ok(Ok(most))
    }
}

const RADIUS: Parameter = Parameter { name: "radius", default: "0.2", help: "how far the noise reaches; uniform" };

pub(super) const MAX_SENSITIVITY: Entry = robust("max-sensitivity", &[COMPAT, MANY, RADIUS, SEED], |params| {
    let radius = params.size("radius")? as f32;
    let most: fn(&[f64]) -> f64 = |s| s.iter().copied().fold(0.0, f64::max);
    Ok(Box::new(Refusing(Sensitivity(copies(params, Shape::Uniform(-radius, radius))?, most))))
});

pub(super) const AVG_SENSITIVITY: Entry = robust("avg-sensitivity", &[COMPAT, MANY, RADIUS, SEED], |params| {
    let radius = params.size("radius")? as f32;
    let mean: fn(&[f64]) -> f64 = |s| s.iter().sum::<f64>() / s.len() as f64;
    Ok(Box::new(Refusing(Sensitivity(copies(params, Shape::Uniform(-radius, radius))?, mean))))
});

/// Of the maps' relative changes.
struct Sensitivity(Neighbours, fn(&[f64]) -> f64);

impl Metric for Sensitivity {
    fn cost(&self, _: &Grid) -> Cost {
        Cost::explanations(self.0.draws.into())
    }

    fn measure(&self, sample: &mut Sample) -> Result<Score> {
        Ok(self.0.all_changes(sample)?.map(|changes| (self.1)(&changes)))
    }
}

/// The image is moved to either side, farther to the left than to the right, until it is gone; maps are not moved back.
pub(super) const CONTINUITY: Entry = robust(
    "continuity",
    &[COMPAT, Parameter { name: "shifts", default: "28", help: "how many places it is moved to" }],
    |params| Ok(Box::new(Continuity { shifts: params.whole("shifts", 1, 10_000)? as usize })),
);

struct Continuity {
    shifts: usize,
}

impl Metric for Continuity {
    fn cost(&self, _: &Grid) -> Cost {
        Cost::explanations(self.shifts as u64)
    }

    fn measure(&self, sample: &mut Sample) -> Result<Score> {
        if sample.grid.layout.is_none() {
            return Ok(Err(Undefined::NoImage));
        }
        if let Some(reason) = refused(sample.map) {
            return Ok(Err(reason));
        }
        let (grid, own) = (sample.grid, normalised(sample.map));
        let step = ((2 * grid.width + 1) / self.shifts) as isize;
        let (outside, mut most) = (vec![black(sample); sample.input.len()], 0.0f64);
        // Where it stays the map does too.
        let moves = (1..=self.shifts as isize).map(|k| k * step - grid.width as isize).filter(|by| *by != 0);
        for by in moves {
            let moved = shifted(&grid, sample.input, &outside, by);
            let map = normalised(&sample.subject.explain(&moved, sample.explained)?);
            let maps: f64 = own.iter().zip(&map).map(|(a, b)| (a.abs() - b.abs()).abs()).sum();
            most = most.max(maps / (distance(sample.input, &moved) + 1e-9));
        }
        Ok(Ok(most))
    }
}

/// Explanations are the same where the signs of their first five magnitudes are: nearly all of them are. The whole dataset is a
/// batch. A sample alone with its explanation has no score here, where Quantus gives zero.
pub(super) const CONSISTENCY: Entry =
    entry(("consistency", Family::Robustness, Better::Higher), Wants::Nothing, &[COMPAT], |_| {
        Ok(Box::new(Consistency))
    });

struct Consistency;

impl Observer for Consistency {
    fn admits(&self, model: &Model) -> Result<()> {
        model.must_choose()
    }

    fn tally(&self) -> Tally {
        Tally::of_labels(true)
    }

    fn observe(&self, sample: &mut Sample) -> Result<Observed> {
        if let Some(reason) = refused(sample.map) {
            return Ok(Err(reason));
        }
        // A hash, so that what there may be no room for is a random part.
        let label = crate::hash::number(sample.map.iter().take(5).map(|v| u8::from(*v != 0.0)));
        Ok(Ok(Observation::Label { label, class: sample.decision() as u64 }))
    }
}

pub(super) const RELATIVE_INPUT_STABILITY: Entry =
    robust("relative-input-stability", &[COMPAT, MANY, SEED], |params| relative(params, Under::Input));

pub(super) const RELATIVE_OUTPUT_STABILITY: Entry =
    robust("relative-output-stability", &[COMPAT, MANY, SEED], |params| relative(params, Under::Output));

/// Of one layer; Quantus puts all of them together, unless one is named.
pub(super) const RELATIVE_REPRESENTATION_STABILITY: Entry =
    robust("relative-representation-stability", &[COMPAT, MANY, SEED, LAYER], |params| {
        relative(params, Under::Layer(layer_of(params)))
    });

/// Noise that only makes values larger, by 0.02 to 0.2; no score where a copy changes the class.
fn relative(params: &Params, under: Under) -> Result<Box<dyn Observer>> {
    let neighbours = copies(params, Shape::Uniform(0.02, 0.2))?;
    Ok(Box::new(Refusing(RelativeStability { neighbours, divisors: Divisors::Nought, under })))
}
