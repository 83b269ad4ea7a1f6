//! Rules of relevance of one dense layer, by values worked out on paper.

mod common;

use common::{assert_close, graph, node, typed};
use whyline_runtime::engine::{PlanSession, Session};
use whyline_runtime::gradient::composite::{self, Composite};
use whyline_runtime::gradient::{COMPOSITES, Settings, Spec, differentiate};
use whyline_runtime::onnx::{Attr, Graph, Node, Tensor};

/// Weights of 2, -1 and 1, and a bias of nothing unless it is said, behind nodes that give `d` of three inputs.
fn behind(mut nodes: Vec<Node>, constants: &[(&str, Tensor)]) -> Graph {
    nodes.push(node("Gemm", &["d", "w", "bias"], &["y"], vec![]));
    let mut graph = graph(&[1, 3], nodes, "y");
    graph.constants.insert("w".into(), Tensor::f32(&[3, 1], &[2.0, -1.0, 1.0]));
    graph.constants.insert("bias".into(), Tensor::f32(&[1], &[0.0]));
    graph.constants.extend(constants.iter().map(|(name, tensor)| (name.to_string(), tensor.clone())));
    graph
}

/// What comes to the input under a composite whose epsilon absorbs nothing; multipliers are of the way from 0.25.
fn passed(graph: Graph, composite: &'static Composite, settings: Settings, x: &[f32]) -> Vec<f32> {
    passed_from(graph, composite, settings, x, &vec![0.25; x.len()])
}

fn passed_from(
    graph: Graph,
    composite: &'static Composite,
    settings: Settings,
    x: &[f32],
    baseline: &[f32],
) -> Vec<f32> {
    let spec = Spec { composite, settings: Settings { epsilon: 1e-9, ..settings }, ..Spec::default() };
    let derived = differentiate(&typed(graph).unwrap(), &spec).unwrap();
    let mut session = PlanSession::new(&derived).unwrap();
    if derived.baseline.is_some() {
        session.set_baseline(baseline).unwrap();
    }
    session.gradient(x, &[1.0]).unwrap().input.to_vec()
}

/// Of the inputs 1, 2 and 3, which give 2, -2 and 3, behind a layer that changes nothing, so that rules of first layers have
/// nothing to share out.
fn relevance(composite: &'static Composite, settings: Settings, bias: f32) -> Vec<f32> {
    let nodes = vec![node("Gemm", &["x", "same"], &["z"], vec![]), node("Relu", &["z"], &["d"], vec![])];
    let same = Tensor::f32(&[3, 3], &[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]);
    let constants = [("same", same), ("bias", Tensor::f32(&[1], &[bias]))];
    passed(behind(nodes, &constants), composite, settings, &[1.0, 2.0, 3.0])
}

#[test]
fn contributions_are_shared_out_as_the_rules_say() {
    let of = |composite, bias| relevance(composite, Settings::default(), bias);
    let alpha = |alpha| relevance(&composite::ALPHA_BETA, Settings { alpha, ..Settings::default() }, 0.0);
    // The logit is 3, which 5 speak for and 2 against.
    assert_close("epsilon", &of(&composite::EPSILON, 0.0), &[2.0, -2.0, 3.0], 1e-5);
    assert_close("z-plus", &of(&composite::Z_PLUS, 0.0), &[1.2, 0.0, 1.8], 1e-5);
    // 2.4, -3 and 3.6, and 3.6, -6 and 5.4; of the layer that changes nothing all is for, so that it comes to alpha times as much.
    assert_close("alpha 2", &alpha(2.0), &[4.8, -6.0, 7.2], 1e-5);
    assert_close("alpha 3", &alpha(3.0), &[10.8, -18.0, 16.2], 1e-5);
    // Positive weights alone, whatever the logit is.
    assert_close("excitation", &of(&composite::EXCITATION, 0.0), &[0.4, 0.0, 0.6], 1e-5);
    // The logit is 4 then; deep Taylor leaves the bias out of what it is shared out by.
    assert_close("deep Taylor", &of(&composite::DEEP_TAYLOR, 1.0), &[1.6, 0.0, 2.4], 1e-5);
    assert_close("deep Taylor of a negative logit", &of(&composite::DEEP_TAYLOR, -8.0), &[0.0; 3], 1e-5);
}

/// What is left of a value that is never negative may be: -2, 1 and 2 give -4, -1 and 2, of which one is positive.
#[test]
fn a_difference_of_values_that_are_not_negative_may_be_negative() {
    let nodes = vec![node("Relu", &["x"], &["a"], vec![]), node("Sub", &["a", "c"], &["d"], vec![])];
    let found = passed(
        behind(nodes, &[("c", Tensor::f32(&[1, 3], &[3.0, 1.0, 1.0]))]),
        &composite::Z_PLUS,
        Settings::default(),
        &[1.0, 2.0, 3.0],
    );
    assert!(found[0] == 0.0 && found[1] == 0.0 && found[2] != 0.0, "{found:?}");
}

/// Each factor of `x (2 x)` is owed a half, and both come from the same.
#[test]
fn two_factors_are_owed_the_same() {
    let nodes = vec![
        node("Relu", &["x"], &["a"], vec![]),
        node("Mul", &["x", "two"], &["b"], vec![]),
        node("Mul", &["a", "b"], &["d"], vec![]),
    ];
    let found = passed(
        behind(nodes, &[("two", Tensor::scalar(2.0))]),
        &composite::EPSILON,
        Settings::default(),
        &[1.0, 2.0, 3.0],
    );
    // Products of 2, 8 and 18 times the weights.
    assert_close("both", &found, &[4.0, -8.0, 18.0], 1e-5);
}

/// `2 a - 1` of 1, 2 and 3 gives 1, 3 and 5, times the weights 2, -3 and 5; of each the part that `2 a` is of `2 a - 1`.
#[test]
fn a_normalisation_that_no_layer_takes_in_is_a_layer_with_a_bias() {
    let vector = |v: f32| Tensor::f32(&[3], &[v; 3]);
    let nodes = vec![
        node("Relu", &["x"], &["a"], vec![]),
        node(
            "BatchNormalization",
            &["a", "scale", "shift", "mean", "one"],
            &["d"],
            vec![("epsilon", Attr::Float(0.0))],
        ),
    ];
    let constants = [("scale", vector(2.0)), ("shift", vector(-1.0)), ("mean", vector(0.0)), ("one", vector(1.0))];
    let found = passed(behind(nodes, &constants), &composite::EPSILON, Settings::default(), &[1.0, 2.0, 3.0]);
    assert_close("normalised", &found, &[4.0, -4.0, 6.0], 1e-4);
}

#[test]
fn rectifiers_that_leak_are_guided_where_that_is_asked_for() {
    let leaky = || behind(vec![node("LeakyRelu", &["x"], &["d"], vec![("alpha", Attr::Float(0.5))])], &[]);
    let x = [1.0, 2.0, -3.0];
    assert_close(
        "guided",
        &passed(leaky(), &composite::GUIDED_RECTIFIERS, Settings::default(), &x),
        &[2.0, 0.0, 0.5],
        1e-6,
    );
    assert_close(
        "the gradient",
        &passed(leaky(), &composite::GUIDED, Settings::default(), &x),
        &[2.0, -1.0, 0.5],
        1e-6,
    );
}

/// A factor of -2 is of the weights, whichever of them a rule tells apart, and one of 3 of the bias.
#[test]
fn what_a_layer_is_multiplied_by_counts_as_its_weights() {
    let layer = |factors: [f32; 2], [by, bias]: [f32; 2]| {
        let first = node(
            "Gemm",
            &["x", "v", "c"],
            &["z"],
            vec![("alpha", Attr::Float(factors[0])), ("beta", Attr::Float(factors[1]))],
        );
        let v = [1.0, -2.0, 0.5, -0.75, 1.5, 2.0, -1.0, 0.25, -0.5].map(|v| v * by);
        let c = [0.5, -0.25, 1.0].map(|c| c * bias);
        let constants =
            [("v", Tensor::f32(&[3, 3], &v)), ("c", Tensor::f32(&[3], &c)), ("bias", Tensor::f32(&[1], &[0.5]))];
        behind(vec![first, node("Relu", &["z"], &["d"], vec![])], &constants)
    };
    for composite in COMPOSITES {
        let x = [1.0, -2.0, 3.0];
        let of = |graph| passed(graph, composite, Settings::default(), &x);
        let (apart, within) = (of(layer([-2.0, 3.0], [1.0, 1.0])), of(layer([1.0, 1.0], [-2.0, 3.0])));
        assert_close(composite.name, &apart, &within, 1e-6);
        // Of three values none is among the largest fifth.
        assert!(composite.name == "rectified" || within.iter().any(|v| *v != 0.0), "{}", composite.name);
    }
}

/// From -0.0001 to 0.0004 a Relu rises by four fifths of the way.
#[test]
fn slopes_over_small_differences_are_slopes() {
    let graph = behind(vec![node("Relu", &["x"], &["d"], vec![])], &[]);
    let found = passed_from(graph, &composite::RESCALE, Settings::default(), &[4e-4; 3], &[-1e-4; 3]);
    assert_close("slopes", &found, &[1.6, -0.8, 0.8], 1e-4);
}

/// Exponentials of 300 are more than single precision holds, on either side.
#[test]
fn a_softmax_far_from_its_baseline_adds_up() {
    let graph = || behind(vec![node("Softmax", &["x"], &["d"], vec![])], &[]);
    let (one, other) = ([300.0, 0.0, 0.0], [0.0, 10.0, 20.0]);
    // The weights are 2, -1 and 1, of which the first and the last are all that is left.
    for (x, baseline, lost) in [(one, other, 1.0), (other, one, -1.0)] {
        let found = passed_from(graph(), &composite::RESCALE, Settings::default(), &x, &baseline);
        let sum: f32 = found.iter().zip(x.iter().zip(&baseline)).map(|(m, (x, b))| m * (x - b)).sum();
        assert!((sum - lost).abs() < 1e-3, "{sum} for {lost}: {found:?}");
    }
}
