//! Pointing game (Zhang et al. 2018): whether the map's largest value is on the object, or near it: one or zero, and over a
//! dataset the mean over the explained classes of their shares of hits: the paper's classes are those of the labels, which
//! `--target label` explains. Any of equal largest values may hit. The paper's
//! tolerance of 15 pixels, for images of 500, is a share of the larger side here.
//!
//! Cost: none. Kept: hits and misses of about a thousand classes.

use super::{Better, Entry, Family, Observation, Observed, Observer, Sample, Tally, Undefined, Wants};
use crate::error::Result;
use crate::params::Parameter;

pub(super) const ENTRY: Entry = Entry {
    name: "pointing-game",
    aliases: &[],
    family: Family::Localisation,
    summary: "how often the map's largest value is on the object",
    paper: "Zhang et al. 2018",
    better: Better::Higher,
    wants: Wants::Mask,
    parameters: &[
        Parameter {
            name: "tolerance",
            default: "0.03",
            help: "how near is near enough, as a share of the larger side",
        },
        Parameter {
            name: "average",
            default: "classes",
            help: "over what: classes, however many samples they have, or samples",
        },
    ],
    build: |params| {
        let by_class = match params.text("average") {
            "classes" => true,
            "samples" => false,
            _ => return Err(params.refuse("average", "classes or samples")),
        };
        Ok(Box::new(PointingGame { tolerance: params.size("tolerance")?, by_class }))
    },
};

struct PointingGame {
    tolerance: f64,
    by_class: bool,
}

impl Observer for PointingGame {
    fn tally(&self) -> Tally {
        if self.by_class { Tally::of_hits() } else { Tally::default() }
    }

    fn observe(&self, sample: &mut Sample) -> Result<Observed> {
        let mask = match sample.object() {
            Ok(mask) => mask,
            Err(reason) => return Ok(Err(reason)),
        };
        if sample.is_constant() {
            return Ok(Err(Undefined::ConstantMap));
        }
        let grid = sample.grid;
        let radius = self.tolerance * grid.height.max(grid.width) as f64;
        let near = |place: usize| {
            let (row, column) = ((place / grid.width) as f64, (place % grid.width) as f64);
            let (top, left) = ((row - radius).max(0.0) as usize, (column - radius).max(0.0) as usize);
            let rows = top..((row + radius) as usize + 1).min(grid.height);
            let mut around =
                rows.flat_map(|r| (left..((column + radius) as usize + 1).min(grid.width)).map(move |c| (r, c)));
            around.any(|(r, c)| {
                let away = (r as f64 - row).powi(2) + (c as f64 - column).powi(2);
                (away < radius * radius || away == 0.0) && mask[r * grid.width + c]
            })
        };
        let largest = sample.map[sample.order[0] as usize];
        let mut places = sample.order.iter().map(|&p| p as usize).take_while(|&p| sample.map[p] == largest);
        let hit = places.any(near);
        Ok(Ok(match self.by_class {
            true => {
                let index = sample.explained.class;
                let class = sample.head.choice.map_or(index, |choice| choice.class(index));
                Observation::Hit { class: class as u64, hit }
            }
            false => Observation::Score(f64::from(u8::from(hit))),
        }))
    }
}
