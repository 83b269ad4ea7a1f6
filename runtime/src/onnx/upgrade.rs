//! Rewrites nodes of older op sets to the forms of op set 18, so that everything after knows one form; and
//! the few ops that tract 0.23.9 computes otherwise than ONNX, or not at all, to ops that it computes.

use super::infer::Fact;
use super::node::{Attr, Node};
use super::sound::MOST;
use super::tensor::Tensor;
use crate::error::Result;

/// The op set that older models are brought to. Newer ones keep theirs.
pub const OPSET: i64 = 18;

/// Constants that a rewritten node needs, by name.
pub type Extra = Vec<(String, Tensor)>;

/// What is known of the values that a node reads.
pub trait Values {
    /// A value's type.
    fn fact(&self, name: &str) -> Option<Fact>;
    /// A constant's integers.
    fn ints(&self, name: &str) -> Option<Vec<i64>>;
    /// A constant's floats.
    fn floats(&self, name: &str) -> Option<Vec<f32>>;
}

/// The node in its op-set-18 form (or its own, where the model's is newer), as one node or a few.
///
/// `opset` is the model's.
pub fn upgrade(mut node: Node, opset: i64, values: &dyn Values) -> Result<(Vec<Node>, Extra)> {
    let fact = &|name: &str| values.fact(name);
    let mut extra = Extra::new();
    if !node.domain.is_empty() {
        return Ok((vec![node], extra));
    }
    match node.op.as_str() {
        "Squeeze" => squeeze(&mut node, opset, values, &mut extra),
        "Unsqueeze" | "ReduceSum" if opset < 13 => attr_to_input(&mut node, "axes", 1, &mut extra),
        "ReduceMean" | "ReduceMax" | "ReduceMin" | "ReduceProd" | "ReduceL1" | "ReduceL2" | "ReduceLogSum"
        | "ReduceSumSquare"
            if opset < 18 =>
        {
            attr_to_input(&mut node, "axes", 1, &mut extra);
        }
        "ReduceLogSumExp" => {
            attr_to_input(&mut node, "axes", 1, &mut extra);
            return Ok((log_sum_exp(&node), extra));
        }
        "Split" => split(&mut node, opset, fact, &mut extra)?,
        "Slice" if opset < 10 => {
            for (i, name) in ["starts", "ends", "axes"].into_iter().enumerate() {
                attr_to_input(&mut node, name, i + 1, &mut extra);
            }
        }
        "Clip" if opset < 11 => {
            for (i, name) in ["min", "max"].into_iter().enumerate() {
                if let Some(Attr::Float(bound)) = node.attributes.remove(name) {
                    add_input(&mut node, i + 1, name, Tensor::scalar(bound), &mut extra);
                }
            }
        }
        "Pad" if opset < 11 => {
            attr_to_input(&mut node, "pads", 1, &mut extra);
            if let Some(Attr::Float(value)) = node.attributes.remove("value") {
                add_input(&mut node, 2, "value", Tensor::scalar(value), &mut extra);
            }
        }
        "Pad" if is_negative(&node, values) => return cut_and_pad(node, values),
        "Upsample" => upsample(&mut node, &mut extra),
        "Resize" if opset < 11 => {
            // Op set 10: (x, scales), mapped without the half-pixel shift.
            node.inputs.insert(1, String::new());
            asymmetric(&mut node);
        }
        "Scatter" => node.op = "ScatterElements".into(),
        "Softmax" | "LogSoftmax" if opset < 13 => return softmax(node, fact),
        // tract takes the default for a float64.
        "ConstantOfShape" if !node.attributes.contains_key("value") => {
            node.attributes.insert("value".into(), Attr::Tensor(Tensor::f32(&[1], &[0.0])));
        }
        "Selu" => {
            // tract's own defaults are rounded.
            node.attributes.entry("alpha".into()).or_insert(Attr::Float(1.673_263_2));
            node.attributes.entry("gamma".into()).or_insert(Attr::Float(1.050_701));
        }
        "Conv" | "MaxPool" | "AveragePool" if node.text("auto_pad", "NOTSET") != "NOTSET" => {
            node.attributes.remove("pads");
        }
        "ConvTranspose" => explicit_pads(&mut node, values)?,
        "Resize" if node.text("coordinate_transformation_mode", "") == "align_corners" => {
            scales_to_sizes(&mut node, values, &mut extra);
        }
        "Swish" => return Ok(swish(node)),
        "Celu" => return Ok(celu(node)),
        "Mean" => return Ok(mean(node)),
        "MatMul" if (0..2).all(|i| node.input(i).and_then(fact).is_some_and(|f| f.shape.len() == 1)) => {
            return Ok(dot_product(node));
        }
        "BatchNormalization" => {
            // Of weights that are standardised: what is constant, and one image, is normalised by itself.
            let standardises = node.input(0).and_then(|x| values.floats(x)).is_some()
                && node.input(0).and_then(fact).is_some_and(|fact| fact.shape.first() == Some(&1));
            if node.int("training_mode", 0) != 0 && standardises {
                node.op = "InstanceNormalization".into();
                node.inputs.truncate(3);
                node.outputs.truncate(1);
                node.attributes.retain(|name, _| name == "epsilon");
                return Ok((vec![node], extra));
            }
            if node.int("training_mode", 0) != 0 {
                return Err(node.error("is in training mode; export the model in evaluation mode"));
            }
            if node.int("spatial", 1) == 0 {
                return Err(node.error("normalises every position separately (spatial = 0), which is not supported"));
            }
            node.attributes.remove("spatial");
            node.outputs.truncate(1);
        }
        "CastLike" => {
            let like = node.input(1).and_then(fact).ok_or_else(|| node.error("has an untyped second input"))?;
            node.op = "Cast".into();
            node.inputs.truncate(1);
            node.attributes.insert("to".into(), Attr::Int(like.dtype.onnx() as i64));
        }
        _ => {}
    }
    Ok((vec![node], extra))
}

fn add_input(node: &mut Node, slot: usize, what: &str, value: Tensor, extra: &mut Extra) {
    let name = format!("{}/{what}", node.name);
    if node.inputs.len() <= slot {
        node.inputs.resize(slot + 1, String::new());
    }
    node.inputs[slot] = name.clone();
    extra.push((name, value));
}

fn attr_to_input(node: &mut Node, attribute: &str, slot: usize, extra: &mut Extra) {
    if let Some(Attr::Ints(values)) = node.attributes.remove(attribute) {
        add_input(node, slot, attribute, Tensor::ints(&values), extra);
    }
}

/// Axes in ascending order, as tract wants them.
fn squeeze(node: &mut Node, opset: i64, values: &dyn Values, extra: &mut Extra) {
    let axes = match node.attributes.remove("axes") {
        Some(Attr::Ints(axes)) if opset < 13 => Some(axes),
        _ => node.input(1).and_then(|axes| values.ints(axes)),
    };
    let rank = node.input(0).and_then(|x| values.fact(x)).map_or(0, |x| x.shape.len() as i64);
    if let Some(mut axes) = axes {
        axes.iter_mut().filter(|axis| **axis < 0).for_each(|axis| *axis += rank);
        if !axes.is_sorted() || node.input(1).is_none() {
            axes.sort_unstable();
            add_input(node, 1, "axes", Tensor::ints(&axes), extra);
        }
    }
}

/// Every Split gets its sizes as an input.
fn split(node: &mut Node, opset: i64, fact: &dyn Fn(&str) -> Option<Fact>, extra: &mut Extra) -> Result<()> {
    if opset < 13 {
        attr_to_input(node, "split", 1, extra);
    }
    if node.input(1).is_none() {
        let x = node.input(0).and_then(fact).ok_or_else(|| node.error("has an untyped input"))?;
        let axis = x.axis(node.int("axis", 0)).ok_or_else(|| node.error("splits an axis that its input lacks"))?;
        let parts = node.outputs.len();
        if node.int("num_outputs", parts as i64) != parts as i64 {
            return Err(node.error(format!("has {parts} outputs, and says that they are another number")));
        }
        // All of one size but the last, which may be smaller.
        let size = x.shape[axis].div_ceil(parts);
        let sizes: Vec<i64> = (0..parts).map(|p| x.shape[axis].saturating_sub(p * size).min(size) as i64).collect();
        add_input(node, 1, "split", Tensor::ints(&sizes), extra);
    }
    node.attributes.remove("num_outputs");
    Ok(())
}

fn asymmetric(node: &mut Node) {
    node.attributes.insert("coordinate_transformation_mode".into(), Attr::Text("asymmetric".into()));
    node.attributes.insert("nearest_mode".into(), Attr::Text("floor".into()));
}

fn upsample(node: &mut Node, extra: &mut Extra) {
    node.op = "Resize".into();
    if let Some(Attr::Floats(scales)) = node.attributes.remove("scales") {
        add_input(node, 1, "scales", Tensor::f32(&[scales.len()], &scales), extra);
    }
    node.inputs.insert(1, String::new());
    asymmetric(node);
}

/// Before op set 13, Softmax ran over all axes from `axis` on, taken together.
fn softmax(mut node: Node, fact: &dyn Fn(&str) -> Option<Fact>) -> Result<(Vec<Node>, Extra)> {
    let mut extra = Extra::new();
    let x = node.input(0).and_then(fact).ok_or_else(|| node.error("has an untyped input"))?;
    let axis = x.axis(node.int("axis", 1)).ok_or_else(|| node.error("has an axis that its input lacks"))?;
    if x.shape[axis + 1..].iter().all(|&d| d == 1) {
        node.attributes.insert("axis".into(), Attr::Int(axis as i64));
        return Ok((vec![node], extra));
    }
    let rows: usize = x.shape[..axis].iter().product();
    let flat = Tensor::ints(&[rows as i64, -1]);
    let back = Tensor::ints(&x.shape.iter().map(|&d| d as i64).collect::<Vec<_>>());
    let name = |what: &str| format!("{}/{what}", node.name);
    let reshape = |what: &str, input: String, output: String| Node {
        name: name(what),
        op: "Reshape".into(),
        inputs: vec![input, name(&format!("{what}_shape"))],
        outputs: vec![output],
        ..Node::default()
    };
    let before = reshape("flat", node.inputs[0].clone(), name("flat"));
    let after = reshape("back", name("flat_softmax"), node.outputs[0].clone());
    extra.push((name("flat_shape"), flat));
    extra.push((name("back_shape"), back));
    node.inputs[0] = name("flat");
    node.outputs[0] = name("flat_softmax");
    node.attributes.insert("axis".into(), Attr::Int(-1));
    Ok((vec![before, node, after], extra))
}

/// An op, what it reads besides the node before, and its attributes.
type Link<'a> = (&'a str, Vec<String>, Vec<(&'a str, Attr)>);

/// A chain of nodes that stands for `node`: each reads the one before, the last writes its output.
fn chain(node: &Node, links: Vec<Link>) -> Vec<Node> {
    let last = links.len() - 1;
    let link = |(i, (op, rest, attributes)): (usize, Link)| {
        let value = |i: usize| if i == last { node.outputs[0].clone() } else { format!("{}/{i}", node.name) };
        let first = if i == 0 { vec![] } else { vec![value(i - 1)] };
        Node {
            name: format!("{}/{op}_{i}", node.name),
            op: op.to_string(),
            inputs: first.into_iter().chain(rest).collect(),
            outputs: vec![value(i)],
            attributes: attributes.into_iter().map(|(k, v)| (k.to_string(), v)).collect(),
            ..Node::default()
        }
    };
    links.into_iter().enumerate().map(link).collect()
}

/// `alpha elu(x / alpha)`: tract forgets the outer factor.
fn celu(node: Node) -> (Vec<Node>, Extra) {
    let alpha = format!("{}/alpha", node.name);
    let nodes = chain(
        &node,
        vec![
            ("Div", vec![node.inputs[0].clone(), alpha.clone()], vec![]),
            ("Elu", vec![], vec![("alpha", Attr::Float(1.0))]),
            ("Mul", vec![alpha.clone()], vec![]),
        ],
    );
    (nodes, vec![(alpha, Tensor::scalar(node.float("alpha", 1.0)))])
}

/// `m + ln sum e^(x - m)`, where `m` is the largest: tract takes exponentials of values as they are, which overflow at 89.
fn log_sum_exp(node: &Node) -> Vec<Node> {
    let (x, axes) = (node.inputs[0].clone(), node.inputs.iter().skip(1).cloned().collect());
    let kept = Attr::Int(node.int("keepdims", 1));
    let reduced = |keepdims: Attr| {
        let noop = node.attributes.get("noop_with_empty_axes").map(|v| ("noop_with_empty_axes", v.clone()));
        noop.into_iter().chain([("keepdims", keepdims)]).collect()
    };
    // In the result's own shape; a Squeeze would have to know the axes, which tract wants in order.
    let name = format!("{}/largest", node.name);
    let largest = Node { name: name.clone(), outputs: vec![name.clone()], ..Node::default() };
    let mut nodes = chain(&largest, vec![("ReduceMax", node.inputs.clone(), reduced(kept.clone()))]);
    nodes.extend(chain(
        node,
        vec![
            ("ReduceMax", node.inputs.clone(), reduced(Attr::Int(1))),
            ("Sub", vec![x], vec![]),
            ("Neg", vec![], vec![]),
            ("Exp", vec![], vec![]),
            ("ReduceSum", axes, reduced(kept)),
            ("Log", vec![], vec![]),
            ("Add", vec![name], vec![]),
        ],
    ));
    nodes
}

/// tract wants operands of one rank here.
fn mean(node: Node) -> (Vec<Node>, Extra) {
    let count = format!("{}/count", node.name);
    let nodes = chain(&node, vec![("Sum", node.inputs.clone(), vec![]), ("Div", vec![count.clone()], vec![])]);
    (nodes, vec![(count, Tensor::scalar(node.inputs.len() as f32))])
}

/// tract has no product of two vectors.
fn dot_product(node: Node) -> (Vec<Node>, Extra) {
    let axes = format!("{}/axes", node.name);
    let nodes = chain(
        &node,
        vec![("Mul", node.inputs.clone(), vec![]), ("ReduceSum", vec![axes.clone()], vec![("keepdims", Attr::Int(0))])],
    );
    (nodes, vec![(axes, Tensor::ints(&[0]))])
}

fn is_negative(node: &Node, values: &dyn Values) -> bool {
    node.input(1).and_then(|pads| values.ints(pads)).is_some_and(|pads| pads.iter().any(|&p| p < 0))
}

/// tract takes no negative pads: what they cut off is sliced off first.
fn cut_and_pad(node: Node, values: &dyn Values) -> Result<(Vec<Node>, Extra)> {
    let x = node.input(0).and_then(|x| values.fact(x)).ok_or_else(|| node.error("has an untyped input"))?;
    let pads = node.input(1).and_then(|pads| values.ints(pads)).unwrap_or_default();
    let axes = match node.input(3) {
        Some(axes) => values.ints(axes).ok_or_else(|| node.error("has axes that are not constant"))?,
        None => (0..x.shape.len() as i64).collect(),
    };
    if pads.len() != 2 * axes.len() {
        return Err(node.error("has pads that don't fit its input's rank"));
    }
    if let Some(far) = pads.iter().find(|pad| pad.unsigned_abs() > MOST as u64) {
        return Err(node.error(format!("has a border of {far}, which no image model has")));
    }
    let name = |what: &str| format!("{}/{what}", node.name);
    let (before, after) = pads.split_at(axes.len());
    let mut ends = vec![];
    for (&axis, &cut) in axes.iter().zip(after) {
        let axis = x.axis(axis).ok_or_else(|| node.error("pads an axis that its input lacks"))?;
        ends.push(x.shape[axis] as i64 + cut.min(0));
    }
    let slice = Node {
        name: name("cut"),
        op: "Slice".into(),
        inputs: vec![node.inputs[0].clone(), name("starts"), name("ends"), name("axes")],
        outputs: vec![name("cut")],
        ..Node::default()
    };
    let extra = vec![
        (name("starts"), Tensor::ints(&before.iter().map(|&p| (-p).max(0)).collect::<Vec<_>>())),
        (name("ends"), Tensor::ints(&ends)),
        (name("axes"), Tensor::ints(&axes)),
        (name("pads"), Tensor::ints(&pads.iter().map(|&p| p.max(0)).collect::<Vec<_>>())),
    ];
    let mut pad = node.clone();
    pad.inputs[0] = name("cut");
    pad.inputs[1] = name("pads");
    Ok((vec![slice, pad], extra))
}

/// `x sigmoid(alpha x)`: tract forgets alpha.
fn swish(node: Node) -> (Vec<Node>, Extra) {
    let (alpha, x) = (format!("{}/alpha", node.name), node.inputs[0].clone());
    let links =
        vec![("Mul", vec![x.clone(), alpha.clone()], vec![]), ("Sigmoid", vec![], vec![]), ("Mul", vec![x], vec![])];
    (chain(&node, links), vec![(alpha, Tensor::scalar(node.float("alpha", 1.0)))])
}

/// `output_shape` and `auto_pad` of a transposed convolution, spelled out as pads by ONNX's formula; tract
/// cuts at other places.
fn explicit_pads(node: &mut Node, values: &dyn Values) -> Result<()> {
    let auto = node.text("auto_pad", "NOTSET").to_string();
    let wanted = node.ints("output_shape").map(<[i64]>::to_vec);
    if auto == "NOTSET" && wanted.is_none() {
        return Ok(());
    }
    let shape = |i: usize| node.input(i).and_then(|name| values.fact(name)).map(|f| f.shape);
    let (Some(x), Some(w)) = (shape(0), shape(1)) else { return Err(node.error("has untyped inputs")) };
    let spatial = x.len().saturating_sub(2);
    let listed = |name: &str, default: i64| node.ints(name).map_or_else(|| vec![default; spatial], <[i64]>::to_vec);
    let (strides, dilations, mut extra) = (listed("strides", 1), listed("dilations", 1), listed("output_padding", 0));
    if w.len() != x.len() || [&strides, &dilations, &extra].iter().any(|v| v.len() != spatial) {
        return Err(node.error("has attributes that don't fit its input's rank"));
    }
    let wanted = match (wanted, auto.as_str()) {
        // Some exporters write the batch and channels too.
        (Some(shape), _) => Some(shape[shape.len().saturating_sub(spatial)..].to_vec()),
        (None, "SAME_UPPER" | "SAME_LOWER") => Some((0..spatial).map(|i| x[i + 2] as i64 * strides[i]).collect()),
        (None, _) => None,
    };
    let mut pads = vec![0; 2 * spatial];
    for (i, out) in wanted.iter().flatten().enumerate() {
        let full = strides[i] * (x[i + 2] as i64 - 1) + extra[i] + (w[i + 2] as i64 - 1) * dilations[i] + 1;
        let total = full - out;
        let (less, more) = (total.max(0) / 2, total.max(0) - total.max(0) / 2);
        (pads[i], pads[spatial + i]) = if auto == "SAME_UPPER" { (less, more) } else { (more, less) };
        extra[i] += (-total).max(0);
    }
    for name in ["auto_pad", "output_shape"] {
        node.attributes.remove(name);
    }
    node.attributes.insert("pads".into(), Attr::Ints(pads));
    node.attributes.insert("output_padding".into(), Attr::Ints(extra));
    Ok(())
}

/// With aligned corners only the sizes count; tract would use the scales, which may be fractional.
fn scales_to_sizes(node: &mut Node, values: &dyn Values, extra: &mut Extra) {
    let scales = node.input(2).and_then(|s| values.floats(s)).filter(|s| !s.is_empty());
    let (Some(scales), Some(x)) = (scales, node.input(0).and_then(|x| values.fact(x))) else { return };
    let axes = node.ints("axes").map_or_else(|| (0..x.shape.len() as i64).collect(), <[i64]>::to_vec);
    let size = |(&axis, &scale): (&i64, &f32)| Some((x.shape[x.axis(axis)?] as f32 * scale).floor() as i64);
    if let Some(sizes) = axes.iter().zip(&scales).map(size).collect::<Option<Vec<i64>>>() {
        node.inputs[2].clear();
        add_input(node, 3, "sizes", Tensor::ints(&sizes), extra);
    }
}
