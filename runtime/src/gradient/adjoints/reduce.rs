//! Reductions, Softmax and running sums.

use crate::gradient::emit::Name;
use crate::gradient::functions::SOFTMAX_GRAD;
use crate::gradient::site::{AdjointFn, Refusal, Site};
use crate::onnx::Attr;

pub const TABLE: &[(&str, AdjointFn)] = &[
    ("ReduceSum", reduce_sum),
    ("ReduceMean", reduce_mean),
    ("ReduceMax", reduce_extremum),
    ("ReduceMin", reduce_extremum),
    ("ReduceL1", reduce_l1),
    ("ReduceL2", reduce_l2),
    ("ReduceSumSquare", reduce_sum_square),
    ("ReduceLogSum", reduce_log_sum),
    ("Softmax", softmax),
    ("LogSoftmax", log_softmax),
    ("CumSum", cum_sum),
];

/// The reduced axes, and the extents that the result has when they are kept.
fn reduced(s: &Site) -> Result<(Vec<usize>, Vec<usize>), Refusal> {
    let shape = s.x_shape(0);
    let listed = if s.node.input(1).is_some() { s.const_ints(1, "axes")? } else { vec![] };
    let axes: Vec<usize> = match listed.is_empty() {
        true if s.node.int("noop_with_empty_axes", 0) != 0 => vec![],
        true => (0..shape.len()).collect(),
        false => listed.iter().map(|&a| s.axis_of(a)).collect::<Result<_, _>>()?,
    };
    let kept = shape.iter().enumerate().map(|(axis, &d)| if axes.contains(&axis) { 1 } else { d }).collect();
    Ok((axes, kept))
}

/// The cotangent and the result, with the reduced axes kept, so that both broadcast to the input.
fn kept(s: &mut Site) -> Result<(Name, Name), Refusal> {
    let (_, shape) = reduced(s)?;
    let (g, y) = (s.g(), s.y());
    if shape == s.y_shape() {
        return Ok((g, y));
    }
    Ok((s.emit.reshape(&g, &shape), s.emit.reshape(&y, &shape)))
}

fn reduce_sum(s: &mut Site) -> Result<(), Refusal> {
    let (g, _) = kept(s)?;
    let dx = s.emit.expand(&g, &s.x_shape(0));
    s.give(0, dx);
    Ok(())
}

fn reduce_mean(s: &mut Site) -> Result<(), Refusal> {
    let (axes, _) = reduced(s)?;
    let shape = s.x_shape(0);
    let count: usize = axes.iter().map(|&a| shape[a]).product();
    let (g, _) = kept(s)?;
    let share = s.emit.scale(&g, 1.0 / count as f32);
    let dx = s.emit.expand(&share, &shape);
    s.give(0, dx);
    Ok(())
}

fn reduce_extremum(s: &mut Site) -> Result<(), Refusal> {
    let (axes, _) = reduced(s)?;
    let (g, y) = kept(s)?;
    give_to_extremes(s, &g, &y, &axes)
}

/// Shares the cotangent evenly among the elements that equal the extremum, as PyTorch's amax does.
pub fn give_to_extremes(s: &mut Site, g: &str, y: &str, axes: &[usize]) -> Result<(), Refusal> {
    let here = s.emit.op("Equal", &[&s.x(0), y]);
    let ones = s.emit.op_with("Cast", &[&here], vec![("to", Attr::Int(1))]);
    let count = s.emit.reduce("ReduceSum", &ones, axes);
    let share = s.emit.div(g, &count);
    let dx = s.emit.mul(&ones, &share);
    s.give(0, dx);
    Ok(())
}

fn reduce_l1(s: &mut Site) -> Result<(), Refusal> {
    let (g, _) = kept(s)?;
    let sign = s.emit.op("Sign", &[&s.x(0)]);
    let dx = s.emit.mul(&sign, &g);
    s.give(0, dx);
    Ok(())
}

/// `x / y`; zero where the norm is zero, as PyTorch has it
fn reduce_l2(s: &mut Site) -> Result<(), Refusal> {
    let (g, y) = kept(s)?;
    let zero = s.emit.scalar(0.0);
    let positive = s.emit.op("Greater", &[&y, &zero]);
    let one = s.emit.scalar(1.0);
    let below = s.emit.op("Where", &[&positive, &y, &one]);
    let ratio = s.emit.div(&g, &below);
    let dx = s.emit.mul(&s.x(0), &ratio);
    s.give(0, dx);
    Ok(())
}

fn reduce_sum_square(s: &mut Site) -> Result<(), Refusal> {
    let (g, _) = kept(s)?;
    let twice = s.emit.scale(&g, 2.0);
    let dx = s.emit.mul(&s.x(0), &twice);
    s.give(0, dx);
    Ok(())
}

/// `y = ln sum x`: the slope is `e^-y` for every element
fn reduce_log_sum(s: &mut Site) -> Result<(), Refusal> {
    let (g, y) = kept(s)?;
    let total = s.emit.op("Exp", &[&y]);
    let share = s.emit.div(&g, &total);
    let dx = s.emit.expand(&share, &s.x_shape(0));
    s.give(0, dx);
    Ok(())
}

fn softmax(s: &mut Site) -> Result<(), Refusal> {
    let axis = s.axis("axis", -1)?;
    let (g, y, axes) = (s.g(), s.y(), s.emit.axes(&[axis], s.x_shape(0).len()));
    let dx = s.emit.call(&SOFTMAX_GRAD, &[&g, &y, &axes]);
    s.give(0, dx);
    Ok(())
}

/// `g - e^y sum(g)`
fn log_softmax(s: &mut Site) -> Result<(), Refusal> {
    let axis = s.axis("axis", -1)?;
    let (g, y) = (s.g(), s.y());
    let total = s.emit.reduce("ReduceSum", &g, &[axis]);
    let probability = s.emit.op("Exp", &[&y]);
    let share = s.emit.mul(&probability, &total);
    let dx = s.emit.sub(&g, &share);
    s.give(0, dx);
    Ok(())
}

/// The running sum from the other end.
fn cum_sum(s: &mut Site) -> Result<(), Refusal> {
    let attributes = vec![
        ("exclusive", Attr::Int(s.node.int("exclusive", 0))),
        ("reverse", Attr::Int(1 - s.node.int("reverse", 0))),
    ];
    let (g, axis) = (s.g(), s.x(1));
    let dx = s.emit.op_with("CumSum", &[&g, &axis], attributes);
    s.give(0, dx);
    Ok(())
}
