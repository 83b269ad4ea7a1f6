//! Which convolutions must round alike at every place.

use std::collections::HashSet;

use crate::onnx::Graph;
use crate::onnx::graph::{inputs_of, outputs_of};

/// Values whose convolutions give places that see the same the same bits: Winograd's algorithm rounds by the place in a tile.
pub type Even = HashSet<String>;

/// Those that do not depend on the value of this name.
pub fn apart_from(graph: &Graph, seed: &str) -> Even {
    let mut after = HashSet::from([seed]);
    let mut apart = Even::new();
    for node in &graph.nodes {
        match inputs_of(node).any(|input| after.contains(input)) {
            true => after.extend(outputs_of(node)),
            false => apart.extend(outputs_of(node).map(str::to_string)),
        }
    }
    apart
}
