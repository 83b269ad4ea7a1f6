//! Nodes that say of themselves what no model can mean are refused by name when a model is loaded: nobody computes with them.

mod common;

use common::{graph, ints, node, text, weight};
use whyline_runtime::Kind;
use whyline_runtime::explain::{LoadOptions, Loaded};
use whyline_runtime::onnx::{Attr, Facts, Graph, Tensor, write_model};

fn refusal(graph: &Graph) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.onnx");
    write_model(graph, &Facts::new(), &path).unwrap();
    let error = Loaded::read(&path, &LoadOptions::default()).expect_err("the model should be refused");
    assert_eq!(error.kind(), Kind::Model, "{error}");
    error.to_string()
}

const FAR: i64 = i64::MAX;

/// An op on `x` of a shape, with constants as its further inputs.
fn refused(op: &str, x: &[usize], constants: &[Tensor], attributes: Vec<(&str, Attr)>, what: &str) {
    let names: Vec<String> = (0..constants.len()).map(|i| format!("c{i}")).collect();
    let inputs: Vec<&str> = std::iter::once("x").chain(names.iter().map(String::as_str)).collect();
    let mut graph = graph(x, vec![node(op, &inputs, &["y"], attributes)], "y");
    graph.constants.extend(names.iter().cloned().zip(constants.iter().cloned()));
    let message = refusal(&graph);
    assert!(message.contains(what), "{op}: {message}");
}

#[test]
fn ranks_that_an_op_does_not_take() {
    let vector = |len: usize| weight(&[len], 1);
    for x in [&[][..], &[4]] {
        let len = x.first().copied().unwrap_or(1);
        refused(
            "BatchNormalization",
            x,
            &[vector(len), vector(len), vector(len), vector(len)],
            vec![],
            "2 axes at least",
        );
        refused("LRN", x, &[], vec![("size", Attr::Int(3))], "2 axes at least");
        let groups = || vec![("num_groups", Attr::Int(1))];
        refused("GroupNormalization", x, &[vector(1), vector(1)], groups(), "2 axes at least");
    }
    refused("LayerNormalization", &[2, 4], &[vector(4)], vec![("axis", Attr::Int(FAR))], "has the axis");
    refused(
        "GroupNormalization",
        &[1, 4, 3],
        &[vector(3), vector(3)],
        vec![("num_groups", Attr::Int(3))],
        "3 groups for 4",
    );
    refused("MaxPool", &[4, 4], &[], vec![("kernel_shape", ints(&[2]))], "3 axes at least");
}

#[test]
fn numbers_that_no_image_model_has() {
    let kernel = |side: i64| ("kernel_shape", ints(&[side, side]));
    let image = [1, 2, 8, 8];
    let weights = [weight(&[3, 2, 3, 3], 2)];
    refused("Conv", &image, &weights, vec![("strides", ints(&[1 << 62, 1]))], "'strides'");
    refused("Conv", &image, &weights, vec![("pads", ints(&[FAR, 0, 0, 0]))], "'pads'");
    refused("Conv", &image, &weights, vec![("strides", ints(&[0, 1]))], "strides = [0, 1]");
    refused("Conv", &image, &weights, vec![("dilations", ints(&[1, 1, 1]))], "dilations");
    refused("Conv", &image, &weights, vec![kernel(5)], "kernel of [5, 5]");
    refused("Conv", &image, &weights, vec![("dilations", ints(&[9, 9]))], "reaches over 19");
    refused("AveragePool", &image, &[], vec![kernel(FAR)], "'kernel_shape'");
    refused("AveragePool", &image, &[], vec![kernel(1 << 20)], "reaches over");
    refused("MaxPool", &image, &[], vec![kernel(2), ("pads", ints(&[2, 2, 2, 2]))], "in the padding alone");
    let borders = |first: i64| Tensor::ints(&[0, 0, first, 0, 0, 0, 0, 0]);
    for mode in ["constant", "edge", "reflect"] {
        refused("Pad", &image, &[borders(FAR)], vec![("mode", text(mode))], "border");
    }
    refused("Pad", &image, &[borders(i64::MIN)], vec![], "border");
    let transposed = |told: (&'static str, Attr)| vec![("auto_pad", text("SAME_UPPER")), told];
    let turned = [weight(&[2, 3, 3, 3], 2)];
    refused("ConvTranspose", &image, &turned, transposed(("strides", ints(&[2]))), "rank");
    refused("ConvTranspose", &image, &turned, transposed(("dilations", ints(&[1 << 62, 1]))), "'dilations'");
    refused("ConvTranspose", &image, &turned, vec![("output_shape", ints(&[FAR, 3]))], "'output_shape'");
    refused("Conv", &image, &weights, vec![("group", Attr::Int(0))], "0 groups");
    refused("Pad", &image, &[borders(8)], vec![("mode", text("reflect"))], "mirrors 8 of 8");
    refused("LRN", &image, &[], vec![("size", Attr::Int(1 << 62))], "size");
}

#[test]
fn parts_that_do_not_add_up() {
    for sizes in [[3, 3], [1, 1], [-1, 5]] {
        let nodes = vec![node("Split", &["x", "sizes"], &["y", "z"], vec![("axis", Attr::Int(1))])];
        let mut graph = graph(&[1, 4], nodes, "y");
        graph.constants.insert("sizes".into(), Tensor::ints(&sizes));
        let message = refusal(&graph);
        assert!(message.contains("into parts of"), "{message}");
    }
}

#[test]
fn axes_twice_and_attributes_of_another_kind() {
    refused("Unsqueeze", &[2, 3], &[Tensor::ints(&[0, 0])], vec![], "names an axis twice");
    refused("Softmax", &[2, 3], &[], vec![("axis", Attr::Float(1.0))], "'axis' that is not an integer");
    refused("Trilu", &[1, 3, 3], &[], vec![("upper", Attr::Int(-3))], "neither 0 nor 1");
}

/// What is odd but right is none of that.
#[test]
fn nodes_at_their_limits_are_read() {
    let pool = |op: &str| {
        let attributes = vec![("kernel_shape", ints(&[3, 3])), ("strides", ints(&[2, 2])), ("ceil_mode", Attr::Int(1))];
        graph(&[1, 2, 2, 2], vec![node(op, &["x"], &["y"], attributes)], "y")
    };
    let with = |mut graph: Graph, constants: &[(&str, &[i64])]| {
        graph.constants.extend(constants.iter().map(|(name, values)| (name.to_string(), Tensor::ints(values))));
        graph
    };
    let border = |mode: &str| {
        let nodes = vec![node("Pad", &["x", "pads", "", "axes"], &["y"], vec![("mode", text(mode))])];
        with(graph(&[1, 2, 3, 6], nodes, "y"), &[("pads", &[4, 1, 5, 2]), ("axes", &[3, -2])])
    };
    let squeeze = |axes: &[i64]| {
        with(graph(&[1, 2, 1, 1], vec![node("Squeeze", &["x", "axes"], &["y"], vec![])], "y"), &[("axes", axes)])
    };
    for (graph, extents) in [
        (pool("MaxPool"), &[1, 2, 1, 1][..]),
        (pool("AveragePool"), &[1, 2, 1, 1]),
        (border("constant"), &[1, 2, 6, 15]),
        (border("reflect"), &[1, 2, 6, 15]),
        (squeeze(&[3, 2]), &[1, 2]),
        (squeeze(&[-1, 0]), &[2, 1]),
    ] {
        let name = format!("{:?}", graph.nodes[0]);
        assert_eq!(common::typed(graph).unwrap().facts["y"].shape, extents, "{name}");
    }
}

/// What is computed when the model is loaded is sized up before room is made for it.
#[test]
fn constants_that_grow_and_grow() {
    let nodes = vec![
        node("Einsum", &["v", "v", "v", "v"], &["huge"], vec![("equation", text("a,b,c,d->abcd"))]),
        node("Add", &["x", "huge"], &["y"], vec![]),
    ];
    let mut einsum = graph(&[1], nodes, "y");
    einsum.constants.insert("v".into(), weight(&[1000], 3));
    assert!(refusal(&einsum).contains("impossible extents"));
    let doubling = |from: &str, to: &str| node("Concat", &[from, from], &[to], vec![("axis", Attr::Int(0))]);
    let values: Vec<String> = (0..40).map(|i| format!("v{i}")).collect();
    let mut nodes: Vec<_> = values.windows(2).map(|pair| doubling(&pair[0], &pair[1])).collect();
    nodes.push(node("ReduceSum", &["v39"], &["sum"], vec![("keepdims", Attr::Int(0))]));
    nodes.push(node("Add", &["x", "sum"], &["y"], vec![]));
    let mut bomb = graph(&[1], nodes, "y");
    bomb.constants.insert("v0".into(), weight(&[1 << 16], 4));
    // Where addresses have 32 bits, one constant is already more than there is room for.
    let said = refusal(&bomb);
    assert!(said.contains("GiB") || (usize::BITS == 32 && said.contains("impossible extents")), "{said}");
    let mut range = graph(
        &[1],
        vec![node("Range", &["a", "b", "one"], &["r"], vec![]), node("Add", &["x", "r"], &["y"], vec![])],
        "y",
    );
    for (name, value) in [("a", 0.0), ("b", 1e15), ("one", 1.0)] {
        range.constants.insert(name.into(), Tensor::scalar(value));
    }
    assert!(refusal(&range).contains("impossible extents"));
}
