//! One sample, as metrics see it.

use std::ops::ControlFlow;

use crate::attribution::{Completeness, Grid};
use crate::baseline::{Baseline, Origin};
use crate::engine::{Make, Take};
use crate::error::{Error, Result};
use crate::gradient::head::Head;
pub use crate::gradient::target::Explained;
use crate::onnx::Change;

use super::{Defined, Score, Undefined};

/// The model with a method: what it gives at other inputs.
pub trait Subject {
    /// The scores at `count` points, as [`crate::engine::Session::forwards`] hands them over.
    fn forwards(&mut self, count: usize, make: Make, take: Take) -> Result<()>;
    /// The map of another input, one value per feature.
    fn explain(&mut self, input: &[f32], explained: Explained) -> Result<Vec<f32>>;
    /// How many layers of the model have parameters.
    fn layers(&self) -> usize;
    /// The map of the model with a change. The one of `next`, if any, will be asked for at the same input thereafter: what both
    /// models have in common is computed once.
    fn explain_changed(
        &mut self,
        change: &Change,
        next: Option<&Change>,
        input: &[f32],
        explained: Explained,
    ) -> Result<Vec<f32>>;
    /// The values of a layer: of the one named, or of the last that can be looked at.
    fn representation(&mut self, input: &[f32], layer: Option<&str>) -> Result<Vec<f32>>;
}

/// What of the model's scores a metric looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// The class's score before a Softmax, or how far it is ahead of the other one.
    Logit,
    /// Its probability, or its share of both.
    Probability,
}

/// One sample with its map.
pub struct Sample<'a> {
    /// The model with the method that made the map.
    pub subject: &'a mut dyn Subject,
    /// Row-major.
    pub input: &'a [f32],
    /// What the map has values for.
    pub grid: Grid,
    /// What the map explains.
    pub explained: Explained,
    /// The scores at the input.
    pub logits: &'a [f32],
    /// How scores are to be read.
    pub head: Head,
    /// What the method promises its map to add up to, and what that does.
    pub completeness: Option<Completeness>,
    /// One value per feature: the channels' sum where signs mean something.
    pub map: &'a [f32],
    /// One value per element of the input, of methods whose maps are that and not one of pixels.
    pub elements: Option<&'a [f32]>,
    /// The features from the largest value of the map to the least.
    pub order: &'a [u32],
    /// Which features are of the object, if somebody has said so.
    pub mask: Option<&'a [bool]>,
    /// Whether the input is a mosaic, whose mask marks the images of the class explained.
    pub mosaic: bool,
    /// Begins the random draws for this sample: the same for the same input, whatever comes before it.
    pub draw: u64,
    /// Of what is kept of some samples only, those of the least are: a hash of the sample and its name.
    pub priority: u64,
    /// Metrics of random draws take no more than have this standard error.
    pub standard_error: Option<f64>,
    /// Baselines that the caller has given.
    pub baselines: &'a [Vec<f32>],
}

impl<'a> Sample<'a> {
    /// What the metric looks at, of these scores.
    pub fn output(&self, of: Output, logits: &[f32]) -> Result<f64> {
        output(of, self.head, logits, self.explained)
    }

    /// The same at the sample itself.
    pub fn own_output(&self, of: Output) -> Result<f64> {
        self.output(of, self.logits)
    }

    /// What its own scores decide where the explained class competes: which class it is, or of one alone whether it is there.
    pub fn decision(&self) -> usize {
        self.head.decision(self.logits, self.explained.class)
    }

    /// What baselines are made of.
    pub fn origin(&self) -> Origin<'a> {
        let Grid { layout, channels, height, width } = self.grid;
        let image = layout.map(|layout| (layout, (channels, height, width)));
        Origin { input: self.input, image, given: self.baselines }
    }

    /// The baseline of the input.
    pub fn baseline(&self, baseline: &Baseline) -> Result<Vec<f32>> {
        baseline.values(&self.origin())
    }

    /// The scores at another input.
    pub fn logits_at(&mut self, input: &[f32]) -> Result<Vec<f32>> {
        let mut logits = vec![];
        self.subject.forwards(1, &|_, point: &mut [f32]| point.copy_from_slice(input), &mut |_, pass| {
            logits = pass.logits.to_vec();
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(logits)
    }

    /// The class's output at `count` points.
    pub fn outputs(&mut self, of: Output, count: usize, make: Make) -> Result<Vec<f64>> {
        let (head, explained, mut found) = (self.head, self.explained, Vec::with_capacity(count));
        self.subject.forwards(count, make, &mut |_, pass| {
            found.push(output(of, head, pass.logits, explained)?);
            Ok(ControlFlow::Continue(()))
        })?;
        match found.len() == count {
            true => Ok(found),
            false => Err(Error::Budget { reason: format!("{} of {count} passes were taken", found.len()) }),
        }
    }

    /// The mask, where it marks something.
    pub fn object(&self) -> Defined<&[bool]> {
        match self.mask {
            None => Err(Undefined::NoMask),
            Some(mask) if mask.iter().all(|marked| !marked) => Err(Undefined::EmptyMask),
            Some(mask) => Ok(mask),
        }
    }

    /// Of the sum of something of each value of the map, the share that lies on the object.
    pub fn share_on_object(&self, of: impl Fn(f64) -> f64) -> Score {
        let mask = self.object()?;
        let (mut inside, mut total) = (0.0, 0.0);
        for (&value, &marked) in self.map.iter().zip(mask) {
            let own = of(value as f64);
            total += own;
            inside += if marked { own } else { 0.0 };
        }
        if total > 0.0 { Ok(inside / total) } else { Err(Undefined::NothingPositive) }
    }

    /// Of the `k` features of the largest values, the share that lies on the object.
    pub fn top_on_object(&self, k: usize) -> Score {
        let mask = self.object()?;
        if k > self.order.len() {
            return Err(Undefined::TooFewFeatures);
        }
        if self.is_constant() {
            return Err(Undefined::ConstantMap);
        }
        Ok(self.order[..k].iter().filter(|&&place| mask[place as usize]).count() as f64 / k as f64)
    }

    /// Whether the map is the same everywhere.
    pub fn is_constant(&self) -> bool {
        self.map.iter().all(|v| *v == self.map[0])
    }
}

/// What a metric looks at, of these scores.
pub(super) fn output(of: Output, head: Head, logits: &[f32], explained: Explained) -> Result<f64> {
    match of {
        Output::Logit => Ok(explained.score(logits)),
        Output::Probability => explained.probability(head, logits).ok_or_else(|| {
            Error::usage("the model's scores have no probabilities; tell the metric output=logit, without --compat")
        }),
    }
}
