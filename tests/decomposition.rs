//! Relevance is conserved and differences add up, op by op and on whole models.

mod common;

use common::{ANYWHERE, assert_close, assert_shared, dot, graph, ints, node, normal, typed, weight};
use whyline_runtime::Error;
use whyline_runtime::engine::{PlanSession, Session, TractSession};
use whyline_runtime::gradient::composite::{self, Composite};
use whyline_runtime::gradient::{Bounds, COMPOSITES, Settings, Spec, differentiate};
use whyline_runtime::onnx::{Attr, Graph, Node, Tensor};

const SHAPE: [usize; 4] = [1, 4, 6, 6];
const LEN: usize = 144;

/// What comes to the input under a composite, from our kernels, which must agree with tract's executor.
fn passed(graph: Graph, composite: &'static Composite, settings: Settings, x: &[f32], baseline: &[f32]) -> Passed {
    let spec = Spec { composite, settings, ..Spec::default() };
    let derived = differentiate(&typed(graph).unwrap(), &spec).unwrap();
    let mut sessions: [Box<dyn Session>; 2] =
        [Box::new(PlanSession::new(&derived).unwrap()), Box::new(TractSession::new(&derived).unwrap())];
    let mut both = sessions.iter_mut().map(|session| {
        if derived.baseline.is_some() {
            session.set_baseline(baseline).unwrap();
        }
        let logits = session.forward(x).unwrap().to_vec();
        let seed = normal(logits.len(), 1000);
        assert_shared(composite.name, session.as_mut(), x, &seed);
        let before = session.forward(baseline).unwrap().to_vec();
        let to_input = session.gradient(x, &seed).unwrap().input.to_vec();
        let positive: Vec<f32> = logits.iter().map(|v| v.max(0.0)).collect();
        Passed { positive: dot(&positive, &seed), to_input, value: dot(&logits, &seed), before: dot(&before, &seed) }
    });
    let (ours, tracts) = (both.next().unwrap(), both.next().unwrap());
    // A slope over a small difference is a quotient of two roundings.
    let tolerance = if composite.kind == composite::Kind::Difference { 5e-4 } else { 1e-4 };
    assert_close(composite.name, &ours.to_input, &tracts.to_input, tolerance);
    ours
}

struct Passed {
    to_input: Vec<f32>,
    value: f64,
    before: f64,
    /// The value, of what of each logit is positive.
    positive: f64,
}

impl Passed {
    fn sum(&self) -> f64 {
        self.to_input.iter().map(|&v| v as f64).sum()
    }
}

/// One op of two inputs, both made of the model's, or of one.
fn small(op: &str, inputs: &[&str], constants: Vec<(&str, Tensor)>, attributes: Vec<(&str, Attr)>) -> Graph {
    let nodes = vec![
        node("Mul", &["x", "half"], &["a"], vec![]),
        node("Neg", &["x"], &["negative"], vec![]),
        node("Sigmoid", &["negative"], &["b"], vec![]),
        node(op, inputs, &["y"], attributes),
    ];
    let mut graph = graph(&SHAPE, nodes, "y");
    graph.constants.insert("half".into(), Tensor::scalar(0.5));
    graph.constants.extend(constants.into_iter().map(|(name, t)| (name.to_string(), t)));
    graph
}

fn unary(op: &str) -> Graph {
    small(op, &["x"], vec![], vec![])
}

/// Of three channels, strong enough to be seen.
fn response() -> Vec<(&'static str, Attr)> {
    vec![("size", Attr::Int(3)), ("alpha", Attr::Float(0.9)), ("beta", Attr::Float(0.75)), ("bias", Attr::Float(1.2))]
}

#[test]
fn differences_add_up_through_every_op() {
    let scalar = |v: f32| ("c", Tensor::scalar(v));
    let mut graphs: Vec<(String, Graph)> = ANYWHERE
        .into_iter()
        .chain(["Gelu", "Neg", "Softmax", "GlobalAveragePool"])
        .map(|op| (op.to_string(), unary(op)))
        .collect();
    let two = |op: &str| (op.to_string(), small(op, &["a", "b"], vec![], vec![]));
    graphs.extend(["Add", "Sub", "Mul", "Div", "MatMul"].map(two));
    let axis = vec![("axis", Attr::Int(-1))];
    let scale = |len: usize| vec![("scale", weight(&[len], 5)), ("shift", weight(&[len], 6))];
    let pool = vec![("kernel_shape", ints(&[3, 3])), ("strides", ints(&[2, 2]))];
    graphs.extend([
        ("Softmax over channels".into(), small("Softmax", &["x"], vec![], vec![("axis", Attr::Int(1))])),
        ("LayerNormalization".into(), small("LayerNormalization", &["x", "scale", "shift"], scale(6), axis)),
        ("InstanceNormalization".into(), small("InstanceNormalization", &["x", "scale", "shift"], scale(4), vec![])),
        (
            "GroupNormalization".into(),
            small("GroupNormalization", &["x", "scale", "shift"], scale(2), vec![("num_groups", Attr::Int(2))]),
        ),
        ("LRN".into(), small("LRN", &["x"], vec![], response())),
        ("MaxPool".into(), small("MaxPool", &["x"], vec![], pool)),
        ("Pow".into(), small("Pow", &["x", "c"], vec![scalar(2.0)], vec![])),
        ("Clip".into(), small("Clip", &["x", "low", "c"], vec![scalar(0.7), ("low", Tensor::scalar(-0.2))], vec![])),
        ("Div by a constant".into(), small("Div", &["c", "b"], vec![scalar(2.0)], vec![])),
        ("Einsum".into(), small("Einsum", &["a", "b"], vec![], vec![("equation", common::text("bchw,bchv->bcwv"))])),
    ]);
    for (name, graph) in graphs {
        let (x, baseline) = (normal(LEN, 1), normal(LEN, 2));
        let passed = passed(graph.clone(), &composite::RESCALE, Settings::default(), &x, &baseline);
        let moved: Vec<f32> = x.iter().zip(&baseline).map(|(x, b)| x - b).collect();
        let (sum, difference) = (dot(&passed.to_input, &moved), passed.value - passed.before);
        let size: f64 = passed.to_input.iter().zip(&moved).map(|(m, d)| (m * d).abs() as f64).sum();
        assert!((sum - difference).abs() < 1e-5 * size, "{name}: {sum} for {difference} of {size}");
        // Where input and baseline are the same, multipliers are the gradient.
        let still = self::passed(graph.clone(), &composite::RESCALE, Settings::default(), &x, &x);
        if name != "MaxPool" {
            let gradient = self::passed(graph, &composite::GRADIENT, Settings::default(), &x, &x);
            assert_close(&name, &still.to_input, &gradient.to_input, 1e-4);
        }
    }
}

/// Convolutions, Relu, pooling and a dense layer, with or without biases.
fn network(biased: bool) -> Graph {
    let conv = |x: &str, w: &str, b: &str, y: &str| {
        let inputs: &[&str] = if biased { &[x, w, b] } else { &[x, w] };
        node("Conv", inputs, &[y], vec![("pads", ints(&[1, 1, 1, 1])), ("kernel_shape", ints(&[3, 3]))])
    };
    let nodes: Vec<Node> = vec![
        conv("x", "w1", "b1", "z1"),
        node("Relu", &["z1"], &["a1"], vec![]),
        conv("a1", "w2", "b2", "z2"),
        node("Add", &["z2", "a1"], &["s2"], vec![]),
        node("Relu", &["s2"], &["a2"], vec![]),
        node("MaxPool", &["a2"], &["p2"], vec![("kernel_shape", ints(&[2, 2])), ("strides", ints(&[2, 2]))]),
        node("Flatten", &["p2"], &["f2"], vec![]),
        node("Gemm", if biased { &["f2", "w3", "b3"] } else { &["f2", "w3"] }, &["y"], vec![]),
    ];
    let mut graph = graph(&SHAPE, nodes, "y");
    let shapes: [(&str, &[usize]); 6] =
        [("w1", &[5, 4, 3, 3]), ("w2", &[5, 5, 3, 3]), ("w3", &[45, 3]), ("b1", &[5]), ("b2", &[5]), ("b3", &[3])];
    for (draw, (name, shape)) in shapes.into_iter().enumerate() {
        graph.constants.insert(name.into(), weight(shape, 10 + draw as u64));
    }
    graph
}

fn close(a: f64, b: f64, what: &str) {
    assert!((a - b).abs() <= 2e-4 * (a.abs() + b.abs()), "{what}: {a} for {b}");
}

#[test]
fn relevance_is_conserved_without_biases() {
    let (x, zero) = (normal(LEN, 3), vec![0.0; LEN]);
    // An epsilon that absorbs nothing, in float32, without dividing by zero.
    let settings = || Settings { epsilon: 1e-12, bounds: bounds(), ..Settings::default() };
    for composite in COMPOSITES.iter().filter(|c| matches!(c.kind, composite::Kind::Relevance(_))) {
        let passed = passed(network(false), composite, settings(), &x, &zero);
        match composite.name {
            // Weights alone give inactive units relevance, which has nowhere to go below.
            "flat" | "w-squared" => continue,
            "deep-taylor" => close(passed.sum(), passed.positive, composite.name),
            "excitation" => close(passed.sum(), normal(3, 1000).iter().map(|&v| v as f64).sum(), composite.name),
            _ => close(passed.sum(), passed.value, composite.name),
        }
    }
}

fn bounds() -> Bounds {
    Bounds { low: vec![-4.0], high: vec![4.0], axis: 1 }
}

/// A model that normalises its input itself has the relevance of one whose input is normalised already.
#[test]
fn what_normalises_the_input_is_no_part_of_the_network() {
    let (x, zero) = (normal(LEN, 3), vec![0.0; LEN]);
    let (mean, deviation) = (weight(&[1, 4, 1, 1], 31), weight(&[4, 1, 1], 32));
    let per_channel = |tensor: &Tensor| tensor.to_f32().unwrap();
    let (means, deviations) = (per_channel(&mean), per_channel(&deviation));
    let raw: Vec<f32> = x.iter().enumerate().map(|(i, v)| v * deviations[i / 36] + means[i / 36]).collect();
    let before = |nodes: Vec<Node>, constants: &[(&str, Tensor)]| {
        let mut graph = network(true);
        graph.nodes[0].inputs[0] = "normal".into();
        graph.nodes.splice(0..0, nodes);
        graph.constants.extend(constants.iter().map(|(name, tensor)| (name.to_string(), tensor.clone())));
        graph
    };
    let by_hand = || {
        let centre = node("Sub", &["x", "mean"], &["centred"], vec![]);
        let scale = node("Div", &["centred", "deviation"], &["normal"], vec![]);
        before(vec![centre, scale], &[("mean", mean.clone()), ("deviation", deviation.clone())])
    };
    let from_the_mean = || {
        let centre = node("Sub", &["mean", "x"], &["centred"], vec![]);
        let scale = node("Mul", &["centred", "factor"], &["normal"], vec![]);
        let factor: Vec<f32> = deviations.iter().map(|d| -1.0 / d).collect();
        before(vec![centre, scale], &[("mean", mean.clone()), ("factor", Tensor::f32(&[4, 1, 1], &factor))])
    };
    let by_batch_norm = || {
        let inverse: Vec<f32> = deviations.iter().map(|d| 1.0 / d).collect();
        let norm = node("BatchNormalization", &["x", "factor", "none", "mean", "one"], &["normal"], vec![]);
        let vector = |values: &[f32]| Tensor::f32(&[4], values);
        let constants = [
            ("factor", vector(&inverse)),
            ("none", vector(&[0.0; 4])),
            ("mean", vector(&means)),
            ("one", vector(&[1.0; 4])),
        ];
        before(vec![norm], &constants)
    };
    // Some deviations are negative, and turn bounds round.
    assert!(deviations.iter().any(|d| *d < 0.0) && deviations.iter().any(|d| *d > 0.0));
    let ends = |of: fn(f32, f32) -> f32| -> Vec<f32> {
        (0..4).map(|c| of(-4.0 * deviations[c], 5.0 * deviations[c]) + means[c]).collect()
    };
    let own =
        || Settings { bounds: Bounds { low: ends(f32::min), high: ends(f32::max), axis: 1 }, ..Settings::default() };
    // Not as far on one side as on the other.
    let plain = || Settings { bounds: Bounds { low: vec![-4.0], high: vec![5.0], axis: 1 }, ..Settings::default() };
    for composite in COMPOSITES.iter().filter(|c| c.first.is_some()) {
        let expected = passed(network(true), composite, plain(), &x, &zero);
        for graph in [by_hand(), from_the_mean(), by_batch_norm()] {
            let found = passed(graph, composite, own(), &raw, &zero);
            assert_close(composite.name, &found.to_input, &expected.to_input, 2e-3);
        }
    }
}

/// A layer that is normalised, with a bias of its own, has the relevance of one with those weights and that bias.
#[test]
fn normalisation_behind_a_layer_is_part_of_it() {
    let (x, zero) = (normal(LEN, 3), vec![0.0; LEN]);
    let values = |tensor: &Tensor| tensor.to_f32().unwrap();
    let [scale, shift, mean] = [50, 51, 52].map(|draw| weight(&[5], draw));
    let variance: Vec<f32> = normal(5, 53).iter().map(|v| v * v + 0.5).collect();
    let mut normalised = network(true);
    let inputs = ["z1", "scale", "shift", "mean", "variance"];
    normalised.nodes.insert(1, node("BatchNormalization", &inputs, &["n1"], vec![("epsilon", Attr::Float(0.1))]));
    normalised.nodes[2].inputs[0] = "n1".into();
    let slope: Vec<f32> = values(&scale).iter().zip(&variance).map(|(s, v)| s / (v + 0.1).sqrt()).collect();
    let mut plain = network(true);
    let weights: Vec<f32> = values(&plain.constants["w1"]).iter().enumerate().map(|(i, w)| w * slope[i / 36]).collect();
    let bias = (0..5).map(|c| (values(&plain.constants["b1"])[c] - values(&mean)[c]) * slope[c] + values(&shift)[c]);
    let bias: Vec<f32> = bias.collect();
    plain.constants.insert("w1".into(), Tensor::f32(&[5, 4, 3, 3], &weights));
    plain.constants.insert("b1".into(), Tensor::f32(&[5], &bias));
    let variance = Tensor::f32(&[5], &variance);
    let constants = [("scale", scale), ("shift", shift), ("mean", mean), ("variance", variance)];
    normalised.constants.extend(constants.map(|(name, tensor)| (name.to_string(), tensor)));
    for composite in COMPOSITES.iter().filter(|c| matches!(c.kind, composite::Kind::Relevance(_))) {
        let settings = || Settings { bounds: bounds(), ..Settings::default() };
        let found = passed(normalised.clone(), composite, settings(), &x, &zero);
        let expected = passed(plain.clone(), composite, settings(), &x, &zero);
        assert_close(composite.name, &found.to_input, &expected.to_input, 2e-3);
    }
}

#[test]
fn relevance_rules_meet_at_their_limits() {
    let (x, zero) = (normal(LEN, 3), vec![0.0; LEN]);
    let run = |composite: &'static Composite, settings: Settings| {
        passed(network(true), composite, settings, &x, &zero).to_input
    };
    let epsilon = run(&composite::EPSILON, Settings::default());
    // Of networks of Relu, the epsilon rule is the gradient times the input.
    let gradient = run(&composite::GRADIENT, Settings::default());
    let seed = normal(3, 1000);
    assert_eq!(seed.len(), 3);
    let times_input: Vec<f32> = gradient.iter().zip(&x).map(|(g, x)| g * x).collect();
    assert_close("epsilon", &epsilon, &times_input, 1e-3);
    assert_close(
        "gamma of zero",
        &run(&composite::GAMMA, Settings { gamma: 0.0, ..Settings::default() }),
        &epsilon,
        1e-3,
    );
    let z_plus = run(&composite::Z_PLUS, Settings::default());
    let alpha_one = run(&composite::ALPHA_BETA, Settings { alpha: 1.0, ..Settings::default() });
    assert_close("alpha of one", &alpha_one, &z_plus, 1e-6);
    let much = run(&composite::GAMMA, Settings { gamma: 1e4, ..Settings::default() });
    assert_ne!(much, epsilon);
    // Positive contributions alone: no sign changes on the way from each logit.
    let one = {
        let spec = Spec { composite: &composite::Z_PLUS, ..Spec::default() };
        let mut session = PlanSession::new(&differentiate(&typed(network(true)).unwrap(), &spec).unwrap()).unwrap();
        let logits = session.forward(&x).unwrap().to_vec();
        (session.gradient(&x, &[1.0, 0.0, 0.0]).unwrap().input.to_vec(), logits[0])
    };
    assert!(one.0.iter().all(|r| r * one.1 >= 0.0));
}

/// Queries, keys and values, a gate, a norm: everything that a transformer's block is made of.
fn block() -> Graph {
    let nodes = vec![
        node("LayerNormalization", &["x", "scale", "none"], &["n"], vec![("axis", Attr::Int(-1))]),
        node("MatMul", &["n", "wq"], &["q"], vec![]),
        node("MatMul", &["n", "wk"], &["k"], vec![]),
        node("MatMul", &["n", "wv"], &["v"], vec![]),
        node("Transpose", &["k"], &["kt"], vec![("perm", ints(&[0, 1, 3, 2]))]),
        node("MatMul", &["q", "kt"], &["scores"], vec![]),
        node("Softmax", &["scores"], &["weights"], vec![("axis", Attr::Int(-1))]),
        node("MatMul", &["weights", "v"], &["mixed"], vec![]),
        node("Add", &["mixed", "x"], &["sum"], vec![]),
        node("Sigmoid", &["sum"], &["gate"], vec![]),
        node("Mul", &["sum", "gate"], &["y"], vec![]),
    ];
    let mut graph = graph(&SHAPE, nodes, "y");
    for (draw, name) in ["wq", "wk", "wv"].into_iter().enumerate() {
        graph.constants.insert(name.into(), weight(&[6, 6], 20 + draw as u64));
    }
    graph.constants.insert("scale".into(), weight(&[6], 30));
    graph.constants.insert("none".into(), Tensor::f32(&[6], &[0.0; 6]));
    graph
}

#[test]
fn attention_norms_and_gates_conserve() {
    let (x, baseline) = (normal(LEN, 3), normal(LEN, 4));
    let relevance =
        passed(block(), &composite::EPSILON, Settings { epsilon: 1e-9, ..Settings::default() }, &x, &baseline);
    close(relevance.sum(), relevance.value, "epsilon");
    let multipliers = passed(block(), &composite::RESCALE, Settings::default(), &x, &baseline);
    let moved: Vec<f32> = x.iter().zip(&baseline).map(|(x, b)| x - b).collect();
    close(dot(&multipliers.to_input, &moved), multipliers.value - multipliers.before, "rescale");
}

/// Relevance through a norm goes by what is left when its divisor is a constant; nothing is lost where its shift is zero.
#[test]
fn norms_of_channels_conserve() {
    let norm = |op: &str, groups: i64, len: usize| {
        let nodes = vec![
            node("Conv", &["x", "w"], &["z"], vec![("kernel_shape", ints(&[3, 3]))]),
            node(op, &["z", "scale", "none"], &["n"], vec![("num_groups", Attr::Int(groups))]),
            node("Relu", &["n"], &["a"], vec![]),
            node("LRN", &["a"], &["y"], response()),
        ];
        let mut graph = graph(&SHAPE, nodes, "y");
        graph.constants.insert("w".into(), weight(&[6, 4, 3, 3], 40));
        graph.constants.insert("scale".into(), weight(&[len], 41));
        graph.constants.insert("none".into(), Tensor::f32(&[len], &vec![0.0; len]));
        graph
    };
    let x = normal(LEN, 3);
    for (op, groups, len) in
        [("InstanceNormalization", 6, 6), ("GroupNormalization", 2, 2), ("GroupNormalization", 3, 3)]
    {
        let settings = Settings { epsilon: 1e-9, ..Settings::default() };
        let relevance = passed(norm(op, groups, len), &composite::EPSILON, settings, &x, &x);
        close(relevance.sum(), relevance.value, op);
    }
}

/// The composites that tell apart what adds and what takes.
const APART: [&Composite; 2] = [&composite::REVEAL_CANCEL, &composite::REVEAL_CANCEL_DENSE];

#[test]
fn differences_in_two_parts_add_up() {
    let (x, baseline) = (normal(LEN, 3), normal(LEN, 4));
    let moved: Vec<f32> = x.iter().zip(&baseline).map(|(x, b)| x - b).collect();
    let bare = |op: &str| {
        let mut graph = network(true);
        graph.nodes.iter_mut().filter(|node| node.op == "Relu").for_each(|node| node.op = op.into());
        graph
    };
    let graphs = [("relu", bare("Relu")), ("leaky", bare("LeakyRelu")), ("abs", bare("Abs")), ("attention", block())];
    for (name, graph) in graphs {
        let rescale = passed(graph.clone(), &composite::RESCALE, Settings::default(), &x, &baseline);
        for composite in APART {
            let passed = passed(graph.clone(), composite, Settings::default(), &x, &baseline);
            close(dot(&passed.to_input, &moved), passed.value - passed.before, &format!("{name}, {}", composite.name));
            // The one dense layer of the network has nothing behind it.
            let same = name == "attention" || composite == &composite::REVEAL_CANCEL_DENSE;
            assert_eq!(same, passed.to_input == rescale.to_input, "{name}, {}", composite.name);
        }
    }
}

/// The lesser of two values, as `a - relu(a - b)`: a slope from a baseline sees only one of them.
#[test]
fn the_lesser_of_two_is_owed_to_both() {
    let nodes = vec![
        node("MatMul", &["x", "first"], &["a"], vec![]),
        node("MatMul", &["x", "apart"], &["z"], vec![]),
        node("Relu", &["z"], &["r"], vec![]),
        node("Sub", &["a", "r"], &["y"], vec![]),
    ];
    let mut graph = graph(&[1, 2], nodes, "y");
    graph.constants.insert("first".into(), Tensor::f32(&[2, 1], &[1.0, 0.0]));
    graph.constants.insert("apart".into(), Tensor::f32(&[2, 1], &[1.0, -1.0]));
    let multipliers = |composite: &'static Composite, x: [f32; 2]| {
        let derived = differentiate(&typed(graph.clone()).unwrap(), &Spec { composite, ..Spec::default() }).unwrap();
        let mut session = PlanSession::new(&derived).unwrap();
        session.set_baseline(&[0.0, 0.0]).unwrap();
        session.gradient(&x, &[1.0]).unwrap().input.to_vec()
    };
    for composite in APART {
        for x in [[3.0, 2.0], [1.0, 5.0], [2.0, 2.0]] {
            let given = multipliers(composite, x);
            let half = x[0].min(x[1]) / 2.0;
            assert_close(composite.name, &[given[0] * x[0], given[1] * x[1]], &[half, half], 1e-6);
        }
    }
    assert_eq!(multipliers(&composite::RESCALE, [3.0, 2.0]), [0.0, 1.0]);
}

#[test]
fn ops_without_a_rule_are_listed_when_the_model_is_loaded() {
    let nodes = vec![
        node("ReduceL2", &["x", "axes"], &["r"], vec![]),
        node("ReduceL1", &["x", "axes"], &["i"], vec![]),
        node("Mul", &["i", "r"], &["y"], vec![]),
    ];
    let mut graph = graph(&SHAPE, nodes, "y");
    graph.constants.insert("axes".into(), Tensor::ints(&[1]));
    let typed = typed(graph).unwrap();
    for composite in [&composite::RESCALE, &composite::EPSILON] {
        match differentiate(&typed, &Spec { composite, ..Spec::default() }) {
            Err(Error::NoAdjoint { gaps }) => {
                let ops: Vec<&str> = gaps.iter().map(|gap| gap.op.as_str()).collect();
                assert_eq!(ops, ["ReduceL2", "ReduceL1"]);
                assert!(gaps[0].reason.contains(composite.name), "{}", gaps[0].reason);
            }
            other => panic!("{:?}", other.map(|_| ())),
        }
    }
}
