//! Resize: along each axis a sparse matrix from input to output places; the adjoint is its transpose.

use crate::gradient::emit::Name;
use crate::gradient::site::{AdjointFn, Refusal, Site};
use crate::onnx::{Node, Tensor};

pub const TABLE: &[(&str, AdjointFn)] = &[("Resize", resize)];

/// The matrix of an axis is dense; larger ones than this are refused.
const MOST_WEIGHTS: usize = 1 << 26;

fn resize(s: &mut Site) -> Result<(), Refusal> {
    if s.node.int("antialias", 0) != 0 {
        return Err("antialias is not covered".into());
    }
    if s.node.text("keep_aspect_ratio_policy", "stretch") != "stretch" {
        return Err("keep_aspect_ratio_policy is not covered".into());
    }
    let (x, mut shape) = (s.x_shape(0), s.y_shape());
    let axes: Vec<usize> = match s.node.ints("axes") {
        Some(axes) => axes.iter().map(|&a| s.axis_of(a)).collect::<Result<_, _>>()?,
        None => (0..x.len()).collect(),
    };
    let scales: Option<Vec<f32>> = s.constant(2).and_then(Tensor::to_f32).filter(|v| !v.is_empty());
    let mut value = s.g();
    for (i, &axis) in axes.iter().enumerate() {
        let (input, output) = (x[axis], shape[axis]);
        let scale = scales.as_ref().and_then(|v| v.get(i).copied()).unwrap_or(output as f32 / input as f32);
        if input == output && scale == 1.0 {
            continue;
        }
        let matrix = axis_matrix(s.node, input, output, scale)?;
        value = contract(s, &value, &shape, axis, &matrix, input);
        shape[axis] = input;
    }
    s.give(0, value);
    Ok(())
}

/// Multiplies `axis` of `value` by the transpose of `matrix` (output x input).
fn contract(s: &mut Site, value: &str, shape: &[usize], axis: usize, matrix: &[f32], input: usize) -> Name {
    let output = shape[axis];
    let tensor = Tensor::f32(&[output, input], matrix);
    let matrix = s.emit.constant(tensor);
    let last = shape.len() - 1;
    let mut perm: Vec<usize> = (0..shape.len()).collect();
    perm.swap(axis, last);
    let turned = s.emit.transpose(value, &perm);
    let product = s.emit.op("MatMul", &[&turned, &matrix]);
    s.emit.transpose(&product, &perm)
}

/// How much of each input place each output place reads, row by row.
fn axis_matrix(node: &Node, input: usize, output: usize, scale: f32) -> Result<Vec<f32>, Refusal> {
    if input.saturating_mul(output) > MOST_WEIGHTS {
        return Err(format!("resizing an axis from {input} to {output} is too large for its adjoint"));
    }
    let mut matrix = vec![0.0f32; output * input];
    for place in 0..output {
        let at = source_place(node, place, input, output, scale)?;
        for (from, weight) in taps(node, at, input)? {
            matrix[place * input + from.clamp(0, input as i64 - 1) as usize] += weight;
        }
    }
    Ok(matrix)
}

fn source_place(node: &Node, place: usize, input: usize, output: usize, scale: f32) -> Result<f32, Refusal> {
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
fn taps(node: &Node, at: f32, input: usize) -> Result<Vec<(i64, f32)>, Refusal> {
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

fn nearest(node: &Node, at: f32) -> Result<i64, Refusal> {
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
