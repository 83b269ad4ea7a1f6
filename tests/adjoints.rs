//! Every adjoint against central differences, over random shapes and attributes.

mod common;

use std::ops::Range;

use common::{ANYWHERE, gradient_error, graph, ints, node, normal, text, weight};
use proptest::prelude::*;
use whyline_runtime::gradient::adjoints::covered_ops;
use whyline_runtime::gradient::composite::{EPSILON, RESCALE};
use whyline_runtime::gradient::{GradientGraph, Spec, differentiate};
use whyline_runtime::onnx::{Attr, Graph, Node, Tensor};

/// Float32 differences are good to about this much.
const TOLERANCE: f64 = 5e-3;

/// One graph whose gradient is to be checked, and what to add to its standard normal input.
struct Case {
    name: String,
    op: &'static str,
    graph: Graph,
    shift: f32,
}

impl Case {
    /// Standard normal and shifted; for maxima values that lie apart, so that differences cross no kink.
    fn input(&self, len: usize) -> Vec<f32> {
        let values = normal(len, 7);
        if !self.op.contains("Max") && !self.op.contains("Min") {
            return values.iter().map(|v| v + self.shift).collect();
        }
        let mut order: Vec<usize> = (0..len).collect();
        order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
        let mut apart = vec![0.0; len];
        order.iter().enumerate().for_each(|(rank, &i)| apart[i] = (rank as f32 - len as f32 / 2.0) * 0.05);
        apart
    }

    fn error(&self) -> Result<f64, String> {
        let shape: Vec<usize> = match &self.graph.inputs[0].dims {
            Some(dims) => {
                dims.iter().map(|d| if let whyline_runtime::onnx::Dim::Fixed(n) = d { *n } else { 1 }).collect()
            }
            None => vec![],
        };
        let x = self.input(shape.iter().product());
        gradient_error(self.graph.clone(), &x).map_err(|e| e.to_string())
    }
}

fn derived(case: &Case) -> GradientGraph {
    differentiate(&common::typed(case.graph.clone()).unwrap(), &Spec::default()).unwrap()
}

/// `op(x, constants...)` with attributes.
fn case(op: &'static str, x: &[usize], constants: Vec<Tensor>, attributes: Vec<(&str, Attr)>) -> Case {
    let name = format!("{op} {x:?} {attributes:?}");
    let names: Vec<String> = (0..constants.len()).map(|i| format!("c{i}")).collect();
    let mut inputs = vec!["x"];
    inputs.extend(names.iter().map(String::as_str));
    let mut graph = graph(x, vec![node(op, &inputs, &["y"], attributes)], "y");
    graph.constants.extend(names.iter().cloned().zip(constants));
    Case { name, op, graph, shift: 0.0 }
}

fn shifted(mut case: Case, shift: f32) -> Case {
    case.shift = shift;
    case
}

fn custom(op: &'static str, name: &str, x: &[usize], nodes: Vec<Node>, constants: Vec<(&str, Tensor)>) -> Case {
    let mut graph = graph(x, nodes, "y");
    graph.constants.extend(constants.into_iter().map(|(k, v)| (k.to_string(), v)));
    Case { name: format!("{op}: {name}"), op, graph, shift: 0.0 }
}

fn float(v: f32) -> Attr {
    Attr::Float(v)
}

fn int(v: i64) -> Attr {
    Attr::Int(v)
}

/// Functions of one value that want it to be positive.
const POSITIVE: [&str; 3] = ["Sqrt", "Log", "Reciprocal"];

fn elementwise() -> Vec<Case> {
    let x = [2, 3, 5];
    let plain = |op| case(op, &x, vec![], vec![]);
    let mut cases: Vec<Case> = ["Identity", "Neg"].into_iter().chain(ANYWHERE).map(plain).collect();
    cases.extend(POSITIVE.map(|op| shifted(plain(op), 5.0)));
    cases.push(case("Cast", &x, vec![], vec![("to", int(1))]));
    cases.push(case("LeakyRelu", &x, vec![], vec![("alpha", float(0.3))]));
    cases.push(case("Elu", &x, vec![], vec![("alpha", float(0.7))]));
    cases.push(case("Selu", &x, vec![], vec![("alpha", float(1.3)), ("gamma", float(0.9))]));
    cases.push(case("Celu", &x, vec![], vec![("alpha", float(1.7))]));
    cases.push(case("HardSigmoid", &x, vec![], vec![("alpha", float(0.4)), ("beta", float(0.3))]));
    cases.push(case("ThresholdedRelu", &x, vec![], vec![("alpha", float(0.4))]));
    cases.push(case("PRelu", &x, vec![weight(&[3, 1], 2)], vec![]));
    cases.push(case("Clip", &x, vec![Tensor::scalar(-0.5), Tensor::scalar(0.8)], vec![]));
    cases.push(case("Clip", &x, vec![Tensor::scalar(-0.5)], vec![]));
    for approximate in ["none", "tanh"] {
        let mut gelu = case("Gelu", &x, vec![], vec![("approximate", text(approximate))]);
        gelu.graph.opset = 20;
        cases.push(gelu);
    }
    for alpha in [1.0, 2.0] {
        let mut swish = case("Swish", &x, vec![], vec![("alpha", float(alpha))]);
        swish.graph.opset = 24;
        cases.push(swish);
    }
    let bool_where =
        vec![node("Greater", &["x", "c"], &["b"], vec![]), node("Where", &["b", "x", "d"], &["y"], vec![])];
    cases.push(custom(
        "Where",
        "condition from x",
        &x,
        bool_where,
        vec![("c", weight(&[5], 3)), ("d", weight(&[3, 1], 4))],
    ));
    cases
}

/// Both operands depend on `x`, one of them broadcast.
fn binary() -> Vec<Case> {
    let mut cases = vec![];
    for op in ["Add", "Sub", "Mul", "Div", "Max", "Min", "Sum", "Mean"] {
        let nodes = vec![
            node("ReduceMean", &["x", "axes"], &["m"], vec![("keepdims", int(0))]),
            node("Mul", &["m", "m"], &["q"], vec![]),
            node("Add", &["q", "one"], &["p"], vec![]),
            node(op, &["x", "p"], &["y"], vec![]),
        ];
        cases.push(custom(
            op,
            "broadcast",
            &[2, 3, 4],
            nodes,
            vec![("axes", Tensor::ints(&[0])), ("one", Tensor::scalar(1.0))],
        ));
        let constant = vec![node(op, &["c", "x"], &["y"], vec![])];
        cases.push(custom(op, "x broadcast to a constant", &[3, 1], constant, vec![("c", weight(&[2, 3, 4], 5))]));
    }
    for p in [2.0, 3.0, 0.5, -1.0] {
        cases.push(shifted(case("Pow", &[2, 6], vec![Tensor::scalar(p)], vec![]), 4.0));
    }
    let powers = vec![node("Pow", &["x", "x"], &["y"], vec![])];
    cases.push(shifted(custom("Pow", "x to x", &[2, 3], powers, vec![]), 3.0));
    cases
}

fn linear() -> Vec<Case> {
    let mut cases = vec![];
    for (ta, tb) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        let flags = || vec![("transA", int(ta)), ("transB", int(tb)), ("alpha", float(0.7)), ("beta", float(1.3))];
        let x = if ta == 0 { [3, 4] } else { [4, 3] };
        let w = if tb == 0 { [4, 5] } else { [5, 4] };
        cases.push(case("Gemm", &x, vec![weight(&w, 1), weight(&[5], 2)], flags()));
        // x on the right: (2 x 3) (3 x 4), as flagged.
        let right = if tb == 0 { [3, 4] } else { [4, 3] };
        let left = if ta == 0 { [2, 3] } else { [3, 2] };
        let nodes = vec![node("Gemm", &["w", "x"], &["y"], flags())];
        cases.push(custom("Gemm", "x on the right", &right, nodes, vec![("w", weight(&left, 3))]));
    }
    // What is added depends on x, too.
    let nodes = vec![
        node("ReduceMean", &["x", "axes"], &["m"], vec![]),
        node("Gemm", &["x", "w", "m"], &["y"], vec![("alpha", float(0.7)), ("beta", float(1.8))]),
    ];
    let constants = vec![("axes", Tensor::ints(&[1])), ("w", weight(&[4, 5], 1))];
    cases.push(custom("Gemm", "x added", &[3, 4], nodes, constants));
    let shapes: [(&[usize], &[usize]); 7] = [
        (&[3, 4], &[4, 5]),
        (&[2, 3, 4], &[4, 5]),
        (&[2, 1, 3, 4], &[5, 4, 2]),
        (&[4], &[4, 5]),
        (&[3, 4], &[4]),
        (&[4], &[4]),
        (&[4], &[2, 4, 3]),
    ];
    for (x, w) in shapes {
        cases.push(case("MatMul", x, vec![weight(w, 1)], vec![]));
        let nodes = vec![node("MatMul", &["w", "x"], &["y"], vec![])];
        cases.push(custom("MatMul", "x on the right", w, nodes, vec![("w", weight(x, 1))]));
    }
    let attention = vec![
        node("Transpose", &["x"], &["t"], vec![("perm", ints(&[0, 2, 1]))]),
        node("MatMul", &["x", "t"], &["s"], vec![]),
        node("Softmax", &["s"], &["p"], vec![]),
        node("MatMul", &["p", "x"], &["y"], vec![]),
    ];
    cases.push(custom("MatMul", "attention", &[2, 3, 4], attention, vec![]));
    for (equation, x, w) in [
        ("bij,bjk->bik", vec![2, 3, 4], vec![2, 4, 5]),
        ("bhqd,bhkd->bhqk", vec![2, 2, 3, 4], vec![2, 2, 5, 4]),
        ("ij,jk", vec![3, 4], vec![4, 2]),
        ("ij,k->k", vec![3, 4], vec![2]),
    ] {
        cases.push(case("Einsum", &x, vec![weight(&w, 1)], vec![("equation", text(equation))]));
    }
    cases
}

fn norm() -> Vec<Case> {
    let positive =
        |len: usize, draw| Tensor::f32(&[len], &normal(len, draw).iter().map(|v| v.abs() + 0.5).collect::<Vec<_>>());
    let mut cases = vec![
        case(
            "BatchNormalization",
            &[2, 3, 4, 2],
            vec![weight(&[3], 1), weight(&[3], 2), weight(&[3], 3), positive(3, 4)],
            vec![("epsilon", float(0.5))],
        ),
        case(
            "InstanceNormalization",
            &[2, 3, 4, 2],
            vec![weight(&[3], 1), weight(&[3], 2)],
            vec![("epsilon", float(1e-2))],
        ),
        case("LayerNormalization", &[2, 3, 6], vec![weight(&[6], 1), weight(&[6], 2)], vec![]),
        case("LayerNormalization", &[2, 3, 6], vec![weight(&[3, 6], 1)], vec![("axis", int(1))]),
        case(
            "LRN",
            &[2, 7, 3, 2],
            vec![],
            vec![("size", int(5)), ("alpha", float(0.5)), ("beta", float(0.75)), ("bias", float(2.0))],
        ),
        case(
            "LRN",
            &[1, 6, 2, 2],
            vec![],
            vec![("size", int(4)), ("alpha", float(0.8)), ("beta", float(0.6)), ("bias", float(1.0))],
        ),
    ];
    let groups = |x: &[usize], opset, scale| {
        let mut c =
            case("GroupNormalization", x, vec![weight(&[scale], 1), weight(&[scale], 2)], vec![("num_groups", int(2))]);
        c.graph.opset = opset;
        c
    };
    let (image, row) = (&[2, 6, 3, 2], &[2, 6]);
    cases.extend([groups(image, 18, 2), groups(image, 21, 6), groups(row, 18, 2), groups(row, 21, 6)]);
    for (axis, scale) in [(-1, vec![6]), (1, vec![3, 6])] {
        let flags = vec![("axis", int(axis)), ("epsilon", float(0.1))];
        let mut rms = case("RMSNormalization", &[2, 3, 6], vec![weight(&scale, 1)], flags);
        rms.graph.opset = 23;
        cases.push(rms);
    }
    cases
}

fn reduce() -> Vec<Case> {
    let mut cases = vec![];
    for op in [
        "ReduceSum",
        "ReduceMean",
        "ReduceMax",
        "ReduceMin",
        "ReduceL1",
        "ReduceL2",
        "ReduceSumSquare",
        "ReduceLogSumExp",
        "ReduceLogSum",
    ] {
        for keep in [0, 1] {
            for axes in [vec![1], vec![0, -1], vec![-1, 1], vec![]] {
                let constants = if axes.is_empty() { vec![] } else { vec![Tensor::ints(&axes)] };
                let shift = if op == "ReduceLogSum" { 5.0 } else { 0.0 };
                cases.push(shifted(case(op, &[2, 3, 4], constants, vec![("keepdims", int(keep))]), shift));
            }
        }
    }
    // Where exponentials are infinite, and where they vanish.
    for shift in [95.0, -120.0] {
        cases.push(shifted(case("ReduceLogSumExp", &[2, 3, 4], vec![Tensor::ints(&[1])], vec![]), shift));
    }
    for axis in [-1, 0, 1] {
        cases.push(case("Softmax", &[2, 3, 4], vec![], vec![("axis", int(axis))]));
        cases.push(case("LogSoftmax", &[2, 3, 4], vec![], vec![("axis", int(axis))]));
    }
    for (exclusive, reverse) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        let flags = vec![("exclusive", int(exclusive)), ("reverse", int(reverse))];
        cases.push(case("CumSum", &[2, 5], vec![Tensor::i64(&[], &[1])], flags));
    }
    cases
}

fn shape() -> Vec<Case> {
    let list = |values: &[i64]| Tensor::ints(values);
    // PyTorch's roll by nothing.
    let cut = node("Slice", &["x", "start", "end", "axis"], &["none"], vec![]);
    let whole = node("Concat", &["x", "none"], &["y"], vec![("axis", int(1))]);
    let constants = vec![("start", list(&[2])), ("end", list(&[2])), ("axis", list(&[1]))];
    let nothing = custom("Slice", "nothing", &[2, 5], vec![cut, whole], constants);
    let mut cases = vec![
        case("Reshape", &[2, 3, 4], vec![Tensor::ints(&[0, -1])], vec![]),
        case("Flatten", &[2, 3, 4], vec![], vec![("axis", int(2))]),
        case("Squeeze", &[2, 1, 4, 1], vec![Tensor::ints(&[1, -1])], vec![]),
        case("Unsqueeze", &[2, 4], vec![Tensor::ints(&[0, 3])], vec![]),
        case("Transpose", &[2, 3, 4], vec![], vec![("perm", ints(&[1, 2, 0]))]),
        case("Transpose", &[2, 3, 4], vec![], vec![]),
        case("Expand", &[3, 1], vec![Tensor::ints(&[2, 1, 4])], vec![]),
        case("Tile", &[2, 3], vec![Tensor::ints(&[3, 2])], vec![]),
        case("Trilu", &[4, 4], vec![], vec![("upper", int(0))]),
        case("Trilu", &[4, 5], vec![Tensor::i64(&[], &[1])], vec![]),
        case("Trilu", &[4, 5], vec![Tensor::i64(&[], &[-2])], vec![("upper", int(0))]),
        case("SpaceToDepth", &[1, 3, 4, 6], vec![], vec![("blocksize", int(2))]),
    ];
    for mode in ["DCR", "CRD"] {
        cases.push(case("DepthToSpace", &[1, 12, 2, 3], vec![], vec![("blocksize", int(2)), ("mode", text(mode))]));
    }
    let slice = |starts: &[i64], ends: &[i64], axes: &[i64], steps: &[i64]| {
        case(
            "Slice",
            &[5, 7],
            vec![Tensor::ints(starts), Tensor::ints(ends), Tensor::ints(axes), Tensor::ints(steps)],
            vec![],
        )
    };
    cases.extend([
        slice(&[1, 2], &[4, 6], &[0, 1], &[1, 1]),
        slice(&[1], &[i64::MAX], &[1], &[2]),
        slice(&[-1], &[i64::MIN], &[1], &[-2]),
        slice(&[0, -6], &[3, -1], &[0, 1], &[2, 3]),
    ]);
    for (mode, pads) in [("constant", [1, 2, 0, 3]), ("reflect", [1, 2, 2, 3]), ("edge", [1, 2, 2, 3])] {
        cases.push(case("Pad", &[4, 5], vec![Tensor::ints(&pads)], vec![("mode", text(mode))]));
    }
    let concat = vec![
        node("Mul", &["x", "x"], &["q"], vec![]),
        node("Concat", &["x", "c", "q"], &["y"], vec![("axis", int(1))]),
    ];
    cases.push(custom("Concat", "with a constant", &[2, 3], concat, vec![("c", weight(&[2, 2], 1))]));
    for (opset, outputs) in [(18, vec!["a", "b", "d"]), (11, vec!["a", "b", "d"])] {
        let nodes =
            vec![node("Split", &["x"], &outputs, vec![("axis", int(1))]), node("Mul", &["a", "d"], &["y"], vec![])];
        let mut c = custom("Split", &format!("op set {opset}, one part unread"), &[2, 6], nodes, vec![]);
        c.graph.opset = opset;
        cases.push(c);
    }
    cases.push(nothing);
    cases
}

fn index() -> Vec<Case> {
    let i64s = Tensor::i64;
    let gather = |indices: Tensor, axis| case("Gather", &[4, 3], vec![indices], vec![("axis", int(axis))]);
    let mut cases = vec![
        gather(Tensor::i64(&[], &[2]), 0),
        gather(Tensor::ints(&[2, 0, -1, 2, 2]), 0),
        gather(i64s(&[2, 2], &[0, 1, 1, 2]), 1),
        case("GatherElements", &[3, 3], vec![i64s(&[2, 3], &[1, 2, 0, 2, 0, 0])], vec![("axis", int(0))]),
        case("GatherElements", &[3, 4], vec![i64s(&[3, 2], &[1, 3, 0, 0, -1, 2])], vec![("axis", int(-1))]),
        case("GatherND", &[3, 4], vec![i64s(&[3, 2], &[0, 1, 2, 3, 0, 1])], vec![]),
        case("GatherND", &[3, 4], vec![i64s(&[2, 1], &[2, 0])], vec![]),
    ];
    for reduction in ["none", "add"] {
        let flags = || vec![("reduction", text(reduction))];
        cases.push(case("ScatterND", &[4, 3], vec![i64s(&[2, 1], &[2, 0]), weight(&[2, 3], 1)], flags()));
        cases.push(case("ScatterElements", &[3, 3], vec![i64s(&[1, 3], &[1, 2, 0]), weight(&[1, 3], 1)], flags()));
        let along = [flags(), vec![("axis", int(1))]].concat();
        cases.push(case("ScatterElements", &[2, 4], vec![i64s(&[2, 2], &[3, 0, 1, 2]), weight(&[2, 2], 1)], along));
        let nd = vec![node("ScatterND", &["c", "i", "x"], &["y"], flags())];
        cases.push(custom(
            "ScatterND",
            "x as updates",
            &[2, 3],
            nd,
            vec![("c", weight(&[4, 3], 1)), ("i", i64s(&[2, 1], &[2, 0]))],
        ));
        let el = vec![node("ScatterElements", &["c", "i", "x"], &["y"], flags())];
        cases.push(custom(
            "ScatterElements",
            "x as updates",
            &[1, 3],
            el,
            vec![("c", weight(&[3, 3], 1)), ("i", i64s(&[1, 3], &[1, 2, 0]))],
        ));
    }
    cases
}

fn resize() -> Vec<Case> {
    let mut cases = vec![];
    let none = || Tensor::f32(&[0], &[]);
    for mode in ["nearest", "linear", "cubic"] {
        for place in ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"] {
            for size in [[1, 2, 7, 9], [1, 2, 3, 4], [1, 2, 10, 4]] {
                let flags = vec![
                    ("mode", text(mode)),
                    ("coordinate_transformation_mode", text(place)),
                    ("nearest_mode", text("floor")),
                ];
                cases.push(case("Resize", &[1, 2, 5, 4], vec![none(), none(), Tensor::ints(&size)], flags));
            }
        }
    }
    for nearest in ["round_prefer_floor", "round_prefer_ceil", "ceil"] {
        let scales = Tensor::f32(&[4], &[1.0, 1.0, 2.0, 1.5]);
        cases.push(case(
            "Resize",
            &[1, 2, 4, 6],
            vec![none(), scales],
            vec![("mode", text("nearest")), ("nearest_mode", text(nearest))],
        ));
    }
    for place in ["align_corners", "half_pixel", "asymmetric"] {
        let flags = vec![("mode", text("linear")), ("coordinate_transformation_mode", text(place))];
        let scales = Tensor::f32(&[4], &[1.0, 1.0, 0.7, 1.7]);
        cases.push(case("Resize", &[1, 2, 5, 5], vec![none(), scales], flags));
    }
    let mut upsample = case(
        "Upsample",
        &[1, 2, 3, 4],
        vec![Tensor::f32(&[4], &[1.0, 1.0, 2.0, 2.0])],
        vec![("mode", text("nearest"))],
    );
    upsample.graph.opset = 9;
    upsample.op = "Resize";
    cases.push(upsample);
    cases
}

fn pool() -> Vec<Case> {
    let mut cases = vec![
        case("GlobalAveragePool", &[2, 3, 4, 5], vec![], vec![]),
        case("GlobalMaxPool", &[2, 3, 4, 5], vec![], vec![]),
    ];
    let wide = || vec![("kernel_shape", ints(&[3, 2])), ("strides", ints(&[2, 1])), ("pads", ints(&[1, 0, 1, 1]))];
    for op in ["MaxPool", "AveragePool"] {
        cases.push(case(op, &[2, 3, 7, 6], vec![], wide()));
        let mut ceil = wide();
        ceil.push(("ceil_mode", int(1)));
        cases.push(case(op, &[1, 2, 8, 6], vec![], ceil));
        cases.push(case(op, &[2, 3, 9], vec![], vec![("kernel_shape", ints(&[3])), ("strides", ints(&[2]))]));
        for auto in ["SAME_UPPER", "SAME_LOWER"] {
            let flags = vec![("kernel_shape", ints(&[3, 3])), ("strides", ints(&[2, 2])), ("auto_pad", text(auto))];
            cases.push(case(op, &[1, 2, 6, 7], vec![], flags));
        }
    }
    let mut counted = wide();
    counted.push(("count_include_pad", int(1)));
    cases.push(case("AveragePool", &[2, 3, 7, 6], vec![], counted.clone()));
    // The last windows reach beyond the pads, which count, where nothing does.
    counted.push(("ceil_mode", int(1)));
    cases.push(case("AveragePool", &[1, 2, 8, 6], vec![], counted));
    cases.push(case(
        "MaxPool",
        &[1, 2, 9, 9],
        vec![],
        vec![("kernel_shape", ints(&[3, 3])), ("dilations", ints(&[2, 2]))],
    ));
    cases
}

fn conv() -> Vec<Case> {
    let mut cases = vec![
        case(
            "Conv",
            &[1, 4, 6, 7],
            vec![weight(&[6, 2, 3, 2], 1), weight(&[6], 2)],
            vec![("group", int(2)), ("strides", ints(&[2, 1])), ("pads", ints(&[1, 0, 2, 1]))],
        ),
        case(
            "Conv",
            &[2, 3, 11],
            vec![weight(&[4, 3, 3], 1)],
            vec![("dilations", ints(&[2])), ("strides", ints(&[3]))],
        ),
        case(
            "ConvTranspose",
            &[1, 4, 3, 4],
            vec![weight(&[4, 3, 3, 2], 1), weight(&[6], 2)],
            vec![
                ("group", int(2)),
                ("strides", ints(&[2, 3])),
                ("pads", ints(&[1, 0, 0, 1])),
                ("output_padding", ints(&[1, 0])),
            ],
        ),
        case(
            "ConvTranspose",
            &[2, 3, 5],
            vec![weight(&[3, 2, 3], 1)],
            vec![("dilations", ints(&[2])), ("strides", ints(&[2]))],
        ),
    ];
    for auto in ["NOTSET", "SAME_UPPER", "SAME_LOWER"] {
        for shape in [None, Some([8, 7]), Some([10, 8])] {
            let mut flags = vec![("strides", ints(&[2, 2])), ("auto_pad", text(auto))];
            flags.extend(shape.map(|s| ("output_shape", ints(&s))));
            cases.push(case("ConvTranspose", &[1, 2, 4, 3], vec![weight(&[2, 3, 3, 3], 1)], flags));
        }
    }
    // Volumes: side by side, and by two.
    for (strides, pads) in
        [([1, 1, 1], [1, 0, 1, 0, 1, 2]), ([1, 1, 1], [4, 0, 0, 0, 0, 0]), ([2, 1, 2], [1, 0, 1, 0, 1, 2])]
    {
        let flags = vec![
            ("group", int(2)),
            ("dilations", ints(&[1, 2, 1])),
            ("strides", ints(&strides)),
            ("pads", ints(&pads)),
        ];
        cases.push(case("Conv", &[2, 4, 4, 6, 5], vec![weight(&[6, 2, 2, 3, 3], 1), weight(&[6], 2)], flags));
    }
    for auto in ["SAME_UPPER", "SAME_LOWER", "VALID"] {
        let flags = || vec![("auto_pad", text(auto)), ("strides", ints(&[2, 2]))];
        cases.push(case("Conv", &[1, 2, 7, 8], vec![weight(&[3, 2, 3, 2], 1)], flags()));
        let apart = vec![("auto_pad", text(auto)), ("dilations", ints(&[2, 3]))];
        cases.push(case("Conv", &[1, 2, 7, 8], vec![weight(&[3, 2, 3, 2], 1)], apart));
    }
    cases
}

fn all_cases() -> Vec<Case> {
    [elementwise(), binary(), linear(), norm(), reduce(), shape(), index(), resize(), pool(), conv()]
        .into_iter()
        .flatten()
        .collect()
}

#[test]
fn adjoints_agree_with_central_differences() {
    let mut failures = vec![];
    for case in all_cases() {
        match case.error() {
            Ok(error) if error < TOLERANCE => {}
            Ok(error) => failures.push(format!("{}: off by {error:.2e}", case.name)),
            Err(reason) => failures.push(format!("{}: {reason}", case.name)),
        }
    }
    assert!(failures.is_empty(), "{} adjoints fail:\n{}", failures.len(), failures.join("\n"));
}

/// Writes every case as a gradient graph with an input, a cotangent and our results, for
/// `models/check_cases.py` to run through other engines: `WHYLINE_CASES=folder cargo test cases_can_be`.
#[test]
fn cases_can_be_written_for_other_engines() {
    use whyline_runtime::engine::{PlanSession, Session};
    let folder = match std::env::var_os("WHYLINE_CASES") {
        Some(folder) => std::path::PathBuf::from(folder),
        None => tempfile::tempdir().unwrap().keep(),
    };
    std::fs::create_dir_all(&folder).unwrap();
    let asked = std::env::var_os("WHYLINE_CASES").is_some();
    let cases = all_cases();
    for (i, case) in cases.iter().enumerate().filter(|(i, _)| asked || i % 40 == 0) {
        let derived = derived(case);
        let mut session = PlanSession::new(&derived).unwrap();
        let shape = session.input_shape().to_vec();
        let x = case.input(shape.iter().product());
        let logits = session.forward(&x).unwrap().to_vec();
        let seed = normal(logits.len(), 1000);
        let gradient = session.gradient(&x, &seed).unwrap().input.to_vec();
        let file = |what: &str| folder.join(format!("{i:03}-{}.{what}", case.op));
        whyline_runtime::onnx::write_model(&derived.graph, &derived.facts, &file("onnx")).unwrap();
        let scores = &derived.facts[&derived.logits].shape;
        for (what, shape, values) in
            [("x", &shape, &x), ("seed", scores, &seed), ("logits", scores, &logits), ("gradient", &shape, &gradient)]
        {
            whyline_runtime::npy::write(&file(&format!("{what}.npy")), shape, values).unwrap();
        }
        let reread = whyline_runtime::onnx::read_model(&file("onnx"), None).unwrap();
        assert_eq!(reread.graph.outputs, derived.graph.outputs, "{}", case.name);
    }
    if !asked {
        std::fs::remove_dir_all(folder).unwrap();
    }
}

#[test]
fn every_adjoint_has_a_case() {
    let cases = all_cases();
    let tested: Vec<&str> = cases.iter().map(|c| c.op).collect();
    let missing: Vec<&str> = covered_ops().into_iter().filter(|op| !tested.contains(op)).collect();
    assert!(missing.is_empty(), "no case for {missing:?}");
}

/// A function of one value has a slope between two, and relevance passes it: `RESCALE` and `EPSILON` list them.
#[test]
fn functions_of_one_value_have_rules() {
    // One that is no op of its own is read as Elu.
    for op in ANYWHERE.into_iter().chain(POSITIVE).filter(|op| *op != "Celu") {
        for composite in [&RESCALE, &EPSILON] {
            assert!(composite.rule(op).is_some(), "'{}' has no rule for {op}", composite.name);
        }
    }
}

/// A sliding window: kernel, stride, dilation, pads, and an extent that it fits into.
fn window() -> impl Strategy<Value = (usize, usize, usize, usize, usize, usize)> {
    (1usize..4, 1usize..4, 1usize..3).prop_flat_map(|(kernel, stride, dilation)| {
        let reach = (kernel - 1) * dilation + 1;
        (Just(kernel), Just(stride), Just(dilation), 0..kernel, 0..kernel, reach..reach + 6)
    })
}

fn passes(case: Case) -> Result<(), TestCaseError> {
    match case.error() {
        Ok(error) => prop_assert!(error < TOLERANCE, "{}: off by {error:.2e}", case.name),
        Err(reason) => prop_assert!(false, "{}: {reason}", case.name),
    }
    Ok(())
}

fn flags(
    h: (usize, usize, usize, usize, usize, usize),
    w: (usize, usize, usize, usize, usize, usize),
) -> Vec<(&'static str, Attr)> {
    let pair = |a: usize, b: usize| ints(&[a as i64, b as i64]);
    let pads = [h.3, w.3, h.4, w.4].map(|p| p as i64);
    vec![("strides", pair(h.1, w.1)), ("dilations", pair(h.2, w.2)), ("pads", ints(&pads))]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_convolutions(h in window(), w in window(), group in 1usize..4, per_group in 1usize..3, out in 1usize..3) {
        let mut attributes = flags(h, w);
        attributes.push(("group", int(group as i64)));
        let kernel = [group * out, per_group, h.0, w.0];
        passes(case("Conv", &[1, group * per_group, h.5, w.5], vec![weight(&kernel, 1)], attributes))?;
    }

    #[test]
    fn random_transposed_convolutions(h in window(), w in window(), group in 1usize..4, per_group in 1usize..3, out in 1usize..3) {
        // Without pads the output is never empty; with them it may be.
        let mut attributes = flags((h.0, h.1, h.2, 0, 0, 0), (w.0, w.1, w.2, 0, 0, 0));
        attributes.push(("group", int(group as i64)));
        let kernel = [group * per_group, out, h.0, w.0];
        passes(case("ConvTranspose", &[1, group * per_group, h.5, w.5], vec![weight(&kernel, 1)], attributes))?;
    }

    #[test]
    fn random_pools(h in window(), w in window(), max in any::<bool>(), ceil in any::<bool>()) {
        let mut attributes = flags(h, w);
        attributes.push(("kernel_shape", ints(&[h.0 as i64, w.0 as i64])));
        attributes.push(("ceil_mode", int(ceil as i64)));
        passes(case(if max { "MaxPool" } else { "AveragePool" }, &[1, 2, h.5, w.5], vec![], attributes))?;
    }

    #[test]
    fn random_broadcasts(shape in prop::collection::vec(1usize..4, 1..5), ones in prop::collection::vec(any::<bool>(), 5), cut in 0usize..3, op in 0usize..6) {
        let op = ["Add", "Sub", "Mul", "Max", "Min", "Mean"][op];
        let cut = cut.min(shape.len() - 1);
        let small: Vec<usize> = shape[cut..].iter().zip(&ones).map(|(&d, &one)| if one { 1 } else { d }).collect();
        let nodes = vec![node(op, &["x", "c"], &["y"], vec![])];
        passes(custom(op, &format!("{small:?} to {shape:?}"), &small, nodes, vec![("c", weight(&shape, 1))]))?;
    }

    #[test]
    fn random_slices(extent in 2usize..9, start in -9i64..9, end in -9i64..9, step in prop::sample::select(vec![-3i64, -2, -1, 1, 2, 3])) {
        let list = |v: i64| Tensor::ints(&[v]);
        let case = case("Slice", &[3, extent], vec![list(start), list(end), list(1), list(step)], vec![]);
        // tract refuses empty slices, and they have no gradient to speak of.
        let extent = extent as i64;
        let inside = |at: i64, least: i64, most: i64| (if at < 0 { at + extent } else { at }).clamp(least, most);
        let is_empty = match step > 0 {
            true => inside(start, 0, extent) >= inside(end, 0, extent),
            false => inside(start, 0, extent - 1) <= inside(end, -1, extent - 1),
        };
        // Of a start before the first, backwards, ONNX and NumPy think differently.
        prop_assume!(!is_empty && (step > 0 || start >= -extent));
        passes(case)?;
    }

    #[test]
    fn random_parts_of_one_value(parts in prop::collection::vec((0usize..6, 1usize..4, any::<bool>()), 1..5)) {
        let parts: Vec<_> = parts.into_iter().map(|(first, len, gathers)| (first..(first + len).min(6), gathers)).collect();
        passes(parts_of_one_value(&parts))?;
    }
}

/// The places of an axis of six that are read, one part after the other, by Gather or by Slice, and weighted apart.
fn parts_of_one_value(parts: &[(Range<usize>, bool)]) -> Case {
    let (mut nodes, mut constants, mut names) = (vec![], vec![("axis", Tensor::ints(&[1]))], vec![]);
    for (i, (place, gathers)) in parts.iter().enumerate() {
        let [part, scaled, first, end, own] = ["part", "y", "first", "end", "own"].map(|s| &*format!("{s}{i}").leak());
        match gathers {
            true => {
                let places: Vec<i64> = place.clone().map(|place| place as i64).collect();
                constants.push((first, Tensor::ints(&places)));
                nodes.push(node("Gather", &["x", first], &[part], vec![("axis", int(1))]));
            }
            false => {
                constants.push((first, Tensor::ints(&[place.start as i64])));
                constants.push((end, Tensor::ints(&[place.end as i64])));
                nodes.push(node("Slice", &["x", first, end, "axis"], &[part], vec![]));
            }
        }
        constants.push((own, weight(&[2, place.len(), 3], i as u64)));
        nodes.push(node("Mul", &[part, own], &[scaled], vec![]));
        names.push(scaled);
    }
    nodes.push(node("Concat", &names, &["y"], vec![("axis", int(1))]));
    custom("Slice", &format!("{parts:?}"), &[2, 6, 3], nodes, constants)
}

#[test]
fn parts_that_fill_an_axis_are_put_beside_each_other() {
    let ops = |parts: &[(Range<usize>, bool)]| {
        let graph = derived(&parts_of_one_value(parts)).graph;
        let count = |op: &str| graph.nodes.iter().filter(|node| node.name.starts_with("why.") && node.op == op).count();
        [count("Concat"), count("Pad"), count("Add")]
    };
    // In whatever order they are read, and by whatever.
    assert_eq!(ops(&[(4..6, true), (0..1, false), (1..4, false)]), [1, 0, 0]);
    assert_eq!(ops(&[(0..2, true), (2..4, true), (4..6, true)]), [1, 0, 0]);
    // What nobody reads is zero.
    assert_eq!(ops(&[(1..2, true), (2..5, false)]), [1, 1, 0]);
    assert_eq!(ops(&[(0..2, true), (4..6, true)]), [0, 2, 1], "nothing lies between them");
    assert_eq!(ops(&[(0..3, true), (2..6, true)]), [0, 2, 1], "two read the same place");
    assert_eq!(ops(&[(0..6, false), (0..6, true)]), [0, 0, 1]);
}
