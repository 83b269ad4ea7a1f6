//! Grad-CAM (Selvaraju et al. 2017): `L = relu(sum over k of alpha_k A^k)` with `alpha_k` the mean of the
//! gradient over channel k of a layer, enlarged to the input's size.

use super::{Entry, Method, Needs, Outcome, Parameter, Properties, Task};
use crate::attribution::{Attribution, Extent};
use crate::error::{Error, Result};
use crate::gradient::composite::GRADIENT;
use crate::image::resize::bilinear;
use crate::onnx::Layout;

pub(super) const ENTRY: Entry = Entry {
    name: "grad-cam",
    aliases: &["gradcam"],
    summary: "a layer's channels, weighted by their mean gradients",
    paper: "Selvaraju et al. 2017",
    properties: Properties { complete: false, linear_exact: false, stochastic: false, signed: false },
    parameters: &[
        Parameter { name: "layer", default: "last", help: "the layer's name, as `whyline inspect` lists it, or last" },
        Parameter { name: "relu", default: "true", help: "whether only positive evidence is kept: true or false" },
    ],
    build: |params| match params.text("relu") {
        "true" => Ok(Box::new(GradCam { relu: true })),
        "false" => Ok(Box::new(GradCam { relu: false })),
        _ => Err(params.refuse("relu", "true or false")),
    },
};

struct GradCam {
    relu: bool,
}

impl Method for GradCam {
    fn needs(&self) -> Needs {
        Needs { composite: &GRADIENT, layer: true }
    }

    fn signed(&self) -> Option<bool> {
        Some(!self.relu)
    }

    fn explain(&self, task: &mut Task) -> Result<Outcome> {
        task.gradient_at(task.input)?;
        let no_image = || Error::usage("Grad-CAM wants a layer and an input with height and width");
        let tap = task.session.tap(0).ok_or_else(no_image)?;
        let layout = task.layer_layout.ok_or_else(no_image)?;
        let (channels, height, width) = layout.split(tap.shape).ok_or_else(no_image)?;
        let place = |channel: usize, pixel: usize| match layout {
            Layout::ChannelsFirst => channel * height * width + pixel,
            Layout::ChannelsLast => pixel * channels + channel,
        };
        let pixels = height * width;
        let mut map = vec![0.0f64; pixels];
        for channel in 0..channels {
            let weight = (0..pixels).map(|p| tap.gradient[place(channel, p)] as f64).sum::<f64>() / pixels as f64;
            for (pixel, sum) in map.iter_mut().enumerate() {
                *sum += weight * tap.value[place(channel, pixel)] as f64;
            }
        }
        let map: Vec<f32> = map.iter().map(|&v| if self.relu { v.max(0.0) } else { v } as f32).collect();
        let input = task.layout.and_then(|l| l.split(task.session.input_shape())).ok_or_else(no_image)?;
        let (_, full_height, full_width) = input;
        let values = bilinear(&map, (height, width), (full_height, full_width));
        Ok(Outcome::of(Attribution { values, shape: vec![full_height, full_width], extent: Extent::Pixels }))
    }
}
