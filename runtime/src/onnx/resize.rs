//! Where Resize and Pad read.

use super::{Fact, Node, Tensor};

/// An axis that is resized.
#[derive(Clone, Debug)]
pub struct Resized {
    /// Its number.
    pub axis: usize,
    /// Its extent before.
    pub input: usize,
    /// By place of the output: the places of the input that it is made of, with their weights.
    pub places: Vec<Vec<(usize, f32)>>,
}

/// The axes that a Resize changes, from extents to extents; `scales` are those it is told, if any.
///
/// Errors: what it does is not covered, and why.
pub fn resized(node: &Node, from: &[usize], to: &[usize], scales: Option<&Tensor>) -> Result<Vec<Resized>, String> {
    if node.int("antialias", 0) != 0 {
        return Err("antialias is not covered".into());
    }
    if node.text("keep_aspect_ratio_policy", "stretch") != "stretch" {
        return Err("keep_aspect_ratio_policy is not covered".into());
    }
    let own = Fact::f32(from);
    let axis = |index: i64| own.axis(index).ok_or_else(|| format!("its input has no axis {index}"));
    let axes: Vec<usize> = match node.ints("axes") {
        Some(axes) => axes.iter().map(|&index| axis(index)).collect::<Result<_, _>>()?,
        None => (0..from.len()).collect(),
    };
    let scales = scales.and_then(Tensor::to_f32).filter(|scales| !scales.is_empty());
    let mut resized = vec![];
    for (i, &axis) in axes.iter().enumerate() {
        let (input, output) = (from[axis], to[axis]);
        let scale = scales.as_ref().and_then(|v| v.get(i).copied()).unwrap_or(output as f32 / input as f32);
        if input != output || scale != 1.0 {
            let place = |place| made_of(node, place, input, output, scale);
            resized.push(Resized { axis, input, places: (0..output).map(place).collect::<Result<_, _>>()? });
        }
    }
    Ok(resized)
}

/// By place of an axis of that extent, with so many before and after it, the place that a Pad which repeats or mirrors takes.
///
/// Errors: a mode that is none, or an axis of nothing.
pub fn padded(mode: &str, extent: usize, before: i64, after: i64) -> Result<Vec<usize>, String> {
    let extent = extent as i64;
    if extent == 0 {
        return Err("its input is empty".into());
    }
    let source = |place: i64| {
        Ok(match mode {
            "edge" => place.clamp(0, extent - 1),
            "wrap" => place.rem_euclid(extent),
            "reflect" if extent == 1 => 0,
            "reflect" => {
                let period = 2 * (extent - 1);
                let inside = place.rem_euclid(period);
                inside.min(period - inside)
            }
            other => return Err(format!("mode '{other}' is not known")),
        } as usize)
    };
    (-before..extent + after).map(source).collect()
}

/// The places of the input that one of the output is made of; those beyond the border are those at it.
fn made_of(node: &Node, place: usize, input: usize, output: usize, scale: f32) -> Result<Vec<(usize, f32)>, String> {
    let mut places: Vec<(usize, f32)> = vec![];
    for (from, weight) in taps(node, source_place(node, place, input, output, scale)?, input)? {
        let from = from.clamp(0, input as i64 - 1) as usize;
        match places.iter_mut().find(|(place, _)| *place == from) {
            Some((_, sum)) => *sum += weight,
            None => places.push((from, weight)),
        }
    }
    places.retain(|(_, weight)| *weight != 0.0);
    Ok(places)
}

fn source_place(node: &Node, place: usize, input: usize, output: usize, scale: f32) -> Result<f32, String> {
    let place = place as f32;
    Ok(match node.text("coordinate_transformation_mode", "half_pixel") {
        "half_pixel" => (place + 0.5) / scale - 0.5,
        "pytorch_half_pixel" if output == 1 => 0.0,
        "pytorch_half_pixel" => (place + 0.5) / scale - 0.5,
        "half_pixel_symmetric" => {
            let adjustment = output as f32 / (scale * input as f32);
            let centre = input as f32 / 2.0;
            centre * (1.0 - adjustment) + (place + 0.5) / scale - 0.5
        }
        "align_corners" if output == 1 => 0.0,
        "align_corners" => place * (input as f32 - 1.0) / (output as f32 - 1.0),
        "asymmetric" => place / scale,
        other => return Err(format!("coordinate_transformation_mode '{other}' is not covered")),
    })
}

/// The input places that one output place reads, with their weights; places may lie outside and are clamped.
fn taps(node: &Node, at: f32, input: usize) -> Result<Vec<(i64, f32)>, String> {
    let below = at.floor();
    let part = at - below;
    Ok(match node.text("mode", "nearest") {
        "nearest" => vec![(nearest(node, at)?, 1.0)],
        "linear" => vec![(below as i64, 1.0 - part), (below as i64 + 1, part)],
        "cubic" => {
            let a = node.float("cubic_coeff_a", -0.75);
            let mut taps: Vec<(i64, f32)> = (-1..3).map(|k| (below as i64 + k, cubic(k as f32 - part, a))).collect();
            if node.int("exclude_outside", 0) != 0 {
                taps.retain(|(from, _)| (0..input as i64).contains(from));
                let total: f32 = taps.iter().map(|t| t.1).sum();
                taps.iter_mut().for_each(|t| t.1 /= total);
            }
            taps
        }
        other => return Err(format!("mode '{other}' is not covered")),
    })
}

fn nearest(node: &Node, at: f32) -> Result<i64, String> {
    Ok(match node.text("nearest_mode", "round_prefer_floor") {
        "round_prefer_floor" => (at - 0.5).ceil() as i64,
        "round_prefer_ceil" => (at + 0.5).floor() as i64,
        "floor" => at.floor() as i64,
        "ceil" => at.ceil() as i64,
        other => return Err(format!("nearest_mode '{other}' is not known")),
    })
}

/// Keys' kernel.
fn cubic(distance: f32, a: f32) -> f32 {
    let d = distance.abs();
    match d {
        d if d <= 1.0 => ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0,
        d if d < 2.0 => ((a * d - 5.0 * a) * d + 8.0 * a) * d - 4.0 * a,
        _ => 0.0,
    }
}
