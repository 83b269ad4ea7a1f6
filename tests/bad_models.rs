//! Files that are not what they should be: each is an error that says so, never a panic.

mod common;

use std::path::Path;

use common::{graph, node, text, typed, weight};
use whyline_runtime::explain::{LoadOptions, Loaded};
use whyline_runtime::gradient::{COMPOSITES, Spec, differentiate};
use whyline_runtime::onnx::{Attr, Dim, Facts, Graph, Node, Tensor, parse_model, read_model, write_model};
use whyline_runtime::{Error, Kind};

/// Writes a graph and reads it again.
fn through_a_file(graph: &Graph) -> Result<Loaded, Error> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.onnx");
    write_model(graph, &Facts::new(), &path).unwrap();
    Loaded::read(&path, &LoadOptions::default())
}

fn refusal(graph: &Graph) -> String {
    let error = through_a_file(graph).expect_err("the model should be refused");
    assert_eq!(error.kind(), Kind::Model, "{error}");
    error.to_string()
}

fn relu() -> Graph {
    graph(&[1, 4], vec![node("Relu", &["x"], &["y"], vec![])], "y")
}

#[test]
fn bytes_that_are_no_model() {
    let cnn = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/digits-cnn.onnx")).unwrap();
    for cut in [0, 1, 10, 1000, cnn.len() / 2, cnn.len() - 1] {
        let error = parse_model(&cnn[..cut], "cut.onnx", None, None).unwrap_err();
        assert_eq!(error.kind(), Kind::Model, "{cut}");
    }
    let noise: Vec<u8> = (0..5000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    assert!(
        parse_model(&noise, "noise", None, None).unwrap_err().to_string().contains("noise is not a usable ONNX model")
    );
}

#[test]
fn flipped_bytes_never_panic() {
    let cnn = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/digits-cnn.onnx")).unwrap();
    for i in 0..400usize {
        let mut damaged = cnn.clone();
        // The head of the file holds the nodes; weights further back are only numbers.
        let at = (i * 7919) % cnn.len().min(12_000);
        damaged[at] ^= 1 << (i % 8);
        if let Ok(model) = parse_model(&damaged, "damaged", None, None) {
            let mut graph = model.graph;
            if whyline_runtime::onnx::fix_shapes(&mut graph, &Default::default()).is_ok() {
                let _ = typed(graph).and_then(|t| differentiate(&t, &Spec::default()).map(drop));
            }
        }
    }
}

#[test]
fn a_cycle() {
    let nodes = vec![
        node("Add", &["x", "b"], &["a"], vec![]),
        node("Relu", &["a"], &["b"], vec![]),
        node("Neg", &["b"], &["y"], vec![]),
    ];
    assert!(refusal(&graph(&[2], nodes, "y")).contains("part of a cycle"));
}

#[test]
fn a_value_that_nobody_writes() {
    let nodes = vec![node("Add", &["x", "lost"], &["y"], vec![])];
    let message = refusal(&graph(&[2], nodes, "y"));
    assert!(message.contains("Add_y") && message.contains("'lost'"), "{message}");
    assert!(
        refusal(&graph(&[2], vec![node("Relu", &["x"], &["y"], vec![])], "z"))
            .contains("no node writes the output 'z'")
    );
}

#[test]
fn a_value_written_twice() {
    let nodes = vec![node("Relu", &["x"], &["y"], vec![]), node("Neg", &["x"], &["y"], vec![])];
    assert!(refusal(&graph(&[2], nodes, "y")).contains("written elsewhere too"));
}

#[test]
fn ops_that_nobody_knows_are_listed_together() {
    let nodes = vec![node("Frobnicate", &["x"], &["a"], vec![]), node("Twiddle", &["a"], &["y"], vec![])];
    let message = refusal(&graph(&[2], nodes, "y"));
    assert!(message.contains("Frobnicate") && message.contains("Twiddle"), "{message}");
}

#[test]
fn ops_without_an_adjoint_are_listed_together_with_where_they_cut() {
    let nodes = vec![
        node("Hardmax", &["x"], &["a"], vec![]),
        node("Hardmax", &["a"], &["b"], vec![]),
        node("Relu", &["b"], &["y"], vec![]),
    ];
    let typed = typed(graph(&[2, 3], nodes, "y")).unwrap();
    let message = differentiate(&typed, &Spec::default()).unwrap_err().to_string();
    assert!(message.starts_with("2 nodes"), "{message}");
    assert!(message.contains("Hardmax_a (Hardmax) cuts the path to the input at 'x'"), "{message}");
    assert!(message.contains("Hardmax_b (Hardmax) cuts the path to the input at 'a'"), "{message}");
}

#[test]
fn attributes_that_an_adjoint_does_not_cover_are_listed_too() {
    let diagonal = vec![node("Einsum", &["x"], &["y"], vec![("equation", text("ii->i"))])];
    let typed = typed(graph(&[3, 3], diagonal, "y")).unwrap();
    let message = differentiate(&typed, &Spec::default()).unwrap_err().to_string();
    assert!(message.contains("diagonal"), "{message}");
}

#[test]
fn a_flat_op_is_named_and_a_target_behind_it_refused() {
    let flat = typed(graph(&[2, 3], vec![node("Floor", &["x"], &["y"], vec![])], "y")).unwrap();
    let message = differentiate(&flat, &Spec::default()).unwrap_err().to_string();
    assert!(message.contains("'Floor_y' (Floor) is flat"), "{message}");
    let nodes = vec![node("Floor", &["x"], &["f"], vec![]), node("Mul", &["x", "f"], &["y"], vec![])];
    let beside = typed(graph(&[2, 3], nodes, "y")).unwrap();
    let derived = differentiate(&beside, &Spec::default()).unwrap();
    assert_eq!(derived.flat, [("Floor_f".to_string(), "Floor".to_string())]);
    // A gate that goes through truth and whole numbers.
    let nodes = vec![
        node("Greater", &["x", "low"], &["above"], vec![]),
        node("Less", &["x", "high"], &["below"], vec![]),
        node("And", &["above", "below"], &["inside"], vec![]),
        node("Cast", &["inside"], &["number"], vec![("to", Attr::Int(7))]),
        node("Cast", &["number"], &["gate"], vec![("to", Attr::Int(1))]),
        node("Mul", &["x", "gate"], &["y"], vec![]),
    ];
    let mut gated = graph(&[2, 3], nodes, "y");
    gated.constants.extend([("low", 0.0), ("high", 0.5)].map(|(name, v)| (name.to_string(), Tensor::scalar(v))));
    let mut flat = differentiate(&typed(gated).unwrap(), &Spec::default()).unwrap().flat;
    flat.sort();
    assert_eq!(flat.iter().map(|(_, op)| op.as_str()).collect::<Vec<_>>(), ["Greater", "Less"]);
}

/// The plan has no kernel for a pool whose places others read, too.
#[test]
fn a_pool_whose_indices_are_read_is_refused_by_its_name() {
    let window = vec![("kernel_shape", Attr::Ints(vec![2, 2]))];
    let nodes = vec![
        node("MaxPool", &["x"], &["m", "places"], window),
        node("Cast", &["places"], &["numbers"], vec![("to", Attr::Int(1))]),
        node("Mul", &["m", "numbers"], &["y"], vec![]),
    ];
    let pooled = typed(graph(&[1, 1, 4, 4], nodes, "y")).unwrap();
    let message = differentiate(&pooled, &Spec::default()).unwrap_err().to_string();
    assert!(message.contains("MaxPool") && message.contains("indices are read"), "{message}");
    // Indices that nobody reads are no harm, whatever reads them on the way back.
    let window = vec![("kernel_shape", Attr::Ints(vec![2, 2]))];
    let nodes = vec![
        node("MaxPool", &["x"], &["m", "places"], window),
        node("Flatten", &["m"], &["f"], vec![]),
        node("MatMul", &["f", "w"], &["y"], vec![]),
    ];
    let mut unread = graph(&[1, 1, 4, 4], nodes, "y");
    unread.constants.insert("w".into(), Tensor::f32(&[9, 2], &[0.5; 18]));
    for composite in COMPOSITES {
        let derived = differentiate(&typed(unread.clone()).unwrap(), &Spec { composite, ..Spec::default() });
        assert!(derived.is_ok(), "{}: {:?}", composite.name, derived.err());
    }
}

#[test]
fn weights_that_are_not_finite() {
    for bad in [f32::NAN, f32::INFINITY] {
        let mut g = graph(&[1, 2], vec![node("Add", &["x", "w"], &["y"], vec![])], "y");
        g.constants.insert("w".into(), Tensor::f32(&[2], &[1.0, bad]));
        let message = refusal(&g);
        assert!(message.contains("tensor 'w'") && message.contains("element 1"), "{message}");
    }
    // A lone infinity is a bound.
    let mut g = graph(&[1, 2], vec![node("Clip", &["x", "", "top"], &["y"], vec![])], "y");
    g.constants.insert("top".into(), Tensor::scalar(f32::INFINITY));
    assert!(through_a_file(&g).is_ok());
}

#[test]
fn shapes_that_do_not_fit() {
    let mut g = graph(&[1, 4], vec![node("MatMul", &["x", "w"], &["y"], vec![])], "y");
    g.constants.insert("w".into(), weight(&[5, 3], 1));
    let message = refusal(&g);
    assert!(message.contains("MatMul_y"), "{message}");
}

#[test]
fn extents_that_no_machine_holds_and_reshapes_that_lose_elements() {
    let one = |op: &str, name: &str, values: &[i64]| {
        let mut g = graph(&[1, 4], vec![node(op, &["x", name], &["y"], vec![])], "y");
        g.constants.insert(name.into(), Tensor::ints(values));
        g
    };
    assert!(refusal(&one("Expand", "to", &[1 << 30, 1 << 30, 1, 4])).contains("impossible"));
    assert!(refusal(&one("Tile", "times", &[1 << 30, 1 << 30])).contains("impossible"));
    assert!(refusal(&one("Reshape", "to", &[1 << 40, -1])).contains("reshape"));
    let mut constant = graph(
        &[1, 4],
        vec![node("ConstantOfShape", &["s"], &["c"], vec![]), node("Add", &["x", "c"], &["y"], vec![])],
        "y",
    );
    constant.constants.insert("s".into(), Tensor::ints(&[1 << 22, 1 << 12, 4]));
    assert!(refusal(&constant).contains("impossible"));
    let mut input = relu();
    input.inputs[0].dims = Some(vec![Dim::Fixed(1), Dim::Fixed(usize::MAX / 4)]);
    assert!(refusal(&input).contains("impossible"));
}

#[test]
fn names_of_gradient_graphs_are_taken() {
    let nodes = vec![node("Relu", &["x"], &["why.seed"], vec![]), node("Neg", &["why.seed"], &["y"], vec![])];
    let typed = typed(graph(&[2], nodes, "y")).unwrap();
    let message = differentiate(&typed, &Spec::default()).unwrap_err().to_string();
    assert!(message.contains("'why.seed'") && message.contains("gradient graphs"), "{message}");
}

#[test]
fn control_flow_and_quantised_activations_are_told() {
    let branch = Attr::Graph(Box::default());
    let mut g = graph(
        &[2],
        vec![node("If", &["c"], &["y"], vec![("then_branch", branch.clone()), ("else_branch", branch)])],
        "y",
    );
    g.constants.insert("c".into(), Tensor::from_bytes(whyline_runtime::onnx::DType::Bool, &[], vec![1u8]).unwrap());
    assert!(refusal(&g).contains("control flow"));
    let nodes = vec![
        node("QuantizeLinear", &["x", "s", "z"], &["q"], vec![]),
        node("DequantizeLinear", &["q", "s", "z"], &["y"], vec![]),
    ];
    let mut g = graph(&[2], nodes, "y");
    g.constants.insert("s".into(), Tensor::scalar(0.1));
    g.constants.insert("z".into(), Tensor::from_bytes(whyline_runtime::onnx::DType::U8, &[], vec![128u8]).unwrap());
    let message = differentiate(&typed(g).unwrap(), &Spec::default()).unwrap_err().to_string();
    assert!(message.contains("QuantizeLinear) is flat"), "{message}");
}

#[test]
fn further_outputs_that_are_read_are_told() {
    let nodes = vec![
        node("LayerNormalization", &["x", "w"], &["n", "mean"], vec![]),
        node("Mul", &["n", "mean"], &["y"], vec![]),
    ];
    let mut g = graph(&[2, 4], nodes, "y");
    g.constants.insert("w".into(), weight(&[4], 1));
    let message = differentiate(&typed(g).unwrap(), &Spec::default()).unwrap_err().to_string();
    assert!(message.contains("further output"), "{message}");
}

#[test]
fn a_functions_default_attribute_is_told_not_guessed() {
    let mut leaky = node("LeakyRelu", &["a"], &["b"], vec![]);
    leaky.attributes.insert("alpha".into(), Attr::FromCaller("slope".into()));
    let function = |attributes: Vec<String>| whyline_runtime::onnx::Function {
        name: "Leaky".into(),
        domain: "mine".into(),
        inputs: vec!["a".into()],
        outputs: vec!["b".into()],
        attributes,
        nodes: vec![leaky.clone()],
        opset: 18,
    };
    let mut g = graph(&[2], vec![Node { domain: "mine".into(), ..node("Leaky", &["x"], &["y"], vec![]) }], "y");
    let inline = |g: &Graph| whyline_runtime::onnx::inline::inline_functions(&mut g.clone()).map_err(|e| e.to_string());
    g.functions.insert(("mine".into(), "Leaky".into()), function(vec!["slope".into()]));
    assert_eq!(inline(&g), Ok(()));
    g.functions.insert(("mine".into(), "Leaky".into()), function(vec![]));
    assert!(inline(&g).unwrap_err().contains("leaves the attribute 'slope' to its default"));
}

#[test]
fn a_model_with_two_inputs_or_an_integer_one() {
    let mut g = graph(&[1, 4], vec![node("Add", &["x", "z"], &["y"], vec![])], "y");
    let mut second = g.inputs[0].clone();
    second.name = "z".into();
    g.inputs.push(second);
    let typed_pair = typed(g).unwrap();
    assert!(differentiate(&typed_pair, &Spec::default()).unwrap_err().to_string().contains("2 inputs (x, z)"));
    let mut g = relu();
    g.inputs[0].dtype = whyline_runtime::onnx::DType::I64;
    g.nodes = vec![node("Cast", &["x"], &["y"], vec![("to", whyline_runtime::onnx::Attr::Int(1))])];
    assert!(differentiate(&typed(g).unwrap(), &Spec::default()).unwrap_err().to_string().contains("only float inputs"));
}

#[test]
fn open_extents_want_to_be_given() {
    let mut g = relu();
    g.inputs[0].dims = Some(vec![Dim::Symbol("N".into()), Dim::Symbol("features".into())]);
    let error = through_a_file(&g).err().unwrap();
    assert!(error.to_string().contains("[N, features]") && error.to_string().contains("--shape"), "{error}");
    assert_eq!(error.kind(), Kind::Usage);
}

#[test]
fn random_ops_and_training_mode() {
    let random = graph(
        &[2],
        vec![node("RandomNormalLike", &["x"], &["r"], vec![]), node("Add", &["x", "r"], &["y"], vec![])],
        "y",
    );
    assert!(refusal(&random).contains("random values"));
    let mut drop = graph(&[2], vec![node("Dropout", &["x", "", "train"], &["y"], vec![])], "y");
    drop.constants
        .insert("train".into(), Tensor::from_bytes(whyline_runtime::onnx::DType::Bool, &[], vec![1u8]).unwrap());
    assert!(refusal(&drop).contains("training_mode"));
}

/// A model whose weight lies in a file beside it, by hand, because we never write such files.
fn with_external_data(location: &str, offset: &str) -> Vec<u8> {
    use prost::Message;
    use tract_onnx::pb;
    let mut g = relu();
    g.nodes = vec![node("Add", &["x", "w"], &["y"], vec![])];
    g.constants.insert("w".into(), weight(&[4], 1));
    let mut proto = whyline_runtime::onnx::write::to_proto(&g, &Facts::new());
    let tensor = &mut proto.graph.as_mut().unwrap().initializer[0];
    tensor.raw_data.clear();
    tensor.data_location = Some(pb::tensor_proto::DataLocation::External as i32);
    let entry = |key: &str, value: &str| pb::StringStringEntryProto { key: key.into(), value: value.into() };
    tensor.external_data = vec![entry("location", location), entry("offset", offset), entry("length", "16")];
    proto.encode_to_vec()
}

#[test]
fn external_data_inside_the_folder_is_read_and_outside_refused() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("model");
    std::fs::create_dir(&inner).unwrap();
    let path = inner.join("m.onnx");
    std::fs::write(inner.join("weights.bin"), [0u8; 24]).unwrap();
    std::fs::write(folder.path().join("secret.bin"), [0u8; 24]).unwrap();
    std::fs::write(&path, with_external_data("weights.bin", "8")).unwrap();
    let before = read_model(&path, None).unwrap().sha256;
    std::fs::write(inner.join("weights.bin"), [1u8; 24]).unwrap();
    assert_ne!(read_model(&path, None).unwrap().sha256, before, "other weights are another model");
    std::fs::write(&path, with_external_data("weights.bin", "9")).unwrap();
    assert!(read_model(&path, None).unwrap_err().to_string().contains("9+16"));
    let absolute = folder.path().join("secret.bin").display().to_string();
    for outside in ["../secret.bin", absolute.as_str()] {
        std::fs::write(&path, with_external_data(outside, "0")).unwrap();
        let message = read_model(&path, None).unwrap_err().to_string();
        assert!(message.contains("outside the model's folder"), "{message}");
    }
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(folder.path().join("secret.bin"), inner.join("link.bin")).unwrap();
        std::fs::write(&path, with_external_data("link.bin", "0")).unwrap();
        assert!(read_model(&path, None).unwrap_err().to_string().contains("outside the model's folder"));
    }
}

#[test]
fn functions_are_inlined_and_endless_ones_refused() {
    let function = |op: &str, inner: &str| whyline_runtime::onnx::Function {
        name: op.into(),
        domain: "mine".into(),
        inputs: vec!["a".into()],
        outputs: vec!["b".into()],
        attributes: vec![],
        nodes: vec![Node {
            domain: if inner == "Relu" { "" } else { "mine" }.into(),
            ..node(inner, &["a"], &["b"], vec![])
        }],
        opset: 18,
    };
    let call = |op: &str| Node { domain: "mine".into(), ..node(op, &["x"], &["y"], vec![]) };
    let mut g = graph(&[2], vec![call("Twice")], "y");
    g.functions.insert(("mine".into(), "Twice".into()), function("Twice", "Once"));
    g.functions.insert(("mine".into(), "Once".into()), function("Once", "Relu"));
    let loaded = through_a_file(&g).unwrap();
    assert_eq!(loaded.typed.graph.nodes.iter().map(|n| n.op.as_str()).collect::<Vec<_>>(), ["Relu"]);
    let mut endless = graph(&[2], vec![call("Self")], "y");
    endless.functions.insert(("mine".into(), "Self".into()), function("Self", "Self"));
    assert!(refusal(&endless).contains("or itself"));
    // Each calls the next one twice: a few lines are thousands of millions of nodes.
    let mut bomb = graph(&[2], vec![call("F0")], "y");
    for i in 0..30 {
        let (own, next) = (format!("F{i}"), if i == 29 { "Relu".to_string() } else { format!("F{}", i + 1) });
        let mut twice = function(&own, &next);
        let first = Node { outputs: vec!["m".into()], ..twice.nodes[0].clone() };
        let second = Node { inputs: vec!["m".into()], ..twice.nodes[0].clone() };
        twice.nodes = vec![first, second];
        bomb.functions.insert(("mine".into(), own), twice);
    }
    assert!(refusal(&bomb).contains("more nodes than any model has"));
}

#[test]
fn a_weightless_architecture_wants_a_seed() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/architectures/squeezenet1_1.onnx");
    assert!(read_model(&path, None).unwrap_err().to_string().contains("--random-weights"));
    let (a, b) = (read_model(&path, Some(1)).unwrap(), read_model(&path, Some(1)).unwrap());
    assert_eq!(a.graph.constants, b.graph.constants);
}
