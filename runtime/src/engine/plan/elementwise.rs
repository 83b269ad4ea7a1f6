//! Elementwise nodes: they wait until their value is wanted, and then become one chain with what they read.

use std::collections::HashMap;

use super::arena::{BufferId, Life};
use super::dense::Host;
use super::planner::{Lowered, Planner};
use super::run::{Step, Work};
use super::values::{Image, Lazy, Order};
use crate::engine::kernels::chain::{
    Along, Chain, Link, MAX_MASKS, MAX_OPERANDS, Mask, Op, Operands, REGISTERS, Source, Walk,
};
use crate::engine::simd::{Isa, LANES};
use crate::error::{Error, Result};
use crate::gradient::functions::DOMAIN;
use crate::onnx::{DType, Graph, Node};

/// What a clipping node's adjoint needs to know of it: a bit per element.
#[derive(Default)]
pub struct Masks {
    /// The forward node behind each gradient node, by the output of the former and the name of the latter.
    forward_of: HashMap<String, String>,
    /// Where the bits of a forward node are, by its output, once it has been lowered.
    kept: HashMap<String, (BufferId, Order)>,
}

impl Masks {
    /// Pairs the gradient nodes of our functions with the forward nodes whose bits they can use.
    pub fn find(graph: &Graph) -> Masks {
        let mut masks = Masks::default();
        let pools: HashMap<&str, &Node> =
            graph.nodes.iter().filter(|n| n.op == "MaxPool").filter_map(|n| Some((n.output(1)?, n))).collect();
        let mut clipping: HashMap<&str, Vec<&Node>> = HashMap::new();
        for node in graph.nodes.iter().filter(|n| n.domain.is_empty() && ["Relu", "Clip"].contains(&n.op.as_str())) {
            clipping.entry(node.input(0).unwrap_or_default()).or_default().push(node);
        }
        for node in graph.nodes.iter().filter(|n| n.domain == DOMAIN) {
            let x = node.input(1).unwrap_or_default();
            let same_bounds = |n: &&&Node| n.op == "Clip" && n.inputs.get(1..3) == node.inputs.get(2..4);
            let found = match node.op.as_str() {
                "ReluGrad" | "GuidedReluGrad" => clipping.get(x).and_then(|c| c.iter().find(|n| n.op == "Relu")),
                "ClipGrad" => clipping.get(x).and_then(|c| c.iter().find(same_bounds)),
                "MaxPoolGrad" => pools.get(x).filter(|n| n.ints("kernel_shape").is_some_and(|k| k.len() == 2)),
                _ => None,
            };
            if let Some(output) = found.and_then(|n| n.output(0)) {
                masks.forward_of.insert(node.name.clone(), output.to_string());
            }
        }
        masks
    }

    /// Whether a gradient node has found its forward node.
    pub fn pairs(&self, node: &Node) -> bool {
        self.forward_of.contains_key(&node.name)
    }

    /// Whether a node takes bits in place of the value in this slot.
    pub fn replaces(&self, node: &Node, slot: usize) -> bool {
        slot > 0 && self.pairs(node)
    }

    /// Whether somebody wants the bits of the forward node that writes `output`.
    pub fn wanted(&self, output: &str) -> bool {
        self.forward_of.values().any(|o| o == output)
    }

    /// Notes where the bits of a forward node are.
    pub fn keep(&mut self, output: &str, id: BufferId, order: Order) {
        self.kept.insert(output.to_string(), (id, order));
    }

    /// The forward node's output, and where its bits are.
    pub fn of(&self, gradient: &Node) -> Option<(&str, BufferId, Order)> {
        let output = self.forward_of.get(&gradient.name)?;
        self.kept.get(output).map(|&(id, order)| (output.as_str(), id, order))
    }
}

/// What an op is in links.
enum Recipe {
    /// Two operands or more, from the left.
    Fold(Op),
    /// One operand.
    Unary(Op),
    /// Bits of the forward node.
    Keep(fn(u8) -> Op),
    /// A scale and a shift per channel.
    BatchNorm,
    /// Anything longer.
    Other(fn(&mut Builder, &Node, &[Source]) -> Result<Source>),
}

fn map(f: fn(f32, [f32; 2]) -> f32) -> Recipe {
    Recipe::Unary(Op::Map(f, [0.0; 2]))
}

/// The links of an op, where it is elementwise.
fn recipe(planner: &Planner, node: &Node) -> Option<Recipe> {
    if node.domain == DOMAIN {
        planner.masks.of(node)?;
        return Some(match node.op.as_str() {
            "ReluGrad" | "ClipGrad" => Recipe::Keep(Op::Keep),
            "GuidedReluGrad" => Recipe::Keep(Op::KeepPositive),
            _ => return None,
        });
    }
    let number = |slot: usize| planner.number(node, slot);
    let bounded = |slot: usize| node.input(slot).is_none() || number(slot).is_some();
    let with = |f, a: f32, b: f32| Recipe::Unary(Op::Map(f, [a, b]));
    Some(match node.op.as_str() {
        "Add" | "Sum" => Recipe::Fold(Op::Add),
        "Sub" => Recipe::Fold(Op::Sub),
        "Mul" => Recipe::Fold(Op::Mul),
        "Div" => Recipe::Fold(Op::Div),
        "Max" => Recipe::Fold(Op::Max),
        "Min" => Recipe::Fold(Op::Min),
        "Sqrt" => Recipe::Unary(Op::Sqrt),
        "Exp" => Recipe::Unary(Op::Exp),
        "Sigmoid" => Recipe::Unary(Op::Sigmoid),
        "Tanh" => Recipe::Unary(Op::Tanh),
        "Erf" => Recipe::Unary(Op::Erf),
        "BatchNormalization" if (1..5).all(|i| node.input(i).is_some_and(|n| planner.constant(n).is_some())) => {
            Recipe::BatchNorm
        }
        "Expand" => Recipe::Other(|_, _, a| Ok(a[0])),
        "Neg" => Recipe::Other(|b, _, a| b.link(Op::Sub, Source::Number(0.0), a[0])),
        "Reciprocal" => Recipe::Other(|b, _, a| b.link(Op::Div, Source::Number(1.0), a[0])),
        "Relu" => Recipe::Other(relu),
        "Clip" if bounded(1) && bounded(2) => Recipe::Other(clip),
        "HardSigmoid" => Recipe::Other(hard_sigmoid),
        "HardSwish" => Recipe::Other(hard_swish),
        "Gelu" if node.text("approximate", "none") == "none" => Recipe::Other(gelu),
        "PRelu" => Recipe::Other(prelu),
        "Pow" if number(1) == Some(2.0) => Recipe::Other(|b, _, a| b.link(Op::Mul, a[0], a[0])),
        "Pow" if number(1).is_some() => with(|v, [p, _]| v.powf(p), number(1)?, 0.0),
        "Abs" => map(|v, _| v.abs()),
        "Log" => map(|v, _| v.ln()),
        "Sin" => map(|v, _| v.sin()),
        "Cos" => map(|v, _| v.cos()),
        "Softsign" => map(|v, _| v / (1.0 + v.abs())),
        "Softplus" => map(|v, _| v.max(0.0) + (-v.abs()).exp().ln_1p()),
        "LeakyRelu" => with(|v, [a, _]| if v < 0.0 { a * v } else { v }, node.float("alpha", 0.01), 0.0),
        "Elu" => with(|v, [a, _]| if v < 0.0 { a * v.exp_m1() } else { v }, node.float("alpha", 1.0), 0.0),
        _ => return None,
    })
}

fn relu(b: &mut Builder, _: &Node, args: &[Source]) -> Result<Source> {
    match b.bits {
        Some(id) => {
            let mask = b.mask(id, true);
            b.link(Op::ReluBits(mask), args[0], args[0])
        }
        None => b.link(Op::Relu, args[0], args[0]),
    }
}

fn clip(b: &mut Builder, node: &Node, args: &[Source]) -> Result<Source> {
    let bound = |i: usize| match args.get(i) {
        Some(Source::Number(v)) => Some(*v),
        _ => None,
    };
    // A bound that is left out still takes its slot.
    let (low, high) = match (node.input(1).is_some(), node.input(2).is_some()) {
        (true, _) => (bound(1), bound(2)),
        (false, true) => (None, bound(1)),
        (false, false) => (None, None),
    };
    if let Some(id) = b.bits {
        let mask = b.mask(id, true);
        let op = Op::ClipBits(mask, low.unwrap_or(f32::NEG_INFINITY), high.unwrap_or(f32::INFINITY));
        return b.link(op, args[0], args[0]);
    }
    let raised = b.link(Op::Max, args[0], Source::Number(low.unwrap_or(f32::NEG_INFINITY)))?;
    b.link(Op::Min, raised, Source::Number(high.unwrap_or(f32::INFINITY)))
}

fn hard_sigmoid(b: &mut Builder, node: &Node, args: &[Source]) -> Result<Source> {
    let scaled = b.link(Op::Mul, args[0], Source::Number(node.float("alpha", 0.2)))?;
    let shifted = b.link(Op::Add, scaled, Source::Number(node.float("beta", 0.5)))?;
    let raised = b.link(Op::Max, shifted, Source::Number(0.0))?;
    b.link(Op::Min, raised, Source::Number(1.0))
}

fn hard_swish(b: &mut Builder, _: &Node, args: &[Source]) -> Result<Source> {
    let scaled = b.link_kept(Op::Mul, args[0], Source::Number(1.0 / 6.0))?;
    let shifted = b.link(Op::Add, scaled, Source::Number(0.5))?;
    let raised = b.link(Op::Max, shifted, Source::Number(0.0))?;
    let cut = b.link(Op::Min, raised, Source::Number(1.0))?;
    b.link(Op::Mul, cut, args[0])
}

fn gelu(b: &mut Builder, _: &Node, args: &[Source]) -> Result<Source> {
    let scaled = b.link_kept(Op::Mul, args[0], Source::Number(std::f32::consts::FRAC_1_SQRT_2))?;
    let erf = b.link(Op::Erf, scaled, scaled)?;
    let shifted = b.link(Op::Add, erf, Source::Number(1.0))?;
    let product = b.link(Op::Mul, shifted, args[0])?;
    b.link(Op::Mul, product, Source::Number(0.5))
}

fn prelu(b: &mut Builder, _: &Node, args: &[Source]) -> Result<Source> {
    let below = b.link_kept(Op::Min, args[0], Source::Number(0.0))?;
    let scaled = b.link(Op::Mul, below, args[1])?;
    let above = b.link(Op::Max, args[0], Source::Number(0.0))?;
    b.link(Op::Add, above, scaled)
}

impl Planner<'_> {
    /// The only element of a constant float input.
    fn number(&self, node: &Node, slot: usize) -> Option<f32> {
        let tensor = self.constant(node.input(slot)?)?;
        tensor.to_f32().filter(|v| v.len() == 1 && tensor.dtype == DType::F32).map(|v| v[0])
    }

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
        if node.domain == DOMAIN {
            return self.masks.of(node).map_or(Order::Planes, |(_, _, order)| order);
        }
        // What divides by the lanes beyond the channels, which are zero, would fill them with NaN.
        let tame = image.channels % LANES == 0
            || !["Div", "Reciprocal", "Log", "Pow", "Softplus", "Elu"].contains(&node.op.as_str());
        // The others are constants, or are given as bits.
        let inputs = || {
            crate::onnx::graph::inputs_of(node).take(match node.op.as_str() {
                "Expand" | "BatchNormalization" => 1,
                _ => usize::MAX,
            })
        };
        let some_blocked = inputs().any(|i| self.is_blocked(i));
        match tame && some_blocked && inputs().all(|i| self.along(i, image).is_some()) {
            true => Order::Blocked,
            false => Order::Planes,
        }
    }
}

/// Makes folds of many values folds of two, one after the other: a chain reads a few operands at most.
pub fn pair_folds(graph: &mut Graph) {
    let folds = |n: &Node| n.domain.is_empty() && ["Sum", "Max", "Min"].contains(&n.op.as_str()) && n.inputs.len() > 2;
    let mut nodes = Vec::with_capacity(graph.nodes.len());
    for node in std::mem::take(&mut graph.nodes) {
        if !folds(&node) {
            nodes.push(node);
            continue;
        }
        let (last, mut left) = (node.inputs.len() - 1, node.inputs[0].clone());
        for (i, input) in node.inputs.iter().enumerate().skip(1) {
            let mut pair = Node { name: format!("{}/{i}", node.name), ..node.clone() };
            pair.inputs = vec![left, input.clone()];
            if i < last {
                pair.outputs = vec![format!("{}/{i}", node.outputs[0])];
            }
            left = pair.outputs[0].clone();
            nodes.push(pair);
        }
    }
    graph.nodes = nodes;
}

/// Leaves an elementwise node for later.
pub fn lower(planner: &mut Planner, node: &Node, index: usize) -> Result<Lowered> {
    let Some(output) = node.output(0) else { return Ok(Lowered::Not) };
    let floats = |name: &str| planner.fact(name).is_ok_and(|f| f.dtype == DType::F32 && !f.shape.contains(&0));
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
        let fact = planner.fact(output)?;
        let elements = match (order, Image::of(fact)) {
            (Order::Blocked, Some(image)) => image.batch * image.blocked(),
            _ => fact.shape.iter().product(),
        };
        let id = planner.buffer(elements.div_ceil(2 * LANES));
        planner.masks.keep(output, id, order);
    }
    planner.postpone(output, Lazy::Elementwise(index), order)?;
    let bits = planner.masks.wanted(output) || planner.masks.pairs(node);
    if order == Order::Planes && bits {
        planner.materialise(output)?;
    }
    Ok(Lowered::Done)
}

/// Emits the chain, or the kernel, that computes a postponed value.
pub fn emit(planner: &mut Planner, name: &str) -> Result<()> {
    let Some((lazy, order)) = planner.value(name)?.lazy.take() else { return Ok(()) };
    let index = match lazy {
        Lazy::Host(host) => return host.emit(planner, name, None),
        Lazy::Elementwise(index) => index,
    };
    let fact = planner.fact(name)?.clone();
    let mut builder = Builder::new(order, fact.shape.clone());
    // Bits of planes are counted from the beginning of the whole, so such a chain stays alone.
    let node = &planner.graph.nodes[index];
    builder.alone = order == Order::Planes && (planner.masks.pairs(node) || planner.masks.wanted(name));
    let root = compile(planner, &mut builder, index)?;
    if !matches!(root, Source::Register(_)) || builder.links.is_empty() {
        builder.link(Op::Copy, root, root)?;
    }
    let host = builder.host.take();
    let parts = builder.finish(Image::of(&fact).filter(|_| order == Order::Blocked));
    if let Some(host) = host {
        return host.emit(planner, name, Some(parts));
    }
    let len = parts.chain.len();
    let output = planner.buffer(len);
    let (reads, writes) = parts.buffers();
    let writes = [vec![output], writes].concat();
    planner.step(name, Box::new(ChainWork { parts }), reads, writes);
    planner.set(name, order, output)
}

/// The links of a node, and before them those of what it reads.
fn compile(planner: &mut Planner, builder: &mut Builder, index: usize) -> Result<Source> {
    let node = &planner.graph.nodes[index];
    let mask = planner.masks.pairs(node) || node.output(0).is_some_and(|o| planner.masks.wanted(o));
    let first_only = ["Expand", "BatchNormalization"].contains(&node.op.as_str());
    let read = |(slot, input): &(usize, &String)| {
        !input.is_empty() && !planner.masks.replaces(node, *slot) && (*slot == 0 || !first_only)
    };
    let inputs: Vec<&String> = node.inputs.iter().enumerate().filter(read).map(|(_, input)| input).collect();
    let own = if node.op == "BatchNormalization" { 2 } else { 0 };
    let mut args = vec![];
    for (i, input) in inputs.iter().enumerate() {
        // What this node itself will still add when the links of this input are there.
        let (operands, masks) = (inputs.len() - i - 1 + own, mask as usize);
        builder.pending = (builder.pending.0 + operands, builder.pending.1 + masks);
        args.push(operand(planner, builder, input)?);
        builder.pending = (builder.pending.0 - operands, builder.pending.1 - masks);
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
        Recipe::Unary(op) => builder.link(op, args[0], args[0]),
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
    let vector = |slot: usize| {
        let values = node.input(slot).and_then(|n| planner.constant(n)).and_then(|t| t.to_f32());
        values.ok_or_else(|| node.error("has statistics that are not constant floats"))
    };
    let (gamma, beta, mean, variance) = (vector(1)?, vector(2)?, vector(3)?, vector(4)?);
    let epsilon = node.float("epsilon", 1e-5) as f64;
    let channels = gamma.len();
    let (mut scale, mut shift) = (vec![0.0; channels], vec![0.0; channels]);
    for c in 0..channels {
        let factor = gamma[c] as f64 / (variance[c] as f64 + epsilon).sqrt();
        scale[c] = factor as f32;
        shift[c] = (beta[c] as f64 - mean[c] as f64 * factor) as f32;
    }
    let mut shape = vec![1; builder.shape.len().saturating_sub(1)];
    shape[0] = channels;
    let mut operand = |values: Vec<f32>| {
        let id = planner.fixed_lanes(values);
        builder.operand(id, shape.clone())
    };
    let (scale, shift) = (operand(scale), operand(shift));
    let scaled = builder.link(Op::Mul, x, scale)?;
    builder.link(Op::Add, scaled, shift)
}

/// Where a chain reads a value: from a register, where the value's own links can go before; from memory else.
fn operand(planner: &mut Planner, builder: &mut Builder, name: &str) -> Result<Source> {
    if let Some(tensor) = planner.constant(name)
        && let Some(values) = tensor.to_f32().filter(|v| v.len() == 1)
    {
        return Ok(Source::Number(values[0]));
    }
    let value = planner.value(name)?;
    let same = value.fact.shape == builder.shape;
    if same && value.uses == 1 && builder.has_room() {
        match value.lazy.take() {
            Some((Lazy::Elementwise(index), order)) if order == builder.order => {
                return compile(planner, builder, index);
            }
            Some((Lazy::Host(host), _)) if builder.host.is_none() && builder.order == Order::Blocked => {
                builder.host = Some(host);
                return Ok(Source::Output);
            }
            other => value.lazy = other,
        }
    }
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
        let values = self.constant(name).and_then(|t| t.to_f32());
        let values = values.ok_or_else(|| Error::Plan { reason: format!("'{name}' is not constant") })?;
        Ok(self.fixed_lanes(values))
    }

    /// The same, of these values.
    fn fixed_lanes(&mut self, mut values: Vec<f32>) -> BufferId {
        values.resize(values.len().next_multiple_of(LANES), 0.0);
        self.fixed(values.into())
    }
}

/// A chain under construction.
struct Builder {
    order: Order,
    shape: Vec<usize>,
    links: Vec<Link>,
    operands: Vec<(BufferId, Vec<usize>)>,
    /// Buffers of bits, and whether they are written.
    masks: Vec<(BufferId, bool)>,
    busy: [bool; REGISTERS],
    host: Option<Box<Host>>,
    /// Where the node at hand leaves its bits.
    bits: Option<BufferId>,
    /// Whether no other node's links may go before.
    alone: bool,
    /// Operands and masks that the nodes whose inputs are being compiled will add.
    pending: (usize, usize),
}

impl Builder {
    fn new(order: Order, shape: Vec<usize>) -> Builder {
        let (links, operands, masks) = (vec![], vec![], vec![]);
        let busy = [false; REGISTERS];
        Builder { order, shape, links, operands, masks, busy, host: None, bits: None, alone: false, pending: (0, 0) }
    }

    /// Whether another node's links can be taken in: each needs three operands, a mask and two registers at most.
    fn has_room(&self) -> bool {
        let free = self.busy.iter().filter(|b| !**b).count();
        let (operands, masks) = (self.operands.len() + self.pending.0, self.masks.len() + self.pending.1);
        !self.alone && operands + 3 <= MAX_OPERANDS && masks < MAX_MASKS && free > 3
    }

    fn operand(&mut self, id: BufferId, shape: Vec<usize>) -> Source {
        let known = self.operands.iter().position(|(i, s)| *i == id && *s == shape);
        let at = known.unwrap_or_else(|| {
            self.operands.push((id, shape));
            self.operands.len() - 1
        });
        Source::Operand(at as u8)
    }

    fn mask(&mut self, id: BufferId, written: bool) -> u8 {
        self.masks.push((id, written));
        (self.masks.len() - 1) as u8
    }

    /// A link whose arguments nobody reads again.
    fn link(&mut self, op: Op, a: Source, b: Source) -> Result<Source> {
        for source in [a, b] {
            if let Source::Register(r) = source {
                self.busy[r as usize] = false;
            }
        }
        self.link_kept(op, a, b)
    }

    /// A link whose arguments are read again.
    fn link_kept(&mut self, op: Op, a: Source, b: Source) -> Result<Source> {
        let free = self.busy.iter().position(|b| !b);
        let to = free.ok_or_else(|| Error::Plan { reason: "an elementwise chain needs too many registers".into() })?;
        self.busy[to] = true;
        self.links.push(Link { op, a, b, to: to as u8 });
        Ok(Source::Register(to as u8))
    }

    /// The chain over the whole of an image, or over planes.
    fn finish(self, image: Option<Image>) -> ChainParts {
        let (outer, run, walks) = match image {
            Some(image) => blocked_walks(image, &self.operands),
            None => plane_walks(&self.shape, &self.operands),
        };
        let chain = Chain { links: self.links, walks, outer, run };
        ChainParts { chain, operands: self.operands.into_iter().map(|(id, _)| id).collect(), masks: self.masks }
    }
}

type Walks = (Vec<usize>, usize, Vec<Walk>);

/// Runs are the planes of a block.
fn blocked_walks(image: Image, operands: &[(BufferId, Vec<usize>)]) -> Walks {
    let (run, blocks) = (image.places() * LANES, image.blocks());
    let whole = [image.batch, image.channels, image.extents[0], image.extents[1]];
    let walk = |(_, shape): &(BufferId, Vec<usize>)| {
        if *shape == whole {
            return Walk { along: Along::Elements, strides: vec![blocks * run, run] };
        }
        let batched = shape.len() == 4 && shape[0] == image.batch && image.batch > 1;
        Walk { along: Along::Lanes, strides: vec![if batched { blocks * LANES } else { 0 }, LANES] }
    };
    (vec![image.batch, blocks], run, operands.iter().map(walk).collect())
}

/// Runs are the longest ends of the shape along which every operand either goes along or stays.
fn plane_walks(shape: &[usize], operands: &[(BufferId, Vec<usize>)]) -> Walks {
    let rank = shape.len();
    let aligned: Vec<Vec<usize>> =
        operands.iter().map(|(_, s)| [vec![1; rank - s.len()], s.clone()].concat()).collect();
    let even = |from: usize| {
        let goes = |s: &Vec<usize>| s[from..] == shape[from..] || s[from..].iter().all(|&d| d == 1);
        aligned.iter().all(goes)
    };
    let from = (0..rank).find(|&from| even(from)).unwrap_or(rank);
    let walk = |s: &Vec<usize>| {
        let mut strides = vec![0; rank];
        let mut stride = 1;
        for axis in (0..rank).rev() {
            strides[axis] = if s[axis] == 1 { 0 } else { stride };
            stride *= s[axis];
        }
        let constant = s[from..].iter().all(|&d| d == 1) && shape[from..].iter().any(|&d| d != 1);
        strides.truncate(from);
        Walk { along: if constant { Along::Constant } else { Along::Elements }, strides }
    };
    (shape[..from].to_vec(), shape[from..].iter().product(), aligned.iter().map(walk).collect())
}

/// A chain with the buffers it works on.
pub struct ChainParts {
    /// What is computed.
    pub chain: Chain,
    operands: Vec<BufferId>,
    masks: Vec<(BufferId, bool)>,
}

impl ChainParts {
    /// What a step that runs it reads and writes, besides its own.
    pub fn buffers(&self) -> (Vec<BufferId>, Vec<BufferId>) {
        let masks = |written: bool| self.masks.iter().filter(move |m| m.1 == written).map(|m| m.0);
        (self.operands.iter().copied().chain(masks(false)).collect(), masks(true).collect())
    }

    /// The operands, from what was lent in the order of [`ChainParts::buffers`].
    pub fn lent<'a>(&self, read: &[&'a [f32]], write: impl Iterator<Item = &'a mut [f32]>) -> Operands<'a> {
        let (operands, bits) = read.split_at(self.operands.len());
        let (mut bits, mut write) = (bits.iter(), write);
        let mut lent = Operands { read: operands.iter().copied().collect(), ..Operands::default() };
        for (_, written) in &self.masks {
            let mask = match written {
                true => write.next().map(|w| Mask::Write(bytemuck::cast_slice_mut(w))),
                false => bits.next().map(|r| Mask::Read(bytemuck::cast_slice(r))),
            };
            // As many as were counted when the plan was made.
            if let Some(mask) = mask {
                let _ = lent.masks.push(mask);
            }
        }
        lent
    }
}

/// A chain on its own.
struct ChainWork {
    parts: ChainParts,
}

impl Work for ChainWork {
    fn kernel(&self) -> &str {
        "chain"
    }

    fn may_overwrite(&self) -> Vec<usize> {
        let whole = |w: &Walk| w.along == Along::Elements && self.parts.chain.covers(w);
        (0..self.parts.chain.walks.len()).filter(|&i| whole(&self.parts.chain.walks[i])).collect()
    }

    fn overwrite(&mut self, operand: usize) {
        self.parts.operands.remove(operand);
        self.parts.chain.read_output_for(operand);
    }

    fn run(&self, isa: Isa, io: super::arena::Io<'_>) -> Result<()> {
        let mut write = io.write.into_iter();
        let Some(output) = write.next() else { return Ok(()) };
        self.parts.chain.run(isa, 0, output, &mut self.parts.lent(&io.read, write));
        Ok(())
    }
}

/// Lets chains write over an operand that nobody reads after them. Returns which buffers have taken the place of
/// which.
pub fn work_in_place(
    steps: &mut [Step],
    lives: &mut [Option<Life>],
    in_arena: impl Fn(BufferId) -> bool,
) -> Vec<(BufferId, BufferId)> {
    let mut roots: Vec<BufferId> = (0..lives.len()).collect();
    let mut merged = vec![];
    for (at, step) in steps.iter_mut().enumerate() {
        let candidates = step.work.may_overwrite();
        let Some(&output) = step.writes.first() else { continue };
        let Some(own) = lives[output] else { continue };
        let ends_here = |id: BufferId| {
            let once = step.reads.iter().filter(|&&r| roots[r] == roots[id]).count() == 1;
            once && in_arena(id) && lives[roots[id]].is_some_and(|l| l.to == at && l.len == own.len)
        };
        let Some(&operand) = candidates.iter().find(|&&i| ends_here(step.reads[i])) else { continue };
        let root = roots[step.reads[operand]];
        step.work.overwrite(operand);
        step.reads.remove(operand);
        if let Some(life) = &mut lives[root] {
            life.to = own.to;
        }
        lives[output] = None;
        roots[output] = root;
        merged.push((output, root));
    }
    merged
}
