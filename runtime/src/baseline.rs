//! Where paths start, and what an input is compared with.

use crate::error::{Error, Result};
use crate::image::blur::{Border, gaussian, of_rise};
use crate::onnx::Layout;
use crate::params::{Parameter, Params};
use crate::rng::Rng;

/// What baselines are made of; a macro, for the two lines of help that begin with it.
macro_rules! made {
    () => {
        "what the input is compared with: zero, a number, mean (each channel's own), blur (or blur:PIXELS), RISE's blur (rise), \
         uniform noise (or uniform:SEED)"
    };
}

/// The parameter of methods that have one.
pub const PARAMETER: Parameter =
    Parameter { name: "baseline", default: "zero", help: concat!(made!(), ", max-distance, or an image file") };

/// The same for metrics, whose baselines are made of the input or of nothing.
pub const OF_METRICS: Parameter = Parameter { help: concat!(made!(), ", or max-distance"), ..PARAMETER };

/// Tells the noise of baselines from that of copies of the input.
const UNIFORM: u64 = 0x3c6e_f372_fe94_f82b;

/// Pixels that a blur has at most: of more, an image of any size is its mean.
pub(crate) const WIDEST: f64 = 10_000.0;

/// How a baseline that comes from files is named.
pub const FILE: &str = "file:";

/// What an input is compared with.
#[derive(Clone, Debug, PartialEq)]
pub enum Baseline {
    /// The same value everywhere, in the input's own scale.
    Constant(f32),
    /// Each channel's mean over the input.
    ChannelMean,
    /// The input, blurred by a Gaussian of so many pixels; a tenth of the larger side if none.
    Blurred(Option<f64>),
    /// The input, blurred as RISE does for insertion.
    Rise,
    /// Uniform noise between the least and the largest value of each channel.
    Uniform(u64),
    /// Each element at the least or the largest value of its channel, whichever is farther (Sturmfels et al. 2020).
    MaxDistance,
    /// What the caller has given.
    Given,
}

/// The input that a baseline is made for.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// Row-major.
    pub input: &'a [f32],
    /// Where its channels are and its (channels, height, width), if it is an image.
    pub image: Option<(Layout, (usize, usize, usize))>,
    /// What the caller has given, each in the input's shape.
    pub given: &'a [Vec<f32>],
}

impl Origin<'_> {
    fn image(&self, who: &str) -> Result<(Layout, (usize, usize, usize))> {
        self.image.ok_or_else(|| Error::usage(format!("{who} wants an image input")))
    }

    /// The channel of an element; what is no image has one.
    fn channel(&self, element: usize) -> usize {
        match self.image {
            Some((Layout::ChannelsFirst, (channels, height, width))) => element / (height * width) % channels,
            Some((Layout::ChannelsLast, (channels, ..))) => element % channels,
            None => 0,
        }
    }

    /// The least and largest value of an element's channel, for every element: normalised colours have ranges of their own.
    pub fn ranges(&self) -> impl Fn(usize) -> (f32, f32) + use<'_> {
        let channels = self.image.map_or(1, |(_, (channels, ..))| channels);
        let mut ranges = vec![(f32::INFINITY, f32::NEG_INFINITY); channels];
        for (i, &v) in self.input.iter().enumerate() {
            let (low, high) = &mut ranges[self.channel(i)];
            (*low, *high) = (low.min(v), high.max(v));
        }
        move |element| ranges[self.channel(element)]
    }
}

impl Baseline {
    /// From the parameter `baseline`.
    pub fn parse(params: &Params) -> Result<Baseline> {
        let wanted = "zero, a number, mean, blur, blur:PIXELS, rise, uniform, uniform:SEED, max-distance, or, of methods, a file that exists";
        Baseline::named(params.text("baseline")).ok_or_else(|| params.refuse("baseline", wanted))
    }

    /// The baseline of that name.
    pub fn named(text: &str) -> Option<Baseline> {
        let (kind, with) = text.split_once(':').map_or((text, None), |(kind, with)| (kind, Some(with)));
        match (kind, with) {
            ("zero", None) => Some(Baseline::Constant(0.0)),
            ("mean", None) => Some(Baseline::ChannelMean),
            ("max-distance", None) => Some(Baseline::MaxDistance),
            ("rise", None) => Some(Baseline::Rise),
            ("blur", None) => Some(Baseline::Blurred(None)),
            ("blur", Some(sigma)) => {
                let sigma = sigma.parse().ok().filter(|s: &f64| (0.0..=WIDEST).contains(s))?;
                Some(Baseline::Blurred(Some(sigma)))
            }
            ("uniform", None) => Some(Baseline::Uniform(0)),
            ("uniform", Some(seed)) => Some(Baseline::Uniform(seed.parse().ok()?)),
            ("file", Some(_)) => Some(Baseline::Given),
            _ => text.parse().ok().filter(|v: &f32| v.is_finite()).map(Baseline::Constant),
        }
    }

    /// The baseline of an input, where there must be one.
    pub fn values(&self, origin: &Origin) -> Result<Vec<f32>> {
        let mut set = self.set(origin)?;
        match (set.pop(), set.len()) {
            (Some(only), 0) => Ok(only),
            (_, more) => Err(Error::usage(format!(
                "the method takes one baseline, not the {} of a folder; expected-gradients takes a set",
                more + 1
            ))),
        }
    }

    /// The baselines of an input: one, or as many as were given.
    pub fn set(&self, origin: &Origin) -> Result<Vec<Vec<f32>>> {
        let input = origin.input;
        let one = match self {
            Baseline::Constant(value) => vec![*value; input.len()],
            Baseline::ChannelMean => channel_means(origin)?,
            Baseline::Blurred(sigma) => {
                let (layout, extents) = origin.image("the baseline 'blur'")?;
                let sigma = sigma.unwrap_or(extents.1.max(extents.2) as f64 / 10.0);
                gaussian(input, layout, extents, sigma, Border::Reflect)
            }
            Baseline::Rise => {
                let (layout, extents) = origin.image("the baseline 'rise'")?;
                of_rise(input, layout, extents)
            }
            Baseline::Uniform(seed) => {
                let (range, rng) = (origin.ranges(), Rng::new(*seed ^ UNIFORM, 0));
                let value = |i: usize| {
                    let (low, high) = range(i);
                    low + (high - low) * rng.uniform(i as u64)
                };
                (0..input.len()).map(value).collect()
            }
            Baseline::MaxDistance => {
                let range = origin.ranges();
                let farther = |(i, &v): (usize, &f32)| {
                    let (low, high) = range(i);
                    if v - low > high - v { low } else { high }
                };
                input.iter().enumerate().map(farther).collect()
            }
            Baseline::Given if origin.given.is_empty() => {
                return Err(Error::usage("a baseline from a file was named, but none was given"));
            }
            Baseline::Given => return Ok(origin.given.to_vec()),
        };
        Ok(vec![one])
    }
}

fn channel_means(origin: &Origin) -> Result<Vec<f32>> {
    let (_, (channels, ..)) = origin.image("the baseline 'mean'")?;
    let mut sums = vec![0.0f64; channels];
    for (i, &v) in origin.input.iter().enumerate() {
        sums[origin.channel(i)] += v as f64;
    }
    let each = (origin.input.len() / channels) as f64;
    Ok((0..origin.input.len()).map(|i| (sums[origin.channel(i)] / each) as f32).collect())
}
