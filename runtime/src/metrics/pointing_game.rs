//! Pointing game (Zhang et al. 2018): whether the map's largest value is on the object, or near it: one or zero, and over a
//! dataset the share of hits. Any of equal largest values may hit. The paper's tolerance of 15 pixels, for images of 500, is a
//! share of the larger side here.
//!
//! Cost: none.

use super::{Better, Entry, Family, Metric, Sample, Score, Undefined, Wants};
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
    parameters: &[Parameter {
        name: "tolerance",
        default: "0.03",
        help: "how near is near enough, as a share of the larger side",
    }],
    build: |params| Ok(Box::new(PointingGame { tolerance: params.size("tolerance")? })),
};

struct PointingGame {
    tolerance: f64,
}

impl Metric for PointingGame {
    fn measure(&self, sample: &mut Sample) -> Result<Score> {
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
        Ok(Ok(f64::from(u8::from(places.any(near)))))
    }
}
