//! Random logit: the similarity is of one long row of values, whose windows run from one row of the image into the next.

use super::{COMPAT, Refusing, entry};
use crate::error::Result;
use crate::metrics::random_logit::{SEED, map_of_another};
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
        let single = |map: &[f32]| super::normalised(map).into_iter().map(|v| v as f32).collect::<Vec<f32>>();
        let another = map_of_another(sample, self.seed)?;
        Ok(another.and_then(|map| {
            let row = Grid { layout: None, channels: 1, height: 1, width: map.len() };
            structural(&row, &single(sample.map), &single(&map)).ok_or(Undefined::ConstantMap)
        }))
    }
}
