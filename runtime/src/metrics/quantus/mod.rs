//! Metrics as Quantus 0.6 computes them, for numbers that must be compared with published ones: its defaults, its arithmetic, its
//! oddities, sample by sample (a batch of one; Quantus lets other samples of a batch change a sample's score). Wherever features
//! are removed, they are scalars: of an image in colour each channel of a pixel is one.
//!
//! What is not here is computed by the paper's definition, as [`paper`] says why. Where Quantus gives a curve, the score is the
//! mean of what it gives.
//!
//! In colour the channels of a pixel are ties, which NumPy's sort leaves in any order, and here the first comes first: where features are
//! removed several at a time, scores are the same to rounding only if these are whole pixels.

mod complexity;
mod faithfulness;
mod localisation;
mod patches;
mod randomisation;
mod robustness;

use super::{Better, Cost, Entry, Family, Grid, Metric, Model, Observer, Sample, Score, Undefined, Wants};
use crate::error::Result;
use crate::params::{Parameter, Params};
use crate::values::{descending, range};

/// As [`super::METRICS`].
pub const METRICS: &[&Entry] = &[
    &faithfulness::CORRELATION,
    &faithfulness::ESTIMATE,
    &faithfulness::MONOTONICITY_CORRELATION,
    &faithfulness::PIXEL_FLIPPING,
    &patches::REGION_PERTURBATION,
    &patches::SELECTIVITY,
    &patches::IROF,
    &patches::INFIDELITY,
    &faithfulness::ROAD,
    &faithfulness::NON_SENSITIVITY,
    &robustness::LOCAL_LIPSCHITZ,
    &robustness::MAX_SENSITIVITY,
    &robustness::AVG_SENSITIVITY,
    &robustness::CONTINUITY,
    &robustness::CONSISTENCY,
    &robustness::RELATIVE_INPUT_STABILITY,
    &robustness::RELATIVE_OUTPUT_STABILITY,
    &robustness::RELATIVE_REPRESENTATION_STABILITY,
    &localisation::POINTING_GAME,
    &localisation::ATTRIBUTION_LOCALISATION,
    &localisation::TOP_K_INTERSECTION,
    &localisation::RELEVANCE_RANK,
    &localisation::RELEVANCE_MASS,
    &localisation::AUC,
    &complexity::SPARSENESS,
    &complexity::COMPLEXITY,
    &complexity::EFFECTIVE_COMPLEXITY,
    &randomisation::RANDOM_LOGIT,
];

/// Why a metric of ours is computed by the paper's definition all the same, of images of so many channels; none where Quantus's is
/// computed.
pub fn paper(metric: &str, channels: usize) -> Option<&'static str> {
    if channels > 1 && ["irof", "road"].contains(&metric) {
        return Some("Quantus's fails for images of more than one channel");
    }
    if METRICS.iter().any(|entry| entry.name == metric) {
        return None;
    }
    Some(match metric {
        "monotonicity" => "Quantus's says true of every map: it puts the baseline into the baseline",
        "completeness" => "Quantus's says false of nearly every map: it compares floats, and of a map that is rescaled",
        "sensitivity-n" => "Quantus's correlates over the samples of the first batch, and fails for one",
        "sufficiency" => "Quantus's compares the samples of a batch, so the batch's size decides",
        "input-invariance" => "Quantus's leaves the first value of the input where it is, and takes padding for input",
        "mprt" | "smooth-mprt" | "efficient-mprt" => {
            "Quantus draws new weights by PyTorch's initialisers, which no ONNX file tells; similarities are computed alike"
        }
        "focus" => "Quantus's is the same but for a billionth",
        "deletion" | "insertion" => "Quantus has no such metric",
        _ => return None,
    })
}

/// What Quantus computes under the name of a metric of ours, of images of so many channels, or that itself.
pub fn of(entry: &'static Entry, channels: usize) -> &'static Entry {
    let own = METRICS.iter().find(|own| own.name == entry.name && paper(own.name, channels).is_none());
    own.copied().unwrap_or(entry)
}

/// In what the defaults of a metric of [`METRICS`] are not Quantus's, for these parameters.
pub fn differs(entry: &Entry, params: &Params) -> Option<&'static str> {
    let is_ours = entry.name == robustness::RELATIVE_REPRESENTATION_STABILITY.name && params.text("layer") == "last";
    is_ours.then_some(
        "of the last layer alone: Quantus takes all modules of the PyTorch model together, which no ONNX file tells; \
         name one to both (layer=NAME)",
    )
}

/// Says in records whose definition it is.
const COMPAT: Parameter = Parameter { name: "compat", default: "quantus", help: "always quantus" };

/// A line of the table.
const fn entry(
    (name, family, better): (&'static str, Family, Better),
    wants: Wants,
    parameters: &'static [Parameter],
    build: fn(&Params) -> Result<Box<dyn Observer>>,
) -> Entry {
    Entry {
        name,
        aliases: &[],
        family,
        summary: "as Quantus 0.6 computes it",
        paper: "Quantus 0.6",
        better,
        wants,
        parameters,
        build,
    }
}

/// A map as Quantus sees it: over its largest magnitude.
fn normalised(map: &[f32]) -> Vec<f64> {
    let most = map.iter().fold(0.0f32, |most, v| most.max(v.abs())) as f64;
    let scale = if most > 0.0 { most } else { 1.0 };
    map.iter().map(|v| *v as f64 / scale).collect()
}

/// What Quantus refuses: maps that are the same everywhere, or nowhere positive.
fn refused(map: &[f32]) -> Option<Undefined> {
    if map.iter().all(|v| *v == map[0]) {
        return Some(Undefined::ConstantMap);
    }
    map.iter().all(|v| *v < 0.0).then_some(Undefined::NothingPositive)
}

/// A metric that has no score of what Quantus refuses.
struct Refusing<M>(M);

impl<M: Metric> Metric for Refusing<M> {
    fn cost(&self, grid: &Grid) -> Cost {
        Metric::cost(&self.0, grid)
    }

    fn admits(&self, model: &Model) -> Result<()> {
        Metric::admits(&self.0, model)
    }

    fn ends_early(&self) -> bool {
        Metric::ends_early(&self.0)
    }

    fn measure(&self, sample: &mut Sample) -> Result<Score> {
        match refused(sample.map) {
            Some(reason) => Ok(Err(reason)),
            None => self.0.measure(sample),
        }
    }
}

/// The least value of the input, which Quantus calls black.
fn black(sample: &Sample) -> f32 {
    range(sample.input).0
}

/// Measures a sample whose features are the elements of the input: of an image in colour, each channel has the map's values.
fn of_scalars(sample: &mut Sample, measure: impl FnOnce(&mut Sample) -> Result<Score>) -> Result<Score> {
    let grid = sample.grid;
    let mut map = vec![0.0; sample.input.len()];
    for (feature, value) in sample.map.iter().enumerate() {
        grid.places(feature as u32).for_each(|place| map[place] = *value);
    }
    let order = descending(&map);
    let grid = Grid { layout: None, channels: 1, height: grid.height, width: grid.width * grid.channels };
    measure(&mut Sample { subject: &mut *sample.subject, grid, map: &map, order: &order, ..*sample })
}
