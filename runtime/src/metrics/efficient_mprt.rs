//! Efficient model parameter randomisation (Hedstrom et al. 2023): how much more disordered the map of the wholly randomised
//! model is, `(H(a_random) - H(a)) / H(a)`, with the entropy of a histogram of the map's values. One random model says little of
//! others, so there are several, of which each sample sees one.
//!
//! Cost: an explanation of the randomised model.

use super::mprt::{MODELS, Models};
use super::{
    Better, Cost, Entry, Family, Grid, Model, Observation, Observed, Observer, Sample, Tally, Undefined, Wants,
};
use crate::error::Result;
use crate::onnx::Change;
use crate::params::Parameter;
use crate::values::range;
use whyline_stream::spread::Entropy;

pub(super) const ENTRY: Entry = Entry {
    name: "efficient-mprt",
    aliases: &["emprt"],
    family: Family::Randomisation,
    summary: "how much more disordered the map of the randomised model is",
    paper: "Hedstrom et al. 2023",
    better: Better::Higher,
    wants: Wants::Nothing,
    parameters: &[
        Parameter { name: "bins", default: "100", help: "of the histogram" },
        Parameter { default: "8", ..MODELS },
        Parameter { name: "seed", default: "0", help: "of the random orders" },
    ],
    build: |params| {
        let bins = params.whole("bins", 2, 65_536)? as usize;
        Ok(Box::new(EfficientMprt { bins, models: Models::parse(params)? }))
    },
};

struct EfficientMprt {
    bins: usize,
    models: Models,
}

impl EfficientMprt {
    fn disorder(&self, map: &[f32]) -> f64 {
        let (low, high) = range(map);
        let mut counts = vec![0u32; self.bins];
        for &value in map {
            let share = (value as f64 - low as f64) / (high as f64 - low as f64).max(f64::MIN_POSITIVE);
            let bin = (share * self.bins as f64) as usize;
            counts[bin.min(self.bins - 1)] += 1;
        }
        let mut entropy = Entropy::default();
        counts.into_iter().for_each(|count| entropy.push(count.into()));
        entropy.nats().unwrap_or_default()
    }
}

impl Observer for EfficientMprt {
    fn tally(&self) -> Tally {
        Tally::of_groups()
    }

    fn cost(&self, _: &Grid) -> Cost {
        Cost::explanations(1)
    }

    fn admits(&self, model: &Model) -> Result<()> {
        model.must_change()
    }

    fn observe(&self, sample: &mut Sample) -> Result<Observed> {
        let own = self.disorder(sample.map);
        if own == 0.0 {
            return Ok(Err(Undefined::ConstantMap));
        }
        let (group, seed) = self.models.of(sample);
        let change = Change::Shuffled { layers: 0..sample.subject.layers(), seed };
        let random = sample.subject.explain_changed(&change, None, sample.input, sample.explained)?;
        Ok(Ok(Observation::Grouped { group, score: (self.disorder(&random) - own) / own }))
    }
}
