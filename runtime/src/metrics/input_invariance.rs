//! Input invariance (Kindermans et al. 2019): how much the map changes where the input is shifted by a constant and the model
//! takes it off again, so that both together compute the same: `|a - a'| / |a|`, zero where the map is invariant. Methods
//! that multiply by the input, or start from a baseline that is not shifted, are not.
//!
//! Cost: an explanation of the model that takes the shift off.

use super::{Better, Cost, Entry, Family, Grid, Metric, Model, Sample, Score, Undefined, Wants};
use crate::error::Result;
use crate::onnx::Change;
use crate::params::Parameter;
use crate::values::{distance, norm};

pub(super) const ENTRY: Entry = Entry {
    name: "input-invariance",
    aliases: &[],
    family: Family::Axiomatic,
    summary: "how much the map changes where a shift of the input is taken off again by the model",
    paper: "Kindermans et al. 2019",
    better: Better::Lower,
    wants: Wants::Nothing,
    parameters: &[Parameter { name: "shift", default: "-1", help: "in the model's input scale" }],
    build: |params| Ok(Box::new(InputInvariance { shift: params.number("shift")? as f32 })),
};

struct InputInvariance {
    shift: f32,
}

impl Metric for InputInvariance {
    fn cost(&self, _: &Grid) -> Cost {
        Cost::explanations(1)
    }

    fn admits(&self, model: &Model) -> Result<()> {
        model.must_change()
    }

    fn measure(&self, sample: &mut Sample) -> Result<Score> {
        let size = norm(sample.map);
        if size == 0.0 {
            return Ok(Err(Undefined::NothingPositive));
        }
        let input: Vec<f32> = sample.input.iter().map(|x| x + self.shift).collect();
        let map = sample.subject.explain_changed(&Change::Shifted(self.shift), None, &input, sample.explained)?;
        Ok(Ok(distance(sample.map, &map) / size))
    }
}
