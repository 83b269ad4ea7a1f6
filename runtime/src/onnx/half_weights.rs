//! Keeps a file's weights in half precision.

use std::collections::HashSet;

use half::f16;

use super::graph::{Graph, outputs_of};
use super::node::{Attr, Node};
use super::tensor::{DType, Tensor};

/// Tensors of fewer elements stay as they are: they weigh nothing, and factors and variances want their digits.
const FEWEST: usize = 1024;

/// The smallest half that has all its digits.
const SMALLEST: f32 = 1.0 / 16384.0;

/// What was stored as halves, and what was not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Halved {
    /// Tensors stored as halves.
    pub tensors: usize,
    /// Larger tensors that were not: all their values are too small for a half, or one is too large.
    pub refused: Vec<String>,
}

/// Stores the large float32 constants of a graph as float16, each behind a Cast that makes it float32 again, so that
/// any engine reads the file. Values are rounded to the nearest half.
pub fn store_as_halves(graph: &mut Graph) -> Halved {
    let mut halved = Halved::default();
    let mut casts = vec![];
    let taken: HashSet<String> = graph
        .nodes
        .iter()
        .flat_map(outputs_of)
        .chain(graph.constants.keys().map(String::as_str))
        .map(str::to_string)
        .collect();
    let large = |t: &Tensor| t.dtype == DType::F32 && t.len() >= FEWEST;
    let names: Vec<String> = graph.constants.iter().filter(|(_, t)| large(t)).map(|(name, _)| name.clone()).collect();
    for name in names {
        let values = graph.constants[&name].to_f32().unwrap_or_default();
        let largest = values.iter().fold(0.0, |a: f32, v| a.max(v.abs()));
        if !(SMALLEST..=f16::MAX.to_f32()).contains(&largest) && largest != 0.0 {
            halved.refused.push(name);
            continue;
        }
        let bytes = values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect();
        let stored = format!("{name}.f16");
        let Some(tensor) = Tensor::from_bytes(DType::F16, &graph.constants[&name].shape, bytes) else { continue };
        if taken.contains(&stored) {
            halved.refused.push(name);
            continue;
        }
        graph.constants.remove(&name);
        graph.constants.insert(stored.clone(), tensor);
        casts.push(Node {
            name: format!("{name}.cast"),
            op: "Cast".into(),
            inputs: vec![stored],
            outputs: vec![name],
            attributes: [("to".to_string(), Attr::Int(DType::F32.onnx() as i64))].into(),
            ..Node::default()
        });
        halved.tensors += 1;
    }
    casts.append(&mut graph.nodes);
    graph.nodes = casts;
    halved
}
