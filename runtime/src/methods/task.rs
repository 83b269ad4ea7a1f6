//! What a method is given.

use super::Extents;
use crate::baseline::Origin;
use crate::engine::{Gradient, Make, Session, Take};
use crate::error::{Error, Result};
use crate::gradient::Bounds;
use crate::gradient::biases::Bias;
use crate::gradient::head::Head;
use crate::gradient::target::top_class;
use crate::onnx::Layout;
use crate::onnx::card::StepsCard;
use crate::rng::Rng;
use crate::values::range;

/// Tells the draws within copies from those of the copies' noise.
const WITHIN_COPIES: u64 = 0x6a09_e667_f3bc_c908;

/// What is explained, and with what.
pub struct Task<'a> {
    /// The model.
    pub session: &'a mut dyn Session,
    /// Row-major, in the session's input shape.
    pub input: &'a [f32],
    /// Where the input's channels are, if it is an image.
    pub layout: Option<Layout>,
    /// The cotangent of the logits: the target is `seed . logits`.
    pub seed: &'a [f32],
    /// Where the tapped layer's channels are.
    pub layer_layout: Option<Layout>,
    /// Baselines that the caller has given, each in the input's shape.
    pub baselines: &'a [Vec<f32>],
    /// Pixels that the caller has marked, row by row, if any.
    pub region: Option<&'a [bool]>,
    /// How scores are to be read.
    pub head: Head,
    /// Where inputs may lie.
    pub bounds: Bounds,
    /// What the cost depends on.
    pub extents: Extents,
    /// Where steps are best taken, if somebody has found out.
    pub steps: Option<&'a StepsCard>,
    /// The model prepared for [`Method::also`](super::Method::also).
    pub other: Option<&'a mut dyn Session>,
    /// Of methods that look at another one's maps over copies: which copy this is, from one on; zero of the input itself.
    pub copy: u64,
    /// What is added to the values tapped for [`Taps::Biases`](super::Taps::Biases).
    pub biases: &'a [Bias],
}

impl<'a> Task<'a> {
    /// The target `seed . logits` at an input, and nothing else known.
    pub fn new(session: &'a mut dyn Session, input: &'a [f32], seed: &'a [f32]) -> Task<'a> {
        Task {
            session,
            input,
            layout: None,
            seed,
            layer_layout: None,
            baselines: &[],
            region: None,
            head: Head::softmax(seed.len()),
            bounds: Bounds::default(),
            extents: Extents { input: input.len(), classes: seed.len(), ..Extents::default() },
            steps: None,
            other: None,
            copy: 0,
            biases: &[],
        }
    }

    /// The class explained, where it is one alone.
    pub fn class(&self, who: &str) -> Result<usize> {
        let explained: Vec<usize> = (0..self.seed.len()).filter(|&c| self.seed[c] != 0.0).collect();
        match explained[..] {
            [class] => Ok(class),
            _ => Err(Error::usage(format!("{who} wants one class as its target"))),
        }
    }

    /// The class that what is explained speaks for: of two, the one ahead.
    pub fn ahead(&self) -> usize {
        top_class(self.seed)
    }

    /// The input's layout and its (channels, height, width), which `who` wants.
    pub fn image(&self, who: &str) -> Result<(Layout, (usize, usize, usize))> {
        self.origin().image.ok_or_else(|| Error::usage(format!("{who} wants an image input")))
    }

    /// What baselines are made for.
    pub fn origin(&self) -> Origin<'a> {
        let image = self.layout.and_then(|l| Some((l, l.split(self.session.input_shape())?)));
        Origin { input: self.input, image, given: self.baselines }
    }

    /// What random draws begin with: of each copy others, and not those of the copy's own noise.
    pub fn seed_of(&self, seed: u64) -> u64 {
        if self.copy == 0 { seed } else { Rng::new(seed ^ WITHIN_COPIES, self.copy).bits(0) }
    }

    /// The input's least and largest value.
    pub fn range(&self) -> (f32, f32) {
        range(self.input)
    }

    /// One gradient pass at `input`.
    pub fn gradient_at(&mut self, input: &[f32]) -> Result<Gradient<'_>> {
        self.session.gradient(input, self.seed)
    }

    /// The gradients at `count` points, in their order, until `take` wants no more.
    pub fn gradients_at(&mut self, count: usize, make: Make, take: Take) -> Result<()> {
        self.session.gradients(self.seed, count, make, take)
    }

    /// The target at `input`: one forward pass.
    pub fn target_at(&mut self, input: &[f32]) -> Result<f64> {
        let logits = self.session.forward(input)?;
        Ok(logits.iter().zip(self.seed).map(|(l, s)| *l as f64 * *s as f64).sum())
    }

    /// The same task at another input.
    pub fn at<'b>(&'b mut self, input: &'b [f32]) -> Task<'b> {
        Task {
            session: &mut *self.session,
            input,
            layout: self.layout,
            seed: self.seed,
            layer_layout: self.layer_layout,
            baselines: self.baselines,
            region: self.region,
            head: self.head,
            bounds: self.bounds.clone(),
            extents: self.extents,
            steps: self.steps,
            other: match &mut self.other {
                Some(other) => Some(&mut **other),
                None => None,
            },
            copy: self.copy,
            biases: self.biases,
        }
    }
}
