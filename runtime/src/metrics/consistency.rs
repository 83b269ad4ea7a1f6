//! Consistency (Dasgupta et al. 2022): of samples with the same explanation, how often two have the same predicted class:
//! the mean over the samples of `(n_lc - 1) / (n_l - 1)`, where `n_l` samples have the sample's explanation and `n_lc` of these
//! its class. Explanations count as the same where their largest cells are the same and have the same signs.
//!
//! Cost: none. Kept: counts of up to 1,024 pairs of an explanation and a class.

use super::cells::pooled;
use super::{Better, Entry, Family, Model, Observation, Observed, Observer, Sample, Tally, Undefined, Wants};
use crate::error::Result;
use crate::params::Parameter;
use whyline_stream::top::Top;

pub(super) const ENTRY: Entry = Entry {
    name: "consistency",
    aliases: &[],
    family: Family::Robustness,
    summary: "how often samples with the same explanation have the same class",
    paper: "Dasgupta et al. 2022",
    better: Better::Higher,
    wants: Wants::Nothing,
    parameters: &[
        Parameter { name: "cells", default: "4", help: "of the map along each side: their means are compared" },
        Parameter { name: "top", default: "2", help: "largest cells that must be the same; 32 at most" },
    ],
    build: |params| {
        let (cells, top) = (params.whole("cells", 1, 1 << 16)? as usize, params.whole("top", 1, MOST as u32)? as usize);
        Ok(Box::new(Consistency { cells, top }))
    },
};

const MOST: usize = 32;

struct Consistency {
    cells: usize,
    top: usize,
}

impl Observer for Consistency {
    fn admits(&self, model: &Model) -> Result<()> {
        model.must_choose()
    }

    fn tally(&self) -> Tally {
        Tally::of_labels(false)
    }

    fn observe(&self, sample: &mut Sample) -> Result<Observed> {
        if sample.is_constant() {
            return Ok(Err(Undefined::ConstantMap));
        }
        let cells = pooled(&sample.grid, sample.map, (self.cells, self.cells));
        let mut top = Top::<MOST>::default();
        cells.iter().enumerate().for_each(|(cell, value)| top.push(cell as u32, value.abs()));
        let Some(largest) = top.largest().get(..self.top) else {
            return Ok(Err(Undefined::TooFewFeatures));
        };
        // Which cells, in whatever order, each with its sign.
        let mut key: Vec<u32> =
            largest.iter().map(|(cell, _)| 2 * cell + u32::from(cells[*cell as usize] < 0.0)).collect();
        key.sort_unstable();
        let label = crate::hash::number(key.into_iter().flat_map(u32::to_le_bytes));
        Ok(Ok(Observation::Label { label, class: sample.decision() as u64 }))
    }
}
