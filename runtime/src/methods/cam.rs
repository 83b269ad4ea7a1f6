//! Shared by class activation maps: what a layer's channels say about each place, enlarged to the input's size.

use super::{Method, Needs, Outcome, Parameter, Params, Properties, Task};
use crate::attribution::{Attribution, Extent};
use crate::engine::{Session, Tap};
use crate::error::{Error, Result};
use crate::gradient::Composite;
use crate::gradient::composite::GRADIENT;
use crate::image::resize::{bilinear, bilinear_corners, nearest};
use crate::onnx::Layout;

/// What every one of them can be told.
pub(super) const PARAMETERS: &[Parameter] = &[
    LAYER,
    Parameter { name: "relu", default: "true", help: "whether only positive evidence is kept: true or false" },
];

/// Where the map is taken.
pub(super) const LAYER: Parameter =
    Parameter { name: "layer", default: "last", help: "the layer's name, as `whyline inspect` lists it, or last" };

/// With `relu`, which parameters can switch off, values are never negative.
pub(super) const PROPERTIES: Properties =
    Properties { complete: false, linear_exact: false, stochastic: false, signed: false };

/// A layer's activations `A` and the target's gradients `G` there: `[channel][pixel]`.
pub(super) struct Layer<'a> {
    tap: Tap<'a>,
    layout: Layout,
    /// How many there are.
    pub channels: usize,
    /// Rows and columns.
    pub extents: (usize, usize),
}

impl Layer<'_> {
    /// Rows times columns.
    pub fn pixels(&self) -> usize {
        self.extents.0 * self.extents.1
    }

    fn place(&self, channel: usize, pixel: usize) -> usize {
        match self.layout {
            Layout::ChannelsFirst => channel * self.pixels() + pixel,
            Layout::ChannelsLast => pixel * self.channels + channel,
        }
    }

    /// `A`
    pub fn activation(&self, channel: usize, pixel: usize) -> f64 {
        self.tap.value[self.place(channel, pixel)] as f64
    }

    /// `G`
    pub fn gradient(&self, channel: usize, pixel: usize) -> f64 {
        self.tap.gradient[self.place(channel, pixel)] as f64
    }

    /// The sum of something over a channel's pixels.
    pub fn sum(&self, value: impl Fn(usize) -> f64) -> f64 {
        (0..self.pixels()).map(value).sum()
    }

    /// The sum of something over the channels, per pixel.
    pub fn over_channels(&self, value: impl Fn(usize, usize) -> f64) -> Vec<f64> {
        let mut map = vec![0.0; self.pixels()];
        for channel in 0..self.channels {
            map.iter_mut().enumerate().for_each(|(pixel, sum)| *sum += value(channel, pixel));
        }
        map
    }

    /// `sum over k of weight(k) A^k`
    pub fn weighed(&self, weight: impl Fn(usize) -> f64) -> Vec<f64> {
        let weights: Vec<f64> = (0..self.channels).map(weight).collect();
        self.over_channels(|channel, pixel| weights[channel] * self.activation(channel, pixel))
    }
}

/// A method that makes its map of a layer's activations and gradients: a value per pixel of the layer.
pub(super) struct Cam {
    map: fn(&Layer) -> Vec<f64>,
    needs: Needs,
    relu: bool,
}

impl Cam {
    /// From the parameters of [`PARAMETERS`].
    pub fn build(params: &Params, map: fn(&Layer) -> Vec<f64>) -> Result<Box<dyn Method>> {
        Cam::under(&GRADIENT, params, map)
    }

    /// The same, where relevance comes to the layer by a composite's rules.
    pub fn under(
        composite: &'static Composite,
        params: &Params,
        map: fn(&Layer) -> Vec<f64>,
    ) -> Result<Box<dyn Method>> {
        Ok(Box::new(Cam { map, needs: Needs::at_layer(composite, params), relu: params.flag("relu")? }))
    }
}

impl Method for Cam {
    fn needs(&self) -> Needs {
        self.needs.clone()
    }

    fn signed(&self) -> Option<bool> {
        Some(!self.relu)
    }

    fn explain(&self, task: &mut Task) -> Result<Outcome> {
        task.gradient_at(task.input)?;
        let (_, (_, height, width)) = task.image("a class activation map")?;
        let layer = tapped(task.session, task.layer_layout)?;
        let map = (self.map)(&layer).into_iter().map(|v| if self.relu { v.max(0.0) } else { v } as f32);
        let values = bilinear(&map.collect::<Vec<f32>>(), layer.extents, (height, width));
        Ok(Outcome::of(Attribution { values, shape: vec![height, width], extent: Extent::Pixels }))
    }
}

/// The layer that a session has just handed out.
pub(super) fn tapped(session: &dyn Session, layout: Option<Layout>) -> Result<Layer<'_>> {
    let no_image = || Error::usage("class activation maps want a layer with height and width");
    let (tap, layout) = (session.tap(0).ok_or_else(no_image)?, layout.ok_or_else(no_image)?);
    let (channels, height, width) = layout.split(tap.shape).ok_or_else(no_image)?;
    Ok(Layer { tap, layout, channels, extents: (height, width) })
}

/// How a layer's map becomes as large as the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Upsampling {
    /// With half-pixel centres.
    Bilinear,
    /// With the corners' centres where they were.
    Corners,
    /// By repetition.
    Nearest,
}

/// How maps of a layer become as large as the input.
pub(super) const UPSAMPLING: Parameter = Parameter {
    name: "upsampling",
    default: "bilinear",
    help: "how the layer's maps are enlarged: bilinear, corners (bilinear with aligned corners, as pytorch-grad-cam's \
           Score-CAM does) or nearest (as Captum does)",
};

impl Upsampling {
    /// From the parameter `upsampling`.
    pub fn parse(params: &Params) -> Result<Upsampling> {
        match params.text("upsampling") {
            "bilinear" => Ok(Upsampling::Bilinear),
            "corners" => Ok(Upsampling::Corners),
            "nearest" => Ok(Upsampling::Nearest),
            _ => Err(params.refuse("upsampling", "bilinear, corners or nearest")),
        }
    }
}

/// A map of `from` (height, width), as large as `to`.
pub(super) fn enlarged(map: &[f32], from: (usize, usize), to: (usize, usize), how: Upsampling) -> Vec<f32> {
    match how {
        Upsampling::Bilinear => bilinear(map, from, to),
        Upsampling::Corners => bilinear_corners(map, from, to),
        Upsampling::Nearest => nearest(map, from, to),
    }
}
