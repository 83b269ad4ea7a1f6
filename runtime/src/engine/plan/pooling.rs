//! Pools, and what else goes over the places of each channel.

use std::sync::Arc;

use super::arena::Io;
use super::dense::{Host, HostKind};
use super::geometry::Window;
use super::planner::{Lowered, Planner};
use super::rows::scale_and_bias;
use super::run::Work;
use super::values::{Image, Order};
use crate::engine::kernels::depthwise::Depthwise;
use crate::engine::kernels::norm::ChannelNorm;
use crate::engine::kernels::phase::Phase;
use crate::engine::kernels::pool::MaxPool;
use crate::engine::kernels::sums::sum_channels;
use crate::error::Result;
use crate::gradient::functions::DOMAIN;
use crate::onnx::Node;
use crate::simd::{Isa, LANES};

/// Lowers pools and normalisations of images.
pub fn lower(planner: &mut Planner, node: &Node, _: usize) -> Result<Lowered> {
    match (node.domain.as_str(), node.op.as_str()) {
        ("", "MaxPool") => max_pool(planner, node),
        (DOMAIN, "MaxPoolGrad") => max_pool_grad(planner, node),
        ("", "AveragePool") => average_pool(planner, node),
        ("", "InstanceNormalization") => channel_norm(planner, node),
        ("", "GlobalAveragePool" | "ReduceMean" | "ReduceSum") => whole_channels(planner, node),
        _ => Ok(Lowered::Not),
    }
}

/// The node's input and output images, and its window.
fn geometry(planner: &Planner, node: &Node) -> Option<(Image, Image, Window)> {
    let input = planner.image(node.input(0)?)?;
    let output = planner.image(node.output(0)?)?;
    let kernel = match node.ints("kernel_shape")? {
        &[h, w] if h > 0 && w > 0 => [h as usize, w as usize],
        _ => return None,
    };
    Some((input, output, Window::of(node, kernel, input.extents, output.extents)?))
}

fn pool_of(input: Image, output: Image, window: &Window) -> MaxPool {
    let numbers = |taps: &[(usize, [isize; 2])]| taps.iter().map(|tap| tap.0).collect();
    let phases = window.phases(input.extents).into_iter().map(|taps| taps.with(numbers)).collect();
    MaxPool { input: input.extents, output: output.extents, stride: window.strides, taps: window.taps(), phases }
}

fn max_pool(planner: &mut Planner, node: &Node) -> Result<Lowered> {
    let output = node.output(0).unwrap_or_default();
    let wanted = planner.masks.wanted(output);
    let Some((from, to, window)) = geometry(planner, node) else { return Ok(Lowered::Not) };
    let indices_read = node.output(1).is_some_and(|i| planner.values.get(i).is_some_and(|v| v.uses > 0));
    if indices_read || node.int("storage_order", 0) != 0 {
        return Ok(Lowered::Not);
    }
    let pool = pool_of(from, to, &window);
    let mut writes = vec![];
    if wanted {
        let id = planner.buffer((to.batch * pool.winners(to.blocks())).div_ceil(2));
        planner.masks.keep(output, id, Order::Blocked);
        writes.push(id);
    }
    let read = planner.blocked(node.input(0).unwrap_or_default())?;
    Host { writes, ..Host::of_image(HostKind::MaxPool(pool), vec![read], to) }.postpone(planner, output)
}

fn max_pool_grad(planner: &mut Planner, node: &Node) -> Result<Lowered> {
    let Some((forward, winners, _)) = planner.masks.of(node) else {
        return Err(node.error("has lost its forward node"));
    };
    let forward = forward.to_string();
    planner.materialise(&forward)?;
    let pool = planner.graph.nodes.iter().find(|n| n.output(0) == Some(forward.as_str()));
    let Some((to, from, window)) = pool.and_then(|n| geometry(planner, n)) else {
        return Err(node.error("has lost its forward node"));
    };
    let image = |name: Option<&str>| name.and_then(|name| planner.image(name));
    if (image(node.input(0)), image(node.output(0))) != (Some(from), Some(to)) {
        return Err(node.error("is not of its forward node's extents"));
    }
    let kind = HostKind::MaxPoolGrad(pool_of(to, from, &window));
    let read = planner.blocked(node.input(0).unwrap_or_default())?;
    Host::of_image(kind, vec![read, winners], to).postpone(planner, node.output(0).unwrap_or_default())
}

/// A convolution with equal weights, where every window averages equally many.
fn average_pool(planner: &mut Planner, node: &Node) -> Result<Lowered> {
    let Some((from, to, window)) = geometry(planner, node) else { return Ok(Lowered::Not) };
    let with_pads = node.int("count_include_pad", 0) != 0;
    let after = |axis: usize| node.ints("pads").and_then(|p| p.get(axis + 2)).copied().unwrap_or(0);
    let even = (0..2).all(|axis| {
        let reach = (to.extents[axis] - 1) * window.strides[axis] + (window.kernel[axis] - 1) * window.dilations[axis];
        let (before, after) = if with_pads { (window.before[axis], after(axis)) } else { (0, 0) };
        (with_pads || window.before[axis] == 0) && (reach as i64) < from.extents[axis] as i64 + before + after
    });
    if !even || (with_pads && node.text("auto_pad", "NOTSET") != "NOTSET") {
        return Ok(Lowered::Not);
    }
    let taps = window.taps();
    let weights = vec![1.0 / taps.len() as f32; from.blocks() * taps.len() * LANES].into();
    let pool = Depthwise {
        input: from.extents,
        output: to.extents,
        blocks: from.blocks(),
        stride: window.strides,
        spread: [1, 1],
        phases: vec![Phase { grid: to.extents, offset: [0, 0], taps, weights }],
        bias: vec![],
    };
    let read = planner.blocked(node.input(0).unwrap_or_default())?;
    let host = Host::of_image(HostKind::Depthwise(Arc::new(pool)), vec![read], to);
    host.postpone(planner, node.output(0).unwrap_or_default())
}

/// What comes blocked, with constant scales; the rest are rows.
fn channel_norm(planner: &mut Planner, node: &Node) -> Result<Lowered> {
    let Some((name, image)) = node.input(0).and_then(|name| Some((name, planner.image(name)?))) else {
        return Ok(Lowered::Not);
    };
    let Some(own) = scale_and_bias(planner, node).filter(|[scale, _]| scale.len() == image.channels) else {
        return Ok(Lowered::Not);
    };
    if !planner.is_blocked(name) {
        return Ok(Lowered::Not);
    }
    let [scale, bias] = own.map(|mut numbers| {
        numbers.resize(image.blocks() * LANES, 0.0);
        numbers
    });
    let norm = ChannelNorm { extents: image.extents, epsilon: node.float("epsilon", 1e-5), scale, bias };
    let read = planner.blocked(name)?;
    Host::of_image(HostKind::Norm(norm), vec![read], image).postpone(planner, node.output(0).unwrap_or_default())
}

/// Sums and means over all places of each channel.
fn whole_channels(planner: &mut Planner, node: &Node) -> Result<Lowered> {
    let (Some(input), Some(output)) = (node.input(0), node.output(0)) else { return Ok(Lowered::Not) };
    let (Some(image), Some(to)) = (planner.image(input), planner.image(output)) else { return Ok(Lowered::Not) };
    let places = to.places() == 1 && to.channels == image.channels && to.batch == image.batch;
    let axes = node.input(1).and_then(|a| planner.constant(a)).and_then(|t| t.to_i64()).unwrap_or_default();
    let spatial = node.op == "GlobalAveragePool" || matches!(axes[..], [2, 3] | [-2, -1]);
    if !places || !spatial || image.places() == 1 || !planner.is_blocked(input) {
        return Ok(Lowered::Not);
    }
    let read = planner.blocked(input)?;
    let result = planner.buffer(to.batch * to.blocked());
    let scale = if node.op == "ReduceSum" { 1.0 } else { 1.0 / image.places() as f32 };
    planner.step(output, Box::new(ChannelSums { scale }), vec![read], vec![result]);
    planner.set(output, Order::Blocked, result)?;
    Ok(Lowered::Done)
}

/// The sum of each channel, scaled.
struct ChannelSums {
    scale: f32,
}

impl Work for ChannelSums {
    fn kernel(&self) -> &str {
        "channel sums"
    }

    fn run(&self, isa: Isa, mut io: Io<'_>) -> Result<()> {
        sum_channels(isa, io.read[0], self.scale, io.write[0]);
        Ok(())
    }
}
