//! Elementwise nodes: they wait until their value is wanted, and then become one chain with what they read.

use std::collections::HashSet;

use super::absorb;
use super::activations::link_of;
use super::arena::BufferId;
use super::builder::Builder;
use super::chains::ChainWork;
use super::planner::{Beside, Lowered, Planner, chained};
use super::recipes::{Recipe, UNBOUNDED, recipe};
use super::values::{Image, Lazy, Order};
use super::views;
use crate::engine::kernels::chain::{Along, Op, Source};
use crate::error::{Error, Result};
use crate::gradient::functions::DOMAIN;
use crate::onnx::{DType, Fact, Node};
use crate::simd::LANES;

impl Planner<'_> {
    /// How an input of `shape` goes along with a blocked image: element for element, by channel, or as one number.
    fn along(&self, name: &str, image: Image) -> Option<Along> {
        let shape = &self.values.get(name)?.fact.shape;
        let whole = [image.batch, image.channels, image.extents[0], image.extents[1]];
        if *shape == whole {
            return Some(Along::Elements);
        }
        if shape.iter().product::<usize>() == 1 && self.constant(name).is_some() {
            return Some(Along::Constant);
        }
        let by_channel = match shape[..] {
            [batch, channels, 1, 1] => channels == image.channels && (batch == 1 || batch == image.batch),
            [channels, 1, 1] => channels == image.channels && self.constant(name).is_some(),
            _ => false,
        };
        by_channel.then_some(Along::Lanes)
    }

    /// The order in which an elementwise node is best computed.
    fn order_of(&self, node: &Node) -> Order {
        let Some(image) = node.output(0).and_then(|o| self.image(o)) else { return Order::Planes };
        if node.domain == DOMAIN && link_of(node).is_none() {
            return self.masks.of(node).map_or(Order::Planes, |(_, _, order)| order);
        }
        // The lanes beyond the channels, which are what nobody has asked for, would fill with NaN.
        let tame = image.channels % LANES == 0 || !UNBOUNDED.contains(&node.op.as_str());
        // The others are constants, or are given as bits.
        let inputs = || {
            crate::onnx::graph::inputs_of(node).take(match node.op.as_str() {
                "Expand" | "BatchNormalization" => 1,
                _ => usize::MAX,
            })
        };
        let some_blocked = inputs().any(|i| self.is_blocked(i));
        // A number per channel, as the adjoint of a mean spreads it, is quickly laid out in either order.
        let spread = node.op == "Expand" && inputs().all(|i| self.along(i, image) == Some(Along::Lanes));
        match tame && (some_blocked || spread) && inputs().all(|i| self.along(i, image).is_some()) {
            true => Order::Blocked,
            false => Order::Planes,
        }
    }
}

/// Leaves an elementwise node for later.
pub fn lower(planner: &mut Planner, node: &Node, index: usize) -> Result<Lowered> {
    let Some(output) = node.output(0) else { return Ok(Lowered::Not) };
    let truth = |name: &str| planner.constant(name).is_some_and(|t| t.dtype == DType::Bool);
    let floats =
        |name: &str| planner.fact(name).is_ok_and(|f| (f.dtype == DType::F32 || truth(name)) && !f.shape.contains(&0));
    let needed = |slot: usize| match node.op.as_str() {
        "Expand" | "BatchNormalization" => slot == 0,
        _ => !planner.masks.replaces(node, slot),
    };
    let inputs = node.inputs.iter().enumerate().filter(|(_, name)| !name.is_empty());
    let fits = inputs.clone().all(|(slot, name)| !needed(slot) || floats(name));
    if node.outputs.len() != 1 || !fits || !floats(output) || recipe(planner, node).is_none() {
        return Ok(Lowered::Not);
    }
    let order = planner.order_of(node);
    if planner.masks.wanted(output) {
        let elements = elements(planner.fact(output)?, order);
        let id = planner.buffer(elements.div_ceil(2 * LANES));
        planner.masks.keep(output, id, order);
    }
    wait_for_slope(planner, output, index, order)?;
    planner.postpone(output, Lazy::Elementwise(index), order)?;
    let bits = planner.masks.wanted(output) || planner.masks.pairs(node);
    if order == Order::Planes && bits {
        planner.materialise(output)?;
    }
    Ok(Lowered::Done)
}

/// Elements of a value in some order, padding included.
fn elements(fact: &Fact, order: Order) -> usize {
    match (order, Image::of(fact)) {
        (Order::Blocked, Some(image)) => image.batch * image.blocked(),
        _ => fact.shape.iter().product(),
    }
}

/// Has the slope of an activation, if it is waiting, computed in the chain that the activation will be in.
fn wait_for_slope(planner: &mut Planner, output: &str, index: usize, order: Order) -> Result<()> {
    let Some(value) = planner.slopes.get(output).cloned() else { return Ok(()) };
    let Some(slope) = planner.values.get(&value) else { return Ok(()) };
    if let Some((Lazy::Elementwise(node), waiting)) = &slope.lazy
        && *waiting == order
        && slope.fact == *planner.fact(output)?
    {
        let (node, floats) = (*node, elements(&slope.fact, order));
        let buffer = planner.buffer(floats);
        planner.beside.insert(index, Beside { value, node, buffer });
    }
    Ok(())
}

/// Links up to which a value is rather computed again than kept.
const CHEAP: usize = 12;

/// Whether a postponed value is made of a single other one, in a few links.
pub fn is_cheap(planner: &Planner, name: &str) -> bool {
    let (mut leaves, mut links) = (vec![], 0);
    made_of(planner, name, &mut leaves, &mut links) && leaves.len() == 1 && links <= CHEAP
}

/// Whether bits are kept of a postponed value, or of what it is made of: they are asked for from outside, so it can't be computed with
/// its reader alone.
pub fn keeps_bits(planner: &Planner, name: &str) -> bool {
    let Some(Some((Lazy::Elementwise(index), _))) = planner.values.get(name).map(|v| &v.lazy) else { return false };
    let node = &planner.graph.nodes[*index];
    planner.masks.wanted(name) || read_in_links(planner, node).any(|input| keeps_bits(planner, input))
}

/// Collects what a value is made of, and counts the links; false where it can be computed only once.
fn made_of<'a>(planner: &'a Planner, name: &'a str, leaves: &mut Vec<&'a str>, links: &mut usize) -> bool {
    let index = match planner.values.get(name).map(|v| &v.lazy) {
        Some(Some((Lazy::Elementwise(index), _))) => *index,
        // It will be stored for its readers.
        Some(Some((Lazy::Host(_), _))) if planner.values[name].uses == 1 => return false,
        _ => {
            let number = planner.constant(name).is_some_and(|t| t.len() == 1);
            if !number && !leaves.contains(&name) {
                leaves.push(name);
            }
            return true;
        }
    };
    let node = &planner.graph.nodes[index];
    *links += if node.op == "BatchNormalization" { 2 } else { 1 };
    let bits = planner.masks.pairs(node) || planner.masks.wanted(name) || planner.beside.contains_key(&index);
    !bits && *links <= CHEAP && read_in_links(planner, node).all(|input| made_of(planner, input, leaves, links))
}

/// The inputs that an elementwise node's links read; the others are constants, or given as bits.
pub(super) fn read_in_links<'a>(planner: &'a Planner, node: &'a Node) -> impl Iterator<Item = &'a String> {
    let first_only = ["Expand", "BatchNormalization"].contains(&node.op.as_str());
    let read = move |(slot, input): &(usize, &String)| {
        !input.is_empty() && !planner.masks.replaces(node, *slot) && (*slot == 0 || !first_only)
    };
    node.inputs.iter().enumerate().filter(read).map(|(_, input)| input)
}

/// Emits the chain, or the kernel, that computes a postponed value.
pub fn emit(planner: &mut Planner, name: &str) -> Result<()> {
    materialise_masks(planner, name)?;
    let Some((lazy, order)) = planner.value(name)?.lazy.take() else { return Ok(()) };
    let index = match lazy {
        Lazy::Host(host) => return host.emit(planner, name, None),
        Lazy::View(view) => return views::emit(planner, view, name).map(|_| ()),
        Lazy::Elementwise(index) => index,
    };
    let fact = planner.fact(name)?.clone();
    // Bits of planes are counted from the beginning of the whole, so such a chain stays alone.
    let node = &planner.graph.nodes[index];
    let alone = order == Order::Planes && (planner.masks.pairs(node) || planner.masks.wanted(name));
    let absorbable = if alone { None } else { absorb::absorbable(planner, index, order, &fact.shape) };
    if let Some(leaf) = absorbable {
        let mut builder = Builder::new(order, fact.shape.clone());
        (builder.absorbs, builder.again) = (Some(leaf.clone()), true);
        let root = compile(planner, &mut builder, index)?;
        if !builder.failed && builder.host.is_some() {
            return finish(planner, builder, root, name);
        }
        // It does not fit: the kernel's result is stored after all.
        if let Some(host) = builder.host {
            planner.value(&leaf)?.lazy = Some((Lazy::Host(host), order));
        }
        planner.materialise(&leaf)?;
    }
    let mut builder = Builder::new(order, fact.shape.clone());
    builder.alone = alone;
    let root = compile(planner, &mut builder, index)?;
    finish(planner, builder, root, name)
}

/// Has the bits that a postponed value's chain will read computed before: a chain can't read bits that it writes itself.
fn materialise_masks(planner: &mut Planner, name: &str) -> Result<()> {
    let (mut open, mut seen, mut forward) = (vec![name.to_string()], HashSet::new(), vec![]);
    while let Some(next) = open.pop() {
        let Some(Some((Lazy::Elementwise(index), _))) = planner.values.get(&next).map(|v| &v.lazy) else { continue };
        let node = &planner.graph.nodes[*index];
        forward.extend(planner.masks.of(node).map(|(output, ..)| output.to_string()).filter(|output| output != name));
        open.extend(read_in_links(planner, node).filter(|input| seen.insert(input.to_string())).cloned());
    }
    forward.iter().try_for_each(|output| planner.materialise(output))
}

/// Emits the step that a chain has become.
fn finish(planner: &mut Planner, mut builder: Builder, root: Source, name: &str) -> Result<()> {
    if !matches!(root, Source::Register(_)) || builder.links.is_empty() {
        builder.link(Op::Copy, root, root)?;
    }
    let (host, order) = (builder.host.take(), builder.order);
    for slope in &builder.beside {
        planner.set(&slope.value, order, slope.buffer)?;
    }
    let image = planner.image(name);
    let parts = builder.finish(image.filter(|_| order == Order::Blocked));
    if let Some(host) = host {
        return host.emit(planner, name, Some(parts));
    }
    let len = parts.chain.len();
    let output = planner.buffer(len);
    let (reads, writes) = parts.buffers();
    let writes = [vec![output], writes].concat();
    planner.step(name, Box::new(ChainWork::new(parts, image, order)), reads, writes);
    planner.set(name, order, output)
}

/// The links of a node, and before them those of what it reads.
fn compile(planner: &mut Planner, builder: &mut Builder, index: usize) -> Result<Source> {
    let node = &planner.graph.nodes[index];
    let mask = planner.masks.pairs(node) || node.output(0).is_some_and(|o| planner.masks.wanted(o));
    let inputs: Vec<String> = read_in_links(planner, node).cloned().collect();
    let own = if node.op == "BatchNormalization" { 2 } else { 0 };
    let (mut args, mut both) = (vec![], None);
    if let Some(slope) = planner.beside.get(&index).cloned() {
        let before = builder.pending;
        builder.pending = (before.0 + inputs.len() + own, before.1 + mask as usize, before.2 + 1);
        both = builder.both(link_of(node), link_of(&planner.graph.nodes[slope.node]), &slope);
        if both.is_none() {
            let value = compile(planner, builder, slope.node)?;
            builder.keep(value, slope)?;
        }
        builder.pending = before;
    }
    for (i, input) in inputs.iter().enumerate() {
        // What this node itself will still add when the links of this input are there.
        let (operands, masks) = (inputs.len() - i - 1 + own, mask as usize);
        let before = builder.pending;
        builder.pending = (before.0 + operands, before.1 + masks, before.2);
        args.push(operand(planner, builder, input)?);
        builder.pending = before;
    }
    let Some(recipe) = recipe(planner, node) else {
        return Err(node.error("is not elementwise after all"));
    };
    builder.bits = node.output(0).and_then(|o| planner.masks.kept.get(o)).map(|kept| kept.0);
    match recipe {
        Recipe::BatchNorm => batch_norm(planner, builder, node, args[0]),
        Recipe::Fold(op) => {
            let mut sum = args[0];
            for &next in &args[1..] {
                sum = builder.link(op, sum, next)?;
            }
            Ok(sum)
        }
        Recipe::Unary(op) => builder.link(both.unwrap_or(op), args[0], args[0]),
        Recipe::Keep(op) => {
            let Some((forward, id, _)) = planner.masks.of(node) else {
                return Err(node.error("has lost its forward node"));
            };
            let forward = forward.to_string();
            planner.materialise(&forward)?;
            let mask = builder.mask(id, false);
            builder.link(op(mask), args[0], args[0])
        }
        Recipe::Other(links) => links(builder, node, &args),
    }
}

/// `x scale + shift`, both computed in double precision from the constant statistics.
fn batch_norm(planner: &mut Planner, builder: &mut Builder, node: &Node, x: Source) -> Result<Source> {
    let Some((scale, shift)) = node.batch_norm(|name| planner.constant(name)?.to_f32()) else {
        return Err(node.error("has statistics that are not constant floats"));
    };
    let channels = scale.len();
    let mut shape = vec![1; builder.shape.len().saturating_sub(1)];
    shape[0] = channels;
    let mut operand = |values: Vec<f64>| {
        let id = planner.fixed_lanes(values.iter().map(|&v| v as f32).collect());
        builder.operand(id, shape.clone())
    };
    let (scale, shift) = (operand(scale), operand(shift));
    let scaled = builder.link(Op::Mul, x, scale)?;
    builder.link(Op::Add, scaled, shift)
}

/// Where a chain reads a value: from a register, where the value's own links can go before; from memory else.
fn operand(planner: &mut Planner, builder: &mut Builder, name: &str) -> Result<Source> {
    if let Some(tensor) = planner.constant(name)
        && tensor.len() == 1
        && let Some(values) = chained(tensor)
    {
        return Ok(Source::Number(values[0]));
    }
    let absorbed = builder.absorbs.as_deref() == Some(name);
    if absorbed && builder.host.is_some() {
        return Ok(Source::Output);
    }
    let room = builder.has_room();
    let value = planner.value(name)?;
    let same = value.fact.shape == builder.shape;
    if same && room {
        match value.lazy.take() {
            Some((Lazy::Elementwise(index), order)) if order == builder.order && (value.uses != 1 || builder.again) => {
                // It stays, for its other readers, and so does all that it is made of.
                value.lazy = Some((Lazy::Elementwise(index), order));
                let shared = value.uses != 1;
                if let Some(known) = builder.known(index) {
                    return Ok(known);
                }
                let outer = std::mem::replace(&mut builder.again, true);
                let source = compile(planner, builder, index)?;
                builder.again = outer;
                if shared {
                    builder.pin(index, source);
                }
                return Ok(source);
            }
            Some((Lazy::Elementwise(index), order)) if order == builder.order => {
                return compile(planner, builder, index);
            }
            Some((Lazy::Host(host), order)) if builder.takes(absorbed, value.uses) && order == builder.order => {
                builder.host = Some(host);
                return Ok(Source::Output);
            }
            other => value.lazy = other,
        }
    }
    if let Some(leaf) = &builder.absorbs
        && absorb::is_made_of(planner, name, leaf)
    {
        builder.failed = true;
        return Ok(Source::Number(0.0));
    }
    let value = planner.value(name)?;
    let shape = value.fact.shape.clone();
    let id = match builder.order {
        Order::Planes => planner.planes(name)?,
        Order::Blocked if same || shape.len() == 4 => planner.blocked(name)?,
        Order::Blocked => planner.lanes(name)?,
    };
    Ok(builder.operand(id, shape))
}

impl Planner<'_> {
    /// A constant value per channel, padded to blocks.
    fn lanes(&mut self, name: &str) -> Result<BufferId> {
        let values = self.constant(name).and_then(chained);
        let values = values.ok_or_else(|| Error::Plan { reason: format!("'{name}' is no constant of numbers") })?;
        Ok(self.fixed_lanes(values))
    }

    /// The same, of these values.
    fn fixed_lanes(&mut self, mut values: Vec<f32>) -> BufferId {
        values.resize(values.len().next_multiple_of(LANES), 0.0);
        self.fixed(values.into())
    }
}
