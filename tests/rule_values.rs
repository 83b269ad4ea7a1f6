//! Rules of relevance of one dense layer, by values worked out on paper.

mod common;

use common::{assert_close, graph, node, typed};
use whyline_runtime::engine::{PlanSession, Session};
use whyline_runtime::gradient::composite::{self, Composite};
use whyline_runtime::gradient::{Settings, Spec, differentiate};
use whyline_runtime::onnx::{Graph, Tensor};

/// A layer that changes nothing, so that rules of first layers have nothing to share out; then 2, -1 and 1 of three inputs, and a bias.
fn layer(bias: f32) -> Graph {
    let nodes = vec![
        node("Gemm", &["x", "same"], &["z"], vec![]),
        node("Relu", &["z"], &["a"], vec![]),
        node("Gemm", &["a", "w", "b"], &["y"], vec![]),
    ];
    let mut graph = graph(&[1, 3], nodes, "y");
    let same = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0];
    graph.constants.insert("same".into(), Tensor::f32(&[3, 3], &same));
    graph.constants.insert("w".into(), Tensor::f32(&[3, 1], &[2.0, -1.0, 1.0]));
    graph.constants.insert("b".into(), Tensor::f32(&[1], &[bias]));
    graph
}

/// Of the inputs 1, 2 and 3, which give 2, -2 and 3.
fn relevance(composite: &'static Composite, settings: Settings, bias: f32) -> Vec<f32> {
    let spec = Spec { composite, settings, ..Spec::default() };
    let mut session = PlanSession::new(&differentiate(&typed(layer(bias)).unwrap(), &spec).unwrap()).unwrap();
    session.gradient(&[1.0, 2.0, 3.0], &[1.0]).unwrap().input.to_vec()
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
