//! What moves elements without changing them.

use super::arena::Io;
use super::planner::{Lowered, Planner};
use super::run::Work;
use super::values::{Lazy, Order};
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

/// Emits a move between planes.
fn emit(planner: &mut Planner, input: &str, output: &str, moved: Move) -> Result<Lowered> {
    let read = planner.planes(input)?;
    let len = planner.fact(output)?.shape.iter().product();
    let write = planner.buffer(len);
    planner.step(output, Box::new(Moves { moved: moved.simplified() }), vec![read], vec![write]);
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
                planner.step(output, Box::new(Moves { moved: moved.simplified() }), vec![read], vec![part]);
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
        let read = planner.planes(name)?;
        let moved = Move {
            from: 0,
            to: at * writes[axis],
            extents: part.shape.clone(),
            reads: strides(&part.shape),
            writes: writes.clone(),
        };
        planner.step(output, Box::new(Moves { moved: moved.simplified() }), vec![read], vec![write]);
        at += part.shape[axis];
    }
    planner.set(output, Order::Planes, write)?;
    Ok(Lowered::Done)
}

/// The part `from..from + count` along an axis, of every `step`-th element.
fn part(planner: &mut Planner, input: &str, output: &str, from: Vec<usize>, steps: &[usize]) -> Result<Lowered> {
    let (own, to) = (planner.fact(input)?.shape.clone(), planner.fact(output)?.shape.clone());
    let stride = strides(&own);
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
    let moved = Move {
        from: from.iter().zip(&stride).map(|(f, s)| f * s).sum(),
        to: 0,
        reads: stride.iter().zip(steps).map(|(s, step)| s * step).collect(),
        writes: strides(&to),
        extents: to,
    };
    emit(planner, input, output, moved)
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
    let shape = planner.fact(input)?.shape.clone();
    let rank = shape.len();
    let perm: Vec<usize> = match node.ints("perm") {
        Some(perm) => perm.iter().map(|&p| p as usize).collect(),
        None => (0..rank).rev().collect(),
    };
    if perm.len() != rank || perm.iter().any(|&p| p >= rank) {
        return Ok(Lowered::Not);
    }
    // Only axes of extent one change places: nothing moves.
    if perm.iter().filter(|&&p| shape[p] != 1).is_sorted() {
        let id = planner.planes(input)?;
        planner.set(output, Order::Planes, id)?;
        return Ok(Lowered::Done);
    }
    // Matrix products read either way, and twice is back again.
    if rank >= 2 && perm[rank - 2..] == [rank - 1, rank - 2] && perm[..rank - 2].is_sorted() {
        if let Some(source) = planner.turned(input).map(str::to_string) {
            let id = planner.planes(&source)?;
            planner.set(output, Order::Planes, id)?;
            return Ok(Lowered::Done);
        }
        return planner.postpone(output, Lazy::Turned(input.to_string()), Order::Planes);
    }
    permute(planner, input, output, &perm)
}

/// Emits the move that makes a value of another with the last two axes exchanged.
pub(super) fn turn(planner: &mut Planner, input: &str, output: &str) -> Result<()> {
    let rank = planner.fact(input)?.shape.len();
    let mut perm: Vec<usize> = (0..rank).collect();
    perm.swap(rank - 2, rank - 1);
    permute(planner, input, output, &perm).map(|_| ())
}

fn permute(planner: &mut Planner, input: &str, output: &str, perm: &[usize]) -> Result<Lowered> {
    let (own, to) = (strides(&planner.fact(input)?.shape), planner.fact(output)?.shape.clone());
    let reads = perm.iter().map(|&p| own[p]).collect();
    let moved = Move { from: 0, to: 0, reads, writes: strides(&to), extents: to };
    emit(planner, input, output, moved)
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
    emit(planner, input, output, Move { from: 0, to: 0, extents, reads, writes })
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
    emit(planner, input, output, moved)
}

/// Moves elements between buffers.
struct Moves {
    moved: Move,
}

impl Work for Moves {
    fn kernel(&self) -> &str {
        "move"
    }

    fn run(&self, isa: Isa, mut io: Io<'_>) -> Result<()> {
        self.moved.run(isa, io.read[0], io.write[0]);
        Ok(())
    }
}
