//! Continuity (Montavon et al. 2018): the largest `|a(x) - a(x_k)|_1 / |x - x_k|_2` over copies that are moved sideways, what
//! comes in from outside being the baseline. In the map's own scale.
//!
//! Cost: an explanation per copy.

use super::neighbours::largest;
use super::{Better, Cost, Entry, Family, Grid, Metric, Sample, Score, Undefined, Wants};
use crate::baseline::{self, Baseline};
use crate::error::Result;
use crate::params::Parameter;

pub(super) const ENTRY: Entry = Entry {
    name: "continuity",
    aliases: &[],
    family: Family::Robustness,
    summary: "the largest change of the map for a change of the input, over copies moved sideways",
    paper: "Montavon et al. 2018",
    better: Better::Lower,
    wants: Wants::Nothing,
    parameters: &[
        Parameter { name: "shifts", default: "10", help: "copies, half of them to either side" },
        Parameter { name: "reach", default: "0.1", help: "how far the farthest is moved, as a share of the width" },
        baseline::OF_METRICS,
    ],
    build: |params| {
        let (shifts, reach) = (params.whole("shifts", 1, 10_000)?, params.size("reach")?);
        if reach > 1.0 {
            return Err(params.refuse("reach", "at most 1"));
        }
        Ok(Box::new(Continuity { shifts, reach, baseline: Baseline::parse(params)? }))
    },
};

struct Continuity {
    shifts: u32,
    reach: f64,
    baseline: Baseline,
}

impl Metric for Continuity {
    fn cost(&self, _: &Grid) -> Cost {
        Cost::explanations(self.shifts.into())
    }

    fn measure(&self, sample: &mut Sample) -> Result<Score> {
        if sample.grid.layout.is_none() {
            return Ok(Err(Undefined::NoImage));
        }
        let (grid, baseline) = (sample.grid, sample.baseline(&self.baseline)?);
        let farthest = (self.reach * grid.width as f64).max(1.0);
        let pairs = self.shifts.div_ceil(2) as f64;
        let mut changes = vec![];
        for number in 0..self.shifts {
            let far = ((number / 2 + 1) as f64 / pairs * farthest).round().max(1.0) as isize;
            let by = if number % 2 == 0 { far } else { -far };
            let moved = shifted(&grid, sample.input, &baseline, by);
            let map = sample.subject.explain(&moved, sample.explained)?;
            let maps: f64 = map.iter().zip(sample.map).map(|(a, b)| (*a as f64 - *b as f64).abs()).sum();
            let inputs = crate::values::distance(sample.input, &moved);
            changes.extend((inputs > 0.0).then(|| maps / inputs));
        }
        Ok(largest(changes.into_iter()))
    }
}

/// The input, moved by so many pixels to the right.
pub(super) fn shifted(grid: &Grid, input: &[f32], outside: &[f32], by: isize) -> Vec<f32> {
    let mut moved = outside.to_vec();
    for feature in 0..grid.features() {
        let column = (feature % grid.width) as isize - by;
        if (0..grid.width as isize).contains(&column) {
            let from = (feature as isize - by) as usize;
            (0..grid.channels).for_each(|c| moved[grid.place(feature, c)] = input[grid.place(from, c)]);
        }
    }
    moved
}
