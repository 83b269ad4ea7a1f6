//! Scores of places, as segmentation has them, taken together: a class's score is its mean over some of the places, as Vinogradova
//! et al. (2020) explain segmentations.

use super::names::OVER_PLACES as SUFFIX;
use super::target::find_target;
use crate::error::{Error, Result};
use crate::onnx::{Attr, Node, Operators, Places, Tensor, TypedGraph, type_graph};

/// The model that gives, in the place of scores of `places` behind its `output`, their means by class, each place with its weight, row
/// by row.
///
/// Errors: weights of other places, or none above zero.
pub fn over_places(
    typed: &TypedGraph,
    output: Option<&str>,
    places: &Places,
    weights: &[f32],
    operators: &dyn Operators,
) -> Result<TypedGraph> {
    let mut graph = typed.graph.clone();
    let scores = find_target(typed, output)?.logits;
    let means = format!("{scores}{SUFFIX}");
    let [shares, shared, axes] = ["shares", "shared", "axes"].map(|what| format!("{means}.{what}"));
    graph.constants.insert(shares.clone(), shares_of(weights, places)?);
    graph.constants.insert(axes.clone(), Tensor::i64(&[2], &places.axes().map(|axis| axis as i64)));
    graph.nodes.push(node("Mul", [scores, shares], &shared, vec![]));
    graph.nodes.push(node("ReduceSum", [shared, axes], &means, vec![("keepdims".into(), Attr::Int(0))]));
    graph.outputs = vec![means];
    type_graph(graph, operators)
}

/// Each place's share.
fn shares_of(weights: &[f32], places: &Places) -> Result<Tensor> {
    let sum: f64 = weights.iter().map(|&w| w as f64).sum();
    let extents = places.extents();
    if weights.len() != extents.iter().product::<usize>() || sum <= 0.0 {
        return Err(Error::bad_input("marks none of the places that the model scores"));
    }
    let shares: Vec<f32> = weights.iter().map(|&w| (w as f64 / sum) as f32).collect();
    Ok(Tensor::f32(&extents, &shares))
}

fn node(op: &str, inputs: [String; 2], output: &str, attributes: Vec<(String, Attr)>) -> Node {
    Node {
        name: output.to_string(),
        op: op.into(),
        inputs: inputs.into(),
        outputs: vec![output.to_string()],
        attributes: attributes.into_iter().collect(),
        ..Node::default()
    }
}
