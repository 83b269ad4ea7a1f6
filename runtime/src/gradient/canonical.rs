//! The form of a model that rules of relevance and of differences are defined for: layers whose weights are what their inputs are
//! multiplied by, and batch normalisations folded into the layers before them.

use std::collections::HashMap;

use crate::onnx::{Attr, Fact, Node, Tensor, TypedGraph};

/// The same function in that form.
pub fn canonical(typed: &TypedGraph) -> TypedGraph {
    fold_batch_norms(&fold_factors(typed))
}

/// The same function with the factors of every Gemm in its constants: a weight's sign is then that of what it adds.
fn fold_factors(typed: &TypedGraph) -> TypedGraph {
    let mut folded = typed.clone();
    for node in folded.graph.nodes.iter_mut().filter(|node| node.op == "Gemm") {
        for (factor, slots) in [("alpha", 0..2), ("beta", 2..3)] {
            let by = node.float(factor, 1.0);
            let constant = |slot: usize| Some((slot, typed.graph.constants.get(node.input(slot)?)?));
            let Some((slot, tensor)) = slots.into_iter().find_map(constant).filter(|_| by != 1.0) else { continue };
            let Some(values) = tensor.to_f32() else { continue };
            let scaled = Tensor::f32(&tensor.shape, &values.iter().map(|v| v * by).collect::<Vec<_>>());
            let name = format!("{}.folded.{factor}", node.outputs[0]);
            folded.facts.insert(name.clone(), Fact::f32(&scaled.shape));
            folded.graph.constants.insert(name.clone(), scaled);
            node.inputs[slot] = name;
            node.attributes.insert(factor.into(), Attr::Float(1.0));
        }
    }
    folded
}

/// The same function with every BatchNormalization that follows a Conv or Gemm of constant weights, and alone reads it,
/// folded into that.
fn fold_batch_norms(typed: &TypedGraph) -> TypedGraph {
    let mut folded = typed.clone();
    let uses = typed.graph.uses();
    let producers: HashMap<&str, usize> = typed.graph.producers();
    let mut gone = vec![];
    for (index, norm) in typed.graph.nodes.iter().enumerate() {
        let layer = norm.input(0).and_then(|x| producers.get(x).copied());
        let Some(layer) = layer.filter(|_| norm.op == "BatchNormalization") else { continue };
        let node = &typed.graph.nodes[layer];
        let read_once = norm.input(0).is_some_and(|x| uses.get(x) == Some(&1));
        let Some((weight, bias)) = read_once.then(|| fold(typed, node, norm)).flatten() else { continue };
        let name = |what: &str| format!("{}.folded.{what}", norm.outputs[0]);
        let inputs = vec![node.inputs[0].clone(), name("weight"), name("bias")];
        for (name, tensor) in inputs[1..].iter().zip([weight, bias]) {
            folded.facts.insert(name.clone(), Fact::f32(&tensor.shape));
            folded.graph.constants.insert(name.clone(), tensor);
        }
        folded.graph.nodes[layer].inputs = inputs;
        folded.graph.nodes[layer].outputs = vec![norm.outputs[0].clone()];
        gone.push(index);
    }
    gone.iter().rev().for_each(|&index| {
        folded.graph.nodes.remove(index);
    });
    folded
}

/// The layer's weights and bias, as they are behind the normalisation: `scale (z - mean) / sqrt(variance + eps) + shift`.
fn fold(typed: &TypedGraph, layer: &Node, norm: &Node) -> Option<(Tensor, Tensor)> {
    let values = |name: Option<&str>| typed.graph.constants.get(name?)?.to_f32();
    let weight = typed.graph.constants.get(layer.input(1)?)?;
    let plain_gemm = layer.op == "Gemm" && layer.int("transA", 0) == 0;
    let (outputs, channel): (usize, Box<dyn Fn(usize) -> usize>) = match layer.op.as_str() {
        "Conv" => {
            let each: usize = weight.shape[1..].iter().product();
            (weight.shape[0], Box::new(move |i| i / each))
        }
        "Gemm" if plain_gemm && layer.int("transB", 0) != 0 => {
            let each = weight.shape[1];
            (weight.shape[0], Box::new(move |i| i / each))
        }
        "Gemm" if plain_gemm => {
            let each = weight.shape[1];
            (each, Box::new(move |i| i % each))
        }
        _ => return None,
    };
    let bias = match layer.input(2) {
        Some(name) => values(Some(name))?,
        None => vec![0.0; outputs],
    };
    let (slope, shift) = norm.batch_norm(|name| values(Some(name)))?;
    if bias.len() != outputs || slope.len() != outputs {
        return None;
    }
    let weights = weight.to_f32()?.into_iter().enumerate().map(|(i, w)| (w as f64 * slope[channel(i)]) as f32);
    let biases = (0..outputs).map(|o| (bias[o] as f64 * slope[o] + shift[o]) as f32);
    let weights = Tensor::f32(&weight.shape, &weights.collect::<Vec<_>>());
    Some((weights, Tensor::f32(&[outputs], &biases.collect::<Vec<_>>())))
}
