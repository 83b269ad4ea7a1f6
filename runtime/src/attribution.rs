//! What a method gives: how much each part of the input counts.

use serde::Serialize;

use crate::error::{Error, Result};
use crate::onnx::Layout;

/// What the elements of an attribution stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Extent {
    /// One value per element of the input, in the input's own shape.
    Features,
    /// One value per pixel, height by width.
    Pixels,
}

/// An attribution: signed, unless its method gives magnitudes.
#[derive(Clone, Debug, PartialEq)]
pub struct Attribution {
    /// Row-major.
    pub values: Vec<f32>,
    /// The input's shape, or [height, width].
    pub shape: Vec<usize>,
    /// What the elements stand for.
    pub extent: Extent,
}

impl Attribution {
    /// One value per element of the input.
    pub fn features(values: Vec<f32>, shape: &[usize]) -> Attribution {
        Attribution { values, shape: shape.to_vec(), extent: Extent::Features }
    }

    /// One value per pixel: the channels' sum where signs mean something, else the largest magnitude.
    pub fn per_pixel(&self, layout: Layout, signed: bool) -> Result<Vec<f32>> {
        if self.extent == Extent::Pixels {
            return Ok(self.values.clone());
        }
        let grid = Grid::of(&self.shape, Some(layout));
        if grid.layout.is_none() {
            return Err(Error::usage("the map is not that of an image"));
        }
        if self.values.len() != self.shape.iter().product::<usize>() {
            return Err(Error::usage(format!(
                "a map of {} values has not the shape {:?}",
                self.values.len(),
                self.shape
            )));
        }
        let reduce = |pixel: usize| {
            let over = grid.places(pixel as u32).map(|place| self.values[place]);
            if signed { over.sum() } else { over.fold(0.0, |most: f32, v| most.max(v.abs())) }
        };
        Ok((0..grid.features()).map(reduce).collect())
    }

    /// The sum of all values.
    pub fn sum(&self) -> f64 {
        self.values.iter().map(|&v| v as f64).sum()
    }
}

/// What maps have values for: the pixels of an image, all channels together, or the elements of another input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Where the channels are; none for an input that is no image.
    pub layout: Option<Layout>,
    /// Elements of a feature.
    pub channels: usize,
    /// Rows; one for an input that is no image.
    pub height: usize,
    /// Features of a row.
    pub width: usize,
}

impl Grid {
    /// Of an input of this shape.
    pub fn of(shape: &[usize], layout: Option<Layout>) -> Grid {
        match layout.and_then(|layout| Some((layout, layout.split(shape)?))) {
            Some((layout, (channels, height, width))) => Grid { layout: Some(layout), channels, height, width },
            None => Grid { layout: None, channels: 1, height: 1, width: shape.iter().product() },
        }
    }

    /// How many features.
    pub fn features(&self) -> usize {
        self.height * self.width
    }

    /// The sum over the elements of each feature.
    pub fn sums(&self, elements: &[f32]) -> Vec<f32> {
        (0..self.features()).map(|feature| (0..self.channels).map(|c| elements[self.place(feature, c)]).sum()).collect()
    }

    /// Where an element of a feature is.
    pub fn place(&self, feature: usize, channel: usize) -> usize {
        match self.layout {
            Some(Layout::ChannelsLast) => feature * self.channels + channel,
            _ => channel * self.features() + feature,
        }
    }

    /// Where all elements of a feature are.
    pub fn places(&self, feature: u32) -> impl Iterator<Item = usize> {
        let grid = *self;
        (0..grid.channels).map(move |channel| grid.place(feature as usize, channel))
    }

    /// Copies features from one input to another.
    pub fn copy(&self, features: impl IntoIterator<Item = u32>, from: &[f32], to: &mut [f32]) {
        for feature in features {
            self.places(feature).for_each(|place| to[place] = from[place]);
        }
    }
}

/// Whether a result is all that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// It is.
    Complete,
    /// It is the best so far: the passes that were allowed did not reach the tolerance.
    Degraded,
}

/// How far an attribution is from adding up to what it explains.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Completeness {
    /// The sum of the attribution.
    pub sum: f64,
    /// The target at the input, less the target at the baseline.
    pub difference: f64,
    /// `sum - difference`
    pub gap: f64,
    /// `|gap| / |difference|`
    pub relative_gap: f64,
}

impl Completeness {
    /// Compares a sum with the difference it should be.
    pub fn new(sum: f64, difference: f64) -> Completeness {
        let gap = sum - difference;
        Completeness { sum, difference, gap, relative_gap: gap.abs() / difference.abs().max(f64::MIN_POSITIVE) }
    }
}
