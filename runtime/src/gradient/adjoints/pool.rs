//! Pooling.

use super::conv::Window;
use crate::gradient::functions::MAX_POOL_GRAD;
use crate::gradient::names;
use crate::gradient::site::{AdjointFn, Refusal, Site};
use crate::onnx::graph::inputs_of;
use crate::onnx::{Attr, Tensor};

pub const TABLE: &[(&str, AdjointFn)] = &[
    ("MaxPool", max_pool),
    ("AveragePool", average_pool),
    ("GlobalAveragePool", global_average_pool),
    ("GlobalMaxPool", global_max_pool),
];

/// Each cotangent goes to the place its maximum was read from (the first of equal ones), which the forward
/// node is made to write down.
fn max_pool(s: &mut Site) -> Result<(), Refusal> {
    if s.node.int("storage_order", 0) != 0 {
        return Err("its indices are column-major (storage_order)".into());
    }
    // By the model's own nodes: adjoints that were appended before may read them.
    let own = s.emit.graph.nodes.iter().filter(|node| !node.name.starts_with(names::PREFIX));
    let places = s.node.output(1);
    if places.is_some_and(|places| own.flat_map(inputs_of).any(|i| i == places)) {
        return Err("its indices are read by other nodes".into());
    }
    let indices = s.forward_output(1);
    let shape = s.x_shape(0);
    let (count, extents) = (s.emit.extents(&[shape.iter().product()]), s.emit.extents(&shape));
    let g = s.g();
    let dx = s.emit.call(&MAX_POOL_GRAD, &[&g, &indices, &count, &extents]);
    s.give(0, dx);
    Ok(())
}

/// Spreads each cotangent, divided by how many elements its window averaged.
fn average_pool(s: &mut Site) -> Result<(), Refusal> {
    let (x, y) = (s.x_shape(0), s.y_shape());
    let kernel: Vec<usize> =
        s.node.ints("kernel_shape").ok_or("it has no kernel_shape")?.iter().map(|&k| k as usize).collect();
    let window = Window::of(s.node, &kernel, &x[2..], &y[2..])?;
    let with_pads = s.node.int("count_include_pad", 0) != 0;
    let shares: Vec<Vec<f32>> =
        (0..kernel.len()).map(|axis| window_shares(&window, axis, x[axis + 2], y[axis + 2], with_pads)).collect();
    let mut g = s.g();
    for (axis, share) in shares.iter().enumerate() {
        let mut shape = vec![1; y.len()];
        let uniform = share.iter().all(|v| *v == share[0]);
        shape[axis + 2] = if uniform { 1 } else { share.len() };
        let factors = s.emit.constant(Tensor::f32(&shape, &share[..shape[axis + 2]]));
        g = s.emit.mul(&g, &factors);
    }
    let channels = x[1];
    let weight = [&[channels, 1], kernel.as_slice()].concat();
    let ones = s.emit.constant(Tensor::f32(&weight, &vec![1.0; weight.iter().product()]));
    let attributes = window.transposed(&x[2..], &y[2..], channels as i64);
    let dx = s.emit.op_with("ConvTranspose", &[&g, &ones], attributes);
    s.give(0, dx);
    Ok(())
}

/// One over the number of elements that each window along an axis averages.
fn window_shares(window: &Window, axis: usize, input: usize, output: usize, with_pads: bool) -> Vec<f32> {
    let (low, high) = match with_pads {
        true => (-window.before[axis], input as i64 + window.after[axis]),
        false => (0, input as i64),
    };
    let counted = |place: usize| {
        let start = (place * window.strides[axis]) as i64 - window.before[axis];
        let taps = (0..window.kernel[axis]).map(|k| start + (k * window.dilations[axis]) as i64);
        taps.filter(|t| (low..high).contains(t)).count()
    };
    (0..output).map(|place| 1.0 / counted(place).max(1) as f32).collect()
}

fn global_average_pool(s: &mut Site) -> Result<(), Refusal> {
    let shape = s.x_shape(0);
    let area: usize = shape[2..].iter().product();
    let g = s.g();
    let share = s.emit.scale(&g, 1.0 / area as f32);
    let dx = s.emit.expand(&share, &shape);
    s.give(0, dx);
    Ok(())
}

/// All of each channel's cotangent goes to its largest element, the first of equal ones.
fn global_max_pool(s: &mut Site) -> Result<(), Refusal> {
    let (x, shape) = (s.x(0), s.x_shape(0));
    let area: usize = shape[2..].iter().product();
    let rows = shape[0] * shape[1];
    let along = |axis: i64| vec![("axis", Attr::Int(axis))];
    let flat = s.emit.reshape(&x, &[rows, area]);
    let first = s.emit.op_with("ArgMax", &[&flat], along(1));
    let g = s.g();
    let g = s.emit.reshape(&g, &[rows, 1]);
    let zeros = s.emit.zeros(&[rows, area]);
    let scattered = s.emit.op_with("ScatterElements", &[&zeros, &first, &g], along(1));
    let dx = s.emit.reshape(&scattered, &shape);
    s.give(0, dx);
    Ok(())
}
