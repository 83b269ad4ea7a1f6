//! Reading and writing at indices.

use crate::gradient::site::{AdjointFn, Refusal, Site};
use crate::onnx::Attr;

pub const TABLE: &[(&str, AdjointFn)] = &[
    ("Gather", gather),
    ("GatherElements", gather_elements),
    ("GatherND", gather_nd),
    ("ScatterElements", scatter_elements),
    ("ScatterND", scatter_nd),
];

/// The indices must be constant; each element is added to the place it was read from.
fn gather(s: &mut Site) -> Result<(), Refusal> {
    let axis = s.axis("axis", 0)?;
    let x = s.x_shape(0);
    let indices = s.const_ints(1, "indices")?;
    let extent = x[axis] as i64;
    let places: Vec<usize> = indices.iter().map(|&i| (if i < 0 { i + extent } else { i }) as usize).collect();
    if places.iter().any(|&p| p >= x[axis]) {
        return Err(format!("an index lies outside its axis of {extent}"));
    }
    let mut shape = x.clone();
    shape[axis] = places.len();
    let g = s.g();
    let g = s.emit.reshape(&g, &shape);
    let dx = match places[..] {
        [first, ..] if places.iter().copied().eq(first..first + places.len()) => {
            s.emit.place(&g, first..first + places.len(), axis, &x)
        }
        _ => s.emit.scatter_axis(&g, &shape, axis, &places, x[axis]),
    };
    s.give(0, dx);
    Ok(())
}

fn adding() -> (&'static str, Attr) {
    ("reduction", Attr::Text("add".into()))
}

fn gather_elements(s: &mut Site) -> Result<(), Refusal> {
    let axis = s.axis("axis", 0)? as i64;
    let zeros = s.emit.zeros(&s.x_shape(0));
    let (g, indices) = (s.g(), s.x(1));
    let dx = s.emit.op_with("ScatterElements", &[&zeros, &indices, &g], vec![("axis", Attr::Int(axis)), adding()]);
    s.give(0, dx);
    Ok(())
}

fn gather_nd(s: &mut Site) -> Result<(), Refusal> {
    if s.node.int("batch_dims", 0) != 0 {
        return Err("batch_dims is not covered".into());
    }
    let zeros = s.emit.zeros(&s.x_shape(0));
    let (g, indices) = (s.g(), s.x(1));
    let dx = s.emit.op_with("ScatterND", &[&zeros, &indices, &g], vec![adding()]);
    s.give(0, dx);
    Ok(())
}

/// Whether the scattered updates are added to the data (else they replace it).
fn adds(s: &Site) -> Result<bool, Refusal> {
    match s.node.text("reduction", "none") {
        "none" => Ok(false),
        "add" => Ok(true),
        other => Err(format!("reduction '{other}' is not covered")),
    }
}

fn scatter_elements(s: &mut Site) -> Result<(), Refusal> {
    let (adds, axis) = (adds(s)?, s.axis("axis", 0)? as i64);
    let (g, indices) = (s.g(), s.x(1));
    let along = || vec![("axis", Attr::Int(axis))];
    if s.needs(0) {
        let dx = match adds {
            true => g.clone(),
            false => {
                let zeros = s.emit.zeros(&s.x_shape(2));
                s.emit.op_with("ScatterElements", &[&g, &indices, &zeros], along())
            }
        };
        s.give(0, dx);
    }
    if s.needs(2) {
        let updates = s.emit.op_with("GatherElements", &[&g, &indices], along());
        s.give(2, updates);
    }
    Ok(())
}

fn scatter_nd(s: &mut Site) -> Result<(), Refusal> {
    let adds = adds(s)?;
    let (g, indices) = (s.g(), s.x(1));
    if s.needs(0) {
        let dx = match adds {
            true => g.clone(),
            false => {
                let zeros = s.emit.zeros(&s.x_shape(2));
                s.emit.op("ScatterND", &[&g, &indices, &zeros])
            }
        };
        s.give(0, dx);
    }
    if s.needs(2) {
        let updates = s.emit.op("GatherND", &[&g, &indices]);
        s.give(2, updates);
    }
    Ok(())
}
