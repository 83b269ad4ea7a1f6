//! Patches and segments removed one after the other.

use super::{COMPAT, Refusing, black, entry};
use crate::error::{Error, Result};
use crate::metrics::irof::segments;
use crate::metrics::patches::{count, heights, patches, patches_from, ranked_by_mean, ranked_by_sum};
use crate::metrics::{Better, Cost, Entry, Family, Grid, Metric, Model, Output, Sample, Score, Wants, irof};
use crate::params::Parameter;

const fn sized(default: &'static str) -> Parameter {
    Parameter { name: "size", default, help: "pixels along a side of a patch" }
}

/// The mean loss, without that of the input itself.
pub(super) const REGION_PERTURBATION: Entry = entry(
    ("region-perturbation", Family::Faithfulness, Better::Higher),
    Wants::Nothing,
    &[COMPAT, sized("8"), Parameter { name: "regions", default: "100", help: "regions removed at most" }],
    |params| {
        let size = params.whole("size", 1, 1 << 16)? as usize;
        let regions = params.whole("regions", 1, 1 << 20)? as usize;
        Ok(Box::new(Refusing(Curve { size, regions, of: |heights| heights[0] - mean(&heights[1..]) })))
    },
);

/// The mean of the curve behind the input itself.
pub(super) const SELECTIVITY: Entry =
    entry(("selectivity", Family::Faithfulness, Better::Lower), Wants::Nothing, &[COMPAT, sized("8")], |params| {
        let size = params.whole("size", 1, 1 << 16)? as usize;
        Ok(Box::new(Refusing(Curve { size, regions: usize::MAX - 1, of: |heights| mean(&heights[1..]) })))
    });

/// Patches by their sum, one after the other. Images that are not of whole patches stand in the middle of the least that are.
struct Curve {
    size: usize,
    regions: usize,
    of: fn(&[f64]) -> f64,
}

impl Metric for Curve {
    fn cost(&self, grid: &Grid) -> Cost {
        Cost::forward(count(grid, self.size).min(self.regions) as u64 + 1)
    }

    fn measure(&self, sample: &mut Sample) -> Result<Score> {
        let baseline = vec![black(sample); sample.input.len()];
        let before = [sample.grid.height, sample.grid.width].map(|n| (n.next_multiple_of(self.size) - n) / 2);
        let ranked = ranked_by_sum(sample.map, patches_from(&sample.grid, self.size, before));
        let heights = heights(sample, Output::Probability, &baseline, &ranked, (self.regions, 0.0))?;
        Ok(Ok((self.of)(&heights)))
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// `S - trapezoid of p_k / p_0` from the first segment's removal on, a step being one: of a model that sees nothing it is one. A
/// segment becomes the mean of all values as they are by then.
pub(super) const IROF: Entry = entry(
    ("irof", Family::Faithfulness, Better::Higher),
    Wants::Nothing,
    &[COMPAT, irof::SEGMENTS, irof::KIND],
    |params| {
        let (wanted, follows) = irof::parse(params)?;
        Ok(Box::new(Refusing(Irof { wanted, follows })))
    },
);

struct Irof {
    wanted: usize,
    follows: bool,
}

impl Metric for Irof {
    fn cost(&self, grid: &Grid) -> Cost {
        Cost::forward(irof::most(grid, self.wanted, self.follows) as u64 + 1)
    }

    fn measure(&self, sample: &mut Sample) -> Result<Score> {
        let groups = match segments(sample, self.wanted, self.follows) {
            Ok(groups) => groups,
            Err(reason) => return Ok(Err(reason)),
        };
        let (count, ranked) = (groups.len(), ranked_by_mean(sample.map, groups));
        let (grid, input, mut now) = (sample.grid, sample.input, sample.input.to_vec());
        let fill = |group: usize, values: &mut [f32], mean: f32| {
            for place in ranked.group(group).iter().flat_map(|&feature| grid.places(feature)) {
                values[place] = mean;
            }
        };
        let mean_of_all = |values: &[f32]| (values.iter().map(|v| *v as f64).sum::<f64>() / values.len() as f64) as f32;
        let mut means = vec![];
        for group in 0..count {
            let mean = mean_of_all(&now);
            fill(group, &mut now, mean);
            means.push(mean);
        }
        let heights = sample.outputs(Output::Probability, count + 1, &|number, point: &mut [f32]| {
            point.copy_from_slice(input);
            means[..number].iter().enumerate().for_each(|(group, mean)| fill(group, point, *mean));
        })?;
        let shares: Vec<f64> = heights[1..].iter().map(|p| p / heights[0]).collect();
        let area = shares.iter().sum::<f64>() - 0.5 * (shares[0] + shares[count - 1]);
        Ok(Ok(count as f64 - area))
    }
}

/// Patches in the order of the image, which stay removed; the map is a gradient, and forecasts all that is lost so far.
pub(super) const INFIDELITY: Entry =
    entry(("infidelity", Family::Faithfulness, Better::Lower), Wants::Nothing, &[COMPAT, sized("4")], |params| {
        Ok(Box::new(Refusing(Infidelity { size: params.whole("size", 1, 1 << 16)? as usize })))
    });

struct Infidelity {
    size: usize,
}

impl Metric for Infidelity {
    fn cost(&self, grid: &Grid) -> Cost {
        Cost::forward(count(grid, self.size) as u64)
    }

    /// Quantus fails where images are not of whole patches.
    fn admits(&self, model: &Model) -> Result<()> {
        let (size, Grid { height, width, .. }) = (self.size, model.grid);
        if height.is_multiple_of(size) && width.is_multiple_of(size) {
            return Ok(());
        }
        Err(Error::usage(format!(
            "with --compat quantus images are made of whole patches, and {height} x {width} pixels are not of \
             {size} x {size}; tell it another size"
        )))
    }

    fn measure(&self, sample: &mut Sample) -> Result<Score> {
        let (grid, input, black) = (sample.grid, sample.input, black(sample));
        let (patches, own) = (patches(&grid, self.size), sample.own_output(Output::Logit)?);
        let outputs = sample.outputs(Output::Logit, patches.len(), &|number, point: &mut [f32]| {
            point.copy_from_slice(input);
            for place in patches[..=number].iter().flatten().flat_map(|&feature| grid.places(feature)) {
                point[place] = black;
            }
        })?;
        let forecast = |feature: &u32| {
            let taken = grid.places(*feature).map(|place| (input[place] - black) as f64).sum::<f64>();
            sample.map[*feature as usize] as f64 * taken
        };
        let mut told = 0.0;
        let errors = patches.iter().zip(&outputs).map(|(patch, output)| {
            told += patch.iter().map(forecast).sum::<f64>();
            (own - output - told).powi(2)
        });
        Ok(Ok(mean(&errors.collect::<Vec<f64>>())))
    }
}
