//! The many ways in which files say the same: old op sets, half precision, quantised weights, constants as
//! nodes, channels last. Each must give what the plain form gives.

mod common;

use common::{graph, ints, node, normal, text, typed, weight};
use half::f16;
use whyline_runtime::engine::{PlanSession, Session};
use whyline_runtime::explain::{LoadOptions, Loaded};
use whyline_runtime::gradient::{Spec, differentiate};
use whyline_runtime::onnx::{Attr, DType, Dim, Facts, Graph, Input, Node, Tensor, write_model};

/// Logits and gradient at a fixed input.
fn results(graph: Graph) -> (Vec<f32>, Vec<f32>) {
    let derived = differentiate(&typed(graph).unwrap(), &Spec::default()).unwrap();
    let mut session = PlanSession::new(&derived).unwrap();
    let x = normal(session.input_shape().iter().product(), 7);
    let logits = session.forward(&x).unwrap().to_vec();
    let gradient = session.gradient(&x, &normal(logits.len(), 8)).unwrap().input.to_vec();
    (logits, gradient)
}

fn assert_same(name: &str, old: Graph, new: Graph) {
    let (old, new) = (results(old), results(new));
    let close = |a: &[f32], b: &[f32]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5);
    assert!(close(&old.0, &new.0), "{name}: logits {:?} for {:?}", old.0, new.0);
    assert!(close(&old.1, &new.1), "{name}: gradient {:?} for {:?}", old.1, new.1);
}

/// One node in its old form at an old op set, and in its new form.
fn assert_upgrades(
    op: &str,
    opset: i64,
    x: &[usize],
    old: Vec<(&str, Attr)>,
    constants: Vec<Tensor>,
    new: Vec<(&str, Attr)>,
) {
    let mut before = graph(x, vec![node(op, &["x"], &["y"], old)], "y");
    before.opset = opset;
    let names: Vec<String> = (0..constants.len()).map(|i| format!("c{i}")).collect();
    let inputs: Vec<&str> = std::iter::once("x").chain(names.iter().map(String::as_str)).collect();
    let mut after = graph(x, vec![node(op, &inputs, &["y"], new)], "y");
    after.constants.extend(names.iter().cloned().zip(constants));
    assert_same(&format!("{op} of op set {opset}"), before, after);
}

#[test]
fn attributes_that_became_inputs() {
    let list = Tensor::ints;
    assert_upgrades("Squeeze", 11, &[2, 1, 3], vec![("axes", ints(&[1]))], vec![list(&[1])], vec![]);
    assert_upgrades("Unsqueeze", 7, &[2, 3], vec![("axes", ints(&[0, 2]))], vec![list(&[0, 2])], vec![]);
    assert_upgrades(
        "ReduceSum",
        11,
        &[2, 3],
        vec![("axes", ints(&[1])), ("keepdims", Attr::Int(0))],
        vec![list(&[1])],
        vec![("keepdims", Attr::Int(0))],
    );
    for op in ["ReduceMean", "ReduceMax", "ReduceL2"] {
        assert_upgrades(op, 13, &[2, 3], vec![("axes", ints(&[1]))], vec![list(&[1])], vec![]);
    }
    assert_upgrades(
        "Clip",
        7,
        &[2, 3],
        vec![("min", Attr::Float(-0.5)), ("max", Attr::Float(0.5))],
        vec![Tensor::scalar(-0.5), Tensor::scalar(0.5)],
        vec![],
    );
    assert_upgrades(
        "Pad",
        7,
        &[2, 3],
        vec![("pads", ints(&[0, 1, 1, 2])), ("value", Attr::Float(0.3))],
        vec![list(&[0, 1, 1, 2]), Tensor::scalar(0.3)],
        vec![],
    );
    assert_upgrades(
        "Slice",
        7,
        &[4, 3],
        vec![("starts", ints(&[1])), ("ends", ints(&[3])), ("axes", ints(&[0]))],
        vec![list(&[1]), list(&[3]), list(&[0])],
        vec![],
    );
    let scales = Tensor::f32(&[4], &[1.0, 1.0, 2.0, 2.0]);
    let none = Tensor::f32(&[0], &[]);
    let mut old = graph(
        &[1, 1, 2, 3],
        vec![node(
            "Upsample",
            &["x"],
            &["y"],
            vec![("mode", text("linear")), ("scales", Attr::Floats(vec![1.0, 1.0, 2.0, 2.0]))],
        )],
        "y",
    );
    old.opset = 7;
    let flags = vec![("mode", text("linear")), ("coordinate_transformation_mode", text("asymmetric"))];
    let mut new = graph(&[1, 1, 2, 3], vec![node("Resize", &["x", "roi", "scales"], &["y"], flags)], "y");
    new.constants.extend([("roi".to_string(), none), ("scales".to_string(), scales)]);
    assert_same("Upsample", old, new);
}

#[test]
fn softmax_over_all_later_axes_taken_together() {
    let mut old =
        graph(&[2, 3, 4], vec![node("Softmax", &["x"], &["p"], vec![]), node("Mul", &["p", "x"], &["y"], vec![])], "y");
    old.opset = 11;
    let mut new = graph(
        &[2, 3, 4],
        vec![
            node("Reshape", &["x", "flat"], &["f"], vec![]),
            node("Softmax", &["f"], &["s"], vec![]),
            node("Reshape", &["s", "back"], &["p"], vec![]),
            node("Mul", &["p", "x"], &["y"], vec![]),
        ],
        "y",
    );
    new.constants
        .extend([("flat".to_string(), Tensor::ints(&[2, 12])), ("back".to_string(), Tensor::ints(&[2, 3, 4]))]);
    assert_same("Softmax of op set 11", old, new);
}

#[test]
fn a_final_softmax_is_stepped_over() {
    let scores = || node("MatMul", &["x", "w"], &["s"], vec![]);
    let finals: [Vec<Node>; 3] = [
        vec![node("Softmax", &["s"], &["y"], vec![])],
        vec![node("LogSoftmax", &["s"], &["y"], vec![])],
        vec![node("Softmax", &["s"], &["p"], vec![]), node("Identity", &["p"], &["y"], vec![])],
    ];
    for last in finals {
        let mut with = graph(&[1, 4], [vec![scores()], last].concat(), "y");
        with.constants.insert("w".into(), weight(&[4, 3], 1));
        let mut without = graph(&[1, 4], vec![scores()], "s");
        without.constants.insert("w".into(), weight(&[4, 3], 1));
        assert_same("final Softmax", with, without);
    }
}

#[test]
fn constants_as_nodes_and_shape_arithmetic_are_folded() {
    let nodes = vec![
        node("Constant", &[], &["two"], vec![("value", Attr::Tensor(Tensor::i64(&[], &[2])))]),
        node("Shape", &["x"], &["shape"], vec![]),
        node("Gather", &["shape", "two"], &["last"], vec![]),
        node("Constant", &[], &["axis"], vec![("value_ints", ints(&[0]))]),
        node("Unsqueeze", &["last", "axis"], &["last1"], vec![]),
        node("Constant", &[], &["free"], vec![("value_ints", ints(&[-1]))]),
        node("Concat", &["free", "last1"], &["to"], vec![("axis", Attr::Int(0))]),
        node("Reshape", &["x", "to"], &["y"], vec![]),
    ];
    let folded = typed(graph(&[2, 3, 4], nodes, "y")).unwrap();
    assert_eq!(folded.graph.nodes.iter().map(|n| n.op.as_str()).collect::<Vec<_>>(), ["Reshape"]);
    assert_eq!(folded.facts["y"].shape, [6, 4]);
}

#[test]
fn dropout_batchnorm_flags_and_uneven_splits() {
    let mut old = graph(
        &[2, 3],
        vec![
            node("Dropout", &["x"], &["d", "mask"], vec![("ratio", Attr::Float(0.5))]),
            node("Mul", &["d", "x"], &["y"], vec![]),
        ],
        "y",
    );
    old.opset = 7;
    assert_same("Dropout", old, graph(&[2, 3], vec![node("Mul", &["x", "x"], &["y"], vec![])], "y"));
    let parts = |sizes: Option<&[i64]>| {
        let inputs = if sizes.is_some() { vec!["x", "sizes"] } else { vec!["x"] };
        let flags = if sizes.is_some() {
            vec![("axis", Attr::Int(1))]
        } else {
            vec![("axis", Attr::Int(1)), ("num_outputs", Attr::Int(3))]
        };
        let nodes = vec![
            node("Split", &inputs, &["a", "b", "c"], flags),
            node("Concat", &["c", "a"], &["y"], vec![("axis", Attr::Int(1))]),
        ];
        let mut g = graph(&[2, 7], nodes, "y");
        sizes.map(|s| g.constants.insert("sizes".into(), Tensor::ints(s)));
        g
    };
    assert_same("Split into thirds of seven", parts(None), parts(Some(&[3, 3, 1])));
}

#[test]
fn negative_pads_cut() {
    let flags = || vec![("mode", text("edge"))];
    let mut old = graph(&[3, 5], vec![node("Pad", &["x", "pads"], &["y"], flags())], "y");
    old.constants.insert("pads".into(), Tensor::ints(&[0, -1, 1, -2]));
    let nodes =
        vec![node("Slice", &["x", "a", "b", "axis"], &["c"], vec![]), node("Pad", &["c", "pads"], &["y"], flags())];
    let mut new = graph(&[3, 5], nodes, "y");
    let list = |v: &[i64]| Tensor::ints(v);
    for (name, tensor) in [("a", list(&[1])), ("b", list(&[3])), ("axis", list(&[1])), ("pads", list(&[0, 0, 1, 0]))] {
        new.constants.insert(name.into(), tensor);
    }
    assert_same("Pad with negative pads", old, new);
}

#[test]
fn probabilities_are_of_the_models_head() {
    use whyline_runtime::gradient::head::{Head, Link};
    let scores = [1.0f32, 2.0, -1.0];
    let head = |op: &str, shape: &[usize]| {
        let nodes = vec![node(op, &["x"], &["s"], vec![]), node("Unsqueeze", &["s", "axis"], &["y"], vec![])];
        let mut g = graph(shape, nodes, "y");
        g.constants.insert("axis".into(), Tensor::ints(&[0]));
        Head::of(&typed(g).unwrap(), "y", None)
    };
    assert_eq!(head("Sigmoid", &[1, 3]).probability(&[0.2, 0.7, 0.1], 1), Some(0.7f32 as f64));
    assert_eq!(head("Neg", &[1, 1]).probability(&[3.0], 0), None);
    assert_eq!(head("Neg", &[1, 3, 4, 4]), Head { choice: None, link: Link::None });
    // Of each place the classes compete along the axis of a Softmax; what a Sigmoid is of, alone.
    let along_classes = head("Softmax", &[2, 3]).choice.unwrap();
    assert_eq!(along_classes.among(4).collect::<Vec<_>>(), [3, 4, 5]);
    let all: f64 = (0..3).map(|c| head("Neg", &[1, 3]).probability(&scores, c).unwrap()).sum();
    assert!((all - 1.0).abs() < 1e-12);
}

#[test]
fn quantised_weights_are_folded() {
    let mut old = graph(
        &[1, 4],
        vec![
            node("DequantizeLinear", &["q", "scale", "zero"], &["w"], vec![("axis", Attr::Int(1))]),
            node("MatMul", &["x", "w"], &["y"], vec![]),
        ],
        "y",
    );
    let bytes: Vec<u8> = [-3i8, 7, 0, 5, -128, 127, 1, -1].iter().map(|v| *v as u8).collect();
    old.constants.insert("q".into(), Tensor::from_bytes(DType::I8, &[4, 2], bytes).unwrap());
    old.constants.insert("scale".into(), Tensor::f32(&[2], &[0.5, 0.25]));
    old.constants.insert("zero".into(), Tensor::from_bytes(DType::I8, &[2], vec![0u8, 1]).unwrap());
    let mut new = graph(&[1, 4], vec![node("MatMul", &["x", "w"], &["y"], vec![])], "y");
    new.constants.insert("w".into(), Tensor::f32(&[4, 2], &[-1.5, 1.5, 0.0, 1.0, -64.0, 31.5, 0.5, -0.5]));
    let (old, new) = (results(old), results(new));
    assert!(old.0.iter().zip(&new.0).all(|(a, b)| (a - b).abs() < 1e-4), "{:?} for {:?}", old.0, new.0);
}

/// A graph written to a file and read again.
fn reread(graph: &Graph) -> Loaded {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.onnx");
    write_model(graph, &Facts::new(), &path).unwrap();
    Loaded::read(&path, &LoadOptions::default()).unwrap()
}

#[test]
fn half_precision_weights_and_inputs_are_widened() {
    let values = normal(12, 1);
    let halves: Vec<f16> = values.iter().map(|v| f16::from_f32(*v)).collect();
    let mut g = graph(&[1, 4], vec![node("MatMul", &["x", "w"], &["y"], vec![])], "y");
    g.inputs[0].dtype = DType::F16;
    let bytes: Vec<u8> = halves.iter().flat_map(|h| h.to_le_bytes()).collect();
    g.constants.insert("w".into(), Tensor::from_bytes(DType::F16, &[4, 3], bytes).unwrap());
    let loaded = reread(&g);
    assert!(loaded.typed.graph.widened);
    let mut plain = graph(&[1, 4], vec![node("MatMul", &["x", "w"], &["y"], vec![])], "y");
    plain.constants.insert("w".into(), Tensor::f32(&[4, 3], &halves.iter().map(|h| h.to_f32()).collect::<Vec<_>>()));
    assert_same("half precision", loaded.typed.graph, plain);
}

#[test]
fn a_symbolic_batch_is_one_and_layouts_are_told_from_extents() {
    use whyline_runtime::onnx::Layout;
    let mut g = graph(&[1, 3, 8, 8], vec![node("Relu", &["x"], &["y"], vec![])], "y");
    g.inputs[0].dims = Some(vec![Dim::Symbol("N".into()), Dim::Fixed(3), Dim::Fixed(8), Dim::Fixed(8)]);
    let loaded = reread(&g);
    assert_eq!(
        (loaded.input_shape().unwrap(), loaded.layout().unwrap()),
        (vec![1, 3, 8, 8], Some(Layout::ChannelsFirst))
    );
    g.inputs[0] = Input { dims: Some([1, 8, 8, 3].map(Dim::Fixed).to_vec()), ..g.inputs[0].clone() };
    assert_eq!(reread(&g).layout().unwrap(), Some(Layout::ChannelsLast));
}

#[test]
fn transposes_around_convolutions_keep_their_layers_images() {
    use whyline_runtime::gradient::layers::{cam_layers, default_layer};
    use whyline_runtime::onnx::Layout;
    let nodes = vec![
        node("Transpose", &["x"], &["t"], vec![("perm", ints(&[0, 3, 1, 2]))]),
        node("Conv", &["t", "w"], &["c"], vec![]),
        node("Transpose", &["c"], &["n"], vec![("perm", ints(&[0, 2, 3, 1]))]),
        node("Relu", &["n"], &["r"], vec![]),
        node("ReduceMean", &["r", "hw"], &["y"], vec![("keepdims", Attr::Int(0))]),
    ];
    let mut g = graph(&[1, 6, 6, 3], nodes, "y");
    g.constants.extend([("w".to_string(), weight(&[5, 3, 3, 3], 1)), ("hw".to_string(), Tensor::ints(&[1, 2]))]);
    let typed = typed(g).unwrap();
    let layers = cam_layers(&typed, None, Some(Layout::ChannelsLast)).unwrap();
    let last = default_layer(&layers).unwrap();
    assert_eq!((last.name.as_str(), last.layout), ("r", Layout::ChannelsLast));
    assert_eq!(last.layout.split(&last.shape), Some((5, 4, 4)));
}

/// A shuffle of channels, and a norm of groups of them, have images before and behind them.
#[test]
fn reshapes_that_are_undone_leave_images() {
    use whyline_runtime::gradient::layers::{cam_layers, default_layer};
    use whyline_runtime::onnx::Layout;
    let nodes = vec![
        node("Conv", &["x", "w"], &["c"], vec![]),
        node("Reshape", &["c", "groups"], &["g"], vec![]),
        node("Transpose", &["g"], &["t"], vec![("perm", ints(&[0, 2, 1, 3, 4]))]),
        node("Reshape", &["t", "whole"], &["s"], vec![]),
        node("Reshape", &["s", "flat"], &["f"], vec![]),
        node("InstanceNormalization", &["f", "scale", "shift"], &["n"], vec![]),
        node("Reshape", &["n", "whole"], &["b"], vec![]),
        node("Relu", &["b"], &["r"], vec![]),
        // Pixels that have changed places are no image, whatever their shape.
        node("Reshape", &["r", "groups"], &["g2"], vec![]),
        node("Transpose", &["g2"], &["t2"], vec![("perm", ints(&[0, 1, 2, 4, 3]))]),
        node("Reshape", &["t2", "whole"], &["no"], vec![]),
        node("ReduceMean", &["no", "hw"], &["y"], vec![("keepdims", Attr::Int(0))]),
    ];
    let mut g = graph(&[1, 3, 6, 6], nodes, "y");
    g.constants.extend([
        ("w".to_string(), weight(&[6, 3, 3, 3], 1)),
        ("groups".to_string(), Tensor::ints(&[1, 2, 3, 4, 4])),
        ("whole".to_string(), Tensor::ints(&[1, 6, 4, 4])),
        ("flat".to_string(), Tensor::ints(&[1, 2, 48])),
        ("scale".to_string(), weight(&[2], 2)),
        ("shift".to_string(), weight(&[2], 3)),
        ("hw".to_string(), Tensor::ints(&[2, 3])),
    ]);
    let typed = typed(g).unwrap();
    let layers = cam_layers(&typed, None, Some(Layout::ChannelsFirst)).unwrap();
    let names: Vec<&str> = layers.iter().map(|l| l.name.as_str()).collect();
    assert_eq!(names, ["c", "s", "b", "r"]);
    assert_eq!(default_layer(&layers).unwrap().name, "r");
    // The card says where channels are, whatever their number.
    assert!(cam_layers(&typed, None, None).unwrap().is_empty());
}

/// A compiled file with a tap as large as the input, and one with its channels last.
#[test]
fn compiled_files_know_their_parts_and_taps_by_name() {
    use whyline_runtime::gradient::names;
    let nodes = vec![
        node("Mul", &["x", "two"], &["n"], vec![]),
        node("MatMul", &["n", "w"], &["y4"], vec![]),
        node("ReduceSum", &["y4", "hw"], &["y"], vec![("keepdims", Attr::Int(0))]),
    ];
    let mut g = graph(&[1, 4, 4, 3], nodes, "y");
    g.constants.extend([
        ("two".to_string(), Tensor::scalar(2.0)),
        ("w".to_string(), weight(&[3, 5], 1)),
        ("hw".to_string(), Tensor::ints(&[1, 2])),
    ]);
    let spec = Spec { taps: vec!["n".into()], ..Spec::default() };
    let derived = differentiate(&typed(g).unwrap(), &spec).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("grad.onnx");
    write_model(&derived.graph, &derived.facts, &path).unwrap();
    let ready = Loaded::read(&path, &LoadOptions::default()).unwrap().ready_made.unwrap();
    assert_eq!(ready.input_gradient.as_deref(), Some(format!("{}x", names::GRAD).as_str()));
    assert_eq!((ready.input.as_str(), ready.seed.as_str(), ready.logits.as_str()), ("x", names::SEED, "y"));
    assert_eq!(ready.taps[0].layer, "n");
}
