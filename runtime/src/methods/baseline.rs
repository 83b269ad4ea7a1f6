//! Where paths start, and what an input is compared with.

use super::{Params, Task};
use crate::error::{Error, Result};
use crate::onnx::Layout;

/// Where paths start.
#[derive(Clone, Debug, PartialEq)]
pub enum Baseline {
    /// The same value everywhere, in the input's own scale.
    Constant(f32),
    /// Each channel's mean over the input.
    ChannelMean,
}

impl Baseline {
    /// From the parameter `baseline`: `zero`, `mean`, or a number.
    pub fn parse(params: &Params) -> Result<Baseline> {
        match params.text("baseline") {
            "zero" => Ok(Baseline::Constant(0.0)),
            "mean" => Ok(Baseline::ChannelMean),
            number => match number.parse::<f32>() {
                Ok(v) if v.is_finite() => Ok(Baseline::Constant(v)),
                _ => Err(params.refuse("baseline", "zero, mean, or a number")),
            },
        }
    }

    /// The baseline for a task's input.
    pub fn values(&self, task: &Task) -> Result<Vec<f32>> {
        match self {
            Baseline::Constant(value) => Ok(vec![*value; task.input.len()]),
            Baseline::ChannelMean => channel_means(task),
        }
    }
}

fn channel_means(task: &Task) -> Result<Vec<f32>> {
    let shape = task.session.input_shape();
    let layout = task.layout.and_then(|l| Some((l, l.split(shape)?)));
    let Some((layout, (channels, height, width))) = layout else {
        return Err(Error::usage("the baseline 'mean' wants an image input; give a number"));
    };
    let channel = |i: usize| match layout {
        Layout::ChannelsFirst => i / (height * width) % channels,
        Layout::ChannelsLast => i % channels,
    };
    let mut sums = vec![0.0f64; channels];
    for (i, &v) in task.input.iter().enumerate() {
        sums[channel(i)] += v as f64;
    }
    let each = (task.input.len() / channels) as f64;
    Ok((0..task.input.len()).map(|i| (sums[channel(i)] / each) as f32).collect())
}
