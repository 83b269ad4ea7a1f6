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
    let mut names: Vec<String> = vec![];
    for node in graph.nodes.iter().filter(|n| n.domain.is_empty()) {
        let slots = PARAMETERS.iter().find(|(op, _)| *op == node.op).map(|(_, slots)| slots.to_vec());
        let vectors = VECTORS.contains(&node.op.as_str());
        for slot in slots.unwrap_or_else(|| if vectors { vec![0, 1] } else { vec![] }) {
            let Some(name) = node.input(slot) else { continue };
            let is_float = |t: &&Tensor| t.dtype == DType::F32 && (!vectors || t.len() > 1);
            if graph.constants.get(name).filter(is_float).is_some() && !names.iter().any(|n| n == name) {
                names.push(name.to_string());
            }
        }
    }
    names
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
