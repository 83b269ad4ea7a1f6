//! Gradient graphs from files run as fast, in as little memory and to the same bytes as those just derived; and what a file
//! says otherwise is believed.

mod common;

use std::path::{Path, PathBuf};

use whyline_runtime::engine::{PlanSession, Plans, Precision, Session, TractSession};
use whyline_runtime::explain::{LoadOptions, Loaded, Wanted};
use whyline_runtime::gradient::{COMPOSITES, GradientGraph};
use whyline_runtime::onnx::{Tensor, write_model};
use whyline_runtime::rng::Rng;
use whyline_runtime::{Error, Kind};

fn model(name: &str) -> Loaded {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models").join(name).with_extension("onnx");
    Loaded::read(&path, &LoadOptions { random_weights: Some(1), ..LoadOptions::default() }).unwrap()
}

/// The same graph, written and read again.
fn reread(derived: &GradientGraph) -> Result<GradientGraph, Error> {
    let folder = tempfile::tempdir().unwrap();
    let path: PathBuf = folder.path().join("grad.onnx");
    write_model(&derived.graph, &derived.facts, &path).unwrap();
    Ok(Loaded::read(&path, &LoadOptions::default())?.ready_made.unwrap())
}

fn gradient(session: &mut dyn Session) -> Vec<f32> {
    let input: Vec<f32> =
        (0..session.input_shape().iter().product::<usize>() as u64).map(|i| Rng::new(3, 1).normal(i)).collect();
    let classes = session.forward(&input).unwrap().len();
    let seed: Vec<f32> = (0..classes).map(|class| f32::from(u8::from(class == 1))).collect();
    session.gradient(&input, &seed).unwrap().input.to_vec()
}

#[test]
fn a_file_is_planned_as_what_it_was_made_from() {
    for (name, composites) in [("digits-cnn", COMPOSITES), ("architectures/mobilenet_v2", &COMPOSITES[..1])] {
        let loaded = model(name);
        for composite in composites {
            let derived = loaded.derive(&Wanted { composite, ..Wanted::default() }).unwrap();
            let (own, read) = (Plans::new(&derived, Precision::F32).unwrap(), reread(&derived).unwrap());
            let plans = Plans::new(&read, Precision::F32).unwrap();
            assert_eq!(
                (plans.memory(), plans.fallbacks()),
                (own.memory(), own.fallbacks()),
                "{name} {}",
                composite.name
            );
            assert_eq!(plans.flops(), own.flops(), "{name} {}", composite.name);
            let maps = [&derived, &read].map(|graph| gradient(&mut PlanSession::new(graph).unwrap()));
            assert!(maps[0] == maps[1] && maps[0].iter().any(|v| *v != 0.0), "{name} {}", composite.name);
        }
    }
}

#[test]
fn a_function_of_another_meaning_is_looked_into() {
    let loaded = model("digits-cnn");
    let mut derived = loaded.derive(&Wanted::default()).unwrap();
    let before = gradient(&mut PlanSession::new(&derived).unwrap());
    for function in derived.graph.functions.values_mut().filter(|function| function.name == "ReluGrad") {
        function.nodes.iter_mut().filter(|node| node.op == "Greater").for_each(|node| node.op = "Less".into());
    }
    let read = reread(&derived).unwrap();
    assert!(!read.graph.functions.keys().any(|(_, name)| name == "ReluGrad"));
    let (own, told) =
        (gradient(&mut PlanSession::new(&read).unwrap()), gradient(&mut TractSession::new(&read).unwrap()));
    let size = told.iter().map(|v| v.abs()).fold(0.0, f32::max);
    assert!(
        own.iter().zip(&told).all(|(a, b)| (a - b).abs() <= 1e-4 * size),
        "the file's meaning is the one that counts"
    );
    assert!(own.iter().zip(&before).any(|(a, b)| (a - b).abs() > 0.1 * size), "it is another meaning");
}

#[test]
fn calls_that_do_not_fit_are_refused() {
    let loaded = model("digits-cnn");
    let derived = loaded.derive(&Wanted::default()).unwrap();
    let with = |op: &str, change: &dyn Fn(&mut GradientGraph, usize)| {
        let mut damaged = derived.clone();
        let at = damaged.graph.nodes.iter().position(|node| node.op == op).unwrap();
        change(&mut damaged, at);
        let outcome = reread(&damaged).and_then(|read| Plans::new(&read, Precision::F32).map(drop));
        assert_eq!(outcome.as_ref().err().map(Error::kind), Some(Kind::Model), "{op}: {outcome:?}");
        outcome.unwrap_err().to_string()
    };
    let scores = derived.logits.clone();
    let other = |graph: &mut GradientGraph, at: usize| graph.graph.nodes[at].inputs[1] = scores.clone();
    with("ReluGrad", &other);
    // A pool's adjoint that claims another extent than the pool.
    with("MaxPoolGrad", &|graph, at| {
        let name = graph.graph.nodes[at].inputs[3].clone();
        let shape = graph.graph.constants[&name].to_i64().unwrap();
        let larger: Vec<i64> = [shape[0], shape[1] * 4, shape[2], shape[3]].into();
        graph.graph.constants.insert("larger".into(), Tensor::ints(&larger));
        graph.graph.nodes[at].inputs[3] = "larger".into();
    });
    // A call of a function that the file does not define.
    let undefined = |graph: &mut GradientGraph, _| graph.graph.functions.retain(|(_, name), _| name != "ReluGrad");
    assert!(with("ReluGrad", &undefined).contains("defines no function of this name"));
    for op in ["ReluGrad", "MaxPoolGrad"] {
        with(op, &|graph, at| drop(graph.graph.nodes[at].inputs.pop()));
        with(op, &|graph, at| graph.graph.nodes[at].inputs[1] = String::new());
    }
}

/// Nodes may come in any order that lets each read what it wants: an adjoint before the Relu whose bits it could have used, too.
#[test]
fn an_adjoint_that_comes_before_its_relu_is_computed_without_its_bits() {
    let derived = model("digits-cnn").derive(&Wanted::default()).unwrap();
    let before = gradient(&mut PlanSession::new(&derived).unwrap());
    let mut moved = derived.clone();
    // The last Relu's adjoint depends on the cotangent and on the Relu's input alone.
    let at = |graph: &GradientGraph, op: &str| graph.graph.nodes.iter().position(|node| node.op == op).unwrap();
    let adjoint = moved.graph.nodes[at(&moved, "ReluGrad")].clone();
    let relu = moved.graph.nodes.iter().position(|n| n.op == "Relu" && n.inputs[0] == adjoint.inputs[1]).unwrap();
    let relu = moved.graph.nodes.remove(relu);
    let later = at(&moved, "ReluGrad") + 1;
    moved.graph.nodes.insert(later, relu);
    let read = reread(&moved).unwrap();
    let own = gradient(&mut PlanSession::new(&read).unwrap());
    let size = before.iter().map(|v| v.abs()).fold(0.0, f32::max);
    assert!(own.iter().zip(&before).all(|(a, b)| (a - b).abs() <= 1e-4 * size));
}

/// A body's values get names of their own, which the file could have given to others.
#[test]
fn names_that_a_body_takes_are_no_others() {
    let derived = model("digits-cnn").derive(&Wanted::default()).unwrap();
    let function = derived.graph.functions.values().find(|function| function.name == "ReluGrad").unwrap().clone();
    let nodes = vec![
        common::node("Neg", &["x"], &["n/1/v0"], vec![]),
        common::node("ReluGrad", &["x", "x"], &["r"], vec![]),
        common::node("Add", &["r", "n/1/v0"], &["y"], vec![]),
    ];
    let mut taken = common::graph(&[1, 6], nodes, "y");
    (taken.nodes[1].domain, taken.nodes[1].name) = (function.domain.clone(), "n".into());
    taken.functions.insert((function.domain.clone(), function.name.clone()), function);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("taken.onnx");
    write_model(&taken, &Default::default(), &path).unwrap();
    let error = Loaded::read(&path, &LoadOptions::default()).map(drop).unwrap_err();
    assert!(error.to_string().contains("written elsewhere too"), "{error}");
}

/// A forward model may call what our gradient graphs call: it is differentiated like any other.
#[test]
fn a_forward_model_that_calls_our_functions_has_a_gradient() {
    let derived = model("digits-cnn").derive(&Wanted::default()).unwrap();
    let function = derived.graph.functions.values().find(|function| function.name == "ReluGrad").unwrap().clone();
    let mut forward = common::graph(
        &[1, 6],
        vec![
            common::node("ReluGrad", &["x", "x"], &["r"], vec![]),
            common::node("MatMul", &["r", "w"], &["y"], vec![]),
        ],
        "y",
    );
    forward.nodes[0].domain = function.domain.clone();
    forward.functions.insert((function.domain.clone(), function.name.clone()), function);
    forward.constants.insert("w".into(), common::weight(&[6, 3], 1));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("forward.onnx");
    write_model(&forward, &Default::default(), &path).unwrap();
    let loaded = Loaded::read(&path, &LoadOptions::default()).unwrap();
    let map = gradient(&mut PlanSession::new(&loaded.derive(&Wanted::default()).unwrap()).unwrap());
    assert!(map.iter().any(|v| *v != 0.0));
}
