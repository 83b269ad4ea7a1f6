//! What moves elements without changing them.

use super::arena::Io;
use super::planner::{Lowered, Planner};
use super::run::Work;
use super::values::Order;
use crate::engine::kernels::moves::Move;
use crate::error::Result;
use crate::onnx::{Fact, Node};
use crate::simd::{Isa, LANES};

/// Lowers what only renames or moves elements.
pub fn lower(planner: &mut Planner, node: &Node, _: usize) -> Result<Lowered> {
    let (Some(input), Some(output)) = (node.input(0), node.output(0)) else { return Ok(Lowered::Not) };
    let known = |name: &str| planner.fact(name).is_ok_and(|f| f.dtype.size() == 4 && !f.shape.contains(&0));
    if !node.domain.is_empty() || !known(input) || !known(output) {
        return Ok(Lowered::Not);
    }
    match node.op.as_str() {
        "Identity" if planner.is_blocked(input) => {
            let id = planner.blocked(input)?;
            planner.set(output, Order::Blocked, id)?;
            Ok(Lowered::Done)
        }
        "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" if planner.reshape_view(input, output)? => Ok(Lowered::Done),
        "Identity" | "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" => {
            let id = planner.planes(input)?;
            planner.set(output, Order::Planes, id)?;
            Ok(Lowered::Done)
        }
        "Concat" => concat(planner, node),
        "Split" => split(planner, node),
        "Slice" => slice(planner, node),
        "Transpose" => transpose(planner, node),
        "DepthToSpace" | "SpaceToDepth" => squares(planner, node),
        "Expand" => expand(planner, node),
        _ => Ok(Lowered::Not),
    }
}

/// The strides of a contiguous value.
pub(super) fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    strides
}

/// Emits a move between planes of elements that are multiplied by a number.
pub(super) fn move_planes(
    planner: &mut Planner,
    input: &str,
    output: &str,
    moved: Move,
    factor: f32,
) -> Result<Lowered> {
    let read = planner.planes(input)?;
    let len = planner.fact(output)?.shape.iter().product();
    let write = planner.buffer(len);
    planner.step(output, Moves::of(moved, factor), vec![read], vec![write]);
    planner.set(output, Order::Planes, write)?;
    Ok(Lowered::Done)
}

/// Along axis 1 the parts of a blocked image are written to their place at once, and those that lie elsewhere already are
/// copied; else planes, part by part.
fn concat(planner: &mut Planner, node: &Node) -> Result<Lowered> {
    let output = node.output(0).unwrap_or_default();
    let fact = planner.fact(output)?.clone();
    let Some(axis) = fact.axis(node.int("axis", 0)) else { return Ok(Lowered::Not) };
    let parts: Vec<(String, Fact)> =
        node.inputs.iter().map(|i| Ok((i.clone(), planner.fact(i)?.clone()))).collect::<Result<_>>()?;
    if let Some(image) = planner.image(output) {
        let whole_blocks = parts.iter().rev().skip(1).all(|(_, f)| f.shape[1] % LANES == 0);
        let some_blocked = parts.iter().any(|(name, _)| planner.is_blocked(name));
        if axis == 1 && image.batch == 1 && whole_blocks && some_blocked {
            let write = planner.buffer(image.blocked());
            let mut at = 0;
            for (name, fact) in &parts {
                let read = planner.blocked(name)?;
                let len = fact.shape[1].div_ceil(LANES) * LANES * image.places();
                if planner.buffers[read].floats == len && planner.parts.is_free(read, &planner.steps) {
                    planner.parts.put(read, write, at);
                    at += len;
                    continue;
                }
                // Into a part of its own: what is read may be another part of the same whole.
                let part = planner.buffer(len);
                planner.parts.put(part, write, at);
                let moved = Move { from: 0, to: 0, extents: vec![len], reads: vec![1], writes: vec![1] };
                planner.step(output, Moves::of(moved, 1.0), vec![read], vec![part]);
                at += len;
            }
            planner.set(output, Order::Blocked, write)?;
            return Ok(Lowered::Done);
        }
    }
    let write = planner.buffer(fact.shape.iter().product());
    let writes = strides(&fact.shape);
    let mut at = 0;
    for (name, part) in &parts {
        let (read, from, reads) = planner.planes_of_view(name)?;
        let (to, extents) = (at * writes[axis], part.shape.clone());
        let moved = Move { from, to, extents, reads, writes: writes.clone() };
        planner.step(output, Moves::of(moved, 1.0), vec![read], vec![write]);
        at += part.shape[axis];
    }
    planner.set(output, Order::Planes, write)?;
    Ok(Lowered::Done)
}

/// The part `from..from + count` along an axis, of every `step`-th element.
fn part(planner: &mut Planner, input: &str, output: &str, from: Vec<usize>, steps: &[usize]) -> Result<Lowered> {
    let (own, to) = (planner.fact(input)?.shape.clone(), planner.fact(output)?.shape.clone());
    if let (Some(image), [0, first, 0, 0], [1, 1, 1, 1]) = (planner.image(input), &from[..], steps)
        && image.batch == 1
        && first % LANES == 0
        && to[2..] == own[2..]
        && (to[1] % LANES == 0 || first + to[1] == own[1])
        && planner.is_blocked(input)
    {
        let len = to[1].div_ceil(LANES) * LANES * image.places();
        let (read, write) = (planner.blocked(input)?, planner.buffer(len));
        planner.parts.put(write, read, first * image.places());
        planner.set(output, Order::Blocked, write)?;
        return Ok(Lowered::Done);
    }
    let view = planner.viewed_for(output, input)?.cut(&from, steps);
    planner.look(output, view)
}

fn split(planner: &mut Planner, node: &Node) -> Result<Lowered> {
    let input = node.input(0).unwrap_or_default();
    let fact = planner.fact(input)?.clone();
    let Some(axis) = fact.axis(node.int("axis", 0)) else { return Ok(Lowered::Not) };
    let mut at = 0;
    for output in &node.outputs {
        let mut from = vec![0; fact.shape.len()];
        from[axis] = at;
        at += planner.fact(output)?.shape[axis];
        if planner.value(output)?.uses > 0 {
            part(planner, input, output, from, &vec![1; fact.shape.len()])?;
        }
    }
    Ok(Lowered::Done)
}

/// Slices with constant, positive steps.
fn slice(planner: &mut Planner, node: &Node) -> Result<Lowered> {
    let (input, output) = (node.input(0).unwrap_or_default(), node.output(0).unwrap_or_default());
    let fact = planner.fact(input)?.clone();
    let ints = |slot: usize| node.input(slot).and_then(|n| planner.constant(n)).and_then(|t| t.to_i64());
    let Some(starts) = ints(1) else { return Ok(Lowered::Not) };
    let axes = match node.input(3) {
        Some(_) => ints(3),
        None => Some((0..starts.len() as i64).collect()),
    };
    let steps = match node.input(4) {
        Some(_) => ints(4),
        None => Some(vec![1; starts.len()]),
    };
    let (Some(axes), Some(steps), Some(ends)) = (axes, steps, ints(2)) else { return Ok(Lowered::Not) };
    let (mut from, mut by, mut to) = (vec![0; fact.shape.len()], vec![1; fact.shape.len()], fact.shape.clone());
    for (((axis, start), end), step) in axes.iter().zip(&starts).zip(&ends).zip(&steps) {
        let Some(axis) = fact.axis(*axis).filter(|_| *step > 0) else { return Ok(Lowered::Not) };
        let extent = fact.shape[axis] as i64;
        let inside = |at: i64| if at < 0 { at.saturating_add(extent) } else { at }.clamp(0, extent) as usize;
        from[axis] = inside(*start);
        by[axis] = usize::try_from(*step).unwrap_or(usize::MAX);
        to[axis] = inside(*end).saturating_sub(from[axis]).div_ceil(by[axis]);
    }
    // tract takes some empty slices for ones with an element, and says so when it is to run them.
    match planner.fact(output)?.shape == to {
        true => part(planner, input, output, from, &by),
        false => Ok(Lowered::Not),
    }
}

fn transpose(planner: &mut Planner, node: &Node) -> Result<Lowered> {
    let (input, output) = (node.input(0).unwrap_or_default(), node.output(0).unwrap_or_default());
    let rank = planner.fact(input)?.shape.len();
    let perm: Vec<usize> = match node.ints("perm") {
        Some(perm) => perm.iter().map(|&p| p as usize).collect(),
        None => (0..rank).rev().collect(),
    };
    if perm.len() != rank || perm.iter().any(|&p| p >= rank) {
        return Ok(Lowered::Not);
    }
    let view = planner.viewed_for(output, input)?.permuted(&perm);
    planner.look(output, view)
}

/// Channels to squares of places, or back; line by line of the smaller image.
fn squares(planner: &mut Planner, node: &Node) -> Result<Lowered> {
    let (input, output) = (node.input(0).unwrap_or_default(), node.output(0).unwrap_or_default());
    let (own, to) = (planner.fact(input)?.shape.clone(), planner.fact(output)?.shape.clone());
    let to_space = node.op == "DepthToSpace";
    let (deep, wide) = if to_space { (own, to) } else { (to, own) };
    let side = usize::try_from(node.int("blocksize", 0)).unwrap_or(0);
    let (&[images, depth, height, width], &[_, channels, ..]) = (&deep[..], &wide[..]) else { return Ok(Lowered::Not) };
    if wide != [images, channels, height * side, width * side] || depth != channels * side * side {
        return Ok(Lowered::Not);
    }
    let places = height * width;
    // From a channel to the next, and from one place of its square to the next.
    let [channel, square] = match node.text("mode", "DCR") {
        "CRD" => [side * side * places, places],
        _ => [places, channels * places],
    };
    let extents = vec![images, channels, height, side, side, width];
    let in_depth = vec![depth * places, channel, width, side * square, square, 1];
    let line = width * side;
    let in_space = vec![depth * places, side * side * places, side * line, line, 1, side];
    let (reads, writes) = if to_space { (in_depth, in_space) } else { (in_space, in_depth) };
    move_planes(planner, input, output, Move { from: 0, to: 0, extents, reads, writes }, 1.0)
}

/// Of what is not a float, or has no image to go along with.
fn expand(planner: &mut Planner, node: &Node) -> Result<Lowered> {
    let (input, output) = (node.input(0).unwrap_or_default(), node.output(0).unwrap_or_default());
    let (own, to) = (planner.fact(input)?.shape.clone(), planner.fact(output)?.shape.clone());
    if own.len() > to.len() {
        return Ok(Lowered::Not);
    }
    let aligned = [vec![1; to.len() - own.len()], own].concat();
    let reads = strides(&aligned).iter().zip(&aligned).map(|(s, d)| if *d == 1 { 0 } else { *s }).collect();
    let moved = Move { from: 0, to: 0, reads, writes: strides(&to), extents: to };
    move_planes(planner, input, output, moved, 1.0)
}

/// Moves elements between buffers, and multiplies all that are there then.
struct Moves {
    moved: Move,
    factor: f32,
}

impl Moves {
    fn of(moved: Move, factor: f32) -> Box<Moves> {
        Box::new(Moves { moved: moved.simplified(), factor })
    }
}

impl Work for Moves {
    fn kernel(&self) -> &str {
        "move"
    }

    fn run(&self, isa: Isa, mut io: Io<'_>) -> Result<()> {
        self.moved.run(isa, io.read[0], io.write[0]);
        if self.factor != 1.0 {
            io.write[0].iter_mut().for_each(|v| *v *= self.factor);
        }
        Ok(())
    }
}
