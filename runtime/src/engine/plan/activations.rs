//! Activations that have a link of their own, however an exporter has written them.
//!
//! A value that is made of one other by a few smooth ops is a function of one number. Where it agrees with a known one at
//! many places, it is that one: two such formulas do not agree to seven digits by accident.

use std::collections::HashMap;

use super::slopes::Trees;
use crate::engine::kernels::chain::{Activation, Op};
use crate::gradient::functions::DOMAIN;
use crate::onnx::graph::inputs_of;
use crate::onnx::{Graph, Node};

/// A function by the name of the op that stands for it in our domain.
struct Known {
    op: &'static str,
    link: Op,
    exact: fn(f64) -> f64,
}

const KNOWN: &[Known] = &[
    Known { op: "Swish", link: Op::Activate(Activation::Swish, None), exact: |x| x * sigmoid(x) },
    Known {
        op: "SwishSlope",
        link: Op::Slope(Activation::Swish),
        exact: |x| sigmoid(x) * (1.0 + x * (1.0 - sigmoid(x))),
    },
    Known { op: "Gelu", link: Op::Activate(Activation::Gelu, None), exact: |x| x * normal(x) },
    Known { op: "GeluSlope", link: Op::Slope(Activation::Gelu), exact: |x| normal(x) + x * density(x) },
];

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// The normal distribution's cumulative function.
fn normal(x: f64) -> f64 {
    0.5 * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2)
}

fn density(x: f64) -> f64 {
    (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt()
}

/// The link of a node that [`recognise`] has made.
pub fn link_of(node: &Node) -> Option<Op> {
    KNOWN.iter().find(|k| node.domain == DOMAIN && node.op == k.op).map(|k| k.link)
}

/// Puts one node in place of what gives each of `values`, where that is a known function.
pub fn recognise(graph: &mut Graph, values: &[String]) {
    let found: Vec<(usize, String, &Known)> = {
        let (producers, trees) = (graph.producers(), Trees::new(graph));
        let known = |value: &String| {
            let leaf = trees.of(value).leaf.filter(|leaf| leaf != value)?;
            let is = KNOWN.iter().find(|known| agrees(graph, &producers, value, leaf, known.exact))?;
            Some((*producers.get(value.as_str())?, leaf.to_string(), is))
        };
        values.iter().filter_map(known).collect()
    };
    for (at, leaf, known) in found {
        let node = &mut graph.nodes[at];
        (node.op, node.domain, node.inputs) = (known.op.into(), DOMAIN.into(), vec![leaf]);
        node.attributes.clear();
    }
    graph.prune();
}

/// Whether a value is this function of `leaf`.
fn agrees(graph: &Graph, producers: &HashMap<&str, usize>, value: &str, leaf: &str, exact: fn(f64) -> f64) -> bool {
    (-60..=60).map(|i| i as f64 * 0.173).chain([-30.0, 25.0, 1e-3]).all(|x| {
        let mut memo = HashMap::from([(leaf, x)]);
        let close = |y: f64| (y - exact(x)).abs() <= 1e-6 * (1e-3 + exact(x).abs());
        evaluate(graph, producers, value, &mut memo).is_some_and(close)
    })
}

/// A value, where the leaf's is in `memo`.
fn evaluate<'a>(
    graph: &'a Graph,
    producers: &HashMap<&str, usize>,
    name: &'a str,
    memo: &mut HashMap<&'a str, f64>,
) -> Option<f64> {
    if let Some(&known) = memo.get(name) {
        return Some(known);
    }
    if let Some(tensor) = graph.constants.get(name) {
        // A number of more axes would give the value more axes.
        return tensor.number().filter(|_| tensor.shape.len() <= 1).map(f64::from);
    }
    let node = &graph.nodes[*producers.get(name)?];
    let mut args = [0.0; 2];
    for (arg, input) in args.iter_mut().zip(inputs_of(node)) {
        *arg = evaluate(graph, producers, input, memo)?;
    }
    let [a, b] = args;
    let value = match (node.op.as_str(), node.inputs.len()) {
        ("Add", 2) => a + b,
        ("Sub", 2) => a - b,
        ("Mul", 2) => a * b,
        ("Div", 2) => a / b,
        ("Pow", 2) => a.powf(b),
        ("Neg", 1) => -a,
        ("Reciprocal", 1) => 1.0 / a,
        ("Exp", 1) => a.exp(),
        ("Erf", 1) => libm::erf(a),
        ("Sigmoid", 1) => sigmoid(a),
        ("Tanh", 1) => a.tanh(),
        ("Gelu", 1) if node.text("approximate", "none") == "none" => a * normal(a),
        _ => return None,
    };
    memo.insert(name, value);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::Tensor;

    fn graph(nodes: &[(&str, &[&str], &str)]) -> Graph {
        let node = |&(op, inputs, output): &(&str, &[&str], &str)| Node {
            op: op.into(),
            inputs: inputs.iter().map(|i| i.to_string()).collect(),
            outputs: vec![output.into()],
            ..Node::default()
        };
        let mut graph =
            Graph { nodes: nodes.iter().map(node).collect(), outputs: vec!["y".into()], ..Graph::default() };
        for (name, value) in [("one", 1.0), ("half", 0.5), ("root", std::f32::consts::SQRT_2), ("some", 1.702)] {
            graph.constants.insert(name.into(), Tensor::f32(&[], &[value]));
        }
        graph
    }

    #[test]
    fn what_an_exporter_wrote_is_found() {
        let swish: &[(&str, &[&str], &str)] = &[("Sigmoid", &["x"], "s"), ("Mul", &["s", "x"], "y")];
        let gelu: &[(&str, &[&str], &str)] = &[
            ("Div", &["x", "root"], "d"),
            ("Erf", &["d"], "e"),
            ("Add", &["e", "one"], "p"),
            ("Mul", &["x", "half"], "h"),
            ("Mul", &["h", "p"], "y"),
        ];
        let slope: &[(&str, &[&str], &str)] = &[
            ("Sigmoid", &["x"], "s"),
            ("Sub", &["one", "s"], "r"),
            ("Mul", &["r", "x"], "m"),
            ("Add", &["m", "one"], "a"),
            ("Mul", &["s", "a"], "y"),
        ];
        for (nodes, op) in [(swish, "Swish"), (gelu, "Gelu"), (slope, "SwishSlope")] {
            let mut graph = graph(nodes);
            recognise(&mut graph, &["y".to_string()]);
            assert_eq!(graph.nodes.len(), 1, "{op}");
            assert_eq!((graph.nodes[0].op.as_str(), &graph.nodes[0].inputs[..]), (op, &["x".to_string()][..]));
        }
    }

    #[test]
    fn what_is_nearly_the_same_is_not() {
        let quick: &[(&str, &[&str], &str)] =
            &[("Mul", &["x", "some"], "m"), ("Sigmoid", &["m"], "s"), ("Mul", &["s", "x"], "y")];
        let other: &[(&str, &[&str], &str)] = &[("Sigmoid", &["x"], "s"), ("Mul", &["s", "z"], "y")];
        for nodes in [quick, other] {
            let mut graph = graph(nodes);
            recognise(&mut graph, &["y".to_string()]);
            assert_eq!(graph.nodes.len(), nodes.len());
        }
    }
}
