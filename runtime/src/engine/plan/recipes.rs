//! What elementwise ops are in links of a chain: a line per op.

use super::activations::link_of;
use super::builder::Builder;
use super::planner::Planner;
use crate::engine::kernels::chain::{Activation, Op, Source};
use crate::error::Result;
use crate::gradient::functions::DOMAIN;
use crate::onnx::{DType, Graph, Node};

/// What an op is in links.
pub(super) enum Recipe {
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

/// Ops with poles, or that grow as exponentials do: of some finite values they make what is infinite, or no number. A model keeps its channels away from these values, but not the
/// lanes beyond them, which must stay finite: where there are such lanes, these ops work on planes.
pub(super) const UNBOUNDED: [&str; 6] = ["Div", "Reciprocal", "Log", "Pow", "Sqrt", "Exp"];

/// The links of an op, where it is elementwise. One that is unbounded is among [`UNBOUNDED`], too.
pub(super) fn recipe(planner: &Planner, node: &Node) -> Option<Recipe> {
    if let Some(link) = link_of(node) {
        return Some(Recipe::Unary(link));
    }
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
        "Gelu" if node.text("approximate", "none") == "none" => Recipe::Unary(Op::Activate(Activation::Gelu, None)),
        "PRelu" => Recipe::Other(|b, _, a| rectify(b, a[0], a[1])),
        "LeakyRelu" => Recipe::Other(|b, node, a| rectify(b, a[0], Source::Number(node.float("alpha", 0.01)))),
        "Pow" if number(1) == Some(2.0) => Recipe::Other(|b, _, a| b.link(Op::Mul, a[0], a[0])),
        "Pow" if number(1).is_some() => with(|v, [p, _]| v.powf(p), number(1)?, 0.0),
        "Greater" => Recipe::Fold(Op::Greater),
        "Less" => Recipe::Other(|b, _, a| b.link(Op::Greater, a[1], a[0])),
        "LessOrEqual" => Recipe::Other(|b, _, a| not_greater(b, a[0], a[1])),
        "GreaterOrEqual" => Recipe::Other(|b, _, a| not_greater(b, a[1], a[0])),
        "Equal" => Recipe::Other(equal),
        "And" => Recipe::Fold(Op::Mul),
        "Or" => Recipe::Fold(Op::Max),
        "Not" => Recipe::Other(|b, _, a| b.link(Op::Sub, Source::Number(1.0), a[0])),
        "Where" => Recipe::Other(choose),
        "Sign" => map(|v, _| if v == 0.0 { 0.0 } else { v.signum() }),
        "Floor" => map(|v, _| v.floor()),
        "Ceil" => map(|v, _| v.ceil()),
        "Round" => map(|v, _| v.round_ties_even()),
        "Abs" => Recipe::Other(absolute),
        "Log" => map(|v, _| v.ln()),
        "Sin" => map(|v, _| v.sin()),
        "Cos" => map(|v, _| v.cos()),
        "Softsign" => map(|v, _| v / (1.0 + v.abs())),
        "Softplus" => map(|v, _| v.max(0.0) + (-v.abs()).exp().ln_1p()),
        "ThresholdedRelu" => with(|v, [a, _]| if v > a { v } else { 0.0 }, node.float("alpha", 1.0), 0.0),
        "Elu" => with(|v, [a, _]| if v < 0.0 { a * v.exp_m1() } else { v }, node.float("alpha", 1.0), 0.0),
        _ => return None,
    })
}

fn not_greater(b: &mut Builder, left: Source, right: Source) -> Result<Source> {
    let greater = b.link(Op::Greater, left, right)?;
    b.link(Op::Sub, Source::Number(1.0), greater)
}

fn equal(b: &mut Builder, _: &Node, args: &[Source]) -> Result<Source> {
    let above = b.link_kept(Op::Greater, args[0], args[1])?;
    let below = b.link(Op::Greater, args[1], args[0])?;
    let apart = b.link(Op::Add, above, below)?;
    b.link(Op::Sub, Source::Number(1.0), apart)
}

fn choose(b: &mut Builder, _: &Node, args: &[Source]) -> Result<Source> {
    let first = b.link_kept(Op::Where, args[0], args[1])?;
    b.free(args[1]);
    let second = b.link(Op::Unless, args[0], args[2])?;
    b.link(Op::Add, first, second)
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

// Bounds come first, so that what is not a number stays so.
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
    let (low, high) = (low.unwrap_or(f32::NEG_INFINITY), high.unwrap_or(f32::INFINITY));
    let op = match b.bits {
        Some(id) => Op::ClipBits(b.mask(id, true), low, high),
        None => Op::Clip(low, high),
    };
    b.link(op, args[0], args[0])
}

fn hard_sigmoid(b: &mut Builder, node: &Node, args: &[Source]) -> Result<Source> {
    let scaled = b.link(Op::Mul, args[0], Source::Number(node.float("alpha", 0.2)))?;
    let shifted = b.link(Op::Add, scaled, Source::Number(node.float("beta", 0.5)))?;
    b.link(Op::Clip(0.0, 1.0), shifted, shifted)
}

fn hard_swish(b: &mut Builder, _: &Node, args: &[Source]) -> Result<Source> {
    let scaled = b.link_kept(Op::Mul, args[0], Source::Number(1.0 / 6.0))?;
    let shifted = b.link(Op::Add, scaled, Source::Number(0.5))?;
    let cut = b.link(Op::Clip(0.0, 1.0), shifted, shifted)?;
    b.link(Op::Mul, cut, args[0])
}

/// Times a slope below zero.
fn rectify(b: &mut Builder, x: Source, slope: Source) -> Result<Source> {
    let below = b.link_kept(Op::Min, Source::Number(0.0), x)?;
    let scaled = b.link(Op::Mul, below, slope)?;
    let above = b.link(Op::Max, Source::Number(0.0), x)?;
    b.link(Op::Add, above, scaled)
}

fn absolute(b: &mut Builder, _: &Node, args: &[Source]) -> Result<Source> {
    let negative = b.link_kept(Op::Sub, Source::Number(0.0), args[0])?;
    b.link(Op::Max, negative, args[0])
}

impl Planner<'_> {
    /// The only element of a constant float input.
    pub(super) fn number(&self, node: &Node, slot: usize) -> Option<f32> {
        let tensor = self.constant(node.input(slot)?)?;
        tensor.number().filter(|_| tensor.dtype == DType::F32)
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
