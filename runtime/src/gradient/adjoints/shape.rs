//! Ops that move elements without reading them: the adjoint moves them back.

use super::resize::{MOST_WEIGHTS, contract};
use crate::gradient::emit::Name;
use crate::gradient::site::{AdjointFn, Refusal, Site};
use crate::onnx::Attr;
use crate::onnx::resize::{Resized, padded};

pub const TABLE: &[(&str, AdjointFn)] = &[
    ("Reshape", reshape),
    ("Flatten", reshape),
    ("Squeeze", reshape),
    ("Unsqueeze", reshape),
    ("Transpose", transpose),
    ("Concat", concat),
    ("Split", split),
    ("Slice", slice),
    ("Pad", pad),
    ("Expand", expand),
    ("Tile", tile),
    ("DepthToSpace", depth_to_space),
    ("SpaceToDepth", space_to_depth),
    ("Trilu", trilu),
];

fn reshape(s: &mut Site) -> Result<(), Refusal> {
    let g = s.g();
    let dx = s.emit.reshape(&g, &s.x_shape(0));
    s.give(0, dx);
    Ok(())
}

fn transpose(s: &mut Site) -> Result<(), Refusal> {
    let rank = s.x_shape(0).len();
    let perm: Vec<usize> = match s.node.ints("perm") {
        Some(perm) => perm.iter().map(|&p| p as usize).collect(),
        None => (0..rank).rev().collect(),
    };
    let mut inverse = vec![0; rank];
    for (to, &from) in perm.iter().enumerate() {
        inverse[from] = to;
    }
    let g = s.g();
    let dx = s.emit.transpose(&g, &inverse);
    s.give(0, dx);
    Ok(())
}

fn concat(s: &mut Site) -> Result<(), Refusal> {
    let axis = s.axis("axis", 0)?;
    let g = s.g();
    let mut start = 0;
    for i in 0..s.node.inputs.len() {
        let end = start + s.x_shape(i)[axis] as i64;
        if s.needs(i) {
            let (from, to, along) = (s.emit.ints(&[start]), s.emit.ints(&[end]), s.emit.ints(&[axis as i64]));
            let part = s.emit.op("Slice", &[&g, &from, &to, &along]);
            s.give(i, part);
        }
        start = end;
    }
    Ok(())
}

fn split(s: &mut Site) -> Result<(), Refusal> {
    let axis = s.axis("axis", 0)?;
    let sizes = s.const_ints(1, "sizes")?;
    let parts: Vec<Name> = (0..sizes.len()).map(|i| s.cotangent(i)).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let dx = s.emit.op_with("Concat", &parts, vec![("axis", Attr::Int(axis as i64))]);
    s.give(0, dx);
    Ok(())
}

/// Where each axis is read from: (axis, first, step, how many).
fn slice_ranges(s: &Site) -> Result<Vec<(usize, i64, i64, usize)>, Refusal> {
    let (shape, out) = (s.x_shape(0), s.y_shape());
    let starts = s.const_ints(1, "starts")?;
    let axes = if s.node.input(3).is_some() { s.const_ints(3, "axes")? } else { (0..starts.len() as i64).collect() };
    let steps = if s.node.input(4).is_some() { s.const_ints(4, "steps")? } else { vec![1; starts.len()] };
    let range = |((&axis, &start), &step): ((&i64, &i64), &i64)| {
        let axis = s.axis_of(axis)?;
        let extent = shape[axis] as i64;
        if extent == 0 {
            return Err("its input is empty".into());
        }
        let start = if start < 0 { start.saturating_add(extent) } else { start };
        let first = if step < 0 { start.clamp(0, extent - 1) } else { start.clamp(0, extent) };
        let last = first + step * (out[axis] as i64 - 1);
        if !(0..extent).contains(&last) {
            return Err(format!("it reads from outside along axis {axis}"));
        }
        Ok((axis, first, step, out[axis]))
    };
    axes.iter().zip(&starts).zip(&steps).map(range).collect()
}

fn slice(s: &mut Site) -> Result<(), Refusal> {
    if s.y_shape().contains(&0) {
        let dx = s.emit.zeros(&s.x_shape(0));
        s.give(0, dx);
        return Ok(());
    }
    let ranges = slice_ranges(s)?;
    let (x, mut shape) = (s.x_shape(0), s.y_shape());
    let mut value = s.g();
    let (mut before, mut after) = (vec![0; x.len()], vec![0; x.len()]);
    for (axis, first, step, count) in ranges {
        if step == 1 {
            before[axis] = first;
            after[axis] = x[axis] as i64 - first - count as i64;
        } else {
            let places: Vec<usize> = (0..count as i64).map(|k| (first + k * step) as usize).collect();
            value = s.emit.scatter_axis(&value, &shape, axis, &places, x[axis]);
            shape[axis] = x[axis];
        }
    }
    let cut: Vec<usize> = (0..x.len()).filter(|&axis| shape[axis] < x[axis]).collect();
    let dx = match cut[..] {
        [axis] => {
            let first = before[axis] as usize;
            s.emit.place(&value, first..first + shape[axis], axis, &x)
        }
        _ => s.emit.pad_or_cut(&value, &shape, &before, &after),
    };
    s.give(0, dx);
    Ok(())
}

/// Constant padding is cut off; reflected and repeated elements are added to where they were read.
fn pad(s: &mut Site) -> Result<(), Refusal> {
    let x = s.x_shape(0);
    let pads = s.const_ints(1, "pads")?;
    let axes: Vec<usize> = match s.node.input(3) {
        Some(_) => s.const_ints(3, "axes")?.iter().map(|&a| s.axis_of(a)).collect::<Result<_, _>>()?,
        None => (0..x.len()).collect(),
    };
    let (mut before, mut after) = (vec![0i64; x.len()], vec![0i64; x.len()]);
    for (i, &axis) in axes.iter().enumerate() {
        before[axis] = pads[i];
        after[axis] = pads[axes.len() + i];
    }
    let g = s.g();
    let mode = s.node.text("mode", "constant").to_string();
    if mode == "constant" {
        let minus = |v: &[i64]| v.iter().map(|p| -p).collect::<Vec<_>>();
        let dx = s.emit.pad_or_cut(&g, &s.y_shape(), &minus(&before), &minus(&after));
        s.give(0, dx);
        return Ok(());
    }
    let (mut value, mut shape) = (g, s.y_shape());
    for axis in (0..x.len()).filter(|&a| before[a] != 0 || after[a] != 0) {
        let places = padded(&mode, x[axis], before[axis], after[axis])?;
        // Along rows and columns a product, as of what is resized.
        value = match axis + 2 >= x.len() && x[axis] * places.len() <= MOST_WEIGHTS {
            true => {
                let places = places.into_iter().map(|place| vec![(place, 1.0)]).collect();
                contract(s, &value, &shape, &Resized { axis, input: x[axis], places })
            }
            false => s.emit.scatter_axis(&value, &shape, axis, &places, x[axis]),
        };
        shape[axis] = x[axis];
    }
    s.give(0, value);
    Ok(())
}

fn expand(s: &mut Site) -> Result<(), Refusal> {
    let g = s.g();
    s.give_broadcast(0, g);
    Ok(())
}

/// Each axis becomes (copies, extent); the copies are summed.
fn tile(s: &mut Site) -> Result<(), Refusal> {
    let (x, y) = (s.x_shape(0), s.y_shape());
    let split: Vec<usize> = x.iter().zip(&y).flat_map(|(&d, &t)| [t / d.max(1), d]).collect();
    let copies: Vec<usize> = (0..x.len()).filter(|&a| split[2 * a] != 1).map(|a| 2 * a).collect();
    let g = s.g();
    let parts = s.emit.reshape(&g, &split);
    let summed = s.emit.reduce("ReduceSum", &parts, &copies);
    let dx = s.emit.reshape(&summed, &x);
    s.give(0, dx);
    Ok(())
}

/// Reshapes, permutes and reshapes: every rearrangement of blocks.
fn rearrange(s: &mut Site, parts: &[usize], perm: &[usize]) -> Name {
    let g = s.g();
    let split = s.emit.reshape(&g, parts);
    let moved = s.emit.transpose(&split, perm);
    s.emit.reshape(&moved, &s.x_shape(0))
}

fn depth_to_space(s: &mut Site) -> Result<(), Refusal> {
    let (x, block) = (s.x_shape(0), s.node.int("blocksize", 1).max(1) as usize);
    let [n, c, h, w] = x[..] else { return Err("its input is not four-dimensional".into()) };
    let parts = [n, c / (block * block), h, block, w, block];
    let dx = match s.node.text("mode", "DCR") {
        "DCR" => rearrange(s, &parts, &[0, 3, 5, 1, 2, 4]),
        "CRD" => rearrange(s, &parts, &[0, 1, 3, 5, 2, 4]),
        other => return Err(format!("mode '{other}' is not known")),
    };
    s.give(0, dx);
    Ok(())
}

fn space_to_depth(s: &mut Site) -> Result<(), Refusal> {
    let (x, block) = (s.x_shape(0), s.node.int("blocksize", 1).max(1) as usize);
    let [n, c, h, w] = x[..] else { return Err("its input is not four-dimensional".into()) };
    let parts = [n, block, block, c, h / block, w / block];
    let dx = rearrange(s, &parts, &[0, 3, 4, 1, 5, 2]);
    s.give(0, dx);
    Ok(())
}

/// The same triangle of the cotangent.
fn trilu(s: &mut Site) -> Result<(), Refusal> {
    let (g, k) = (s.g(), s.node.input(1).map(str::to_string));
    let inputs: Vec<&str> = std::iter::once(g.as_str()).chain(k.as_deref()).collect();
    let dx = s.emit.op_with("Trilu", &inputs, vec![("upper", Attr::Int(s.node.int("upper", 1)))]);
    s.give(0, dx);
    Ok(())
}
