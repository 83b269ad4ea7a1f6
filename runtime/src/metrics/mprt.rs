//! Model parameter randomisation (Adebayo et al. 2018): how much the map stays the same when the model's layers are randomised,
//! as Spearman's correlation of the magnitudes, in the mean over the stages. Parameters are put in a random order, which needs
//! no initialiser. Layers go cumulatively from the top or the bottom, or each alone.
//!
//! Cost: an explanation of a randomised model, which is prepared anew, per stage.

use std::ops::Range;

use super::monotonicity_correlation::spearman;
use super::{Better, Cost, Entry, Family, Grid, Metric, Sample, Score, Undefined};
use crate::error::Result;
use crate::params::Parameter;
use whyline_stream::moments::Moments;

pub(super) const ENTRY: Entry = Entry {
    name: "mprt",
    aliases: &["model-parameter-randomisation"],
    family: Family::Randomisation,
    summary: "how much the map stays the same while the model's layers are randomised",
    paper: "Adebayo et al. 2018",
    better: Better::Lower,
    wants_mask: false,
    parameters: &[
        Parameter {
            name: "stages",
            default: "8",
            help: "stages at most, evenly over the layers; the last has them all",
        },
        Parameter {
            name: "order",
            default: "top-down",
            help: "top-down, bottom-up, or independent: one layer at a time",
        },
        Parameter { name: "seed", default: "0", help: "of the random orders" },
    ],
    build: |params| {
        let order = match params.text("order") {
            "top-down" => Order::TopDown,
            "bottom-up" => Order::BottomUp,
            "independent" => Order::Independent,
            _ => return Err(params.refuse("order", "top-down, bottom-up or independent")),
        };
        Ok(Box::new(Mprt { stages: params.whole("stages", 1, 10_000)? as usize, order, seed: params.seed("seed")? }))
    },
};

#[derive(Clone, Copy)]
enum Order {
    TopDown,
    BottomUp,
    Independent,
}

struct Mprt {
    stages: usize,
    order: Order,
    seed: u64,
}

impl Mprt {
    /// The layers that are randomised at each stage.
    fn ranges(&self, layers: usize) -> Vec<Range<usize>> {
        let stages = self.stages.min(layers);
        let end = |stage: usize| (stage * layers).div_ceil(stages);
        let range = |stage: usize| match self.order {
            Order::TopDown => layers - end(stage)..layers,
            Order::BottomUp => 0..end(stage),
            Order::Independent => end(stage) - 1..end(stage),
        };
        (1..=stages).map(range).collect()
    }
}

impl Metric for Mprt {
    fn cost(&self, _: &Grid) -> Cost {
        Cost::explanations(self.stages as u64)
    }

    fn measure(&self, sample: &mut Sample) -> Result<Score> {
        let sizes = |map: &[f32]| map.iter().map(|v| v.abs() as f64).collect::<Vec<f64>>();
        let own = sizes(sample.map);
        let mut similarity = Moments::default();
        for layers in self.ranges(sample.subject.layers()) {
            let map = sample.subject.explain_shuffled(layers, self.seed, sample.input, sample.class)?;
            match spearman(&own, &sizes(&map)) {
                Ok(correlation) => similarity.push(correlation),
                Err(Undefined::ConstantMap) => return Ok(Err(Undefined::ConstantMap)),
                // A map that the randomised model leaves without any order has nothing of the first.
                Err(_) => similarity.push(0.0),
            }
        }
        Ok(if similarity.count() > 0 { Ok(similarity.mean()) } else { Err(Undefined::ConstantOutput) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_reach_every_layer() {
        let ranges = |order, stages| Mprt { stages, order, seed: 0 }.ranges(5);
        assert_eq!(ranges(Order::TopDown, 9), [4..5, 3..5, 2..5, 1..5, 0..5]);
        assert_eq!(ranges(Order::BottomUp, 2), [0..3, 0..5]);
        assert_eq!(ranges(Order::Independent, 5), [0..1, 1..2, 2..3, 3..4, 4..5]);
    }
}
