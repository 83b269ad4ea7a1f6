//! Sufficiency (Dasgupta et al. 2022): of the samples with a similar explanation, the share that has the same predicted class.
//! Explanations are similar where their distance, each cell by its spread over the samples, is at most `threshold` of the largest.
//! Compared are the magnitudes' shares of the largest one, on at most 16 x 16 cells, of up to 64 samples, drawn from all.
//!
//! Cost: none.

use super::cells::pooled;
use super::{Better, Entry, Family, Model, Observation, Observed, Observer, Sample, Tally, Undefined, Wants};
use crate::error::Result;
use crate::params::Parameter;
use whyline_stream::sketch::{CELLS, Sketch};

pub(super) const ENTRY: Entry = Entry {
    name: "sufficiency",
    aliases: &[],
    family: Family::Faithfulness,
    summary: "how often samples with similar explanations have the same class",
    paper: "Dasgupta et al. 2022",
    better: Better::Higher,
    wants: Wants::Nothing,
    parameters: &[Parameter {
        name: "threshold",
        default: "0.6",
        help: "how far apart similar explanations are at most, as a share of the largest distance",
    }],
    build: |params| Ok(Box::new(Sufficiency { threshold: params.size("threshold")? })),
};

/// Of images, cells along a side.
const SIDE: usize = 16;

struct Sufficiency {
    threshold: f64,
}

impl Observer for Sufficiency {
    fn admits(&self, model: &Model) -> Result<()> {
        model.must_choose()
    }

    fn tally(&self) -> Tally {
        Tally::of_sketches(self.threshold)
    }

    fn observe(&self, sample: &mut Sample) -> Result<Observed> {
        let largest = sample.map.iter().fold(0.0, |most: f32, v| most.max(v.abs()));
        if largest == 0.0 {
            return Ok(Err(Undefined::NothingPositive));
        }
        let sizes: Vec<f32> = sample.map.iter().map(|v| v.abs() / largest).collect();
        let rows = if sample.grid.height == 1 { 1 } else { SIDE };
        let cells = pooled(&sample.grid, &sizes, (rows, CELLS / rows));
        let mut sketch = Box::new(Sketch { class: sample.decision() as u64, ..Sketch::default() });
        sketch.cells.iter_mut().zip(cells).for_each(|(own, cell)| *own = cell);
        Ok(Ok(Observation::Sketch { priority: sample.priority, sketch }))
    }
}
