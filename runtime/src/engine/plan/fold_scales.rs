//! Takes factors of whole channels into the weights of the convolution beside them: a batch normalisation behind it, and
//! on the way back the normalisation's slope in front of the transposed convolution.

use std::collections::HashMap;

use crate::onnx::{Graph, Node, Tensor};

/// Folds what can be folded. Values that are outputs of the graph stay.
pub fn fold_scales(graph: &mut Graph) {
    let uses = graph.uses();
    let written = |(i, node): (usize, &Node)| (node.outputs.first().cloned().unwrap_or_default(), i);
    let producers: HashMap<String, usize> = graph.nodes.iter().enumerate().map(written).collect();
    let mut folded = vec![];
    for at in 0..graph.nodes.len() {
        let node = &graph.nodes[at];
        let before = node.input(0).filter(|x| uses.get(*x) == Some(&1)).and_then(|x| producers.get(x)).copied();
        let Some(before) = before.filter(|_| node.domain.is_empty()) else { continue };
        let gone = match (graph.nodes[before].op.as_str(), node.op.as_str()) {
            ("Conv", "BatchNormalization") => behind(graph, before, at).map(|()| at),
            ("Mul", "ConvTranspose") => in_front(graph, before, at).map(|()| before),
            _ => None,
        };
        folded.extend(gone);
    }
    let mut place = 0..;
    graph.nodes.retain(|_| place.next().is_none_or(|i| !folded.contains(&i)));
}

/// A constant float32 input.
fn floats(graph: &Graph, node: &Node, slot: usize) -> Option<(Vec<usize>, Vec<f32>)> {
    let tensor = graph.constants.get(node.input(slot)?)?;
    Some((tensor.shape.clone(), tensor.to_f32()?))
}

/// The normalisation `norm` behind the convolution `conv` becomes part of its weights and bias.
fn behind(graph: &mut Graph, conv: usize, norm: usize) -> Option<()> {
    let (node, bn) = (&graph.nodes[conv], &graph.nodes[norm]);
    let (shape, mut weights) = floats(graph, node, 1)?;
    let bias = if node.input(2).is_some() { Some(floats(graph, node, 2)?.1) } else { None };
    let (scale, shift) = batch_norm(bn, |slot| Some(floats(graph, bn, slot)?.1))?;
    let outputs = *shape.first()?;
    let whole = scale.len() == outputs && bias.as_ref().is_none_or(|b| b.len() == outputs);
    if !node.domain.is_empty() || !whole || weights.is_empty() {
        return None;
    }
    let each = weights.len() / outputs;
    for (channel, weights) in weights.chunks_exact_mut(each).enumerate() {
        weights.iter_mut().for_each(|w| *w = (*w as f64 * scale[channel]) as f32);
    }
    let own = |c: usize| bias.as_ref().map_or(0.0, |b| b[c] as f64);
    let bias: Vec<f32> = (0..outputs).map(|c| (own(c) * scale[c] + shift[c]) as f32).collect();
    let output = bn.outputs.first()?.clone();
    let input = node.input(0)?.to_string();
    let names = [format!("{output}/folded weights"), format!("{output}/folded bias")];
    graph.constants.insert(names[0].clone(), Tensor::f32(&shape, &weights));
    graph.constants.insert(names[1].clone(), Tensor::f32(&[outputs], &bias));
    let [weights, bias] = names;
    graph.nodes[conv].inputs = vec![input, weights, bias];
    graph.nodes[conv].outputs = vec![output];
    Some(())
}

/// The product `mul` with a factor per channel becomes part of the weights of the transposed convolution `conv`.
fn in_front(graph: &mut Graph, mul: usize, conv: usize) -> Option<()> {
    let (product, node) = (&graph.nodes[mul], &graph.nodes[conv]);
    let (shape, mut weights) = floats(graph, node, 1)?;
    let slot = (0..2).find(|&slot| product.input(slot).is_some_and(|n| graph.constants.contains_key(n)))?;
    let (factors, scale) = floats(graph, product, slot)?;
    // One factor per channel, broadcast over all that comes after.
    let channels = [&[*shape.first()?], &vec![1; shape.len().checked_sub(2)?][..]].concat();
    let fits = factors == channels || factors.strip_prefix(&[1]) == Some(&channels);
    if !product.domain.is_empty() || !fits || scale.is_empty() || weights.is_empty() {
        return None;
    }
    let each = weights.len() / scale.len();
    for (channel, weights) in weights.chunks_exact_mut(each).enumerate() {
        weights.iter_mut().for_each(|w| *w = (*w as f64 * scale[channel] as f64) as f32);
    }
    let input = product.input(1 - slot)?.to_string();
    let name = format!("{}/folded weights", node.outputs.first()?);
    graph.constants.insert(name.clone(), Tensor::f32(&shape, &weights));
    let node = &mut graph.nodes[conv];
    node.inputs[0] = input;
    node.inputs[1] = name;
    Some(())
}

/// What a batch normalisation multiplies each channel by, and what it adds then; `vector` gives its constant inputs.
pub fn batch_norm(node: &Node, vector: impl Fn(usize) -> Option<Vec<f32>>) -> Option<(Vec<f64>, Vec<f64>)> {
    let (gamma, beta, mean, variance) = (vector(1)?, vector(2)?, vector(3)?, vector(4)?);
    if [&beta, &mean, &variance].iter().any(|v| v.len() != gamma.len()) {
        return None;
    }
    let epsilon = node.float("epsilon", 1e-5) as f64;
    let scale = gamma.iter().zip(&variance).map(|(&g, &v)| g as f64 / (v as f64 + epsilon).sqrt());
    let scale: Vec<f64> = scale.collect();
    let shift = beta.iter().zip(&mean).zip(&scale).map(|((&b, &m), s)| b as f64 - m as f64 * s).collect();
    Some((scale, shift))
}
