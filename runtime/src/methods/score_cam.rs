//! Score-CAM (Wang et al. 2020): a layer's channels, weighted by how much of the target is left when the input is covered but
//! for what each channel shows: `L = max(0, sum over k of softmax_k(f(x * m_k)) A_k)`, with `m_k` the channel enlarged and
//! stretched to 0..1. No gradients; one forward pass for each channel. Channels that are the same everywhere show nothing
//! and are left out. Where the budget ends the work early, the strongest channels have been looked at.
//!
//! Map: height by width, never negative unless `relu=false`. Cost: one gradient, and a forward pass for each channel.

use std::ops::ControlFlow;

use super::cam::{Layer, PARAMETERS, PROPERTIES, UPSAMPLING, Upsampling, enlarged, tapped};
use super::{Entry, Extents, Family, Method, Needs, Outcome, Passes, Status, Task};
use crate::attribution::{Attribution, Extent};
use crate::error::Result;
use crate::gradient::composite::GRADIENT;
use crate::onnx::Layout;

pub(super) const ENTRY: Entry = Entry {
    name: "score-cam",
    aliases: &["scorecam"],
    family: Family::Cam,
    summary: "a layer's channels, weighted by the target where each covers the rest of the input",
    paper: "Wang et al. 2020",
    properties: PROPERTIES,
    parameters: &[PARAMETERS[0], PARAMETERS[1], UPSAMPLING],
    build: |params| {
        let (layer, relu) = (Needs::at_layer(&GRADIENT, params), params.flag("relu")?);
        Ok(Box::new(ScoreCam { layer, relu, upsampling: Upsampling::parse(params)? }))
    },
};

struct ScoreCam {
    layer: Needs,
    relu: bool,
    /// Of masks and map.
    upsampling: Upsampling,
}

impl Method for ScoreCam {
    fn needs(&self) -> Needs {
        self.layer.clone()
    }

    fn passes(&self, model: Extents) -> Passes {
        Passes { forward: model.channels as u64, gradient: 1 }
    }

    fn least(&self, _model: Extents) -> Passes {
        Passes { forward: 1, gradient: 1 }
    }

    fn signed(&self) -> Option<bool> {
        Some(!self.relu)
    }

    fn explain(&self, task: &mut Task) -> Result<Outcome> {
        let input = task.input;
        let (layout, (channels, height, width)) = task.image("score-cam")?;
        // The layer's values come with a gradient pass; its gradients are not looked at.
        task.gradient_at(input)?;
        let layer = tapped(task.session, task.layer_layout)?;
        let (extents, shown) = (layer.extents, channels_by_strength(&layer));
        let pixel = |i: usize| match layout {
            Layout::ChannelsFirst => i % (height * width),
            Layout::ChannelsLast => i / channels % (height * width),
        };
        let cover = |number: usize, covered: &mut [f32]| {
            let mask = stretched(enlarged(&shown[number], extents, (height, width), self.upsampling));
            covered.iter_mut().enumerate().for_each(|(i, c)| *c = input[i] * mask[pixel(i)]);
        };
        let (seed, mut scores) = (task.seed, vec![]);
        task.session.forwards(shown.len(), &cover, &mut |_, pass| {
            scores.push(pass.target(seed));
            Ok(ControlFlow::Continue(()))
        })?;
        let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = scores.iter().map(|s| (s - most).exp()).collect();
        let total: f64 = weights.iter().sum();
        let mut map = vec![0.0f64; extents.0 * extents.1];
        for (weight, channel) in weights.iter().zip(&shown) {
            map.iter_mut().zip(channel).for_each(|(sum, &v)| *sum += weight / total * v as f64);
        }
        let map: Vec<f32> = map.iter().map(|&v| if self.relu { v.max(0.0) } else { v } as f32).collect();
        let values = enlarged(&map, extents, (height, width), self.upsampling);
        let attribution = Attribution { values, shape: vec![height, width], extent: Extent::Pixels };
        let status = if scores.len() < shown.len() { Status::Degraded } else { Status::Complete };
        Ok(Outcome { status, ..Outcome::of(attribution) })
    }
}

/// The channels that show something, those with the largest sums of magnitudes first.
fn channels_by_strength(layer: &Layer) -> Vec<Vec<f32>> {
    let channel = |c: usize| (0..layer.pixels()).map(|p| layer.activation(c, p) as f32).collect::<Vec<f32>>();
    let mut channels: Vec<Vec<f32>> =
        (0..layer.channels).map(channel).filter(|c| c.iter().any(|v| *v != c[0])).collect();
    let strength = |c: &[f32]| c.iter().map(|v| v.abs() as f64).sum::<f64>();
    channels.sort_by(|a, b| strength(b).total_cmp(&strength(a)));
    channels
}

/// From 0 to 1.
fn stretched(mut mask: Vec<f32>) -> Vec<f32> {
    let low = mask.iter().copied().fold(f32::INFINITY, f32::min);
    let high = mask.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    // A channel that differs only where enlarging drops it covers everything.
    let range = if high > low { high - low } else { 1.0 };
    mask.iter_mut().for_each(|v| *v = (*v - low) / range);
    mask
}
