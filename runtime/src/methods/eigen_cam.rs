//! Eigen-CAM (Muhammad and Yeasin 2020): a layer's activations, each channel less its mean, along the direction in which
//! they vary most. The same for every class. The direction has no sign of its own: the larger of the map's extremes is
//! made positive.
//!
//! Map: height by width, never negative unless `relu=false`. Cost: one gradient, of which only the layer is looked at,
//! and a power iteration over its channels.

use super::cam::{Cam, Layer, PARAMETERS, PROPERTIES};
use super::{Entry, Family};

pub(super) const ENTRY: Entry = Entry {
    name: "eigen-cam",
    aliases: &["eigencam"],
    family: Family::Cam,
    summary: "the main direction of a layer's activations, whatever the class",
    paper: "Muhammad and Yeasin 2020",
    properties: PROPERTIES,
    parameters: PARAMETERS,
    build: |params| Cam::build(params, map),
};

/// Power iterations at most, and how little a vector changes when it is taken for the limit.
const MOST: usize = 10_000;
const STILL: f64 = 1e-12;

fn map(layer: &Layer) -> Vec<f64> {
    let pixels = layer.pixels();
    let centred: Vec<Vec<f64>> = (0..layer.channels)
        .map(|channel| {
            let mean = layer.sum(|pixel| layer.activation(channel, pixel)) / pixels as f64;
            (0..pixels).map(|pixel| layer.activation(channel, pixel) - mean).collect()
        })
        .collect();
    let mut map = project(&centred, &leading(&centred), pixels);
    let extreme = map.iter().fold(0.0, |most: f64, v| if v.abs() > most.abs() { *v } else { most });
    if extreme < 0.0 {
        map.iter_mut().for_each(|v| *v = -*v);
    }
    map
}

/// The direction, over the channels, of the largest singular value, by power iteration; zero where nothing varies.
fn leading(centred: &[Vec<f64>]) -> Vec<f64> {
    let pixels = centred.first().map_or(0, Vec::len);
    // The sizes are a start that is orthogonal to the limit only by an accident that rounding ends.
    let mut direction: Vec<f64> = centred.iter().map(|channel| norm(channel)).collect();
    normalise(&mut direction);
    for _ in 0..MOST {
        let along = project(centred, &direction, pixels);
        let mut next: Vec<f64> =
            centred.iter().map(|channel| channel.iter().zip(&along).map(|(a, b)| a * b).sum()).collect();
        normalise(&mut next);
        let change = next.iter().zip(&direction).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        direction = next;
        if change < STILL {
            break;
        }
    }
    direction
}

fn project(centred: &[Vec<f64>], direction: &[f64], pixels: usize) -> Vec<f64> {
    let mut map = vec![0.0; pixels];
    for (channel, weight) in centred.iter().zip(direction) {
        map.iter_mut().zip(channel).for_each(|(sum, v)| *sum += weight * v);
    }
    map
}

fn norm(values: &[f64]) -> f64 {
    values.iter().map(|v| v * v).sum::<f64>().sqrt()
}

fn normalise(values: &mut [f64]) {
    let size = norm(values);
    if size > 0.0 {
        values.iter_mut().for_each(|v| *v /= size);
    }
}
