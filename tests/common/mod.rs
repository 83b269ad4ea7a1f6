//! Shared by the integration tests: small graphs, and derivatives by central differences.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};

use whyline_runtime::engine::{Gradient, PlanSession, Session, TractOperators, TractSession};
use whyline_runtime::gradient::{Spec, differentiate};
use whyline_runtime::onnx::{Attr, DType, Dim, Graph, Input, Node, Tensor, TypedGraph, type_graph};
use whyline_runtime::rng::Rng;
use whyline_runtime::{Error, Result};

/// Which random graphs: these, or more of them, or a single one, as WHYLINE_GRAPHS=FIRST..END says.
pub fn graphs(usual: Range<u64>) -> Range<u64> {
    let told = std::env::var("WHYLINE_GRAPHS").ok();
    let bounds: Option<Vec<u64>> = told.map(|told| told.split("..").map(|n| n.parse().unwrap()).collect());
    bounds.map_or(usual, |bounds| bounds[0]..bounds[1])
}

/// Functions of one value, whatever it is.
pub const ANYWHERE: [&str; 21] = [
    "Abs",
    "Exp",
    "Erf",
    "Sin",
    "Cos",
    "Atan",
    "Sinh",
    "Cosh",
    "Relu",
    "LeakyRelu",
    "Elu",
    "Selu",
    "Celu",
    "ThresholdedRelu",
    "Sigmoid",
    "HardSigmoid",
    "HardSwish",
    "Tanh",
    "Softplus",
    "Softsign",
    "Mish",
];

/// A graph with one float input `x`.
pub fn graph(x: &[usize], nodes: Vec<Node>, output: &str) -> Graph {
    let dims = x.iter().map(|&d| Dim::Fixed(d)).collect();
    Graph {
        opset: 18,
        inputs: vec![Input { name: "x".into(), dtype: DType::F32, dims: Some(dims) }],
        outputs: vec![output.into()],
        nodes,
        ..Graph::default()
    }
}

pub fn node(op: &str, inputs: &[&str], outputs: &[&str], attributes: Vec<(&str, Attr)>) -> Node {
    Node {
        name: format!("{op}_{}", outputs[0]),
        op: op.into(),
        inputs: inputs.iter().map(|s| s.to_string()).collect(),
        outputs: outputs.iter().map(|s| s.to_string()).collect(),
        attributes: attributes.into_iter().map(|(k, v)| (k.to_string(), v)).collect::<BTreeMap<_, _>>(),
        ..Node::default()
    }
}

pub fn ints(values: &[i64]) -> Attr {
    Attr::Ints(values.to_vec())
}

pub fn text(value: &str) -> Attr {
    Attr::Text(value.into())
}

/// Standard normal values.
pub fn normal(len: usize, draw: u64) -> Vec<f32> {
    let rng = Rng::new(42, draw);
    (0..len as u64).map(|i| rng.normal(i)).collect()
}

/// A constant of standard normal values.
pub fn weight(shape: &[usize], draw: u64) -> Tensor {
    Tensor::f32(shape, &normal(shape.iter().product(), draw))
}

pub fn typed(graph: Graph) -> Result<TypedGraph> {
    let mut graph = graph;
    graph.sort()?;
    type_graph(graph, &TractOperators::default())
}

/// Gradients that share a forward part are bit for bit those of whole passes, in whatever order they come.
pub fn assert_shared(what: &str, session: &mut dyn Session, x: &[f32], seed: &[f32]) {
    let other: Vec<f32> = seed.iter().map(|s| 0.5 - s).collect();
    let mut whole = |seed: &[f32]| {
        let pass = session.gradient(x, seed).unwrap();
        (pass.logits.to_vec(), pass.input.to_vec())
    };
    let (first, second) = (whole(seed), whole(&other));
    let logits = session.prepare(x).unwrap().to_vec();
    for (seed, expected) in [(seed, &first), (&other[..], &second), (seed, &first)] {
        let pass = session.gradient(x, seed).unwrap();
        assert_eq!((pass.logits, pass.input), (&expected.0[..], &expected.1[..]), "{what}: a gradient behind another");
    }
    for (logit, expected) in logits.iter().zip(&first.0) {
        assert!((logit - expected).abs() <= 1e-5 * (1.0 + expected.abs()), "{what}: {logit} for {expected}");
    }
    // What was prepared is not taken for another input's.
    let elsewhere: Vec<f32> = x.iter().map(|v| 0.9 * v).collect();
    let expected = session.gradient(&elsewhere, seed).unwrap().input.to_vec();
    session.prepare(x).unwrap();
    assert_eq!(session.gradient(&elsewhere, seed).unwrap().input, expected, "{what}: a gradient elsewhere");
    session.prepare(x).unwrap();
    session.forward(&elsewhere).unwrap();
    assert_eq!(session.gradient(x, seed).unwrap().input, first.1, "{what}: a gradient behind a forward pass elsewhere");
}

/// Scores at points in a row are bit for bit those of passes of their own: at points that differ from the one before in a patch
/// of an image, in two or in seven, in one element, in the sign of a zero, everywhere, or not at all.
pub fn assert_incremental(what: &str, session: &mut dyn Session, x: &[f32]) {
    let shape = session.input_shape().to_vec();
    let (width, height) = (shape[shape.len() - 1], shape[shape.len().saturating_sub(2)]);
    let mut points = vec![x.to_vec()];
    for draw in 0..12 {
        let rng = Rng::new(3, draw);
        let pick = |i: u64, n: usize| (rng.bits(i) % n as u64) as usize;
        let mut point = points[points.len() - 1].clone();
        for patch in 0..[1, 2, 7, 0][pick(0, 4)] {
            let (top, left) = (pick(8 * patch + 1, height), pick(8 * patch + 2, width));
            let rows = top..height.min(top + 1 + pick(8 * patch + 3, 5));
            let columns = left..width.min(left + 1 + pick(8 * patch + 4, 5));
            let inside = |i: usize| rows.contains(&(i / width % height)) && columns.contains(&(i % width));
            point.iter_mut().enumerate().filter(|(i, _)| inside(*i)).for_each(|(i, v)| *v = (i % 3) as f32 - 0.5);
        }
        match draw {
            5 => point[pick(50, x.len())] = 0.0,
            6 => point.iter_mut().for_each(|v| *v = if *v == 0.0 { -0.0 } else { *v }),
            7 => point.iter_mut().for_each(|v| *v = 0.5 - *v),
            _ => {}
        }
        points.push(point);
    }
    let expected: Vec<Vec<f32>> = points.iter().map(|point| session.forward(point).unwrap().to_vec()).collect();
    for _ in 0..2 {
        let mut found: Vec<Vec<f32>> = vec![];
        let make = |i: usize, point: &mut [f32]| point.copy_from_slice(&points[i]);
        let mut take = |_: usize, pass: Gradient<'_>| {
            found.push(pass.logits.to_vec());
            Ok(ControlFlow::Continue(()))
        };
        session.forwards(points.len(), &make, &mut take).unwrap();
        let bits = |logits: &[f32]| logits.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
            assert_eq!(bits(found), bits(expected), "{what}: the scores of point {i}");
        }
        assert_eq!(found.len(), points.len());
    }
}

pub fn session(graph: Graph, spec: &Spec) -> Result<PlanSession<'static>> {
    PlanSession::new(&differentiate(&typed(graph)?, spec)?)
}

/// Holds our kernels' values against those of tract's executor.
pub fn assert_close(what: &str, ours: &[f32], tracts: &[f32], tolerance: f32) {
    assert_eq!(ours.len(), tracts.len(), "{what}");
    let size = tracts.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    for (i, (a, b)) in ours.iter().zip(tracts).enumerate() {
        assert!((a - b).abs() <= tolerance * size || a == b, "{what}: {a} at {i}, but tract has {b} (of {size})");
    }
}

pub fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| *a as f64 * *b as f64).sum()
}

/// The largest difference, over random directions, between the gradient and central differences, relative
/// to the size of what is compared. Of several step sizes the best counts: a small one loses digits, a large
/// one crosses kinks.
pub fn gradient_error(graph: Graph, x: &[f32]) -> Result<f64> {
    let typed = typed(graph)?;
    let derived = differentiate(&typed, &Spec::default())?;
    let mut session = PlanSession::new(&derived)?;
    let logits = session.forward(x)?.to_vec();
    let seed = normal(logits.len(), 1000);
    let gradient = session.gradient(x, &seed)?.input.to_vec();
    // tract prepares no slice that is empty and ends before it starts: nothing to compare then.
    if !typed.facts.values().any(|fact| fact.shape.contains(&0)) {
        let mut tract = TractSession::new(&derived)?;
        let nodes = derived.graph.nodes.iter().map(|n| n.op.as_str()).collect::<Vec<_>>().join(" ");
        assert_close(&format!("logits of {nodes}"), &logits, tract.forward(x)?, 1e-5);
        let expected = tract.gradient(x, &seed)?;
        assert_close(&format!("gradient of {nodes}"), &gradient, expected.input, 1e-5);
    }
    if gradient.len() != x.len() {
        return Err(Error::BadInput { reason: format!("has {} values, its gradient {}", x.len(), gradient.len()) });
    }
    let size = dot(&gradient, &gradient).sqrt();
    let mut worst = 0.0f64;
    for draw in 0..3 {
        let direction = normal(x.len(), 2000 + draw);
        let along = dot(&gradient, &direction);
        let mut best = f64::INFINITY;
        for step in [3e-2f32, 1e-2, 3e-3, 1e-3] {
            let moved =
                |sign: f32| -> Vec<f32> { x.iter().zip(&direction).map(|(x, d)| x + sign * step * d).collect() };
            let ahead = dot(session.forward(&moved(1.0))?, &seed);
            let behind = dot(session.forward(&moved(-1.0))?, &seed);
            let difference = (ahead - behind) / (2.0 * step as f64);
            best = best.min((difference - along).abs() / (size + along.abs() + 1e-3));
        }
        worst = worst.max(best);
    }
    Ok(worst)
}
