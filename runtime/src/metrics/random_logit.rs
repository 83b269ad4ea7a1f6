//! Random logit (Sixt et al. 2020): how alike the maps of the target and of another class, drawn at random, are, as structural
//! similarity from -1 to 1.
//!
//! Cost: one explanation.

use super::similarity::structural;
use super::{Better, Cost, Entry, Family, Grid, Metric, Sample, Score, Undefined, Wants};
use crate::error::Result;
use crate::params::Parameter;
use crate::rng::Rng;

pub(super) const ENTRY: Entry = Entry {
    name: "random-logit",
    aliases: &[],
    family: Family::Randomisation,
    summary: "how alike the maps of the target and of a random other class are",
    paper: "Sixt et al. 2020",
    better: Better::Lower,
    wants: Wants::Nothing,
    parameters: &[Parameter { name: "seed", default: "0", help: "of the draw" }],
    build: |params| Ok(Box::new(RandomLogit { seed: params.seed("seed")? })),
};

struct RandomLogit {
    seed: u64,
}

impl Metric for RandomLogit {
    fn cost(&self, _: &Grid) -> Cost {
        Cost::explanations(1)
    }

    fn measure(&self, sample: &mut Sample) -> Result<Score> {
        let classes = sample.logits.len();
        if classes < 2 {
            return Ok(Err(Undefined::ConstantOutput));
        }
        let drawn = (Rng::new(self.seed ^ sample.draw, 0).bits(0) % (classes as u64 - 1)) as usize;
        let other = if drawn < sample.class { drawn } else { drawn + 1 };
        let map = sample.subject.explain(sample.input, other)?;
        Ok(structural(&sample.grid, sample.map, &map).ok_or(Undefined::ConstantMap))
    }
}
