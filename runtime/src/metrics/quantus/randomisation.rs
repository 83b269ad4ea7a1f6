//! Random logit: the similarity is of one long row of values, whose windows run from one row of the image into the next.

use super::{COMPAT, Refusing, entry};
use crate::error::Result;
use crate::metrics::random_logit::{SEED, other_class};
use crate::metrics::similarity::structural;
use crate::metrics::{Better, Cost, Entry, Family, Grid, Metric, Model, Sample, Score, Undefined, Wants};

pub(super) const RANDOM_LOGIT: Entry =
    entry(("random-logit", Family::Randomisation, Better::Lower), Wants::Nothing, &[COMPAT, SEED], |params| {
        Ok(Box::new(Refusing(RandomLogit { seed: params.seed("seed")? })))
    });

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
        let Some(other) = other_class(sample, self.seed) else { return Ok(Err(Undefined::ConstantOutput)) };
        let map = sample.subject.explain(sample.input, sample.explained.of_class(other))?;
        let row = Grid { layout: None, channels: 1, height: 1, width: map.len() };
        let single = |map: &[f32]| super::normalised(map).into_iter().map(|v| v as f32).collect::<Vec<f32>>();
        Ok(structural(&row, &single(sample.map), &single(&map)).ok_or(Undefined::ConstantMap))
    }
}
