//! Where methods must agree with each other, on random networks and through the whole way from a file to a map.

mod common;

use std::collections::BTreeMap;

use common::{assert_close, graph, ints, node, normal, weight};
use whyline_runtime::engine::{Precision, Resources};
use whyline_runtime::explain::{Explanation, LoadOptions, Loaded, Target};
use whyline_runtime::gradient::target::Score;
use whyline_runtime::methods::{Given, METHODS};
use whyline_runtime::onnx::{Attr, Fact, Graph, Node, Tensor, write_model};
use whyline_runtime::record::FileRecord;

const SHAPE: [usize; 4] = [1, 3, 8, 8];
const LEN: usize = 192;

/// Two convolutions with a shortcut, a max pool and a dense layer, of random weights.
fn network(draw: u64, biased: bool) -> Graph {
    let conv = |x: &str, number: usize, y: &str| {
        let (w, b) = (format!("w{number}"), format!("b{number}"));
        let inputs: Vec<&str> = if biased { vec![x, &w, &b] } else { vec![x, &w] };
        node("Conv", &inputs, &[y], vec![("pads", ints(&[1, 1, 1, 1])), ("kernel_shape", ints(&[3, 3]))])
    };
    let pool = vec![("kernel_shape", ints(&[2, 2])), ("strides", ints(&[2, 2]))];
    let nodes = vec![
        conv("x", 1, "z1"),
        node("Relu", &["z1"], &["a1"], vec![]),
        conv("a1", 2, "z2"),
        node("Add", &["z2", "a1"], &["s2"], vec![]),
        node("Relu", &["s2"], &["a2"], vec![]),
        node("MaxPool", &["a2"], &["p2"], pool),
        node("Flatten", &["p2"], &["f2"], vec![]),
        node("Gemm", if biased { &["f2", "w3", "b3"] } else { &["f2", "w3"] }, &["y"], vec![]),
    ];
    let mut graph = graph(&SHAPE, nodes, "y");
    let mut constant = |name: &str, shape: &[usize], number: u64| {
        graph.constants.insert(name.into(), weight(shape, 100 * draw + number));
    };
    constant("w1", &[6, 3, 3, 3], 1);
    constant("w2", &[6, 6, 3, 3], 2);
    constant("w3", &[96, 4], 3);
    if biased {
        constant("b1", &[6], 4);
        constant("b2", &[6], 5);
        constant("b3", &[4], 6);
    }
    graph
}

/// As a user would: from a file.
fn load(graph: &Graph, options: &LoadOptions) -> Loaded {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("network.onnx");
    let facts = BTreeMap::from([("x".to_string(), Fact::f32(&SHAPE)), ("y".to_string(), Fact::f32(&[1, 4]))]);
    write_model(graph, &facts.into_iter().collect(), &path).unwrap();
    Loaded::read(&path, options).unwrap()
}

fn explained(graph: &Graph, method: &str, given: &[(&str, &str)], input: &[f32]) -> Explanation {
    explained_by(&load(graph, &LoadOptions::default()), method, given, input)
}

fn explained_by(loaded: &Loaded, method: &str, given: &[(&str, &str)], input: &[f32]) -> Explanation {
    let given: Given = given.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    let mut explainer = loaded.explainer(method, &given, Precision::F32, Resources::default()).unwrap();
    let file = FileRecord { file: "drawn".into(), sha256: String::new() };
    explainer.explain(input, file, &Target::Top).unwrap()
}

fn map(graph: &Graph, method: &str, given: &[(&str, &str)], input: &[f32]) -> Vec<f32> {
    explained(graph, method, given, input).attribution.values
}

/// Without biases a network of Relu and max pools is linear along every ray from zero, so that all of these are the gradient
/// times the input.
#[test]
fn without_biases_paths_slopes_and_relevance_are_the_gradient_times_the_input() {
    for draw in 1..4 {
        let (network, x) = (network(draw, false), normal(LEN, draw));
        let product = map(&network, "gradient-x-input", &[], &x);
        // At zero itself every unit is at its kink, so that rules which begin there are left out.
        let same: [(&str, &[(&str, &str)]); 6] = [
            ("integrated-gradients", &[("steps", "3")]),
            ("expected-gradients", &[("samples", "4")]),
            ("gradient-shap", &[("samples", "4")]),
            ("deeplift-rescale", &[]),
            ("lrp", &[("rules", "epsilon"), ("epsilon", "1e-9")]),
            ("lrp", &[("rules", "gamma"), ("gamma", "0"), ("epsilon", "1e-9")]),
        ];
        for (method, given) in same {
            assert_close(method, &map(&network, method, given, &x), &product, 2e-3);
        }
        let full = explained(&network, "fullgrad", &[], &x).record.completeness.unwrap();
        let sum: f64 = product.iter().map(|&v| v as f64).sum();
        assert!((full.sum - sum).abs() < 1e-4 * sum.abs() && full.relative_gap < 1e-4, "{full:?} for {sum}");
    }
}

#[test]
fn with_biases_relevance_is_still_the_gradient_times_the_input_and_full_gradients_add_up() {
    for draw in 1..4 {
        let (network, x) = (network(draw, true), normal(LEN, draw));
        let product = map(&network, "gradient-x-input", &[], &x);
        assert_close("lrp", &map(&network, "lrp", &[("rules", "epsilon"), ("epsilon", "1e-9")], &x), &product, 5e-3);
        for method in ["fullgrad", "deeplift-rescale", "deeplift-revealcancel"] {
            let completeness =
                explained(&network, method, &[("baseline", "0.1")][..(method != "fullgrad") as usize], &x);
            let completeness = completeness.record.completeness.unwrap();
            assert!(completeness.relative_gap < 1e-4, "{method}: {completeness:?}");
        }
        let path =
            explained(&network, "ig", &[("steps", "400"), ("rule", "midpoint")], &x).record.completeness.unwrap();
        assert!(path.relative_gap < 0.02, "{path:?}");
    }
}

/// Without noise every copy is the input; and without biases and scaling what is left are the input's own contributions.
#[test]
fn full_gradients_without_noise_or_scaling_are_known() {
    let x = normal(LEN, 3);
    for scale in ["layer", "channel", "none"] {
        let of = |name, more: &[_]| map(&network(3, true), name, &[&[("scale", scale)], more].concat(), &x);
        assert_close(scale, &of("smooth-fullgrad", &[("sigma", "0"), ("samples", "2")]), &of("fullgrad", &[]), 1e-5);
    }
    let product = map(&network(3, false), "gradient-x-input", &[], &x);
    let places = SHAPE[2] * SHAPE[3];
    let sums: Vec<f32> = (0..places).map(|p| (0..3).map(|c| product[c * places + p].abs()).sum()).collect();
    assert_close("none", &map(&network(3, false), "fullgrad", &[("scale", "none")], &x), &sums, 1e-5);
}

/// What is added, taken away, and taken from.
#[test]
fn biases_outside_of_layers_make_up_full_gradients_with_their_signs() {
    let nodes = vec![
        node("Sub", &["x", "b1"], &["centred"], vec![]),
        node("Conv", &["centred", "w1"], &["z1"], vec![("kernel_shape", ints(&[3, 3]))]),
        node("Sub", &["b2", "z1"], &["turned"], vec![]),
        node("Relu", &["turned"], &["a1"], vec![]),
        node("Add", &["b2", "a1"], &["more"], vec![]),
        node("Flatten", &["more"], &["f"], vec![]),
        node("Gemm", &["f", "w2"], &["y"], vec![]),
    ];
    let mut network = graph(&SHAPE, nodes, "y");
    let places = 6 * (SHAPE[2] - 2) * (SHAPE[3] - 2);
    for (number, (name, shape)) in
        [("b1", vec![3, 1, 1]), ("w1", vec![6, 3, 3, 3]), ("b2", vec![6, 1, 1]), ("w2", vec![places, 4])]
            .iter()
            .enumerate()
    {
        network.constants.insert((*name).into(), weight(shape, 40 + number as u64));
    }
    let completeness = explained(&network, "fullgrad", &[], &normal(LEN, 3)).record.completeness.unwrap();
    assert!(completeness.relative_gap < 1e-5, "{completeness:?}");
}

/// Whatever the ops are, biases and implicit ones make up the target.
#[test]
fn with_implicit_biases_full_gradients_add_up_through_curves_products_and_norms() {
    let axis = |axis: i64| vec![("axis", Attr::Int(axis))];
    let nodes = vec![
        node("Conv", &["x", "w1", "b1"], &["z1"], vec![("pads", ints(&[1, 1, 1, 1])), ("kernel_shape", ints(&[3, 3]))]),
        node("Sigmoid", &["z1"], &["gate"], vec![]),
        node("Mul", &["z1", "gate"], &["swish"], vec![]),
        node("Clip", &["swish", "low", "high"], &["clipped"], vec![]),
        node("InstanceNormalization", &["clipped", "channels", "b1"], &["instances"], vec![]),
        node("GroupNormalization", &["instances", "groups", "b3"], &["grouped"], vec![("num_groups", Attr::Int(2))]),
        node("Flatten", &["grouped"], &["f"], axis(2)),
        node("Concat", &["token", "f"], &["tokens"], axis(0)),
        node("LayerNormalization", &["tokens", "scale", "shift"], &["n"], vec![]),
        node("Transpose", &["n"], &["t"], vec![("perm", ints(&[1, 0]))]),
        node("MatMul", &["n", "t"], &["scores"], vec![]),
        node("Softmax", &["scores"], &["attention"], axis(-1)),
        node("MatMul", &["attention", "n"], &["mixed"], vec![]),
        node("Erf", &["mixed"], &["bent"], vec![]),
        node("Greater", &["bent", "low"], &["over"], vec![]),
        node("Where", &["over", "bent", "high"], &["kept"], vec![]),
        node("Sub", &["high", "kept"], &["left"], vec![]),
        node("Exp", &["left"], &["above"], vec![]),
        node("Div", &["low", "above"], &["under"], vec![]),
        node("Div", &["left", "above"], &["quotient"], vec![]),
        node("Add", &["under", "quotient"], &["sum"], vec![]),
        node("ReduceMean", &["sum", "rows"], &["mean"], vec![]),
        node("Gemm", &["mean", "w2", "b2"], &["y"], vec![]),
    ];
    let mut network = graph(&SHAPE, nodes, "y");
    let drawn =
        [("w1", &[6, 3, 3, 3][..]), ("b1", &[6]), ("shift", &[64]), ("scale", &[64]), ("w2", &[64, 4]), ("b2", &[4])];
    let of_channels = [("channels", &[6][..]), ("groups", &[2]), ("b3", &[2]), ("token", &[1, 64])];
    for (number, (name, shape)) in drawn.into_iter().chain(of_channels).enumerate() {
        network.constants.insert(name.into(), weight(shape, number as u64));
    }
    network.constants.insert("rows".into(), Tensor::i64(&[1], &[0]));
    network.constants.insert("low".into(), Tensor::f32(&[], &[-0.1]));
    network.constants.insert("high".into(), Tensor::f32(&[], &[0.4]));
    let x = normal(LEN, 3);
    for score in [Score::Logit, Score::Probability] {
        let loaded = load(&network, &LoadOptions { score, ..LoadOptions::default() });
        let gap = |implicit| {
            let full = explained_by(&loaded, "fullgrad", &[("implicit", implicit)], &x);
            full.record.completeness.unwrap().relative_gap
        };
        assert!(gap("true") < 1e-4, "{}", gap("true"));
        assert!(gap("false") > 0.1, "the ops are not lines: {}", gap("false"));
    }
}

/// One unit has one slope between two points, which is what the gradient's mean along the way is.
#[test]
fn one_unit_has_one_slope() {
    let nodes = vec![
        node("Flatten", &["x"], &["f"], vec![]),
        node("Gemm", &["f", "w", "b"], &["z"], vec![]),
        node("Relu", &["z"], &["a"], vec![]),
        node("Gemm", &["a", "v"], &["y"], vec![]),
    ];
    let mut network = graph(&SHAPE, nodes, "y");
    network.constants.insert("w".into(), weight(&[LEN, 1], 1));
    network.constants.insert("b".into(), Tensor::f32(&[1], &[-3.0]));
    network.constants.insert("v".into(), Tensor::f32(&[1, 4], &[1.0, 0.5, 0.2, 0.1]));
    // A step is cut where the unit switches: 10,000 of them know the place to a ten-thousandth.
    let x: Vec<f32> = normal(LEN, 1).iter().map(|v| 0.2 * v).collect();
    let slopes = map(&network, "deeplift", &[], &x);
    assert!(slopes.iter().any(|v| *v != 0.0), "the unit is on at the input");
    assert_close("ig", &map(&network, "ig", &[("steps", "10000"), ("rule", "midpoint")], &x), &slopes, 1e-3);
    let found = map(&network, "ig", &[("rule", "adaptive"), ("steps", "60"), ("tolerance", "1e-5")], &x);
    assert_close("adaptive", &found, &slopes, 1e-3);
}

/// A unit's inputs times `s` and its outputs by `s` change nothing of the function, nor of what depends on it alone; and an
/// inserted identity changes nothing at all.
#[test]
fn what_does_not_change_the_function_does_not_change_the_maps() {
    let (plain, x) = (network(2, true), normal(LEN, 7));
    let mut scaled = plain.clone();
    let rescale = |graph: &mut Graph, name: &str, of: &dyn Fn(usize, f32) -> f32| {
        let tensor = graph.constants.get_mut(name).unwrap();
        let values: Vec<f32> = tensor.to_f32().unwrap().iter().enumerate().map(|(i, v)| of(i, *v)).collect();
        *tensor = Tensor::f32(&tensor.shape.clone(), &values);
    };
    // The second layer's sum has the shortcut in it, so that both are scaled by the same power of two, the dense layer back.
    for name in ["w1", "b1", "b2"] {
        rescale(&mut scaled, name, &|_, v| 4.0 * v);
    }
    rescale(&mut scaled, "w3", &|_, v| v / 4.0);
    let mut longer = plain.clone();
    longer.nodes.insert(1, Node { name: "same".into(), ..node("Identity", &["z1"], &["same"], vec![]) });
    longer.nodes[2].inputs[0] = "same".into();
    for method in METHODS.iter().map(|m| m.name).filter(|name| !["noisegrad", "fusiongrad", "rectgrad"].contains(name))
    {
        let given: &[(&str, &str)] = if method.contains("-cam") && method != "guided-grad-cam" && method != "score-cam"
        {
            &[("relu", "false")]
        } else {
            &[]
        };
        let map_of = |graph: &Graph| map(graph, method, given, &x);
        let expected = map_of(&plain);
        // FullGrad and CAM look at layers, whose own scale they see; so does what divides by the largest.
        let of_layers = ["fullgrad", "smooth-fullgrad", "eigen-cam", "grad-cam++", "score-cam"].contains(&method);
        if !of_layers {
            assert_close(method, &map_of(&scaled), &expected, 1e-3);
        }
        assert_eq!(map_of(&longer), expected, "{method}");
    }
}
