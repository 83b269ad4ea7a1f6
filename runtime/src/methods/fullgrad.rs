//! FullGrad (Srinivas and Fleuret 2019): the input times its gradient, and every bias times the gradient where it is added,
//! which together are the target of a network of Relu: `f = x . g + sum over layers of b . g_b`. The map is the sum over the
//! layers of the sizes of these products, each layer stretched to 0..1 and enlarged to the input. With `implicit`, what every other op has beside its slope, `y - J x`, is a
//! bias too, so that the sum is exact for any network.
//!
//! Map: height by width, never negative. Cost: one gradient that hands out every layer with biases.

use super::{Entry, Family, Method, Needs, Outcome, Parameter, Params, Properties, Taps, Task};
use crate::attribution::{Attribution, Completeness, Extent};
use crate::error::{Error, Result};
use crate::gradient::biases::Bias;
use crate::gradient::composite::GRADIENT;
use crate::image::resize::{bilinear, bilinear_corners};
use crate::onnx::Layout;

pub(super) const SCALE: Parameter = Parameter {
    name: "scale",
    default: "layer",
    help: "how each layer counts: stretched to 0..1 as a whole (layer), channel by channel as pytorch-grad-cam does \
           (channel), or as it is (none)",
};

pub(super) const IMPLICIT: Parameter = Parameter {
    name: "implicit",
    default: "false",
    help: "whether what smooth ops and products have beside their slope counts as a bias, so that the sum is exact",
};

pub(super) const ENTRY: Entry = Entry {
    name: "fullgrad",
    aliases: &["full-gradient"],
    family: Family::Decomposition,
    summary: "what the input and every bias contribute, as sizes per pixel",
    paper: "Srinivas and Fleuret 2019",
    properties: Properties { complete: false, linear_exact: false, stochastic: false, signed: false },
    parameters: &[SCALE, IMPLICIT],
    build,
};

pub(super) fn build(params: &Params) -> Result<Box<dyn Method>> {
    let scale = match params.text("scale") {
        "layer" => Scale::Layer,
        "channel" => Scale::Channel,
        "none" => Scale::None,
        _ => return Err(params.refuse("scale", "layer, channel or none")),
    };
    Ok(Box::new(FullGrad { scale, implicit: params.flag("implicit")? }))
}

#[derive(Clone, Copy, PartialEq)]
enum Scale {
    Layer,
    Channel,
    None,
}

struct FullGrad {
    scale: Scale,
    implicit: bool,
}

impl Method for FullGrad {
    fn needs(&self) -> Needs {
        Needs { taps: Taps::Biases { implicit: self.implicit }, ..Needs::of(&GRADIENT) }
    }

    fn explain(&self, task: &mut Task) -> Result<Outcome> {
        let (input, seed) = (task.input, task.seed);
        let (layout, extents) = task.image("fullgrad")?;
        let pass = task.gradient_at(input)?;
        let value = pass.target(seed);
        let own: Vec<f32> = pass.input.iter().zip(input).map(|(g, x)| g * x).collect();
        let mut sum: f64 = own.iter().map(|&v| v as f64).sum();
        let mut map = vec![0.0f64; extents.1 * extents.2];
        self.add(&mut map, &own, layout, extents, extents);
        for (index, bias) in task.biases.iter().enumerate() {
            let products = products(task, index, bias)?;
            sum += products.iter().map(|&v| v as f64).sum::<f64>();
            // What has no extent in the plane, as in dense layers, has no place in the map.
            if let Some((layout, own)) = bias.layout.and_then(|layout| Some((layout, layout.split(&bias.shape)?))) {
                self.add(&mut map, &products, layout, own, extents);
            }
        }
        let values = map.iter().map(|&v| v as f32).collect();
        let attribution = Attribution { values, shape: vec![extents.1, extents.2], extent: Extent::Pixels };
        Ok(Outcome { completeness: Some(Completeness::new(sum, value)), ..Outcome::of(attribution) })
    }
}

/// A bias times the gradient where it is added.
fn products(task: &Task, index: usize, bias: &Bias) -> Result<Vec<f32>> {
    let tap = task.session.tap(index);
    let tap = tap.ok_or_else(|| Error::usage(format!("the session does not hand out '{}'", bias.value)))?;
    Ok(bias.times(tap.gradient))
}

type Planes = (usize, usize, usize);

impl FullGrad {
    /// Adds a layer's sizes, over its channels.
    fn add(
        &self,
        map: &mut [f64],
        products: &[f32],
        layout: Layout,
        (channels, h, w): Planes,
        (_, height, width): Planes,
    ) {
        let mut sizes: Vec<f32> = products.iter().map(|v| v.abs()).collect();
        let place = |channel: usize, pixel: usize| match layout {
            Layout::ChannelsFirst => channel * h * w + pixel,
            Layout::ChannelsLast => pixel * channels + channel,
        };
        match self.scale {
            Scale::Layer => stretch(&mut sizes, 1e-6),
            Scale::None => {}
            Scale::Channel => {
                for channel in 0..channels {
                    let mut own: Vec<f32> = (0..h * w).map(|p| sizes[place(channel, p)]).collect();
                    stretch(&mut own, 1e-7);
                    own.iter().enumerate().for_each(|(p, v)| sizes[place(channel, p)] = *v);
                }
            }
        }
        let plane = match layout {
            // In the order in which they lie.
            Layout::ChannelsFirst => sizes.chunks_exact(h * w).fold(vec![0.0; h * w], |mut plane, own| {
                plane.iter_mut().zip(own).for_each(|(sum, v)| *sum += v);
                plane
            }),
            Layout::ChannelsLast => sizes.chunks_exact(channels).map(|own| own.iter().sum()).collect(),
        };
        // Enlarging and adding up channels may change places: both are linear.
        let large = match self.scale {
            Scale::Layer => bilinear_corners(&plane, (h, w), (height, width)),
            _ => bilinear(&plane, (h, w), (height, width)),
        };
        map.iter_mut().zip(large).for_each(|(sum, v)| *sum += v as f64);
    }
}

/// To 0..1.
fn stretch(values: &mut [f32], least: f32) {
    let low = values.iter().fold(f32::INFINITY, |low, v| low.min(*v));
    let high = values.iter().fold(f32::NEG_INFINITY, |high, v| high.max(*v));
    values.iter_mut().for_each(|v| *v = (*v - low) / (high - low + least));
}
