//! Iterative removal of features (Rieger & Hansen 2020): the area over the curve of the probability, as a share of the input's
//! own, while segments of the image are replaced by its mean, the one with the largest mean of the map first:
//! `1 - integral of p_k / p_0`, over the share of segments replaced.
//!
//! Cost: a forward pass per segment, and one.

use super::curves::{PROBABILITY, TOLERANCE, output_of, tolerance_of};
use super::patches::{heights, patches, ranked_by_mean};
use super::{Better, Cost, Defined, Entry, Family, Grid, Metric, Model, Output, Sample, Score, Undefined, Wants};
use crate::baseline::{self, Baseline};
use crate::error::Result;
use crate::image::slic::{Superpixels, slic};
use crate::params::{Parameter, Params};
use whyline_stream::curve::Curve;

pub(super) const ENTRY: Entry = Entry {
    name: "irof",
    aliases: &["iterative-removal-of-features"],
    family: Family::Faithfulness,
    summary: "the share of the probability that is lost while segments become the mean, the most relevant first",
    paper: "Rieger & Hansen 2020",
    better: Better::Higher,
    wants: Wants::Nothing,
    parameters: &[SEGMENTS, KIND, Parameter { default: "mean", ..baseline::OF_METRICS }, PROBABILITY, TOLERANCE],
    build: |params| {
        let (wanted, follows) = parse(params)?;
        Ok(Box::new(Irof {
            wanted,
            follows,
            baseline: Baseline::parse(params)?,
            output: output_of(params)?,
            tolerance: tolerance_of(params)?,
        }))
    },
};

/// How many segments.
pub(super) const SEGMENTS: Parameter = Parameter { name: "segments", default: "100", help: "about how many segments" };

/// Which.
pub(super) const KIND: Parameter = Parameter {
    name: "kind",
    default: "slic",
    help: "of segments: superpixels that follow the image's edges (slic, as scikit-image's), or squares (grid)",
};

/// How many, and whether they follow edges.
pub(super) fn parse(params: &Params) -> Result<(usize, bool)> {
    let follows = match params.text("kind") {
        "slic" => true,
        "grid" => false,
        _ => return Err(params.refuse("kind", "slic or grid")),
    };
    Ok((params.whole("segments", 2, 1 << 16)? as usize, follows))
}

struct Irof {
    wanted: usize,
    /// The image's edges.
    follows: bool,
    baseline: Baseline,
    output: Output,
    tolerance: f64,
}

/// Of squares, the side with which as many are nearest to what is wanted.
fn side(grid: &Grid, wanted: usize) -> usize {
    ((grid.features() as f64 / wanted as f64).sqrt().round() as usize).max(1)
}

/// The features of each segment; one alone has no order.
pub(super) fn segments(sample: &Sample, wanted: usize, follows: bool) -> Defined<Vec<Vec<u32>>> {
    let grid = &sample.grid;
    let plane = |channel| (0..grid.features()).map(move |f| sample.input[grid.place(f, channel)]).collect();
    let segments = match follows {
        true => slic(&(0..grid.channels).map(plane).collect::<Vec<_>>(), (grid.height, grid.width), wanted),
        false => patches(grid, side(grid, wanted)),
    };
    if segments.len() < 2 { Err(Undefined::TooFewFeatures) } else { Ok(segments) }
}

/// How many segments there are at most.
pub(super) fn most(grid: &Grid, wanted: usize, follows: bool) -> usize {
    match follows {
        true => Superpixels::of((grid.height, grid.width), wanted).most(),
        false => super::patches::count(grid, side(grid, wanted)),
    }
}

impl Metric for Irof {
    fn cost(&self, grid: &Grid) -> Cost {
        Cost::forward(most(grid, self.wanted, self.follows) as u64 + 1)
    }

    fn admits(&self, model: &Model) -> Result<()> {
        model.must_see()
    }

    fn measure(&self, sample: &mut Sample) -> Result<Score> {
        if sample.is_constant() {
            return Ok(Err(Undefined::ConstantMap));
        }
        let own = sample.own_output(self.output)?;
        if own <= 0.0 {
            return Ok(Err(Undefined::NothingToLose));
        }
        let groups = match segments(sample, self.wanted, self.follows) {
            Ok(groups) => groups,
            Err(reason) => return Ok(Err(reason)),
        };
        let baseline = sample.baseline(&self.baseline)?;
        let ranked = ranked_by_mean(sample.map, groups);
        let mut curve = Curve::default();
        let heights = heights(sample, self.output, &baseline, &ranked, (usize::MAX - 1, self.tolerance * own))?;
        heights.into_iter().for_each(|height| curve.push(height / own));
        Ok(curve.area().map(|area| 1.0 - area).ok_or(Undefined::TooFewFeatures))
    }
}
