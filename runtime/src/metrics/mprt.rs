//! Model parameter randomisation (Adebayo et al. 2018): how much the map stays the same when the model's layers are randomised,
//! as Spearman's correlation of the magnitudes, in the mean over the stages. Parameters are put in a random order, which needs
//! no initialiser. Layers go cumulatively from the top or the bottom, or each alone.
//!
//! As in the paper and in Quantus, one random model is asked of all samples, and the standard error is that of the samples, seen
//! by this model. Another one would say something else, of some methods by much more than that error: with `models` there are
//! several, of which each sample sees one, and the error is that of models which are drawn.
//!
//! Cost: an explanation of a randomised model, per stage; a stage is prepared once where memory allows.

use std::ops::Range;

use super::monotonicity_correlation::of_ranks;
use super::neighbours::Neighbours;
use super::tally::MODELS as MOST;
use super::{
    Better, Cost, Entry, Family, Grid, Model, Observation, Observed, Observer, Sample, Score, Tally, Undefined, Wants,
};
use crate::error::Result;
use crate::onnx::Change;
use crate::params::{Parameter, Params};
use crate::rng::Rng;
use crate::values::ranked;
use whyline_stream::moments::Moments;

pub(super) const ENTRY: Entry = Entry {
    name: "mprt",
    aliases: &["model-parameter-randomisation"],
    family: Family::Randomisation,
    summary: "how much the map stays the same while the model's layers are randomised",
    paper: "Adebayo et al. 2018",
    better: Better::Lower,
    wants: Wants::Nothing,
    parameters: &[STAGES, ORDER, MODELS, Parameter { name: "seed", default: "0", help: "of the random orders" }],
    build: |params| {
        let (stages, order) = (params.whole("stages", 1, 10_000)? as usize, order_of(params)?);
        Ok(Box::new(Mprt { stages, order, models: Models::parse(params)?, copies: None }))
    },
};

/// How often the map is compared.
pub(super) const STAGES: Parameter =
    Parameter { name: "stages", default: "8", help: "stages at most, evenly over the layers; the last has them all" };

/// Which layers come first.
pub(super) const ORDER: Parameter =
    Parameter { name: "order", default: "top-down", help: "top-down, bottom-up, or independent: one layer at a time" };

/// How many random models.
pub(super) const MODELS: Parameter = Parameter {
    name: "models",
    default: "1",
    help: "random models, 16 at most, of which each sample sees one: of several, the standard error is that of models drawn",
};

/// Random models, of which each sample sees one.
#[derive(Clone, Copy)]
pub(super) struct Models {
    count: u64,
    seed: u64,
}

impl Models {
    /// The parameters `models` and `seed`.
    pub fn parse(params: &Params) -> Result<Models> {
        Ok(Models { count: params.whole("models", 1, MOST as u32)?.into(), seed: params.seed("seed")? })
    }

    /// The one that a sample sees: its number, and what its random draws begin with.
    pub fn of(self, sample: &Sample) -> (usize, u64) {
        let number = sample.draw % self.count;
        let seed = if self.count == 1 { self.seed } else { Rng::new(self.seed, number).bits(0) };
        (number as usize, seed)
    }
}

/// The parameter `order`.
pub(super) fn order_of(params: &Params) -> Result<Order> {
    match params.text("order") {
        "top-down" => Ok(Order::TopDown),
        "bottom-up" => Ok(Order::BottomUp),
        "independent" => Ok(Order::Independent),
        _ => Err(params.refuse("order", "top-down, bottom-up or independent")),
    }
}

#[derive(Clone, Copy)]
pub(super) enum Order {
    TopDown,
    BottomUp,
    Independent,
}

pub(super) struct Mprt {
    pub stages: usize,
    pub order: Order,
    pub models: Models,
    /// Noisy copies whose maps are averaged, the input itself being the last of them; none for its map alone.
    pub copies: Option<Neighbours>,
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

impl Observer for Mprt {
    fn tally(&self) -> Tally {
        Tally::of_groups()
    }

    fn cost(&self, _: &Grid) -> Cost {
        Cost::explanations((self.stages as u64 + 1) * self.count() as u64 - 1)
    }

    fn admits(&self, model: &Model) -> Result<()> {
        model.must_score_the_image()?;
        model.must_change()
    }

    fn observe(&self, sample: &mut Sample) -> Result<Observed> {
        let (group, seed) = self.models.of(sample);
        Ok(self.similarity(sample, seed)?.map(|score| Observation::Grouped { group, score }))
    }
}

impl Mprt {
    /// Maps that are averaged.
    fn count(&self) -> u32 {
        self.copies.as_ref().map_or(1, |copies| copies.draws)
    }

    /// A noisy copy of the input; none for the last of them, the input itself.
    fn copy(&self, sample: &Sample, number: u32) -> Option<Vec<f32>> {
        self.copies.as_ref().filter(|copies| number + 1 < copies.draws).map(|copies| copies.copy(sample, number))
    }

    /// The mean over the stages of one random model.
    fn similarity(&self, sample: &mut Sample, seed: u64) -> Result<Score> {
        let mut own = vec![0.0; sample.map.len()];
        for number in 0..self.count() {
            match self.copy(sample, number) {
                Some(copy) => add(&mut own, &sample.subject.explain(&copy, sample.explained)?),
                None => add(&mut own, sample.map),
            }
        }
        let own = ranks(own);
        if own.iter().all(|rank| *rank == own[0]) {
            return Ok(Err(Undefined::ConstantMap));
        }
        let mut similarity = Moments::default();
        for map in self.stages(sample, seed)? {
            // A map that the randomised model leaves without any order has nothing of the first.
            similarity.push(of_ranks(&own, &ranks(map)).unwrap_or(0.0));
        }
        Ok(if similarity.count() > 0 { Ok(similarity.mean()) } else { Err(Undefined::ConstantOutput) })
    }

    /// The sum of the maps at each stage.
    fn stages(&self, sample: &mut Sample, seed: u64) -> Result<Vec<Vec<f64>>> {
        let stages = self.ranges(sample.subject.layers()).into_iter().map(|layers| Change::Shuffled { layers, seed });
        let mut stages: Vec<_> = stages.map(|change| (change, vec![0.0; sample.map.len()])).collect();
        // So that each has more layers in common with the next than with the one before.
        let backwards = matches!(self.order, Order::TopDown);
        if backwards {
            stages.reverse();
        }
        for number in 0..self.count() {
            let copy = self.copy(sample, number);
            let input = copy.as_deref().unwrap_or(sample.input);
            let mut rest = stages.as_mut_slice();
            while let [(change, sums), behind @ ..] = rest {
                let next = behind.first().map(|(next, _)| next);
                add(sums, &sample.subject.explain_changed(change, next, input, sample.explained)?);
                rest = behind;
            }
        }
        if backwards {
            stages.reverse();
        }
        Ok(stages.into_iter().map(|(_, sums)| sums).collect())
    }
}

fn add(sums: &mut [f64], map: &[f32]) {
    sums.iter_mut().zip(map).for_each(|(sum, value)| *sum += *value as f64);
}

/// The ranks of the magnitudes.
fn ranks(mut sums: Vec<f64>) -> Vec<f64> {
    sums.iter_mut().for_each(|sum| *sum = sum.abs());
    ranked(&sums)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_reach_every_layer() {
        let ranges =
            |order, stages| Mprt { stages, order, models: Models { count: 1, seed: 0 }, copies: None }.ranges(5);
        assert_eq!(ranges(Order::TopDown, 9), [4..5, 3..5, 2..5, 1..5, 0..5]);
        assert_eq!(ranges(Order::BottomUp, 2), [0..3, 0..5]);
        assert_eq!(ranges(Order::Independent, 5), [0..1, 1..2, 2..3, 3..4, 4..5]);
    }
}
