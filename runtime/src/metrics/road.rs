//! Remove and debias, ROAD (Rong et al. 2022): the most relevant pixels are removed, from 1 to 99 % of them, and filled in from
//! their neighbours with a little noise, so that the hole itself tells the model nothing. The score is the share of these
//! images that keep the class, or, with `output`, the class's mean probability or logit.
//!
//! Cost: a forward pass per share.

use super::curves::{ORDER, least_first, output_of};
use super::{Better, Cost, Entry, Explained, Family, Grid, Metric, Model, Output, Sample, Score, Undefined, Wants};
use crate::error::Result;
use crate::gradient::head::Head;
use crate::image::inpaint::Hole;
use crate::params::Parameter;
use crate::rng::Rng;
use crate::values::range;

pub(super) const ENTRY: Entry = Entry {
    name: "road",
    aliases: &["remove-and-debias"],
    family: Family::Faithfulness,
    summary: "how often the class stays while the most relevant pixels are filled in from others",
    paper: "Rong et al. 2022",
    better: Better::Lower,
    wants: Wants::Nothing,
    parameters: &[
        Parameter { name: "shares", default: "50", help: "how many shares of the pixels are removed, evenly apart" },
        ORDER,
        Parameter {
            name: "noise",
            default: "0.01",
            help: "deviation of what is added, as a share of the input's range",
        },
        Parameter { name: "output", default: "class", help: "what is looked at: class, probability or logit" },
        Parameter { name: "seed", default: "0", help: "of the noise" },
    ],
    build: |params| {
        let output = match params.text("output") {
            "class" => None,
            _ => Some(output_of(params)?),
        };
        let least_first = least_first(params)?;
        let shares = params.whole("shares", 1, 1000)? as usize;
        let noise = Noise::Share(params.size("noise")? as f32);
        Ok(Box::new(Road { shares, least_first, noise, output, seed: params.seed("seed")? }))
    },
};

pub(super) struct Road {
    shares: usize,
    least_first: bool,
    noise: Noise,
    /// None: whether the class stays.
    output: Option<Output>,
    seed: u64,
}

/// The deviation of what is added to what was filled in.
pub(super) enum Noise {
    /// A share of the input's range.
    Share(f32),
    /// In the input's units.
    Absolute(f32),
}

impl Metric for Road {
    fn admits(&self, model: &Model) -> Result<()> {
        if self.output.is_none() { model.must_choose() } else { Ok(()) }
    }

    fn cost(&self, _: &Grid) -> Cost {
        Cost::forward(self.shares as u64)
    }

    fn measure(&self, sample: &mut Sample) -> Result<Score> {
        if sample.is_constant() {
            return Ok(Err(Undefined::ConstantMap));
        }
        let (grid, explained, head, own) = (sample.grid, sample.explained, sample.head, sample.decision());
        let mut order = sample.order.to_vec();
        if self.least_first {
            order.reverse();
        }
        let (input, draw) = (sample.input, sample.draw);
        let deviation = match self.noise {
            Noise::Share(share) => {
                let (low, high) = range(input);
                share * (high - low)
            }
            Noise::Absolute(deviation) => deviation,
        };
        let make = |number: usize, point: &mut [f32]| {
            // Of a hundredth and so on: 1 %, 3 %, ... 99 % where there are fifty.
            let count = (grid.features() * (2 * number + 1)) / (2 * self.shares);
            self.remove(&grid, input, &order[..count], point);
            let rng = Rng::new(self.seed ^ draw, number as u64);
            for &feature in &order[..count] {
                for place in grid.places(feature) {
                    point[place] += deviation * rng.normal(place as u64);
                }
            }
        };
        let mut sum = 0.0;
        sample.subject.forwards(self.shares, &make, &mut |_, pass| {
            sum += match self.output {
                None => f64::from(u8::from(stays(head, explained, own, pass.logits))),
                Some(of) => super::sample::output(of, head, pass.logits, explained)?,
            };
            Ok(std::ops::ControlFlow::Continue(()))
        })?;
        Ok(Ok(sum / self.shares as f64))
    }
}

/// Whether the class has the largest score still of those that compete; of two, the larger one. Of a score alone, whether it
/// decides what it did.
fn stays(head: Head, explained: Explained, own: usize, logits: &[f32]) -> bool {
    match (explained.against, head.choice) {
        (Some(_), _) => explained.score(logits) > 0.0,
        (None, Some(choice)) if choice.classes == 1 => head.decision(logits, explained.class) == own,
        (None, _) => head.winner(logits, explained.class) == explained.class,
    }
}

impl Road {
    /// Whether the class stays, the most relevant first.
    pub fn of_class(shares: usize, noise: Noise, seed: u64) -> Road {
        Road { shares, least_first: false, noise, output: None, seed }
    }

    fn remove(&self, grid: &Grid, input: &[f32], removed: &[u32], point: &mut [f32]) {
        point.copy_from_slice(input);
        let mut missing = vec![false; grid.features()];
        removed.iter().for_each(|&feature| missing[feature as usize] = true);
        let mut hole = Hole::new(missing, (grid.height, grid.width));
        let mut plane = vec![0.0; grid.features()];
        for channel in 0..grid.channels {
            plane.iter_mut().enumerate().for_each(|(p, v)| *v = input[grid.place(p, channel)]);
            hole.fill_in(&mut plane);
            plane.iter().enumerate().for_each(|(p, v)| point[grid.place(p, channel)] = *v);
        }
    }
}
