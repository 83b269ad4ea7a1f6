//! SmoothGrad (Smilkov et al. 2017): the mean of a method's maps over noisy copies of the input.

use super::{Entry, Given, Method, Needs, Outcome, Parameter, Params, Passes, Properties, Task, find};
use crate::attribution::Attribution;
use crate::error::Result;
use crate::rng::Rng;

pub(super) const ENTRY: Entry = Entry {
    name: "smoothgrad",
    aliases: &[],
    summary: "the mean of another method's maps over noisy copies of the input",
    paper: "Smilkov et al. 2017",
    properties: Properties { complete: false, linear_exact: true, stochastic: true, signed: true },
    parameters: &[
        Parameter { name: "samples", default: "50", help: "noisy copies" },
        Parameter { name: "sigma", default: "0.15", help: "the noise's deviation, as a part of the input's range" },
        Parameter { name: "seed", default: "0", help: "of the noise" },
        Parameter { name: "base", default: "vanilla", help: "the method that is smoothed" },
    ],
    build: |params| {
        let base = find(params.text("base"))?;
        if base.name == ENTRY.name {
            return Err(params.refuse("base", "another method than smoothgrad"));
        }
        let smoothed = (base.build)(&Params::new(base, &Given::new())?)?;
        Ok(Box::new(SmoothGrad {
            samples: params.whole("samples", 1, 1_000_000)?,
            sigma: params.size("sigma")?,
            seed: params.seed("seed")?,
            base_signed: smoothed.signed().unwrap_or(base.properties.signed),
            base: smoothed,
        }))
    },
};

struct SmoothGrad {
    samples: u32,
    sigma: f32,
    seed: u64,
    base: Box<dyn Method>,
    base_signed: bool,
}

impl Method for SmoothGrad {
    fn needs(&self) -> Needs {
        self.base.needs()
    }

    fn passes(&self) -> Passes {
        let each = self.base.passes();
        let times = self.samples as u64;
        Passes { forward: each.forward * times, gradient: each.gradient * times }
    }

    fn keeps(&self, input: usize) -> usize {
        self.base.keeps(input)
    }

    fn signed(&self) -> Option<bool> {
        Some(self.base_signed)
    }

    fn explain(&self, task: &mut Task) -> Result<Outcome> {
        let (low, high) = task.input.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), &v| (l.min(v), h.max(v)));
        let deviation = self.sigma * (high - low);
        let mut sum: Vec<f64> = vec![];
        let mut last: Option<Attribution> = None;
        for draw in 0..self.samples as u64 {
            let rng = Rng::new(self.seed, draw);
            let noisy: Vec<f32> =
                task.input.iter().enumerate().map(|(i, &v)| v + deviation * rng.normal(i as u64)).collect();
            let map = self.base.explain(&mut task.at(&noisy))?.attribution;
            sum.resize(map.values.len(), 0.0);
            for (total, &v) in sum.iter_mut().zip(&map.values) {
                *total += v as f64;
            }
            last = Some(map);
        }
        let values = sum.iter().map(|total| (total / self.samples as f64) as f32).collect();
        let (shape, extent) = match last {
            Some(map) => (map.shape, map.extent),
            None => (task.session.input_shape().to_vec(), crate::attribution::Extent::Features),
        };
        Ok(Outcome::of(Attribution { values, shape, extent }))
    }
}
