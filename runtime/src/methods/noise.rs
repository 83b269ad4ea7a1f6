//! Shared by methods that look at another method's maps over noisy copies of the input, `x + sigma (max x - min x) xi`, or
//! of the model, `W (1 + sigma xi)`.

use std::ops::ControlFlow;

use super::{Extents, Given, Method, Needs, Outcome, Parameter, Params, Passes, Status, Taps, Task, find};
use crate::attribution::{Attribution, Extent};
use crate::error::Result;
use crate::onnx::WeightNoise;
use crate::rng::Rng;

/// What methods over noisy inputs can be told of the noise.
pub(super) const COPIES: [Parameter; 3] = [
    Parameter { name: "samples", default: "50", help: "noisy copies" },
    Parameter { name: "sigma", default: "0.15", help: "the noise's deviation, as a part of the input's range" },
    SEED,
];

/// Of random draws.
pub(super) const SEED: Parameter = Parameter { name: "seed", default: "0", help: "of the noise" };

/// The method that is looked at.
pub(super) const BASE: Parameter = Parameter {
    name: "base",
    default: "vanilla",
    help: "the method whose maps are taken, with its own parameters behind it: 'integrated-gradients steps=10'",
};

/// Of methods over noisy inputs of any method.
pub(super) const PARAMETERS: &[Parameter] = &[COPIES[0], COPIES[1], COPIES[2], BASE];

/// What is made of an element's mean over the copies, and of its variance.
pub(super) enum Statistic {
    /// The mean itself.
    Mean,
    /// Something of both.
    Spread(fn(mean: f64, variance: f64) -> f64),
}

/// Copies and the deviation of their noise.
#[derive(Clone, Copy)]
pub(super) struct Draws {
    pub count: u32,
    pub sigma: f32,
}

impl Draws {
    /// The thing itself, once.
    pub const ONCE: Draws = Draws { count: 1, sigma: 0.0 };

    /// From the parameters of these names. Copies without noise are all the same, so there is one.
    pub fn parse(params: &Params, count: &str, sigma: &str) -> Result<Draws> {
        let draws = Draws { count: params.whole(count, 1, 1_000_000)?, sigma: params.size(sigma)? as f32 };
        Ok(if draws.sigma == 0.0 { Draws::ONCE } else { draws })
    }
}

/// A method made of a statistic of noisy maps.
pub(super) struct Noise {
    inputs: Draws,
    /// For each noisy model there are noisy inputs of its own.
    weights: Draws,
    seed: u64,
    base: Box<dyn Method>,
    statistic: Statistic,
    signed: bool,
}

impl Noise {
    /// Over noisy inputs, from the parameters of [`PARAMETERS`].
    pub fn build(params: &Params, statistic: Statistic) -> Result<Box<dyn Method>> {
        let (base, signed) = base(params)?;
        Noise::over(params, base, statistic, signed)
    }

    /// The same for a given method, from the parameters of [`COPIES`].
    pub fn over(params: &Params, base: Box<dyn Method>, statistic: Statistic, signed: bool) -> Result<Box<dyn Method>> {
        let signed = signed && matches!(statistic, Statistic::Mean);
        let (inputs, seed) = (Draws::parse(params, "samples", "sigma")?, params.seed("seed")?);
        Ok(Box::new(Noise { inputs, weights: Draws::ONCE, seed, base, statistic, signed }))
    }

    /// The mean over noisy models, and over noisy inputs of each.
    pub fn of_weights(params: &Params, weights: Draws, inputs: Draws) -> Result<Box<dyn Method>> {
        let (base, signed) = base(params)?;
        if matches!(base.needs().taps, Taps::Biases { .. }) {
            // They are found once, in the model as it is.
            return Err(
                params.refuse("base", "a method that does not add up biases: those of noisy models are not known")
            );
        }
        let (seed, statistic) = (params.seed("seed")?, Statistic::Mean);
        Ok(Box::new(Noise { inputs, weights, seed, base, statistic, signed }))
    }

    /// Adds up the base's maps of all copies, drawn by number so that threads change nothing.
    fn totals(&self, task: &mut Task) -> Result<Totals> {
        let mut totals = Totals::new(&self.statistic);
        for draw in 0..self.weights.count {
            if draw > 0 && task.session.room() < self.base.passes(task.extents).all() {
                break;
            }
            if self.weights.sigma > 0.0 {
                let noise = WeightNoise { seed: self.seed, draw: draw as u64, deviation: self.weights.sigma };
                task.session.perturb_weights(Some(noise))?;
                // The same noise: it goes by the weights' names.
                if let Some(other) = &mut task.other {
                    other.perturb_weights(Some(noise))?;
                }
            }
            self.over_inputs(task, draw as usize * self.inputs.count as usize, &mut totals)?;
        }
        Ok(totals)
    }

    fn over_inputs(&self, task: &mut Task, first: usize, totals: &mut Totals) -> Result<()> {
        let (input, seed) = (task.input, task.seed_of(self.seed));
        let (low, high) = task.range();
        let deviation = self.inputs.sigma * (high - low);
        let copy = |draw: usize, noisy: &mut [f32]| {
            if deviation == 0.0 {
                return noisy.copy_from_slice(input);
            }
            Rng::new(seed, (first + draw) as u64).normals(noisy);
            noisy.iter_mut().zip(input).for_each(|(to, &x)| *to = x + deviation * *to);
        };
        let mut noisy = input.to_vec();
        let count = self.inputs.count as usize;
        if let Some(local) = self.base.local() {
            totals.shape = task.session.input_shape().to_vec();
            task.gradients_at(count, &copy, &mut |draw, gradient| {
                if local.reads_input {
                    copy(draw, &mut noisy);
                }
                totals.push(&local.values(gradient.input, &noisy));
                Ok(ControlFlow::Continue(()))
            })?;
            return Ok(());
        }
        let each = self.base.passes(task.extents);
        for draw in 0..count {
            if totals.count > 0.0 && task.session.room() < each.all() {
                break;
            }
            copy(draw, &mut noisy);
            let mut at_copy = task.at(&noisy);
            // Of copies within copies the inner one's: what they are made for, FullGrad, draws nothing.
            at_copy.copy = (first + draw + 1) as u64;
            let Outcome { attribution, status, .. } = self.base.explain(&mut at_copy)?;
            totals.push(&attribution.values);
            (totals.shape, totals.extent) = (attribution.shape, attribution.extent);
            if status == Status::Degraded {
                totals.status = status;
            }
        }
        Ok(())
    }

    fn copies(&self) -> u64 {
        self.weights.count as u64 * self.inputs.count as u64
    }
}

/// The method of the parameter `base`, and whether its signs mean something.
fn base(params: &Params) -> Result<(Box<dyn Method>, bool)> {
    let mut words = params.text("base").split_whitespace();
    let base = find(words.next().unwrap_or_default())?;
    if base.parameters.iter().any(|p| p.name == "base") {
        return Err(params.refuse("base", "a method that has no base itself"));
    }
    let pair = |word: &str| word.split_once('=').map(|(name, value)| (name.to_string(), value.to_string()));
    let given: Option<Given> = words.map(pair).collect();
    let given =
        given.ok_or_else(|| params.refuse("base", "a method's name, and NAME=VALUE for each of its parameters"))?;
    let built = (base.build)(&base.params(&given)?)?;
    let signed = built.signed().unwrap_or(base.properties.signed);
    Ok((built, signed))
}

impl Method for Noise {
    fn needs(&self) -> Needs {
        Needs { weights: self.weights.sigma > 0.0, ..self.base.needs() }
    }

    fn also(&self) -> Option<Needs> {
        Some(Needs { weights: self.weights.sigma > 0.0, ..self.base.also()? })
    }

    fn passes(&self, model: Extents) -> Passes {
        self.base.passes(model).times(self.copies())
    }

    fn least(&self, model: Extents) -> Passes {
        self.base.passes(model)
    }

    fn keeps(&self, model: Extents) -> usize {
        self.base.keeps(model)
    }

    fn signed(&self) -> Option<bool> {
        Some(self.signed)
    }

    fn explain(&self, task: &mut Task) -> Result<Outcome> {
        let totals = self.totals(task)?;
        let all = totals.count == self.copies() as f64;
        let status = if all { totals.status } else { Status::Degraded };
        let values = totals.finish(&self.statistic);
        let attribution = Attribution { values, shape: totals.shape, extent: totals.extent };
        Ok(Outcome { status, ..Outcome::of(attribution) })
    }
}

/// Of maps: their means, and where they are wanted sums of squared distances from them, by Welford's updates.
struct Totals {
    count: f64,
    mean: Vec<f64>,
    squares: Option<Vec<f64>>,
    shape: Vec<usize>,
    extent: Extent,
    /// Whether all of them were complete.
    status: Status,
}

impl Totals {
    fn new(statistic: &Statistic) -> Totals {
        let squares = matches!(statistic, Statistic::Spread(_)).then(Vec::new);
        let (shape, extent, status) = (vec![], Extent::Features, Status::Complete);
        Totals { count: 0.0, mean: vec![], squares, shape, extent, status }
    }

    fn push(&mut self, map: &[f32]) {
        self.count += 1.0;
        self.mean.resize(map.len(), 0.0);
        let count = self.count;
        match &mut self.squares {
            None => self.mean.iter_mut().zip(map).for_each(|(mean, &v)| *mean += (v as f64 - *mean) / count),
            Some(squares) => {
                squares.resize(map.len(), 0.0);
                for ((mean, squares), &v) in self.mean.iter_mut().zip(squares).zip(map) {
                    let before = v as f64 - *mean;
                    *mean += before / count;
                    *squares += before * (v as f64 - *mean);
                }
            }
        }
    }

    fn finish(&self, statistic: &Statistic) -> Vec<f32> {
        match (statistic, &self.squares) {
            (Statistic::Spread(of), Some(squares)) => {
                let both = self.mean.iter().zip(squares);
                both.map(|(&mean, &squares)| of(mean, squares / self.count) as f32).collect()
            }
            _ => self.mean.iter().map(|&mean| mean as f32).collect(),
        }
    }
}
