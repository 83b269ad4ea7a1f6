//! Random logit (Sixt et al. 2020): how alike the maps of the target and of another class, drawn at random, are, as structural
//! similarity from -1 to 1.
//!
//! Cost: one explanation.

use super::similarity::structural;
use super::{Better, Cost, Defined, Entry, Family, Grid, Metric, Model, Sample, Score, Undefined, Wants};
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
    parameters: &[SEED],
    build: |params| Ok(Box::new(RandomLogit { seed: params.seed("seed")? })),
};

/// What the draw begins with.
pub(super) const SEED: Parameter = Parameter { name: "seed", default: "0", help: "of the draw" };

/// A class other than the sample's of those that compete with it, at random; none where there is no other.
fn other_class(sample: &Sample, seed: u64) -> Option<usize> {
    let choice = sample.head.choice?;
    let others = (choice.classes as u64).checked_sub(1).filter(|others| *others > 0)?;
    choice.rivals(sample.explained.class).nth((Rng::new(seed ^ sample.draw, 0).bits(0) % others) as usize)
}

/// The map of another class, drawn at random.
pub(super) fn map_of_another(sample: &mut Sample, seed: u64) -> Result<Defined<Vec<f32>>> {
    let Some(other) = other_class(sample, seed) else { return Ok(Err(Undefined::ConstantOutput)) };
    sample.subject.explain(sample.input, sample.explained.of_class(other)).map(Ok)
}

struct RandomLogit {
    seed: u64,
}

impl Metric for RandomLogit {
    fn admits(&self, model: &Model) -> Result<()> {
        model.head.must_have_rivals().map(drop)
    }

    fn cost(&self, _: &Grid) -> Cost {
        Cost::explanations(1)
    }

    fn measure(&self, sample: &mut Sample) -> Result<Score> {
        let another = map_of_another(sample, self.seed)?;
        Ok(another.and_then(|map| structural(&sample.grid, sample.map, &map).ok_or(Undefined::ConstantMap)))
    }
}
