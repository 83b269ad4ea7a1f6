//! Takes factors of whole channels into the weights of the convolution beside them: a batch normalisation behind it, and
//! on the way back the normalisation's slope in front of the transposed convolution.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::onnx::tensor::Identity;
use crate::onnx::{Graph, Node, Tensor};

/// What has been folded: models that differ in other layers share it, and what is packed from it.
#[derive(Default)]
pub struct Folds(HashMap<Fold, [Tensor; 2]>);

/// Weights and a bias, with the bits of each channel's factor and of what is added to it.
#[derive(PartialEq, Eq, Hash)]
struct Fold {
    weights: Identity,
    bias: Option<Identity>,
    scale: Vec<u64>,
    shift: Vec<u64>,
}

impl Folds {
    /// Their size.
    pub fn bytes(&self) -> usize {
        self.0.values().flatten().map(|tensor| tensor.bytes().len()).sum()
    }

    /// `weights`, by channel first, and the bias as they are before `scale` and `shift`; none where they do not fit.
    fn folded(
        &mut self,
        weights: &Tensor,
        bias: Option<&Tensor>,
        scale: Vec<f64>,
        shift: Vec<f64>,
    ) -> Option<[Tensor; 2]> {
        let channels = *weights.shape.first()?;
        if scale.len() != channels || bias.is_some_and(|bias| bias.len() != channels) || weights.is_empty() {
            return None;
        }
        let bits = |values: &[f64]| values.iter().map(|v| v.to_bits()).collect();
        let bias_identity = bias.map(Tensor::identity);
        let key = Fold { weights: weights.identity(), bias: bias_identity, scale: bits(&scale), shift: bits(&shift) };
        let vacant = match self.0.entry(key) {
            Entry::Occupied(known) => return Some(known.get().clone()),
            Entry::Vacant(vacant) => vacant,
        };
        let mut values = weights.to_f32()?;
        for (values, scale) in values.chunks_exact_mut(weights.len() / channels).zip(&scale) {
            values.iter_mut().for_each(|w| *w = (*w as f64 * scale) as f32);
        }
        let own = bias.map_or_else(|| Some(vec![0.0; channels]), Tensor::to_f32)?;
        let moved: Vec<f32> = (0..channels).map(|c| (own[c] as f64 * scale[c] + shift[c]) as f32).collect();
        Some(vacant.insert([Tensor::f32(&weights.shape, &values), Tensor::f32(&[channels], &moved)]).clone())
    }
}

/// Folds what can be folded. Values that are outputs of the graph stay.
pub fn fold_scales(graph: &mut Graph, known: &mut Folds) {
    let uses = graph.uses();
    let written = |(i, node): (usize, &Node)| (node.outputs.first().cloned().unwrap_or_default(), i);
    let producers: HashMap<String, usize> = graph.nodes.iter().enumerate().map(written).collect();
    let mut folded = vec![];
    for at in 0..graph.nodes.len() {
        let node = &graph.nodes[at];
        let before = node.input(0).filter(|x| uses.get(*x) == Some(&1)).and_then(|x| producers.get(x)).copied();
        let Some(before) = before.filter(|_| node.domain.is_empty()) else { continue };
        let gone = match (graph.nodes[before].op.as_str(), node.op.as_str()) {
            ("Conv", "BatchNormalization") => behind(graph, before, at, known).map(|()| at),
            ("Mul", "ConvTranspose") => in_front(graph, before, at, known).map(|()| before),
            _ => None,
        };
        folded.extend(gone);
    }
    let mut place = 0..;
    graph.nodes.retain(|_| place.next().is_none_or(|i| !folded.contains(&i)));
}

/// The normalisation `norm` behind the convolution `conv` becomes part of its weights and bias.
fn behind(graph: &mut Graph, conv: usize, norm: usize, known: &mut Folds) -> Option<()> {
    let (node, bn) = (&graph.nodes[conv], &graph.nodes[norm]);
    if !node.domain.is_empty() {
        return None;
    }
    let constant = |node: &Node, slot: usize| graph.constants.get(node.input(slot)?);
    let (scale, shift) = bn.batch_norm(|name| graph.constants.get(name)?.to_f32())?;
    let bias = if node.input(2).is_some() { Some(constant(node, 2)?) } else { None };
    let folded = known.folded(constant(node, 1)?, bias, scale, shift)?;
    let output = bn.outputs.first()?.clone();
    let input = node.input(0)?.to_string();
    let names = [format!("{output}/folded weights"), format!("{output}/folded bias")];
    graph.constants.extend(names.iter().cloned().zip(folded));
    let [weights, bias] = names;
    graph.nodes[conv].inputs = vec![input, weights, bias];
    graph.nodes[conv].outputs = vec![output];
    Some(())
}

/// The product `mul` with a factor per channel becomes part of the weights of the transposed convolution `conv`.
fn in_front(graph: &mut Graph, mul: usize, conv: usize, known: &mut Folds) -> Option<()> {
    let (product, node) = (&graph.nodes[mul], &graph.nodes[conv]);
    let weights = graph.constants.get(node.input(1)?)?;
    let slot = (0..2).find(|&slot| product.input(slot).is_some_and(|n| graph.constants.contains_key(n)))?;
    let factors = graph.constants.get(product.input(slot)?)?;
    // One factor per channel, broadcast over all that comes after.
    let channels = [&[*weights.shape.first()?], &vec![1; weights.shape.len().checked_sub(2)?][..]].concat();
    let fits = factors.shape == channels || factors.shape.strip_prefix(&[1]) == Some(&channels);
    if !product.domain.is_empty() || !fits {
        return None;
    }
    let scale: Vec<f64> = factors.to_f32()?.into_iter().map(f64::from).collect();
    let shift = vec![0.0; scale.len()];
    let [weights, _] = known.folded(weights, None, scale, shift)?;
    let input = product.input(1 - slot)?.to_string();
    let name = format!("{}/folded weights", node.outputs.first()?);
    graph.constants.insert(name.clone(), weights);
    let node = &mut graph.nodes[conv];
    node.inputs[0] = input;
    node.inputs[1] = name;
    Some(())
}
