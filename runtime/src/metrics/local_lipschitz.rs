//! Local Lipschitz estimate (Alvarez-Melis and Jaakkola 2018): the largest `|a(x) - a(x_k)| / |x - x_k|` over copies with
//! normal noise, the target's class the same. In the map's own scale.
//!
//! Cost: an explanation per copy.

use super::neighbours::{DRAWS, Neighbours, Pair, SEED, largest};
use super::{Better, Cost, Entry, Family, Grid, Metric, Sample, Score, Wants};
use crate::error::Result;
use crate::params::Parameter;

pub(super) const ENTRY: Entry = Entry {
    name: "local-lipschitz",
    aliases: &[],
    family: Family::Robustness,
    summary: "the largest change of the map for a change of the input, over noisy copies",
    paper: "Alvarez-Melis and Jaakkola 2018",
    better: Better::Lower,
    wants: Wants::Nothing,
    parameters: &[
        DRAWS,
        Parameter { name: "sigma", default: "0.1", help: "the noise's deviation, as a share of the input's range" },
        SEED,
    ],
    build: |params| Ok(Box::new(LocalLipschitz(Neighbours::parse(params)?))),
};

struct LocalLipschitz(Neighbours);

impl Metric for LocalLipschitz {
    fn cost(&self, _: &Grid) -> Cost {
        Cost::explanations(self.0.draws.into())
    }

    fn measure(&self, sample: &mut Sample) -> Result<Score> {
        let ratios = |pairs: Vec<Pair>| {
            largest(pairs.iter().filter(|pair| pair.inputs > 0.0).map(|pair| pair.maps / pair.inputs))
        };
        Ok(self.0.distances(sample)?.and_then(ratios))
    }
}
