//! Guided Grad-CAM (Selvaraju et al. 2017): guided backpropagation, times Grad-CAM's map enlarged to the input: detail where
//! the class is.
//!
//! Map: the input's shape, signed. Cost: two gradients.

use super::cam::{LAYER, UPSAMPLING, Upsampling, enlarged, tapped};
use super::{Entry, Extents, Family, Method, Needs, Outcome, Passes, Properties, Task, grad_cam};
use crate::attribution::Attribution;
use crate::error::{Error, Result};
use crate::gradient::composite::{GRADIENT, GUIDED};
use crate::onnx::Layout;

pub(super) const ENTRY: Entry = Entry {
    name: "guided-grad-cam",
    aliases: &["guided-gradcam"],
    family: Family::Cam,
    summary: "guided backpropagation where Grad-CAM sees the class",
    paper: "Selvaraju et al. 2017",
    properties: Properties { complete: false, linear_exact: false, stochastic: false, signed: true },
    parameters: &[LAYER, UPSAMPLING],
    build: |params| {
        let layer = Needs::at_layer(&GRADIENT, params);
        Ok(Box::new(GuidedGradCam { layer, upsampling: Upsampling::parse(params)? }))
    },
};

struct GuidedGradCam {
    layer: Needs,
    upsampling: Upsampling,
}

impl Method for GuidedGradCam {
    fn needs(&self) -> Needs {
        Needs::of(&GUIDED)
    }

    fn also(&self) -> Option<Needs> {
        Some(self.layer.clone())
    }

    fn passes(&self, _model: Extents) -> Passes {
        Passes { forward: 0, gradient: 2 }
    }

    fn explain(&self, task: &mut Task) -> Result<Outcome> {
        let (input, seed) = (task.input, task.seed);
        let (layout, (channels, height, width)) = task.image("guided-grad-cam")?;
        let guided = task.gradient_at(input)?.input.to_vec();
        let layer_layout = task.layer_layout;
        let other = task.other.as_mut().ok_or_else(|| Error::usage("guided-grad-cam wants a layer"))?;
        other.gradient(input, seed)?;
        let layer = tapped(&**other, layer_layout)?;
        let map: Vec<f32> = grad_cam::map(&layer).into_iter().map(|v| v.max(0.0) as f32).collect();
        let map = enlarged(&map, layer.extents, (height, width), self.upsampling);
        let pixels = height * width;
        let pixel = |i: usize| match layout {
            Layout::ChannelsFirst => i % pixels,
            Layout::ChannelsLast => i / channels % pixels,
        };
        let values = guided.iter().enumerate().map(|(i, g)| g * map[pixel(i)]).collect();
        Ok(Outcome::of(Attribution::features(values, task.session.input_shape())))
    }
}
