//! What a node says of itself, looked at before anybody computes with it: numbers that no image model has, ranks that an op
//! does not take, parts that do not add up. What tract and our own code take for granted is asked for here, once.

use std::cell::Cell;

use super::infer::{Fact, Known};
use super::node::{Attr, Node};
use super::tensor::Tensor;
use crate::error::Result;

/// Strides, pads and kernels of more than this are damage.
pub(super) const MOST: i64 = 1 << 24;

/// Attributes that mean the same wherever they are, and what they are made of.
const KINDS: &[(&str, Kind)] = &[
    ("axis", Kind::Int),
    ("axes", Kind::Ints),
    ("auto_pad", Kind::Text),
    ("alpha", Kind::Float),
    ("beta", Kind::Float),
    ("ceil_mode", Kind::Int),
    ("dilations", Kind::Ints),
    ("epsilon", Kind::Float),
    ("group", Kind::Int),
    ("keepdims", Kind::Int),
    ("kernel_shape", Kind::Ints),
    ("momentum", Kind::Float),
    ("num_groups", Kind::Int),
    ("output_padding", Kind::Ints),
    ("pads", Kind::Ints),
    ("perm", Kind::Ints),
    ("strides", Kind::Ints),
    ("transA", Kind::Int),
    ("transB", Kind::Int),
];

#[derive(Clone, Copy)]
enum Kind {
    Int,
    Ints,
    Float,
    Text,
}

impl Kind {
    fn has(self, attribute: &Attr) -> bool {
        matches!(
            (self, attribute),
            (Kind::Int, Attr::Int(_))
                | (Kind::Ints, Attr::Ints(_))
                | (Kind::Float, Attr::Float(_))
                | (Kind::Text, Attr::Text(_))
        )
    }

    fn name(self) -> &'static str {
        match self {
            Kind::Int => "an integer",
            Kind::Ints => "a list of integers",
            Kind::Float => "a float",
            Kind::Text => "text",
        }
    }
}

/// Refuses a node that says what no model can mean.
pub(super) fn check(node: &Node, inputs: &[Known]) -> Result<()> {
    if !node.domain.is_empty() {
        return Ok(());
    }
    let Some(fact) = inputs.first().map(|input| input.fact) else { return Ok(()) };
    let x = fact.shape.as_slice();
    let told = match node.op.as_str() {
        "BatchNormalization" | "LRN" => at_least(x, 2).and_then(|()| positive(node, "size")),
        "InstanceNormalization" => at_least(x, 3),
        "GroupNormalization" => at_least(x, 2).and_then(|()| groups(node, x[1])),
        "LayerNormalization" | "RMSNormalization" => axis(node, fact, -1).map(drop),
        "Split" => parts(node, inputs, fact),
        "Conv" | "ConvTranspose" | "AveragePool" | "MaxPool" => windows(node, inputs, x),
        "Pad" => borders(node, inputs, fact),
        "Squeeze" | "Unsqueeze" => distinct(node, inputs),
        "Trilu" => match node.int("upper", 1) {
            0 | 1 => Ok(()),
            other => Err(format!("has upper = {other}, which is neither 0 nor 1")),
        },
        _ => Ok(()),
    };
    told.map_err(|reason| node.error(reason))
}

/// Refuses a result whose making would take more memory than models' constants do together.
pub(super) struct Folded {
    bytes: Cell<u64>,
    most: u64,
}

impl Folded {
    /// Of nothing yet, in a file with constants of so many bytes: of eight bits each is four times as large as a float, and once more
    /// where it is turned or scaled.
    pub fn of(constants: u64) -> Folded {
        Folded { bytes: Cell::new(0), most: MOST_FOLDED.saturating_add(constants.saturating_mul(16)) }
    }

    /// Counts a result that is about to be made.
    pub fn add(&self, node: &Node, bytes: u64) -> Result<()> {
        self.bytes.set(self.bytes.get().saturating_add(bytes));
        match self.bytes.get() <= self.most {
            true => Ok(()),
            false => Err(node.error(format!(
                "makes constants of constants, more than {} GiB of them together; no image model does",
                self.most >> 30
            ))),
        }
    }
}

/// Bytes of all constants that are made of others, beside what the file has.
const MOST_FOLDED: u64 = 2 << 30;

/// Refuses attributes of another kind than they are, and numbers that no model has.
pub(super) fn attributes(node: &Node) -> Result<()> {
    if !node.domain.is_empty() {
        return Ok(());
    }
    for (name, attribute) in &node.attributes {
        if let Some((_, kind)) = KINDS.iter().find(|(of, kind)| of == name && !kind.has(attribute)) {
            return Err(node.error(format!("has an attribute '{name}' that is not {}", kind.name())));
        }
        let far = match attribute {
            Attr::Ints(values) if name != "value_ints" => {
                values.iter().copied().find(|v| v.unsigned_abs() > MOST as u64)
            }
            _ => None,
        };
        if let Some(far) = far {
            return Err(node.error(format!("has {far} in its attribute '{name}', which no image model has")));
        }
    }
    Ok(())
}

fn at_least(x: &[usize], rank: usize) -> std::result::Result<(), String> {
    match x.len() >= rank {
        true => Ok(()),
        false => Err(format!("wants an input of {rank} axes at least, and has one of the shape {x:?}")),
    }
}

fn positive(node: &Node, name: &str) -> std::result::Result<(), String> {
    match node.int(name, 1) {
        1..=MOST => Ok(()),
        other => Err(format!("has {name} = {other}")),
    }
}

fn groups(node: &Node, channels: usize) -> std::result::Result<(), String> {
    let groups = node.int("num_groups", 0);
    match usize::try_from(groups).is_ok_and(|groups| groups > 0 && channels.is_multiple_of(groups)) {
        true => Ok(()),
        false => Err(format!("has {groups} groups for {channels} channels")),
    }
}

fn axis(node: &Node, x: &Fact, default: i64) -> std::result::Result<usize, String> {
    let axis = node.int("axis", default);
    x.axis(axis).ok_or_else(|| format!("has the axis {axis} of an input of the shape {:?}", x.shape))
}

/// What is in a slot: inputs that are left out are not among those that are known.
fn ints(node: &Node, inputs: &[Known], slot: usize) -> Option<Vec<i64>> {
    let name = node.input(slot)?;
    inputs.iter().find(|input| input.name == name)?.value.and_then(Tensor::to_i64)
}

/// The sizes of parts add up to the whole.
fn parts(node: &Node, inputs: &[Known], x: &Fact) -> std::result::Result<(), String> {
    let whole = x.shape[axis(node, x, 0)?] as i64;
    let outputs = node.outputs.len();
    let Some(sizes) = ints(node, inputs, 1) else { return Ok(()) };
    let sum = sizes.iter().try_fold(0i64, |sum, &size| sum.checked_add(size).filter(|_| size >= 0));
    match sum == Some(whole) && sizes.len() >= outputs {
        true => Ok(()),
        false => Err(format!("cuts {whole} into parts of {sizes:?}")),
    }
}

/// Kernels that fit into what they slide over, one number for each spatial axis.
fn windows(node: &Node, inputs: &[Known], x: &[usize]) -> std::result::Result<(), String> {
    at_least(x, 3)?;
    let spatial = x.len() - 2;
    let is_conv = node.op.starts_with("Conv");
    let weights = inputs.get(1).filter(|_| is_conv).map(|weights| weights.fact.shape.as_slice());
    let kernel: Vec<i64> = match (node.ints("kernel_shape"), weights) {
        (Some(kernel), _) => kernel.to_vec(),
        (None, Some(weights)) => weights.iter().skip(2).map(|&extent| extent as i64).collect(),
        (None, None) => return Err("says nothing of its kernel".into()),
    };
    if let Some(weights) = weights
        && (weights.len() != x.len() || weights[2..].iter().zip(&kernel).any(|(&w, &k)| w as i64 != k))
    {
        return Err(format!("has a kernel of {kernel:?} for an input of the shape {x:?}, and weights of {weights:?}"));
    }
    let list = |name: &str, len: usize, otherwise: i64, least: i64| {
        let values = node.ints(name).map_or(vec![otherwise; len], <[i64]>::to_vec);
        match values.len() == len && values.iter().all(|v| *v >= least) {
            true => Ok(values),
            false => Err(format!("has {name} = {values:?} for {spatial} spatial axes")),
        }
    };
    if let Some(group) = Some(node.int("group", 1)).filter(|group| *group < 1) {
        return Err(format!("has {group} groups"));
    }
    let (strides, dilations) = (list("strides", spatial, 1, 1)?, list("dilations", spatial, 1, 1)?);
    let pads = list("pads", 2 * spatial, 0, 0)?;
    list("output_padding", spatial, 0, 0)?;
    if kernel.len() != spatial || kernel.iter().any(|k| *k < 1) {
        return Err(format!("has a kernel of {kernel:?} for {spatial} spatial axes"));
    }
    let is_same = matches!(node.attributes.get("auto_pad"), Some(Attr::Text(text)) if text.starts_with("SAME"));
    for axis in (0..spatial).filter(|_| node.op != "ConvTranspose" && !is_same) {
        let reach = dilations[axis].saturating_mul(kernel[axis] - 1).saturating_add(1);
        let (before, after) = (pads[axis], pads[spatial + axis]);
        // A last window may begin inside and end outside.
        let more = if node.int("ceil_mode", 0) == 0 { 0 } else { strides[axis] - 1 };
        if reach > x[2 + axis] as i64 + before + after + more {
            return Err(format!(
                "has a kernel that reaches over {reach}, more than the padded extent of axis {}",
                2 + axis
            ));
        }
        if !is_conv && (before >= reach || after >= reach) {
            return Err(format!("has windows that lie in the padding alone, along axis {}", 2 + axis));
        }
    }
    Ok(())
}

/// Borders that leave something, and are no wider than what they mirror.
fn borders(node: &Node, inputs: &[Known], x: &Fact) -> std::result::Result<(), String> {
    let Some(pads) = ints(node, inputs, 1) else { return Ok(()) };
    if let Some(far) = pads.iter().find(|pad| pad.unsigned_abs() > MOST as u64) {
        return Err(format!("has a border of {far}, which no image model has"));
    }
    let mirrors = matches!(node.attributes.get("mode"), Some(Attr::Text(mode)) if mode == "reflect");
    let axes: Vec<usize> = match ints(node, inputs, 3) {
        Some(axes) => {
            let inside: Option<_> = axes.iter().map(|&axis| x.axis(axis)).collect();
            inside.ok_or_else(|| format!("has borders along {axes:?}"))?
        }
        None => (0..x.shape.len()).collect(),
    };
    if pads.len() != 2 * axes.len() {
        return Err(format!("has {} borders for {} axes", pads.len(), axes.len()));
    }
    for (number, &axis) in axes.iter().enumerate() {
        let (before, after, extent) = (pads[number], pads[axes.len() + number], x.shape[axis] as i64);
        if extent + before + after < 0 {
            return Err(format!("cuts off more than there is, along axis {axis}"));
        }
        if mirrors && before.max(after) >= extent.max(1) {
            return Err(format!("mirrors {} of {extent} values, along axis {axis}", before.max(after)));
        }
    }
    Ok(())
}

/// No axis twice.
fn distinct(node: &Node, inputs: &[Known]) -> std::result::Result<(), String> {
    let axes = ints(node, inputs, 1).unwrap_or_default();
    match axes.iter().enumerate().any(|(at, axis)| axes[..at].contains(axis)) {
        true => Err(format!("names an axis twice: {axes:?}")),
        false => Ok(()),
    }
}
