//! Each kernel beside tract's op, at an extent that networks have.

use std::collections::BTreeMap;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use whyline_runtime::engine::{PlanSession, Session, TractOperators, TractSession};
use whyline_runtime::gradient::{GradientGraph, Spec, differentiate};
use whyline_runtime::onnx::{Attr, DType, Dim, Graph, Input, Node, Tensor, type_graph};
use whyline_runtime::rng::Rng;

/// A kernel's name; the op that it computes, its attributes, the input's and the weights' extents.
struct Case {
    kernel: &'static str,
    op: &'static str,
    attributes: &'static [(&'static str, &'static [i64])],
    input: &'static [usize],
    weights: &'static [&'static [usize]],
    /// Whether the gradient pass is timed, for kernels that are adjoints.
    backward: bool,
}

const fn case(kernel: &'static str, op: &'static str, input: &'static [usize]) -> Case {
    Case { kernel, op, attributes: &[], input, weights: &[], backward: false }
}

const CASES: &[Case] = &[
    Case { weights: &[&[256, 64, 1, 1]], ..case("conv 1x1", "Conv", &[1, 64, 56, 56]) },
    Case {
        attributes: &[("pads", &[1, 1, 1, 1]), ("strides", &[2, 2])],
        weights: &[&[128, 64, 3, 3]],
        ..case("conv 3x3, stride 2", "Conv", &[1, 64, 56, 56])
    },
    Case {
        attributes: &[("pads", &[1, 1, 1, 1])],
        weights: &[&[128, 128, 3, 3]],
        ..case("winograd, large tile", "Conv", &[1, 128, 28, 28])
    },
    Case {
        attributes: &[("pads", &[1, 1, 1, 1])],
        weights: &[&[512, 512, 3, 3]],
        ..case("winograd, small tile", "Conv", &[1, 512, 7, 7])
    },
    Case {
        attributes: &[("pads", &[3, 3, 3, 3]), ("strides", &[2, 2])],
        weights: &[&[64, 3, 7, 7]],
        backward: true,
        ..case("narrow conv", "Conv", &[1, 3, 224, 224])
    },
    Case {
        attributes: &[("group", &[96]), ("pads", &[1, 1, 1, 1])],
        weights: &[&[96, 1, 3, 3]],
        ..case("depthwise", "Conv", &[1, 96, 112, 112])
    },
    Case {
        attributes: &[("kernel_shape", &[3, 3]), ("strides", &[2, 2]), ("pads", &[1, 1, 1, 1])],
        ..case("max pool", "MaxPool", &[1, 64, 112, 112])
    },
    Case {
        attributes: &[("kernel_shape", &[3, 3]), ("strides", &[2, 2]), ("pads", &[1, 1, 1, 1])],
        backward: true,
        ..case("max pool adjoint", "MaxPool", &[1, 64, 112, 112])
    },
    Case { weights: &[&[192, 768]], ..case("matmul", "MatMul", &[197, 192]) },
    case("softmax", "Softmax", &[3, 197, 197]),
    Case { backward: true, ..case("softmax adjoint", "Softmax", &[3, 197, 197]) },
    Case { weights: &[&[192]], ..case("row norm", "LayerNormalization", &[197, 192]) },
    Case { weights: &[&[192]], backward: true, ..case("row norm adjoint", "LayerNormalization", &[197, 192]) },
    case("chain", "HardSwish", &[1, 64, 56, 56]),
    Case { attributes: &[("perm", &[0, 2, 1])], ..case("move", "Transpose", &[3, 197, 64]) },
];

fn graph(case: &Case) -> GradientGraph {
    let mut inputs = vec!["x".to_string()];
    let mut constants = BTreeMap::new();
    for (i, shape) in case.weights.iter().enumerate() {
        let rng = Rng::new(0, i as u64);
        let values: Vec<f32> = (0..shape.iter().product::<usize>() as u64).map(|k| 0.1 * rng.normal(k)).collect();
        constants.insert(format!("w{i}"), Tensor::f32(shape, &values));
        inputs.push(format!("w{i}"));
    }
    let value = |name: &str, ints: &[i64]| match name {
        "group" => Attr::Int(ints[0]),
        _ => Attr::Ints(ints.to_vec()),
    };
    let attributes = case.attributes.iter().map(|(name, ints)| (name.to_string(), value(name, ints))).collect();
    let dims = case.input.iter().map(|&d| Dim::Fixed(d)).collect();
    let node = |op: &str, inputs: Vec<String>, output: &str| Node {
        name: op.into(),
        op: op.into(),
        inputs,
        outputs: vec![output.into()],
        ..Node::default()
    };
    // What follows keeps a Softmax from being stepped over.
    let nodes = match case.op {
        "Softmax" => vec![node(case.op, inputs, "inner"), node("Neg", vec!["inner".into()], "y")],
        _ => vec![Node { attributes, ..node(case.op, inputs, "y") }],
    };
    let graph = Graph {
        opset: 18,
        inputs: vec![Input { name: "x".into(), dtype: DType::F32, dims: Some(dims) }],
        outputs: vec!["y".into()],
        nodes,
        constants,
        ..Graph::default()
    };
    differentiate(&type_graph(graph, &TractOperators::default()).unwrap(), &Spec::default()).unwrap()
}

fn kernels(c: &mut Criterion) {
    for case in CASES {
        let derived = graph(case);
        let mut group = c.benchmark_group(case.kernel);
        group.sample_size(20);
        let mut session = PlanSession::new(&derived).unwrap();
        let input = vec![0.5; session.input_shape().iter().product()];
        let seed = vec![1.0; session.forward(&input).unwrap().len()];
        group.bench_function("whyline", |b| {
            b.iter_custom(|runs| {
                let mut pass = || match case.backward {
                    true => session.profile_gradient(&input, &seed).unwrap(),
                    false => session.profile_forward(&input).unwrap(),
                };
                // A network takes an image to blocks and back once, not around each kernel.
                let steps = (0..runs).flat_map(|_| pass()).filter(|s| !s.kernel.starts_with("to "));
                Duration::from_secs_f64(steps.map(|s| s.ms * 1e-3).sum())
            });
        });
        let mut session = TractSession::new(&derived).unwrap();
        group.bench_function("tract", |b| {
            b.iter(|| match case.backward {
                true => session.gradient(&input, &seed).map(drop).unwrap(),
                false => session.forward(&input).map(drop).unwrap(),
            });
        });
        group.finish();
    }
}

/// No case goes to a kernel of another name.
fn names(_: &mut Criterion) {
    for case in CASES {
        let mut session = PlanSession::new(&graph(case)).unwrap();
        let input = vec![0.5; session.input_shape().iter().product()];
        let seed = vec![1.0; session.forward(&input).unwrap().len()];
        let steps = session.profile_gradient(&input, &seed).unwrap();
        let kernel =
            case.kernel.split(',').next().unwrap_or_default().trim_end_matches(" 1x1").trim_end_matches(" 3x3");
        assert!(steps.iter().any(|s| s.kernel == kernel), "{}: {steps:?}", case.kernel);
    }
}

criterion_group!(benches, names, kernels);
criterion_main!(benches);
