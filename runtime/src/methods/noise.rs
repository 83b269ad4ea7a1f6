//! Shared by methods that look at another method's maps over noisy copies of the input: `x + sigma (max x - min x) xi`.

use std::ops::ControlFlow;

use super::{Extents, Given, Method, Needs, Outcome, Parameter, Params, Passes, Task, find};
use crate::attribution::{Attribution, Extent};
use crate::error::Result;
use crate::rng::Rng;

/// What every one of them can be told.
pub(super) const PARAMETERS: &[Parameter] = &[
    Parameter { name: "samples", default: "50", help: "noisy copies" },
    Parameter { name: "sigma", default: "0.15", help: "the noise's deviation, as a part of the input's range" },
    Parameter { name: "seed", default: "0", help: "of the noise" },
    Parameter { name: "base", default: "vanilla", help: "the method whose maps are taken" },
];

/// What is made of an element's mean over the copies, and of its variance.
pub(super) enum Statistic {
    /// The mean itself.
    Mean,
    /// Something of both.
    Spread(fn(mean: f64, variance: f64) -> f64),
}

/// A method made of a statistic of noisy maps.
pub(super) struct Noise {
    samples: u32,
    sigma: f32,
    seed: u64,
    base: Box<dyn Method>,
    statistic: Statistic,
    signed: bool,
}

impl Noise {
    /// From the parameters of [`PARAMETERS`].
    pub fn build(params: &Params, statistic: Statistic) -> Result<Box<dyn Method>> {
        let base = find(params.text("base"))?;
        if base.parameters.iter().any(|p| p.name == "base") {
            return Err(params.refuse("base", "a method that has no base itself"));
        }
        let built = (base.build)(&Params::new(base, &Given::new())?)?;
        let signed = built.signed().unwrap_or(base.properties.signed) && matches!(statistic, Statistic::Mean);
        Ok(Box::new(Noise {
            samples: params.whole("samples", 1, 1_000_000)?,
            sigma: params.size("sigma")? as f32,
            seed: params.seed("seed")?,
            base: built,
            statistic,
            signed,
        }))
    }

    /// Adds up the base's maps of all copies, drawn by number so that threads change nothing.
    fn totals(&self, task: &mut Task) -> Result<(Totals, Vec<usize>, Extent)> {
        let (input, seed) = (task.input, self.seed);
        let (low, high) = task.range();
        let deviation = self.sigma * (high - low);
        let copy = |draw: usize, noisy: &mut [f32]| {
            let rng = Rng::new(seed, draw as u64);
            let both = noisy.iter_mut().zip(input).enumerate();
            both.for_each(|(i, (to, &x))| *to = x + deviation * rng.normal(i as u64));
        };
        let (mut totals, mut noisy) = (Totals::new(&self.statistic), input.to_vec());
        if let Some(local) = self.base.local() {
            task.gradients_at(self.samples as usize, &copy, &mut |draw, gradient| {
                if local.reads_input {
                    copy(draw, &mut noisy);
                }
                totals.push(&local.values(gradient.input, &noisy));
                Ok(ControlFlow::Continue(()))
            })?;
            return Ok((totals, task.session.input_shape().to_vec(), Extent::Features));
        }
        let mut form = (vec![], Extent::Features);
        for draw in 0..self.samples as usize {
            copy(draw, &mut noisy);
            let map = self.base.explain(&mut task.at(&noisy))?.attribution;
            totals.push(&map.values);
            form = (map.shape, map.extent);
        }
        Ok((totals, form.0, form.1))
    }
}

impl Method for Noise {
    fn needs(&self) -> Needs {
        self.base.needs()
    }

    fn passes(&self, model: Extents) -> Passes {
        let each = self.base.passes(model);
        let times = self.samples as u64;
        Passes { forward: each.forward * times, gradient: each.gradient * times }
    }

    fn keeps(&self, model: Extents) -> usize {
        self.base.keeps(model)
    }

    fn signed(&self) -> Option<bool> {
        Some(self.signed)
    }

    fn explain(&self, task: &mut Task) -> Result<Outcome> {
        let (totals, shape, extent) = self.totals(task)?;
        Ok(Outcome::of(Attribution { values: totals.finish(&self.statistic), shape, extent }))
    }
}

/// Means, and where they are wanted sums of squared distances from them, by Welford's updates.
struct Totals {
    count: f64,
    mean: Vec<f64>,
    squares: Option<Vec<f64>>,
}

impl Totals {
    fn new(statistic: &Statistic) -> Totals {
        let squares = matches!(statistic, Statistic::Spread(_)).then(Vec::new);
        Totals { count: 0.0, mean: vec![], squares }
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

    fn finish(self, statistic: &Statistic) -> Vec<f32> {
        match (statistic, &self.squares) {
            (Statistic::Spread(of), Some(squares)) => {
                let both = self.mean.iter().zip(squares);
                both.map(|(&mean, &squares)| of(mean, squares / self.count) as f32).collect()
            }
            _ => self.mean.iter().map(|&mean| mean as f32).collect(),
        }
    }
}
