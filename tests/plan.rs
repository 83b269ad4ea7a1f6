//! Plans of our kernels against tract's executor: whole models, and random operators large enough for every
//! kernel, on plain Rust and on this machine's best instruction set.

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::{assert_close, assert_incremental, assert_shared, graph, ints, node, normal, typed, weight};
use proptest::prelude::*;
use whyline_runtime::engine::{Bands, Isa, Packs, PlanSession, Plans, Precision, Resources, Session, TractSession};
use whyline_runtime::explain::Wanted;
use whyline_runtime::explain::{LoadOptions, Loaded};
use whyline_runtime::gradient::{GradientGraph, Spec, differentiate};
use whyline_runtime::onnx::{Attr, Change, DType, Graph, Node, Tensor};

/// Of the largest magnitude; Winograd's algorithm rounds more.
const TOLERANCE: f32 = 1e-5;
const WINOGRAD: f32 = 1e-4;

fn agrees(what: &str, derived: &GradientGraph, tolerance: f32) {
    let mut tract = TractSession::new(derived).unwrap();
    let x = normal(tract.input_shape().iter().product(), 5);
    let logits = tract.forward(&x).unwrap().to_vec();
    let seed = normal(logits.len(), 6);
    let gradient = tract.gradient(&x, &seed).unwrap().input.to_vec();
    for &isa in Isa::here() {
        let what = format!("{what}, {}", isa.name());
        let mut ours = session(derived, isa, Bands::default());
        assert_close(&format!("{what}: logits"), ours.forward(&x).unwrap(), &logits, tolerance);
        let both = ours.gradient(&x, &seed).unwrap();
        assert_close(&format!("{what}: logits of the gradient pass"), both.logits, &logits, tolerance);
        let first = both.input.to_vec();
        assert_close(&format!("{what}: gradient"), &first, &gradient, tolerance);
        assert_eq!(first, ours.gradient(&x, &seed).unwrap().input, "{what}: the second run gives another gradient");
        assert_shared(&what, &mut ours, &x, &seed);
        assert_incremental(&what, &mut ours, &x);
        for bands in [Bands::NONE, by_rows(1), by_rows(3)] {
            let mut other = session(derived, isa, bands);
            assert_eq!(other.forward(&x).unwrap(), ours.forward(&x).unwrap(), "{what}: logits by {bands:?}");
            assert_eq!(other.gradient(&x, &seed).unwrap().input, first, "{what}: gradient by {bands:?}");
            assert_shared(&what, &mut other, &x, &seed);
            assert_incremental(&what, &mut other, &x);
        }
    }
}

/// All steps that can go by rows together do, so many rows at a time.
fn by_rows(rows: usize) -> Bands {
    Bands { large: 1, most: usize::MAX, rows, places: 0 }
}

fn session(derived: &GradientGraph, isa: Isa, bands: Bands) -> PlanSession<'static> {
    let mut packs = Packs::new(Precision::F32, isa).with_bands(bands);
    PlanSession::of(Arc::new(Plans::keeping(derived, &mut packs).unwrap()), Resources::default()).unwrap()
}

/// The kernels of steps of a gradient pass that go by rows together.
fn together(session: &mut PlanSession, x: &[f32], seed: &[f32]) -> Vec<String> {
    let steps = session.profile_gradient(x, seed).unwrap();
    steps.into_iter().map(|step| step.kernel).filter(|kernel| kernel.contains(", ")).collect()
}

/// A graph's gradient with respect to `x`, and that every node has a kernel if it must.
fn all_kernels(graph: Graph) -> GradientGraph {
    let what = graph.nodes.iter().map(|n| n.op.as_str()).collect::<Vec<_>>().join(" ");
    let derived = differentiate(&typed(graph).unwrap(), &Spec::default()).unwrap();
    assert_eq!(Plans::new(&derived, Precision::F32).unwrap().fallbacks(), Vec::<String>::new(), "{what} runs on tract");
    derived
}

fn with_weights(mut graph: Graph, weights: Vec<(&str, Tensor)>) -> Graph {
    graph.constants.extend(weights.into_iter().map(|(name, t)| (name.to_string(), t)));
    graph
}

fn pair(a: usize, b: usize) -> Attr {
    ints(&[a as i64, b as i64])
}

#[test]
fn plans_of_the_trained_models_agree_with_tract() {
    let models: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models");
    for model in ["digits-cnn", "digits-vit"] {
        let loaded = Loaded::read(&models.join(model).with_extension("onnx"), &LoadOptions::default()).unwrap();
        agrees(model, &loaded.derive(&Wanted::default()).unwrap(), WINOGRAD);
    }
}

/// A residual block as networks have it: convolutions with an epilogue, clipping, an addition, a pool.
#[test]
fn residual_blocks_agree_with_tract() {
    let op = |op: &str, inputs: &[&str], output: &str| node(op, inputs, &[output], vec![]);
    let conv = |inputs: &[&str], output: &str| node("Conv", inputs, &[output], vec![("pads", ints(&[1, 1, 1, 1]))]);
    let pool = vec![("kernel_shape", pair(3, 3)), ("strides", pair(2, 2)), ("pads", ints(&[1, 1, 1, 1]))];
    let nodes = vec![
        conv(&["x", "w0", "b0"], "stem"),
        node("BatchNormalization", &["stem", "s", "b0", "m", "v"], &["normal"], vec![]),
        op("Relu", &["normal"], "first"),
        conv(&["first", "w1"], "inner"),
        node("BatchNormalization", &["inner", "s", "b0", "m", "v"], &["inner normal"], vec![]),
        op("Add", &["inner normal", "first"], "sum"),
        op("Relu", &["sum"], "second"),
        node("MaxPool", &["second"], &["pooled"], pool),
        op("HardSwish", &["pooled"], "swished"),
        op("GlobalAveragePool", &["swished"], "mean"),
        op("Flatten", &["mean"], "flat"),
        node("Gemm", &["flat", "wl", "bl"], &["y"], vec![("transB", Attr::Int(1))]),
    ];
    let positive = Tensor::f32(&[24], &normal(24, 6).iter().map(|v| v.abs() + 0.5).collect::<Vec<_>>());
    let vectors = ["b0", "m"].map(|n| (n, weight(&[24], 5)));
    let weights = [
        ("w0", weight(&[24, 3, 3, 3], 1)),
        ("w1", weight(&[24, 24, 3, 3], 2)),
        ("s", positive.clone()),
        ("v", positive),
        ("wl", weight(&[10, 24], 3)),
        ("bl", weight(&[10], 4)),
    ];
    let graph = graph(&[1, 3, 18, 17], nodes, "y");
    let derived = all_kernels(with_weights(graph, weights.into_iter().chain(vectors).collect()));
    agrees("a residual block", &derived, WINOGRAD);
}

/// Smooth activations as exporters write them; each reads `x` and writes `y`.
fn activations() -> Vec<(&'static str, Vec<Node>)> {
    let op = |op: &str, inputs: &[&str], output: &str| node(op, inputs, &[output], vec![]);
    let gate = |gate: &str| vec![op(gate, &["x"], "s"), op("Mul", &["x", "s"], "y")];
    let gelu = |last: &str| {
        let moved = op("Mul", &["x", "half"], "h");
        vec![op("Div", &["x", "root"], "d"), op("Erf", &["d"], "e"), op("Add", &["e", "one"], "p"), moved]
            .into_iter()
            .chain([op("Mul", &["h", "p"], last)])
            .collect::<Vec<_>>()
    };
    let halved = [&gelu("y")[..3], &[op("Mul", &["x", "p"], "h"), op("Mul", &["h", "half"], "y")]].concat();
    let mut quick = gate("Sigmoid");
    quick[0].inputs[0] = "m".into();
    quick.insert(0, op("Mul", &["x", "some"], "m"));
    let mut mish = gate("Tanh");
    mish[0].inputs[0] = "m".into();
    mish.insert(0, op("Softplus", &["x"], "m"));
    let twice = [gelu("z"), vec![op("Sigmoid", &["z"], "s"), op("Mul", &["s", "z"], "y")]].concat();
    // What an activation is made of is wanted elsewhere too.
    let shared = [gate("Sigmoid"), vec![op("Add", &["s", "x"], "t")]].concat();
    let shared = shared.into_iter().chain([op("Sin", &["t"], "u")]).collect::<Vec<_>>();
    let both = |nodes: Vec<Node>| {
        let mut nodes = nodes;
        let from = nodes.iter().position(|n| n.outputs[0] == "y").unwrap();
        nodes[from].outputs[0] = "first".into();
        nodes[from].name = "first".into();
        nodes.push(op("Mul", &["first", "u"], "y"));
        nodes
    };
    vec![
        ("swish", gate("Sigmoid")),
        ("quick gelu", quick),
        ("mish", mish),
        ("gelu", gelu("y")),
        ("gelu, halved last", halved),
        ("swish of gelu", twice),
        ("tanh", vec![op("Tanh", &["x"], "y")]),
        ("shared", both(shared)),
    ]
}

/// On images in blocks, as the epilogue of a convolution and alone, and on planes that end within a vector.
#[test]
fn smooth_activations_agree_with_tract() {
    let numbers = [("one", 1.0), ("half", 0.5), ("root", std::f32::consts::SQRT_2), ("some", 1.702)];
    for (name, nodes) in activations() {
        let rename = |(from, to): (&str, &str)| {
            let mut nodes = nodes.clone();
            let names = nodes.iter_mut().flat_map(|n| n.inputs.iter_mut().chain(&mut n.outputs));
            for value in names {
                match value.as_str() {
                    "x" => *value = from.into(),
                    "y" => *value = to.into(),
                    _ => {}
                }
            }
            nodes
        };
        let conv = |inputs: &[&str], output: &str| node("Conv", inputs, &[output], vec![]);
        let inside = [vec![conv(&["x", "w0"], "a")], rename(("a", "b")), vec![conv(&["b", "w1"], "logits")]].concat();
        let rectified = vec![conv(&["x", "w0"], "r"), node("Relu", &["r"], &["a"], vec![])];
        let behind = [rectified, rename(("a", "b")), vec![conv(&["b", "w1"], "logits")]].concat();
        let sum = vec![node("Sub", &["a", "b"], &["c"], vec![]), conv(&["c", "w1"], "logits")];
        let beside = [vec![conv(&["x", "w0"], "a")], rename(("a", "b")), sum].concat();
        let product = |inputs: &[&str], output: &str| node("MatMul", inputs, &[output], vec![]);
        let planes = [vec![product(&["x", "m0"], "a")], rename(("a", "b")), vec![product(&["b", "m1"], "logits")]];
        let forms =
            [(inside, [1, 5, 7, 9]), (behind, [1, 5, 7, 9]), (beside, [2, 5, 6, 5]), (planes.concat(), [1, 1, 7, 5])];
        for (nodes, shape) in forms {
            let weights = vec![
                ("w0", weight(&[20, 5, 1, 1], 1)),
                ("w1", weight(&[3, 20, 1, 1], 2)),
                ("m0", weight(&[5, 11], 3)),
                ("m1", weight(&[11, 4], 4)),
            ];
            let constants = numbers.map(|(name, value)| (name, Tensor::f32(&[], &[value])));
            let graph = with_weights(graph(&shape, nodes, "logits"), [weights, constants.to_vec()].concat());
            let derived = differentiate(&typed(graph).unwrap(), &Spec::default()).unwrap();
            agrees(&format!("{name} of {shape:?}"), &derived, TOLERANCE);
        }
    }
}

/// A product, a row added to it, and an activation with its slope are one step.
#[test]
fn activations_of_products_take_no_step_of_their_own() {
    let numbers =
        [("one", 1.0), ("half", 0.5), ("root", std::f32::consts::SQRT_2)].map(|(n, v)| (n, Tensor::scalar(v)));
    let product = |inputs: &[&str], output: &str| node("MatMul", inputs, &[output], vec![]);
    for (name, activation) in activations().into_iter().filter(|(name, _)| name.starts_with("gelu") || *name == "swish")
    {
        let mut nodes = activation;
        let read = nodes.iter_mut().flat_map(|n| &mut n.inputs).filter(|input| *input == "x");
        read.for_each(|input| *input = "b".into());
        nodes.splice(..0, [product(&["x", "m0"], "a"), node("Add", &["a", "row"], &["b"], vec![])]);
        nodes.push(product(&["y", "m1"], "logits"));
        let weights = vec![("m0", weight(&[5, 11], 3)), ("row", weight(&[11], 5)), ("m1", weight(&[11, 4], 4))];
        let graph = with_weights(graph(&[1, 1, 7, 5], nodes, "logits"), [weights, numbers.to_vec()].concat());
        let derived = all_kernels(graph);
        let steps = PlanSession::new(&derived).unwrap().profile_gradient(&normal(35, 5), &normal(28, 6)).unwrap();
        let kernels: Vec<_> = steps.iter().map(|step| step.kernel.as_str()).collect();
        assert_eq!(kernels, ["matmul"; 4], "{name}");
        agrees(name, &derived, TOLERANCE);
    }
}

/// What ops of one operand are in kernels, to be between convolutions.
const OF_ONE_OPERAND: [&str; 24] = [
    "Abs",
    "Ceil",
    "Cos",
    "Elu",
    "Erf",
    "Exp",
    "Floor",
    "HardSigmoid",
    "HardSwish",
    "LeakyRelu",
    "Log",
    "Neg",
    "Pow",
    "Reciprocal",
    "Relu",
    "Round",
    "Sigmoid",
    "Sign",
    "Sin",
    "Softplus",
    "Softsign",
    "Sqrt",
    "Tanh",
    "ThresholdedRelu",
];

/// Every such op has a kernel, and gives what it should beside lanes of no channel, though what is in these be where it is undefined.
#[test]
fn elementwise_ops_agree_with_tract_between_convolutions() {
    let conv = |inputs: &[&str], output: &str| node("Conv", inputs, &[output], vec![]);
    // An op sees values about a bias, moved so that lanes of zero come to lie beyond zero, and where exponentials are infinite.
    let moved = |bias: f32| [(0.0, 1.0), (-0.5 * bias, 1.0), (1.9 * bias, -1.0)].map(|by| (bias, by));
    for op in OF_ONE_OPERAND {
        let biases = if op == "Exp" { vec![2.0, 50.0] } else { vec![2.0] };
        for (channels, (bias, (add, times))) in
            [5, 16, 20].into_iter().flat_map(|c| biases.iter().flat_map(|&b| moved(b)).map(move |m| (c, m)))
        {
            let nodes = vec![
                conv(&["x", "w0", "bias"], "a"),
                node("Mul", &["a", "times"], &["b"], vec![]),
                node("Add", &["b", "add"], &["c"], vec![]),
                node(op, if op == "Pow" { &["c", "power"] } else { &["c"] }, &["d"], vec![]),
                // Not all of them have slopes.
                node("Add", &["c", "d"], &["e"], vec![]),
                conv(&["e", "w1"], "y"),
            ];
            let near: Vec<f32> = normal(channels * 3, 1).iter().map(|w| 0.1 * w).collect();
            let weights = vec![
                ("w0", Tensor::f32(&[channels, 3, 1, 1], &near)),
                ("bias", Tensor::f32(&[channels], &vec![bias; channels])),
                ("w1", weight(&[4, channels, 1, 1], 2)),
                ("times", Tensor::scalar(times)),
                ("add", Tensor::scalar(add)),
                ("power", Tensor::scalar(-1.5)),
            ];
            let derived = all_kernels(with_weights(graph(&[1, 3, 6, 7], nodes, "y"), weights));
            agrees(&format!("{op} of {channels} channels, about {bias} times {times} and {add}"), &derived, WINOGRAD);
        }
    }
}

/// The result of a convolution or of matrix products that is read twice, but in one tree alone, inside or at the end of which bits
/// are kept for a gradient; products also in parts that end within sixteen elements.
#[test]
fn trees_of_one_result_keep_their_bits() {
    let op = |op: &str, inputs: &[&str], output: &str| node(op, inputs, &[output], vec![]);
    let rectified = op("Relu", &["a"], "r");
    let trees = [
        ("Relu(a) + a", vec![rectified.clone(), op("Add", &["r", "a"], "z")]),
        // PReLU as Keras' converter has it.
        (
            "Relu(a) - 0.3 Relu(-a)",
            vec![
                rectified,
                op("Neg", &["a"], "n"),
                op("Relu", &["n"], "s"),
                op("Mul", &["s", "some"], "t"),
                op("Sub", &["r", "t"], "z"),
            ],
        ),
        ("Relu(a + 0.3 a)", vec![op("Mul", &["a", "some"], "s"), op("Add", &["a", "s"], "t"), op("Relu", &["t"], "z")]),
        (
            "Clip(swish(a), 0, 6) + 1",
            vec![
                op("Sigmoid", &["a"], "s"),
                op("Mul", &["a", "s"], "t"),
                op("Clip", &["t", "zero", "six"], "c"),
                op("Add", &["c", "some"], "z"),
            ],
        ),
    ];
    for (what, tree) in trees {
        for channels in [3, 5, 16] {
            let turned = node("Transpose", &["x"], &["xt"], vec![("perm", ints(&[0, 1, 3, 2]))]);
            let hosts = [
                ("a convolution", vec![op("Conv", &["x", "w"], "a")], [1, 3, 6, 7]),
                ("a long product", vec![op("MatMul", &["x", "m"], "a")], [1, 1, 300, 7]),
                ("several products", vec![turned, op("MatMul", &["x", "xt"], "a")], [1, 3, 7, channels]),
            ];
            for (host, first, shape) in hosts {
                let nodes = [first, tree.clone(), vec![op("Flatten", &["z"], "y")]].concat();
                let numbers = [("some", 0.3), ("zero", 0.0), ("six", 6.0)].map(|(name, v)| (name, Tensor::scalar(v)));
                let weights = vec![("w", weight(&[channels, 3, 1, 1], 1)), ("m", weight(&[7, channels], 2))];
                let weights = [weights, numbers.to_vec()].concat();
                let derived = all_kernels(with_weights(graph(&shape, nodes, "y"), weights));
                agrees(&format!("{what} of {host}, {channels} channels"), &derived, TOLERANCE);
            }
        }
    }
}

/// Both tiles of Winograd's algorithm, with whole and cut tiles on every side; sums that are cut into parts, and images that
/// are cut into strips, and these into rows.
#[test]
fn winograd_agrees_with_tract() {
    let small = [(4, 5), (5, 7), (7, 7), (8, 9), (13, 18)].map(|(h, w)| (h, w, 17, 33));
    for (h, w, ins, outs) in small.into_iter().chain([(6, 9, 150, 20), (45, 41, 17, 33)]) {
        for pads in [[0, 0, 0, 0], [1, 1, 1, 1], [2, 0, 1, 2]] {
            let (rows, columns) = (h + 2 - pads[0] - pads[2], w + 2 - pads[1] - pads[3]);
            let attributes = vec![("pads", ints(&pads.map(|p| p as i64)))];
            let weights = vec![weight(&[outs, ins, 3, 3], 1), weight(&[outs], 2)];
            let what = format!("Conv to {h} x {w}, pads {pads:?}");
            let derived = all_kernels(one("Conv", &[2, ins, rows, columns], weights, attributes));
            let mut session = PlanSession::new(&derived).unwrap();
            let x = normal(2 * ins * rows * columns, 5);
            let steps = session.profile_forward(&x).unwrap();
            assert!(steps.iter().any(|s| s.kernel == "winograd"), "{what} runs on {steps:?}");
            agrees(&what, &derived, WINOGRAD);
        }
    }
}

/// Convolutions of all kinds behind each other, a row or a few at a time: strides beyond the kernel, dilations, padding beyond
/// the input, several groups, planes between blocks, slopes and bits beside.
#[test]
fn convolutions_by_rows_agree_with_tract() {
    let conv = |op: &str, input: &str, output: &str, w: usize, more: Vec<(&str, Attr)>| {
        node(op, &[input, &format!("w{w}"), &format!("b{w}")], &[output], more)
    };
    let all = |name: &'static str, value: i64, len: usize| (name, ints(&vec![value; len]));
    let silu =
        |x: &str, y: &str| vec![node("Sigmoid", &[x], &["gate"], vec![]), node("Mul", &[x, "gate"], &[y], vec![])];
    let relu = |x: &str, y: &str| vec![node("Relu", &[x], &[y], vec![])];
    type Stack = (&'static str, usize, Vec<(Vec<Node>, [usize; 4], usize)>);
    let stacks: Vec<Stack> = vec![
        (
            "colours to colours",
            3,
            vec![
                (vec![conv("Conv", "x", "0", 0, vec![all("pads", 1, 4)])], [3, 3, 3, 3], 3),
                (vec![conv("Conv", "0", "y", 1, vec![all("strides", 2, 2)])], [32, 3, 3, 3], 32),
            ],
        ),
        (
            "back to colours between",
            20,
            vec![
                (vec![conv("Conv", "x", "0", 0, vec![])], [32, 20, 1, 1], 32),
                (vec![conv("ConvTranspose", "0", "1", 1, vec![all("strides", 2, 2)])], [32, 3, 2, 2], 3),
                (vec![conv("Conv", "1", "y", 2, vec![all("pads", 1, 4)])], [8, 3, 3, 3], 8),
            ],
        ),
        (
            "strides, dilations and bits",
            5,
            vec![
                (
                    [vec![conv("Conv", "x", "0", 0, vec![all("strides", 3, 2)])], relu("0", "a")].concat(),
                    [40, 5, 1, 1],
                    40,
                ),
                (
                    vec![conv(
                        "Conv",
                        "a",
                        "1",
                        1,
                        vec![all("pads", 2, 4), all("dilations", 2, 2), ("group", Attr::Int(40))],
                    )],
                    [40, 1, 3, 3],
                    40,
                ),
                (vec![conv("Conv", "1", "y", 2, vec![])], [17, 40, 1, 1], 17),
            ],
        ),
        (
            "slopes and wide padding",
            16,
            vec![
                ([vec![conv("Conv", "x", "0", 0, vec![])], silu("0", "a")].concat(), [48, 16, 1, 1], 48),
                (
                    [
                        vec![conv("Conv", "a", "1", 1, vec![all("pads", 4, 4), ("group", Attr::Int(48))])],
                        relu("1", "b"),
                    ]
                    .concat(),
                    [48, 1, 3, 3],
                    48,
                ),
                (vec![conv("Conv", "b", "y", 2, vec![])], [16, 48, 1, 1], 16),
            ],
        ),
        (
            "groups, and adjoints with strides",
            32,
            vec![
                (vec![conv("Conv", "x", "0", 0, vec![all("pads", 1, 4), ("group", Attr::Int(2))])], [32, 16, 3, 3], 32),
                (
                    vec![conv(
                        "Conv",
                        "0",
                        "1",
                        1,
                        vec![all("strides", 2, 2), all("pads", 2, 4), ("group", Attr::Int(32))],
                    )],
                    [32, 1, 5, 5],
                    32,
                ),
                (vec![conv("Conv", "1", "y", 2, vec![all("strides", 2, 2)])], [16, 32, 1, 1], 16),
            ],
        ),
    ];
    for (what, channels, layers) in stacks {
        for [height, width] in [[23, 16], [12, 29]] {
            let nodes = layers.iter().flat_map(|layer| layer.0.clone()).collect();
            let mut graph = graph(&[1, channels, height, width], nodes, "y");
            for (i, (_, shape, outputs)) in layers.iter().enumerate() {
                graph.constants.insert(format!("w{i}"), weight(shape, 2 * i as u64));
                graph.constants.insert(format!("b{i}"), weight(&[*outputs], 2 * i as u64 + 1));
            }
            let derived = all_kernels(graph);
            let mut session = session(&derived, Isa::best(), by_rows(1));
            let x = normal(channels * height * width, 5);
            let seed = normal(session.forward(&x).unwrap().len(), 6);
            let found = together(&mut session, &x, &seed);
            assert!(what.starts_with("colours") || found.len() >= 2, "{what}: {found:?}");
            agrees(what, &derived, WINOGRAD);
        }
    }
}

/// Inverted residual blocks as networks for small machines have them, so large that what is expanded goes by a few rows at a
/// time, in the forward and in the backward part. (The weights are ones with which no value lies so near a kink that rounding
/// decides.)
#[test]
fn inverted_residual_blocks_agree_with_tract() {
    let conv = |inputs: &[&str], output: &str, kernel: i64, stride: i64, group: i64| {
        let pads = ("pads", ints(&[kernel / 2; 4]));
        let attributes = vec![pads, ("strides", ints(&[stride; 2])), ("group", Attr::Int(group))];
        node("Conv", inputs, &[output], attributes)
    };
    let op = |op: &str, inputs: &[&str], output: &str| node(op, inputs, &[output], vec![]);
    let nodes = vec![
        conv(&["x", "w0", "b0"], "0", 3, 1, 1),
        op("Clip", &["0", "low", "high"], "a"),
        conv(&["a", "w1"], "1", 3, 2, 32),
        op("Relu", &["1"], "b"),
        conv(&["b", "w2", "b2"], "c", 1, 1, 1),
        conv(&["c", "w3", "b3"], "3", 1, 1, 1),
        op("Clip", &["3", "low", "high"], "d"),
        conv(&["d", "w4"], "4", 5, 1, 96),
        op("Relu", &["4"], "e"),
        conv(&["e", "w5"], "f", 1, 1, 1),
        op("Add", &["f", "c"], "sum"),
        op("GlobalAveragePool", &["sum"], "mean"),
        op("Flatten", &["mean"], "flat"),
        node("Gemm", &["flat", "wl"], &["y"], vec![("transB", Attr::Int(1))]),
    ];
    let weights = [
        ("w0", weight(&[32, 3, 3, 3], 1)),
        ("b0", weight(&[32], 12)),
        ("w1", weight(&[32, 1, 3, 3], 3)),
        ("w2", weight(&[16, 32, 1, 1], 4)),
        ("b2", weight(&[16], 5)),
        ("w3", weight(&[96, 16, 1, 1], 6)),
        ("b3", weight(&[96], 7)),
        ("w4", weight(&[96, 1, 5, 5], 8)),
        ("w5", weight(&[16, 96, 1, 1], 9)),
        ("wl", weight(&[4, 16], 10)),
        ("low", Tensor::f32(&[], &[-1.0])),
        ("high", Tensor::f32(&[], &[2.0])),
    ];
    for [height, width] in [[122, 117], [119, 126]] {
        let graph = graph(&[1, 3, height, width], nodes.clone(), "y");
        let derived = all_kernels(with_weights(graph, weights.to_vec()));
        let found = together(&mut PlanSession::new(&derived).unwrap(), &normal(3 * height * width, 5), &normal(4, 6));
        let block = "conv, depthwise, conv";
        assert_eq!(found, ["conv, depthwise", block, block, "depthwise, narrow conv"]);
        agrees("inverted residual blocks", &derived, TOLERANCE);
    }
}

/// Kernels of all widths over rows of all lengths: whole and cut tiles, at the ends and between them.
#[test]
fn depthwise_tiles_agree_with_tract() {
    for kernel in 1..11usize {
        let shared = [4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 23].map(|width| (1, width));
        for (stride, width) in shared.into_iter().chain([(2, 7), (2, 15), (2, 16), (2, 30), (3, 25)]) {
            let (same, odd) = (kernel / 2, kernel % 2);
            for (before, after) in
                [(same, same), (0, 0), (same, (same + odd).saturating_sub(1)), (1, kernel.saturating_sub(2))]
            {
                if width + before + after < kernel || after >= kernel.max(2) {
                    continue;
                }
                let (h, w) = ((3, stride, 1, 1, 1, 4), (kernel, stride, 1, before, after, width));
                let mut attributes = flags(h, w);
                attributes.push(("group", Attr::Int(17)));
                let weights = vec![weight(&[17, 1, 3, kernel], 1), weight(&[17], 2)];
                let derived = all_kernels(one("Conv", &[1, 17, 4, width], weights, attributes));
                agrees(&format!("depthwise Conv, {w:?}"), &derived, TOLERANCE);
            }
        }
    }
}

/// Planes whose rows are cut into strips, and taps that reach further than a vector is long.
#[test]
fn wide_planes_agree_with_tract() {
    for (width, kernel, stride, before, after) in [
        (253, 3, 1, 1, 1),
        (300, 5, 1, 0, 3),
        (520, 3, 2, 1, 0),
        (1031, 4, 3, 2, 1),
        (126, 3, 1, 1, 1),
        (90, 37, 1, 18, 18),
        (90, 70, 1, 0, 40),
        (90, 41, 2, 20, 3),
    ] {
        let (h, w) = ((2, 1, 1, 1, 0, 3), (kernel, stride, 1, before, after, width));
        let weights = vec![weight(&[18, 2, 2, kernel], 1), weight(&[18], 2)];
        let derived = all_kernels(one("Conv", &[1, 2, 3, width], weights, flags(h, w)));
        agrees(&format!("Conv of two planes, {w:?}"), &derived, TOLERANCE);
    }
}

/// Windows of as many taps as there are kernels for, and others; that reach over the end, or are dilated.
#[test]
fn max_pools_agree_with_tract() {
    for (h, w, ceil) in [
        ((2, 2, 1, 0, 0, 8), (2, 2, 1, 0, 0, 12), 0),
        ((3, 2, 1, 1, 1, 13), (3, 2, 1, 1, 1, 16), 0),
        ((3, 2, 1, 0, 0, 10), (3, 2, 1, 0, 0, 12), 1),
        ((3, 1, 1, 1, 1, 9), (3, 1, 1, 1, 1, 10), 0),
        ((3, 1, 2, 2, 2, 9), (3, 2, 2, 0, 1, 14), 0),
        ((2, 3, 1, 1, 0, 10), (4, 3, 1, 0, 2, 11), 1),
        ((3, 3, 1, 0, 0, 9), (1, 1, 1, 0, 0, 5), 0),
    ] {
        let mut attributes = flags(h, w);
        attributes.extend([("kernel_shape", pair(h.0, w.0)), ("ceil_mode", Attr::Int(ceil))]);
        let derived = all_kernels(one("MaxPool", &[1, 19, h.5, w.5], vec![], attributes));
        agrees(&format!("MaxPool, {h:?} {w:?}, ceil_mode {ceil}"), &derived, TOLERANCE);
    }
}

/// Convolutions of images, whose adjoints are the last of a network: patches, and kernels as large as the image.
#[test]
fn last_adjoints_agree_with_tract() {
    for (h, w) in [
        ((4, 4, 1, 0, 0, 20), (4, 4, 1, 0, 0, 32)),
        ((16, 16, 1, 0, 0, 33), (16, 16, 1, 0, 0, 50)),
        ((7, 2, 1, 3, 3, 19), (7, 2, 1, 3, 3, 34)),
        ((9, 1, 1, 0, 0, 9), (17, 1, 1, 0, 0, 17)),
        ((5, 3, 2, 4, 1, 18), (3, 4, 1, 0, 1, 21)),
    ] {
        let weights = vec![weight(&[18, 3, h.0, w.0], 1), weight(&[18], 2)];
        let derived = all_kernels(one("Conv", &[1, 3, h.5, w.5], weights, flags(h, w)));
        agrees(&format!("Conv of an image, {h:?} {w:?}"), &derived, TOLERANCE);
    }
}

/// Transposed convolutions with padding, and with rows and columns beyond what the kernel reaches.
#[test]
fn padded_transposed_convolutions_agree_with_tract() {
    for (kernel, stride, pads, beyond) in [
        (3, 2, [1, 1, 1, 1], [1, 1]),
        (4, 2, [1, 1, 1, 1], [0, 0]),
        (3, 1, [0, 1, 2, 1], [0, 0]),
        (2, 3, [0, 0, 0, 1], [1, 0]),
    ] {
        let mut attributes = vec![("strides", pair(stride, stride)), ("pads", ints(&pads))];
        attributes.push(("output_padding", ints(&beyond)));
        let weights = vec![weight(&[18, 21, kernel, kernel], 1), weight(&[21], 2)];
        let derived = all_kernels(one("ConvTranspose", &[1, 18, 7, 9], weights, attributes));
        agrees(&format!("ConvTranspose, {kernel} {stride} {pads:?} {beyond:?}"), &derived, WINOGRAD);
    }
}

/// Kernel, stride, dilation, pads before and after, and an extent.
type Window = (usize, usize, usize, usize, usize, usize);

fn window() -> impl Strategy<Value = Window> {
    (1usize..5, 1usize..4, 1usize..3).prop_flat_map(|(kernel, stride, dilation)| {
        let reach = (kernel - 1) * dilation + 1;
        (Just(kernel), Just(stride), Just(dilation), 0..kernel, 0..kernel, reach..reach + 16)
    })
}

/// Half of all windows are those of Winograd's algorithm.
fn usual_window() -> impl Strategy<Value = Window> {
    prop_oneof![window(), (8usize..23, 0usize..3, 0usize..3).prop_map(|(extent, a, b)| (3, 1, 1, a, b, extent))]
}

fn flags(h: Window, w: Window) -> Vec<(&'static str, Attr)> {
    let pads = [h.3, w.3, h.4, w.4].map(|p| p as i64);
    vec![("strides", pair(h.1, w.1)), ("dilations", pair(h.2, w.2)), ("pads", ints(&pads))]
}

fn one(op: &str, x: &[usize], weights: Vec<Tensor>, attributes: Vec<(&str, Attr)>) -> Graph {
    let names: Vec<String> = (0..weights.len()).map(|i| format!("w{i}")).collect();
    let inputs: Vec<&str> = std::iter::once("x").chain(names.iter().map(String::as_str)).collect();
    let nodes: Vec<Node> = vec![node(op, &inputs, &["y"], attributes)];
    with_weights(graph(x, nodes, "y"), names.iter().map(String::as_str).zip(weights).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_convolutions_agree(h in usual_window(), w in usual_window(), batch in 1usize..3, ins in 1usize..40, outs in 1usize..40) {
        let graph = one("Conv", &[batch, ins, h.5, w.5], vec![weight(&[outs, ins, h.0, w.0], 1), weight(&[outs], 2)], flags(h, w));
        agrees(&format!("Conv {batch} x {ins} to {outs}, {h:?} {w:?}"), &all_kernels(graph), WINOGRAD);
    }

    #[test]
    fn random_groups_agree(h in window(), w in window(), groups in 1usize..9, ins in prop::sample::select(vec![1usize, 2, 4, 8, 16]), outs in prop::sample::select(vec![1usize, 4, 16])) {
        let mut attributes = flags(h, w);
        attributes.push(("group", Attr::Int(groups as i64)));
        let graph = one("Conv", &[1, groups * ins, h.5, w.5], vec![weight(&[groups * outs, ins, h.0, w.0], 1)], attributes);
        let derived = differentiate(&typed(graph).unwrap(), &Spec::default()).unwrap();
        agrees(&format!("Conv in {groups} groups of {ins} to {outs}, {h:?} {w:?}"), &derived, TOLERANCE);
    }

    #[test]
    fn random_depthwise_convolutions_agree(h in window(), w in window(), channels in 2usize..40) {
        let mut attributes = flags(h, w);
        attributes.push(("group", Attr::Int(channels as i64)));
        let graph = one("Conv", &[1, channels, h.5, w.5], vec![weight(&[channels, 1, h.0, w.0], 1), weight(&[channels], 2)], attributes);
        agrees(&format!("depthwise Conv of {channels}, {h:?} {w:?}"), &all_kernels(graph), TOLERANCE);
    }

    #[test]
    fn random_transposed_convolutions_agree(h in window(), w in window(), ins in 1usize..40, outs in 1usize..40) {
        let attributes = flags((h.0, h.1, h.2, 0, 0, 0), (w.0, w.1, w.2, 0, 0, 0));
        let graph = one("ConvTranspose", &[1, ins, h.5, w.5], vec![weight(&[ins, outs, h.0, w.0], 1), weight(&[outs], 2)], attributes);
        agrees(&format!("ConvTranspose {ins} to {outs}, {h:?} {w:?}"), &all_kernels(graph), WINOGRAD);
    }

    #[test]
    fn random_max_pools_agree(h in window(), w in window(), channels in 1usize..40) {
        let mut attributes = flags(h, w);
        attributes.push(("kernel_shape", pair(h.0, w.0)));
        let graph = one("MaxPool", &[1, channels, h.5, w.5], vec![], attributes);
        agrees(&format!("MaxPool of {channels}, {h:?} {w:?}"), &all_kernels(graph), TOLERANCE);
    }

    #[test]
    fn random_products_agree(batch in 1usize..4, rows in 1usize..30, depth in 1usize..300, columns in 1usize..40) {
        let graph = one("MatMul", &[batch, rows, depth], vec![weight(&[depth, columns], 1)], vec![]);
        agrees(&format!("MatMul {batch} x {rows} x {depth} x {columns}"), &all_kernels(graph), TOLERANCE);
    }
}

/// Means over rows, columns, or all of several matrices: adjoints that are repeated in front of a product, or of several.
#[test]
fn means_of_products_agree_with_tract() {
    let op = |op: &str, inputs: &[&str], output: &str| node(op, inputs, &[output], vec![]);
    let mean = |axes: &[i64], keeps: i64| {
        node("ReduceMean", &["z"], &["y"], vec![("axes", ints(axes)), ("keepdims", Attr::Int(keeps))])
    };
    let forms = [
        ("x w", vec![op("MatMul", &["x", "w"], "z")]),
        ("w' x", vec![op("MatMul", &["v", "x"], "z")]),
        ("x w + b", vec![op("MatMul", &["x", "w"], "a"), op("Add", &["a", "b"], "z")]),
        ("x w u", vec![op("MatMul", &["x", "w"], "a"), op("MatMul", &["a", "u"], "z")]),
        (
            "(x w)'",
            vec![op("MatMul", &["x", "w"], "a"), node("Transpose", &["a"], &["z"], vec![("perm", ints(&[0, 2, 1]))])],
        ),
        ("relu(x w) u", vec![op("MatMul", &["x", "w"], "a"), op("Relu", &["a"], "r"), op("MatMul", &["r", "u"], "z")]),
        ("x w, reshaped", vec![op("MatMul", &["x", "w"], "a"), op("Reshape", &["a", "other"], "z")]),
    ];
    for (what, nodes) in forms {
        for (axes, keeps) in [(&[1i64][..], 0), (&[2], 0), (&[1, 2], 1), (&[0], 0), (&[0, 1], 1)] {
            let graph = graph(&[2, 6, 6], [nodes.clone(), vec![mean(axes, keeps)]].concat(), "y");
            let square = |seed| weight(&[6, 6], seed);
            let weights = vec![
                ("w", square(1)),
                ("u", square(2)),
                ("v", weight(&[2, 6, 6], 3)),
                ("b", weight(&[6], 4)),
                ("other", Tensor::ints(&[2, 3, 12])),
            ];
            let derived =
                differentiate(&typed(with_weights(Graph { opset: 17, ..graph }, weights)).unwrap(), &Spec::default());
            agrees(&format!("mean of {what} over {axes:?}"), &derived.unwrap(), TOLERANCE);
        }
    }
}

/// Rows, columns, a number and a whole matrix, where both extents are the same and where they are not.
#[test]
fn what_a_gemm_adds_is_told_by_its_shape() {
    for [rows, columns] in [[3, 3], [3, 4], [1, 3], [3, 1], [1, 1]] {
        for shape in [&[columns][..], &[1, columns], &[rows, 1], &[rows, columns], &[1], &[1, 1], &[]] {
            let add = node("Gemm", &["x", "w", "c"], &["y"], vec![]);
            let weights = vec![("w", weight(&[5, columns], 1)), ("c", weight(shape, 2))];
            let derived = differentiate(
                &typed(with_weights(graph(&[rows, 5], vec![add], "y"), weights)).unwrap(),
                &Spec::default(),
            );
            agrees(&format!("{rows} x {columns} and {shape:?}"), &derived.unwrap(), TOLERANCE);
        }
    }
}

/// Matrices with rows and columns exchanged, on either side of a product or both; and where they are wanted as such.
#[test]
fn products_read_transposed_matrices() {
    let op = |op: &str, inputs: &[&str], output: &str| node(op, inputs, &[output], vec![]);
    let turned = |from: &str, to: &str| node("Transpose", &[from], &[to], vec![("perm", ints(&[0, 2, 1]))]);
    let forms = [
        ("x' w", vec![turned("x", "t"), op("MatMul", &["t", "w"], "y")]),
        ("x' x", vec![turned("x", "t"), op("MatMul", &["t", "x"], "y")]),
        ("x x'", vec![turned("x", "t"), op("MatMul", &["x", "t"], "y")]),
        ("x' x''", vec![turned("x", "t"), turned("t", "u"), op("MatMul", &["t", "u"], "y")]),
        ("relu(x') w", vec![turned("x", "t"), op("Relu", &["t"], "r"), op("MatMul", &["r", "w"], "y")]),
        ("(x' w)'", vec![turned("x", "t"), op("MatMul", &["t", "w"], "z"), turned("z", "y")]),
    ];
    for (what, nodes) in &forms {
        for [batch, rows, depth] in [[1, 1, 5], [2, 3, 16], [3, 17, 33], [1, 260, 4], [2, 5, 270]] {
            let graph = graph(&[batch, depth, rows], nodes.clone(), "y");
            let derived = all_kernels(with_weights(graph, vec![("w", weight(&[depth, 19], 1))]));
            agrees(&format!("{what}, {batch} x {rows} x {depth}"), &derived, TOLERANCE);
        }
    }
    for ((what, nodes), len) in forms[1..3].iter().zip([2 * 11 * 11, 2 * 9 * 9]) {
        let derived = all_kernels(graph(&[2, 9, 11], nodes.clone(), "y"));
        let steps = PlanSession::new(&derived).unwrap().profile_gradient(&normal(198, 5), &normal(len, 6)).unwrap();
        // The sum of the cotangents of both.
        assert_eq!(steps.iter().filter(|step| step.kernel == "move").count(), 1, "{what}: {steps:?}");
    }
}

/// Attention as exporters write it: queries, keys and values are read where one product has left them, by heads, and scaled on
/// the way. What remains to be moved is what the heads have made of them.
#[test]
fn attention_reads_its_operands_where_they_are() {
    let op = |op: &str, inputs: &[&str], output: &str| node(op, inputs, &[output], vec![]);
    let turned = |from: &str, to: &str, perm: &[i64]| node("Transpose", &[from], &[to], vec![("perm", ints(perm))]);
    let along = |axis| vec![("axis", Attr::Int(axis))];
    let gathers = || {
        let parts = [("zero", "q"), ("one", "k"), ("two", "v")];
        let part = |(which, part): (&str, &str)| node("Gather", &["t", which], &[part], along(0));
        [vec![op("Reshape", &["a", "parts"], "r"), turned("r", "t", &[2, 0, 3, 1, 4])], parts.map(part).to_vec()]
            .concat()
    };
    let splits = || {
        let heads = |from: &str, split: &str, to: &str| {
            vec![op("Reshape", &[from, "heads"], split), turned(split, to, &[0, 2, 1, 3])]
        };
        let split = vec![node("Split", &["a", "thirds"], &["a0", "a1", "a2"], along(2))];
        [split, heads("a0", "s0", "q"), heads("a1", "s1", "k"), heads("a2", "s2", "v")].concat()
    };
    let slices = || {
        let part = |first: &str, end: &str, part: &str| op("Slice", &["t", first, end, "axis"], part);
        let parts = [part("at0", "at1", "p0"), part("at1", "at2", "p1"), part("at2", "at3", "p2")];
        let all = vec![op("Reshape", &["a", "parts"], "r"), turned("r", "t", &[0, 2, 3, 1, 4])];
        let one = |from: &str, to: &str| op("Squeeze", &[from, "axis"], to);
        [all, parts.to_vec(), vec![one("p0", "q"), one("p1", "k"), one("p2", "v")]].concat()
    };
    let scaled_behind =
        vec![op("Mul", &["q", "scale"], "qs"), turned("k", "kt", &[0, 1, 3, 2]), op("Mul", &["scale", "kt"], "ks")];
    let scaled_before =
        vec![op("Mul", &["scale", "k"], "k1"), turned("k1", "ks", &[0, 1, 3, 2]), op("Identity", &["q"], "qs")];
    for (form, parts) in [("gathers", gathers()), ("splits", splits()), ("slices", slices())] {
        for (scaled, scales) in [("behind", &scaled_behind), ("before", &scaled_before)] {
            for [tokens, heads, lanes] in [[1, 1, 1], [5, 2, 4], [3, 3, 16], [17, 2, 33], [260, 1, 8]] {
                let (t, h, d) = (tokens as i64, heads as i64, lanes as i64);
                let scores = vec![op("MatMul", &["qs", "ks"], "m"), node("Softmax", &["m"], &["p"], along(-1))];
                let tail = vec![
                    op("MatMul", &["p", "v"], "o"),
                    turned("o", "ot", &[0, 2, 1, 3]),
                    op("Reshape", &["ot", "tokens"], "j"),
                    op("MatMul", &["j", "u"], "y"),
                ];
                let nodes =
                    [vec![op("MatMul", &["x", "w"], "a")], parts.clone(), scales.clone(), scores, tail].concat();
                let weights = vec![
                    ("w", weight(&[6, 3 * heads * lanes], 1)),
                    ("u", weight(&[heads * lanes, 7], 2)),
                    ("scale", Tensor::scalar(0.7)),
                    ("parts", Tensor::ints(&[1, t, 3, h, d])),
                    ("heads", Tensor::ints(&[1, t, h, d])),
                    ("tokens", Tensor::ints(&[1, t, h * d])),
                    ("thirds", Tensor::ints(&[h * d; 3])),
                    ("zero", Tensor::i64(&[], &[0])),
                    ("one", Tensor::i64(&[], &[1])),
                    ("two", Tensor::i64(&[], &[-1])),
                    ("axis", Tensor::ints(&[1])),
                    ("at0", Tensor::ints(&[0])),
                    ("at1", Tensor::ints(&[1])),
                    ("at2", Tensor::ints(&[2])),
                    ("at3", Tensor::ints(&[3])),
                ];
                let what = format!("{form}, scaled {scaled}, {tokens} x {heads} x {lanes}");
                let derived = all_kernels(with_weights(graph(&[1, tokens, 6], nodes, "y"), weights));
                agrees(&what, &derived, TOLERANCE);
                let steps = PlanSession::new(&derived).unwrap().profile_forward(&normal(6 * tokens, 5)).unwrap();
                let moves = steps.iter().filter(|step| !["matmul", "softmax"].contains(&step.kernel.as_str())).count();
                assert_eq!(moves, usize::from(tokens > 1 && heads > 1), "{what}: {steps:?}");
            }
        }
    }
}

/// Views that others read as well, that are joined, that are of a view whose lines lie apart, and scaled more than once.
#[test]
fn views_are_moved_for_those_who_want_it() {
    let op = |op: &str, inputs: &[&str], output: &str| node(op, inputs, &[output], vec![]);
    let turned = |from: &str, to: &str, perm: &[i64]| node("Transpose", &[from], &[to], vec![("perm", ints(perm))]);
    let every_other = |from: &str, to: &str| op("Slice", &[from, "first", "end", "axis", "two"], to);
    let forms = [
        (
            "read by a sum, too",
            vec![
                turned("x", "t", &[0, 2, 1]),
                op("MatMul", &["t", "w"], "m"),
                op("Relu", &["t"], "r"),
                op("MatMul", &["r", "w"], "n"),
                op("Add", &["m", "n"], "y"),
            ],
        ),
        (
            "scaled twice",
            vec![
                turned("x", "t", &[0, 2, 1]),
                op("Mul", &["t", "scale"], "a"),
                op("Mul", &["a", "scale"], "b"),
                op("MatMul", &["b", "w"], "y"),
            ],
        ),
        (
            "scaled, turned, scaled",
            vec![
                op("Mul", &["x", "scale"], "a"),
                turned("a", "t", &[0, 2, 1]),
                op("Mul", &["t", "scale"], "b"),
                op("MatMul", &["b", "w"], "y"),
            ],
        ),
        (
            "scaled and joined",
            vec![
                op("Sin", &["x"], "s"),
                turned("s", "t", &[0, 2, 1]),
                op("Mul", &["t", "scale"], "a"),
                node("Concat", &["a", "t"], &["y"], vec![("axis", Attr::Int(1))]),
            ],
        ),
        (
            "joined to itself",
            vec![turned("x", "t", &[0, 2, 1]), node("Concat", &["t", "t", "x"], &["y"], vec![("axis", Attr::Int(2))])],
        ),
        ("every other column", vec![every_other("x", "e"), op("MatMul", &["e", "v"], "y")]),
        (
            "every other row",
            vec![
                turned("x", "t", &[0, 2, 1]),
                every_other("t", "e"),
                turned("e", "o", &[0, 2, 1]),
                op("MatMul", &["o", "w"], "y"),
            ],
        ),
        ("an output", vec![op("Relu", &["x"], "r"), turned("r", "y", &[0, 2, 1])]),
        ("scaled, an output", vec![op("Mul", &["x", "scale"], "a"), turned("a", "y", &[0, 2, 1])]),
        (
            "matrices that change places",
            vec![op("Reshape", &["x", "split"], "r"), turned("r", "t", &[0, 2, 1, 3]), op("MatMul", &["t", "w"], "y")],
        ),
        (
            "rows of several matrices",
            vec![
                op("Reshape", &["x", "split"], "r"),
                turned("r", "t", &[0, 1, 3, 2]),
                op("MatMul", &["t", "u"], "m"),
                op("Reshape", &["m", "all"], "y"),
            ],
        ),
    ];
    for (what, nodes) in forms {
        let weights = vec![
            ("w", weight(&[6, 5], 1)),
            ("u", weight(&[3, 5], 2)),
            ("v", weight(&[3, 5], 3)),
            ("scale", Tensor::scalar(0.3)),
            ("first", Tensor::ints(&[1])),
            ("end", Tensor::ints(&[6])),
            ("axis", Tensor::ints(&[2])),
            ("two", Tensor::ints(&[2])),
            ("split", Tensor::ints(&[2, 2, 3, 6])),
            ("all", Tensor::ints(&[1, -1])),
        ];
        agrees(what, &all_kernels(with_weights(graph(&[2, 6, 6], nodes, "y"), weights)), TOLERANCE);
    }
}

/// What many readers want moved is moved once, and a small part of a value does not keep all of it.
#[test]
fn views_cost_no_more_than_moves() {
    let op = |op: &str, inputs: &[&str], output: &str| node(op, inputs, &[output], vec![]);
    let moves = |what: &str, x: [usize; 3], nodes: Vec<Node>, weights| {
        let derived = all_kernels(with_weights(graph(&x, nodes, "y"), weights));
        agrees(what, &derived, TOLERANCE);
        let len = x.iter().product();
        let steps = PlanSession::new(&derived).unwrap().profile_forward(&normal(len, 5)).unwrap();
        steps.iter().filter(|step| step.kernel == "move").count()
    };
    let turned = node("Transpose", &["x"], &["t"], vec![("perm", ints(&[0, 2, 1]))]);
    // Of several shapes: what is the same throughout tract refuses.
    let read = |[shape, reshaped, soft, flat]: [&str; 4]| {
        let soft_of = node("Softmax", &[reshaped], &[soft], vec![("axis", Attr::Int(-1))]);
        [op("Reshape", &["t", shape], reshaped), soft_of, op("Flatten", &[soft], flat)]
    };
    let reads = [["sh0", "r0", "s0", "f0"], ["sh1", "r1", "s1", "f1"], ["sh2", "r2", "s2", "f2"]].map(read);
    let sums = vec![op("Add", &["f0", "f1"], "a"), op("Add", &["a", "f2"], "y")];
    let several = [vec![turned], reads.concat(), sums].concat();
    let shape = |name, rows| (name, Tensor::ints(&[1, rows, 84 / rows]));
    let shapes = vec![shape("sh0", 6), shape("sh1", 14), shape("sh2", 21)];
    assert_eq!(moves("reshapes of one", [1, 7, 12], several, shapes), 1);
    for (rows, moved) in [(8, 0), (5, 1)] {
        let nodes = vec![
            op("Sin", &["x"], "v"),
            op("Slice", &["v", "first", "end", "axis"], "k"),
            op("MatMul", &["k", "w"], "y"),
        ];
        let number = |v| Tensor::ints(&[v]);
        let weights =
            vec![("first", number(3)), ("end", number(3 + rows)), ("axis", number(1)), ("w", weight(&[6, 5], 1))];
        assert_eq!(moves("a slice", [1, 24, 6], nodes, weights), moved, "{rows} of 24 rows");
    }
}

/// Models in which some layers are shuffled share the packed weights of all others, and give what they give alone.
#[test]
fn plans_share_the_weights_of_layers_that_are_the_same() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/digits-cnn.onnx");
    let loaded = Loaded::read(&path, &LoadOptions::default()).unwrap();
    let shuffled = |layers| Wanted { changes: vec![Change::Shuffled { layers, seed: 1 }], ..Wanted::default() };
    let mut packs = Packs::new(Precision::F32, Isa::best());
    let mut plans = |wanted: &Wanted| Arc::new(Plans::sharing(&loaded.derive(wanted).unwrap(), &mut packs).unwrap());
    let own = plans(&Wanted::default());
    assert_eq!(own.weights(), plans(&Wanted::default()).weights());
    let count = loaded.layers();
    let top = shuffled(count - 2..count);
    let other = plans(&top);
    let (whole, places) = (own.memory().weights, own.weights());
    let fresh: usize = other.weights().iter().filter(|(at, _)| !places.contains_key(at)).map(|(_, bytes)| bytes).sum();
    assert_eq!(other.memory().weights, whole);
    assert!(fresh > 0 && fresh < whole / 4, "{fresh} of {whole} bytes are packed again");
    let x = normal(loaded.input_shape().unwrap().iter().product(), 3);
    let seed = normal(loaded.classes().unwrap(), 4);
    let gradient = |plans| {
        let mut session = PlanSession::of(plans, Resources::default()).unwrap();
        session.gradient(&x, &seed).unwrap().input.to_vec()
    };
    let alone = gradient(Arc::new(Plans::new(&loaded.derive(&top).unwrap(), Precision::F32).unwrap()));
    assert_eq!(gradient(other), alone);
    assert_ne!(gradient(own), alone);
}

/// Truth and whole numbers between floats, which chains read as numbers and tract computes in types of its own.
#[test]
fn gates_of_other_types_agree_with_tract() {
    let gate = |to: i64| {
        let nodes = vec![
            node("Greater", &["x", "zero"], &["above"], vec![]),
            node("Cast", &["above"], &["number"], vec![("to", Attr::Int(to))]),
            node("Cast", &["number"], &["gate"], vec![("to", Attr::Int(1))]),
            node("Mul", &["x", "gate"], &["m"], vec![]),
            node("Flatten", &["m"], &["y"], vec![]),
        ];
        with_weights(graph(&[1, 3, 5, 5], nodes, "y"), vec![("zero", Tensor::scalar(0.0))])
    };
    for to in [6, 7] {
        agrees(
            &format!("a gate of type {to}"),
            &differentiate(&typed(gate(to)).unwrap(), &Spec::default()).unwrap(),
            1e-5,
        );
    }
    // Channels, or all of them, chosen by a constant.
    for (shape, truth) in [(vec![1, 20, 1, 1], (0..20).map(|i| u8::from(i % 3 == 0)).collect()), (vec![], vec![1u8])] {
        let nodes = vec![
            node("Conv", &["x", "w"], &["c"], vec![("pads", ints(&[1; 4]))]),
            node("Where", &["truth", "x", "c"], &["m"], vec![]),
            node("Conv", &["m", "w"], &["d"], vec![("pads", ints(&[1; 4]))]),
            node("Flatten", &["d"], &["y"], vec![]),
        ];
        let mut graph = with_weights(graph(&[1, 20, 6, 6], nodes, "y"), vec![("w", weight(&[20, 20, 3, 3], 1))]);
        graph.constants.insert("truth".into(), Tensor::from_bytes(DType::Bool, &shape, truth).unwrap());
        let what = format!("chosen by {shape:?}");
        agrees(&what, &differentiate(&typed(graph).unwrap(), &Spec::default()).unwrap(), 1e-4);
    }
}

/// Weights that are standardised by a BatchNormalization in training mode, as NF-Nets have them, are constants.
#[test]
fn weights_may_be_standardised_in_the_graph() {
    let training = vec![("training_mode", Attr::Int(1)), ("epsilon", Attr::Float(1e-3))];
    let nodes = vec![
        node("Reshape", &["w", "flat"], &["rows"], vec![]),
        node("BatchNormalization", &["rows", "scale", "zero", "zero", "one"], &["standard", "a", "b"], training),
        node("Reshape", &["standard", "back"], &["v"], vec![]),
        node("Conv", &["x", "v"], &["c"], vec![]),
        node("Flatten", &["c"], &["y"], vec![]),
    ];
    let weights = vec![
        ("w", weight(&[4, 3, 3, 3], 1)),
        ("flat", Tensor::ints(&[1, 4, -1])),
        ("back", Tensor::ints(&[4, 3, 3, 3])),
        ("scale", Tensor::f32(&[4], &[1.0, 0.5, 2.0, -1.0])),
        ("zero", Tensor::f32(&[4], &[0.0; 4])),
        ("one", Tensor::f32(&[4], &[1.0; 4])),
    ];
    let own = weights[0].1.to_f32().unwrap();
    let derived =
        differentiate(&typed(with_weights(graph(&[1, 3, 3, 3], nodes, "y"), weights)).unwrap(), &Spec::default());
    let mut session = PlanSession::new(&derived.unwrap()).unwrap();
    let gradient = session.gradient(&normal(27, 2), &[0.0, 0.0, 1.0, 0.0]).unwrap().input.to_vec();
    let row = &own[54..81];
    let mean = row.iter().sum::<f32>() / 27.0;
    let variance = row.iter().map(|w| (w - mean).powi(2)).sum::<f32>() / 27.0;
    let expected: Vec<f32> = row.iter().map(|w| 2.0 * (w - mean) / (variance + 1e-3).sqrt()).collect();
    assert_close("standardised", &gradient, &expected, 1e-5);
}

/// A mean of so many numbers that a running sum of them would be off in its sixth digit.
#[test]
fn long_rows_are_added_up_in_parts() {
    let nodes = vec![node("ReduceMean", &["x", "axes"], &["y"], vec![])];
    let graph = with_weights(graph(&[1, 1 << 21], nodes, "y"), vec![("axes", Tensor::ints(&[1]))]);
    let mut session = PlanSession::new(&differentiate(&typed(graph).unwrap(), &Spec::default()).unwrap()).unwrap();
    let x: Vec<f32> = normal(1 << 21, 3).iter().map(|v| 13.0 + v).collect();
    let exact = x.iter().map(|v| *v as f64).sum::<f64>() / x.len() as f64;
    let found = session.forward(&x).unwrap()[0] as f64;
    assert!((found - exact).abs() < 1e-6 * exact, "{found} for {exact}");
}

/// Normalisations of channels and of groups: of blocks behind a convolution, and of rows; in float64 and by tract.
#[test]
fn channels_and_groups_are_normalised() {
    let norm = |name: &str, input: &str, extra: Vec<(&str, Attr)>| {
        let attributes = [vec![("epsilon", Attr::Float(1e-3))], extra].concat();
        node(name, &[input, "scale", "bias"], &["n"], attributes)
    };
    let weights = |channels, scales| {
        let vector = |seed| weight(&[scales], seed);
        vec![("w", weight(&[channels, channels, 3, 3], 1)), ("scale", vector(2)), ("bias", vector(3))]
    };
    let groups = |count| vec![("num_groups", Attr::Int(count))];
    let instance = |channels| (norm("InstanceNormalization", "v", vec![]), 17, channels);
    for (what, channels, (norm, opset, scales)) in [
        ("channels", 20, instance(20)),
        ("few channels", 3, instance(3)),
        ("groups with scales", 12, (norm("GroupNormalization", "v", groups(3)), 20, 3)),
        ("channels of groups with scales", 12, (norm("GroupNormalization", "v", groups(3)), 21, 12)),
    ] {
        let tail = vec![norm, node("Relu", &["n"], &["r"], vec![]), node("Flatten", &["r"], &["y"], vec![])];
        for (behind, first) in [
            ("a convolution", node("Conv", &["x", "w"], &["v"], vec![("pads", ints(&[1; 4]))])),
            ("what is elementwise", node("Sin", &["x"], &["v"], vec![])),
        ] {
            let nodes = [vec![first], tail.clone()].concat();
            let mut graph = with_weights(graph(&[2, channels, 9, 7], nodes, "y"), weights(channels, scales));
            graph.opset = opset;
            let derived = all_kernels(graph);
            agrees(&format!("{what} behind {behind}"), &derived, 1e-4);
        }
    }
}

/// Layers of all lengths, along the last axis in one step each way, and along two.
#[test]
fn layers_are_normalised() {
    for (shape, axis) in [1, 7, 16, 19, 80, 200].map(|len| ([2, 5, len], -1)).into_iter().chain([([2, 5, 7], -2)]) {
        let nodes = vec![
            node("Sin", &["x"], &["s"], vec![]),
            node("LayerNormalization", &["s", "scale", "bias"], &["n"], vec![("axis", Attr::Int(axis))]),
            node("Flatten", &["n"], &["y"], vec![]),
        ];
        let own = &shape[shape.len() - axis.unsigned_abs() as usize..];
        let weights = vec![("scale", weight(own, 2)), ("bias", weight(own, 3))];
        let derived = all_kernels(with_weights(Graph { opset: 17, ..graph(&shape, nodes, "y") }, weights));
        agrees(&format!("{shape:?} along {axis}"), &derived, 1e-4);
        let len: usize = shape.iter().product();
        let steps = PlanSession::new(&derived).unwrap().profile_gradient(&normal(len, 5), &normal(len, 6)).unwrap();
        assert_eq!(
            steps.iter().filter(|s| s.kernel == "row norm adjoint").count(),
            usize::from(axis == -1),
            "{steps:?}"
        );
    }
}

/// Without an epsilon lanes of no channel, whose variance is zero, are not divided by it.
#[test]
fn channels_are_normalised_without_epsilon() {
    let conv = |inputs: &[&str], output: &str| node("Conv", inputs, &[output], vec![]);
    let norm = node("InstanceNormalization", &["v", "scale", "bias"], &["n"], vec![("epsilon", Attr::Float(0.0))]);
    let nodes = vec![conv(&["x", "w0"], "v"), norm, conv(&["n", "w1"], "y")];
    let vector = |seed| weight(&[5], seed);
    let weights = vec![
        ("w0", weight(&[5, 3, 1, 1], 1)),
        ("scale", vector(2)),
        ("bias", vector(3)),
        ("w1", weight(&[4, 5, 1, 1], 4)),
    ];
    agrees("channels", &all_kernels(with_weights(graph(&[1, 3, 6, 7], nodes, "y"), weights)), 1e-4);
}

/// A channel of so many places, far from zero, that a running sum of it would be off in its fourth digit.
#[test]
fn large_channels_are_normalised_exactly() {
    let (places, weights) = (192 * 192, vec![("scale", weight(&[2], 2)), ("bias", weight(&[2], 3))]);
    let [scale, bias] = [1, 2].map(|i| weights[i - 1].1.to_f32().unwrap());
    for shape in [vec![1, 2, 192, 192], vec![1, 2, places]] {
        // A convolution that changes nothing gives blocks.
        let same = ("same", Tensor::f32(&[2, 2, 1, 1], &[1.0, 0.0, 0.0, 1.0]));
        let first = if shape.len() == 4 { ("Conv", vec!["x", "same"]) } else { ("Identity", vec!["x"]) };
        let nodes = vec![
            node(first.0, &first.1, &["v"], vec![]),
            node("InstanceNormalization", &["v", "scale", "bias"], &["n"], vec![]),
            node("Flatten", &["n"], &["y"], vec![]),
        ];
        let weights = [weights.clone(), vec![same]].concat();
        let derived = all_kernels(with_weights(graph(&shape, nodes, "y"), weights));
        let x: Vec<f32> = normal(2 * places, 3).iter().map(|v| 30.0 + v).collect();
        let mut expected = vec![];
        for (channel, x) in x.chunks(places).enumerate() {
            let mean = x.iter().map(|&v| v as f64).sum::<f64>() / places as f64;
            let variance = x.iter().map(|&v| (v as f64 - mean).powi(2)).sum::<f64>() / places as f64;
            let factor = scale[channel] as f64 / (variance + 1e-5).sqrt();
            expected.extend(x.iter().map(|&v| ((v as f64 - mean) * factor + bias[channel] as f64) as f32));
        }
        for &isa in Isa::here() {
            let mut session = session(&derived, isa, Bands::default());
            assert_close(&format!("{shape:?}, {}", isa.name()), session.forward(&x).unwrap(), &expected, 1e-5);
        }
    }
}

/// Of channels to squares of places and back, in both orders; their adjoints too.
#[test]
fn depth_and_space_agree_with_tract() {
    let text = |value: &str| ("mode", Attr::Text(value.into()));
    for (op, mode, shape) in [
        ("DepthToSpace", "DCR", [2, 18, 4, 5]),
        ("DepthToSpace", "CRD", [2, 18, 4, 5]),
        ("DepthToSpace", "CRD", [1, 9, 7, 1]),
        ("SpaceToDepth", "DCR", [2, 3, 12, 9]),
    ] {
        let side = vec![("blocksize", Attr::Int(3))];
        let flags = if op == "DepthToSpace" { [side, vec![text(mode)]].concat() } else { side };
        let nodes = vec![
            node("Sin", &["x"], &["s"], vec![]),
            node(op, &["s"], &["d"], flags),
            node("Sin", &["d"], &["r"], vec![]),
            node("Flatten", &["r"], &["y"], vec![]),
        ];
        agrees(&format!("{op} {mode}"), &all_kernels(graph(&shape, nodes, "y")), 1e-5);
    }
}

/// Mirrored, repeated and zero borders, with their adjoints, of what is blocked and of what is not.
#[test]
fn borders_of_images_agree_with_tract() {
    for mode in ["reflect", "edge", "constant"] {
        for pads in [[0, 0, 2, 1, 0, 0, 3, 2], [0, 0, 0, 0, 0, 0, 0, 4]] {
            for channels in [3, 20] {
                let flags = vec![("mode", Attr::Text(mode.into()))];
                let nodes = vec![
                    node("Pad", &["x", "pads"], &["a"], flags.clone()),
                    node("Conv", &["a", "w"], &["c"], vec![]),
                    node("Pad", &["c", "pads"], &["p"], flags),
                    node("Relu", &["p"], &["r"], vec![]),
                    node("Conv", &["r", "w"], &["d"], vec![]),
                    node("Flatten", &["d"], &["y"], vec![]),
                ];
                let weights = vec![("w", weight(&[channels, channels, 3, 3], 1)), ("pads", Tensor::ints(&pads))];
                let derived = all_kernels(with_weights(graph(&[1, channels, 7, 8], nodes, "y"), weights));
                agrees(&format!("{mode} by {pads:?} of {channels} channels"), &derived, 1e-4);
            }
        }
    }
}

/// Of channels at each place, as segmentation has them, and of other axes.
#[test]
fn softmaxes_along_any_axis_agree_with_tract() {
    for op in ["Softmax", "LogSoftmax"] {
        for axis in [-4, 1, 2, 3] {
            let nodes = vec![
                node("Mul", &["x", "four"], &["m"], vec![]),
                node(op, &["m"], &["s"], vec![("axis", Attr::Int(axis))]),
                node("Flatten", &["s"], &["y"], vec![]),
            ];
            let weights = vec![("four", Tensor::scalar(4.0))];
            let derived = all_kernels(with_weights(graph(&[2, 21, 5, 9], nodes, "y"), weights));
            agrees(&format!("{op} of axis {axis}"), &derived, 1e-5);
        }
    }
}

/// Up and down, by whole and by other factors, in every mode; the adjoints are products with sparse constants.
#[test]
fn resizes_agree_with_tract() {
    let text = |name: &'static str, value: &str| (name, Attr::Text(value.into()));
    let [mode, places] = ["mode", "coordinate_transformation_mode"];
    for (what, flags) in [
        ("nearest", vec![text(mode, "nearest"), text(places, "asymmetric"), text("nearest_mode", "floor")]),
        ("linear", vec![text(mode, "linear"), text(places, "half_pixel")]),
        ("corners", vec![text(mode, "linear"), text(places, "align_corners")]),
        ("cubic", vec![text(mode, "cubic"), text(places, "half_pixel")]),
    ] {
        for [height, width] in [[18, 14], [9, 20], [5, 7], [4, 3]] {
            let nodes = vec![
                node("Conv", &["x", "w"], &["c"], vec![("pads", ints(&[1; 4]))]),
                node("Resize", &["c", "", "", "sizes"], &["r"], flags.clone()),
                node("Relu", &["r"], &["p"], vec![]),
                node("Conv", &["p", "w"], &["d"], vec![("pads", ints(&[1; 4]))]),
                node("Flatten", &["d"], &["y"], vec![]),
            ];
            let weights =
                vec![("w", weight(&[20, 20, 3, 3], 1)), ("sizes", Tensor::ints(&[2, 20, height as i64, width as i64]))];
            let derived = all_kernels(with_weights(graph(&[2, 20, 9, 7], nodes, "y"), weights));
            agrees(&format!("{what} to {height} x {width}"), &derived, 1e-4);
        }
        // The first and the last of a network, and of a single place.
        for extents in [[9, 7], [1, 1]] {
            let nodes = vec![
                node("Resize", &["x", "", "", "sizes"], &["r"], flags.clone()),
                node("Flatten", &["r"], &["y"], vec![]),
            ];
            let weights = vec![("sizes", Tensor::ints(&[1, 3, 20, 15]))];
            let derived = all_kernels(with_weights(graph(&[1, 3, extents[0], extents[1]], nodes, "y"), weights));
            agrees(&format!("{what} of {extents:?}"), &derived, 1e-4);
        }
    }
}
