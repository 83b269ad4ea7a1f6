//! A model with noise on its weights.

use super::graph::Graph;
use super::tensor::{DType, Tensor};
use crate::rng::Rng;

/// Noise on every weight: `w (1 + deviation * xi)` with standard normal `xi`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WeightNoise {
    /// Of the random numbers.
    pub seed: u64,
    /// Which draw of them.
    pub draw: u64,
    /// Of the factors.
    pub deviation: f32,
}

/// Inputs that are parameters, not statistics, extents or settings: op and slots.
const PARAMETERS: &[(&str, &[usize])] = &[
    ("Conv", &[1, 2]),
    ("ConvTranspose", &[1, 2]),
    ("Gemm", &[0, 1, 2]),
    ("MatMul", &[0, 1]),
    ("Einsum", &[0, 1]),
    ("BatchNormalization", &[1, 2]),
    ("LayerNormalization", &[1, 2]),
    ("InstanceNormalization", &[1, 2]),
    ("GroupNormalization", &[1, 2]),
    ("RMSNormalization", &[1]),
    ("PRelu", &[1]),
];

/// Ops whose constants are parameters where they are more than one number.
const VECTORS: &[&str] = &["Add", "Sub", "Mul"];

/// The names of a graph's trainable parameters, each once, in order.
pub fn parameters(graph: &Graph) -> Vec<String> {
    layers(graph).concat()
}

/// The same by the node that reads them first: the model's layers, in the order they are computed.
pub fn layers(graph: &Graph) -> Vec<Vec<String>> {
    let mut layers: Vec<Vec<String>> = vec![];
    for node in graph.nodes.iter().filter(|n| n.domain.is_empty()) {
        let slots = PARAMETERS.iter().find(|(op, _)| *op == node.op).map(|(_, slots)| slots.to_vec());
        let vectors = VECTORS.contains(&node.op.as_str());
        let mut own: Vec<String> = vec![];
        for slot in slots.unwrap_or_else(|| if vectors { vec![0, 1] } else { vec![] }) {
            let Some(name) = node.input(slot) else { continue };
            let is_float = |t: &&Tensor| t.dtype == DType::F32 && (!vectors || t.len() > 1);
            if graph.constants.get(name).filter(is_float).is_some()
                && !layers.iter().chain([&own]).flatten().any(|n| n == name)
            {
                own.push(name.to_string());
            }
        }
        if !own.is_empty() {
            layers.push(own);
        }
    }
    layers
}

/// Puts the elements of some layers' parameters in a random order, each tensor's by itself.
pub fn shuffle(graph: &mut Graph, which: std::ops::Range<usize>, seed: u64) {
    for (number, names) in layers(graph).into_iter().enumerate().filter(|(number, _)| which.contains(number)) {
        for (slot, name) in names.iter().enumerate() {
            let Some(tensor) = graph.constants.get_mut(name) else { continue };
            let Some(mut values) = tensor.to_f32() else { continue };
            let rng = Rng::new(seed ^ APART, ((number as u64) << 8) + slot as u64);
            // Fisher and Yates; what the remainder favours is less than one part in 2^32.
            for last in (1..values.len()).rev() {
                values.swap(last, (rng.bits(last as u64) % (last as u64 + 1)) as usize);
            }
            tensor.map_f32(|i, _| values[i]);
        }
    }
}

/// Keeps the draws apart from those of noise on inputs, which may have the same seed.
const APART: u64 = 0x7765_6967_6874_7321;

/// Puts noise on every parameter.
pub fn perturb(graph: &mut Graph, noise: WeightNoise) {
    let names = parameters(graph);
    for (number, name) in names.iter().enumerate() {
        let rng = Rng::new(noise.seed ^ APART, noise.draw.wrapping_mul(names.len() as u64).wrapping_add(number as u64));
        let Some(tensor) = graph.constants.get_mut(name) else { continue };
        tensor.map_f32(|i, w| w * (1.0 + noise.deviation * rng.normal(i as u64)));
    }
}
