//! Rows and columns of images that are sums of a few others: Resize, Pad, and products with a sparse constant, as in their
//! adjoints.

use super::dense::{Host, HostKind};
use super::planner::{Lowered, Planner};
use super::values::Image;
use crate::engine::kernels::resample::{Axis, Resample};
use crate::error::Result;
use crate::onnx::resize::{padded, resized};
use crate::onnx::{DType, Node};

/// A constant is sparse where at most one in so many of its elements is other than zero.
const ONE_IN: usize = 4;

/// Up to so many terms a place are added up where an image is blocked, rather than to turn it for a product.
const TERMS: usize = 8;

/// Lowers resizes of images, and such products.
pub fn lower(planner: &mut Planner, node: &Node, _: usize) -> Result<Lowered> {
    let found = match (node.domain.as_str(), node.op.as_str()) {
        ("", "Resize") => resize(planner, node),
        ("", "Pad") => pad(planner, node),
        ("", "MatMul") => product(planner, node),
        _ => None,
    };
    let Some((slot, from, resample)) = found else { return Ok(Lowered::Not) };
    let extents = [resample.rows.places.len(), resample.columns.places.len()];
    let to = Image { extents, ..from };
    let read = planner.blocked(node.input(slot).unwrap_or_default())?;
    let host = Host::of_image(HostKind::Resample(resample), vec![read], to);
    host.postpone(planner, node.output(0).unwrap_or_default())
}

/// A resize of rows and columns alone.
fn resize(planner: &Planner, node: &Node) -> Option<(usize, Image, Resample)> {
    let (from, to) = (planner.image(node.input(0)?)?, planner.image(node.output(0)?)?);
    let scales = node.input(2).map(|name| planner.constant(name));
    let shape = |name: &str| planner.values.get(name).map(|value| value.fact.shape.as_slice());
    let all = resized(node, shape(node.input(0)?)?, shape(node.output(0)?)?, scales.flatten()).ok()?;
    let [mut rows, mut columns] = from.extents.map(Axis::same);
    for own in all {
        let axis = Axis { input: own.input, places: own.places };
        match own.axis {
            2 => rows = axis,
            3 => columns = axis,
            _ => return None,
        }
    }
    let fits = [rows.places.len(), columns.places.len()] == to.extents && scales != Some(None);
    fits.then_some((0, from, Resample { rows, columns }))
}

/// Rows and columns that are repeated or mirrored; zeros around an image that is blocked.
fn pad(planner: &Planner, node: &Node) -> Option<(usize, Image, Resample)> {
    let input = node.input(0)?;
    let from = planner.image(input)?;
    let pads = planner.constant(node.input(1)?)?.to_i64()?;
    let &[0, 0, top, left, 0, 0, bottom, right] = pads.as_slice() else { return None };
    let zeros = node.input(2).is_none() || planner.number(node, 2) == Some(0.0);
    let mode = node.text("mode", "constant");
    let fits = node.input(3).is_none() && pads.iter().all(|pad| *pad >= 0);
    if !fits || (mode == "constant" && !(zeros && planner.is_blocked(input))) {
        return None;
    }
    let axis = |input: usize, before: i64, after: i64| -> Option<Axis> {
        let places = match mode {
            "constant" => {
                let none = |count: i64| std::iter::repeat_n(vec![], count as usize);
                none(before).chain((0..input).map(|place| vec![(place, 1.0)])).chain(none(after)).collect()
            }
            _ => padded(mode, input, before, after).ok()?.into_iter().map(|place| vec![(place, 1.0)]).collect(),
        };
        Some(Axis { input, places })
    };
    let [height, width] = from.extents;
    Some((0, from, Resample { rows: axis(height, top, bottom)?, columns: axis(width, left, right)? }))
}

/// A product with a constant on its left, or with a sparse one on its right.
fn product(planner: &Planner, node: &Node) -> Option<(usize, Image, Resample)> {
    let [left, right] = [node.input(0)?, node.input(1)?];
    let (slot, constant) = match (planner.constant(left), planner.constant(right)) {
        (Some(constant), None) => (1, constant),
        (None, Some(constant)) => (0, constant),
        _ => return None,
    };
    let value = node.input(slot)?;
    let from = planner.image(value)?;
    let &[height, width] = constant.shape.as_slice() else { return None };
    let matrix = constant.to_f32().filter(|_| constant.dtype == DType::F32)?;
    let terms = matrix.iter().filter(|weight| **weight != 0.0).count();
    let few = ONE_IN * terms <= matrix.len() || (terms <= TERMS * width && planner.is_blocked(value));
    // Products of ours have no constant on their left.
    if slot == 0 && !few {
        return None;
    }
    let made_of = |(input, output): (usize, usize), weight: &dyn Fn(usize, usize) -> f32| {
        let place = |to: usize| (0..input).map(|from| (from, weight(to, from))).filter(|tap| tap.1 != 0.0).collect();
        Axis { input, places: (0..output).map(place).collect() }
    };
    let [rows, columns] = from.extents.map(Axis::same);
    let resample = match slot {
        0 => Resample { rows, columns: made_of((height, width), &|to, from| matrix[from * width + to]) },
        _ => Resample { rows: made_of((width, height), &|to, from| matrix[to * width + from]), columns },
    };
    (resample.rows.input == from.extents[0] && resample.columns.input == from.extents[1])
        .then_some((slot, from, resample))
}
