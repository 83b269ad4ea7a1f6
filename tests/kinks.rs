//! What the gradient is where a function has none: one fixed choice each, that of PyTorch.

mod common;

use common::{graph, ints, node, session};
use whyline_runtime::engine::Session;
use whyline_runtime::gradient::target::Score;
use whyline_runtime::gradient::{Settings, Spec};
use whyline_runtime::onnx::{Attr, Graph};

fn gradient(graph: Graph, x: &[f32], seed: &[f32]) -> Vec<f32> {
    session(graph, &Spec::default()).unwrap().gradient(x, seed).unwrap().input.to_vec()
}

#[test]
fn a_relu_passes_nothing_at_zero() {
    let relu = graph(&[1, 3], vec![node("Relu", &["x"], &["y"], vec![])], "y");
    assert_eq!(gradient(relu, &[-1.0, 0.0, 1.0], &[1.0; 3]), [0.0, 0.0, 1.0]);
}

#[test]
fn max_pools_give_to_the_first_of_equal_ones() {
    let window = || vec![("kernel_shape", ints(&[2, 2]))];
    for (op, attributes) in [("MaxPool", window()), ("GlobalMaxPool", vec![])] {
        let pool = graph(&[1, 2, 2, 2], vec![node(op, &["x"], &["y"], attributes)], "y");
        let x = [1.0, 4.0, 4.0, 4.0, 2.0, 2.0, 2.0, 2.0];
        assert_eq!(gradient(pool, &x, &[1.0, 3.0]), [0.0, 1.0, 0.0, 0.0, 3.0, 0.0, 0.0, 0.0], "{op}");
    }
}

#[test]
fn maxima_of_tensors_give_to_the_first_of_equal_ones_and_maxima_along_an_axis_to_each_its_share() {
    let of = |op: &str| {
        graph(&[1, 3], vec![node("Neg", &["x"], &["n"], vec![]), node(op, &["x", "n"], &["y"], vec![])], "y")
    };
    assert_eq!(gradient(of("Max"), &[-1.0, 0.0, 2.0], &[1.0; 3]), [-1.0, 1.0, 1.0]);
    assert_eq!(gradient(of("Min"), &[-1.0, 0.0, 2.0], &[1.0; 3]), [1.0, 1.0, -1.0]);
    let along = |op: &str| graph(&[1, 4], vec![node(op, &["x"], &["y"], vec![("keepdims", Attr::Int(0))])], "y");
    assert_eq!(gradient(along("ReduceMax"), &[3.0, 1.0, 3.0, 2.0], &[1.0]), [0.5, 0.0, 0.5, 0.0]);
    assert_eq!(gradient(along("ReduceMin"), &[2.0, 1.0, 1.0, 1.0], &[3.0]), [0.0, 1.0, 1.0, 1.0]);
}

#[test]
fn a_softened_relu_is_a_softplus_and_never_overflows() {
    let x = [-300.0f32, -2.0, 0.0, 0.3, 2.0, 300.0];
    for sharpness in [0.5f32, 4.0, 1000.0] {
        let relu = graph(&[1, 6], vec![node("Relu", &["x"], &["y"], vec![])], "y");
        let settings = Settings { softplus: Some(sharpness), ..Settings::default() };
        let mut session = session(relu, &Spec { settings, ..Spec::default() }).unwrap();
        let (values, slopes) = (session.forward(&x).unwrap().to_vec(), session.gradient(&x, &[1.0; 6]).unwrap().input);
        for (i, &z) in x.iter().enumerate() {
            let bz = sharpness as f64 * z as f64;
            let (value, slope) =
                ((bz.max(0.0) + (-bz.abs()).exp().ln_1p()) / sharpness as f64, 1.0 / (1.0 + (-bz).exp()));
            assert!((values[i] as f64 - value).abs() < 1e-5 * (1.0 + value), "{} for {value}", values[i]);
            assert!((slopes[i] as f64 - slope).abs() < 1e-5, "{} for {slope}", slopes[i]);
        }
    }
}

/// Of a class that the model is sure of, what is left to gain is the sum of the others' probabilities, and not one less nearly one.
#[test]
fn probabilities_near_one_have_slopes_to_all_digits() {
    let spec = || Spec { score: Score::Probability, ..Spec::default() };
    for x in [[18.0f32, 1.0, 0.5], [0.0, -17.0, -20.0], [3.0, 2.5, -1.0], [2.0, 2.0, 1.0]] {
        let same = graph(&[1, 3], vec![node("Identity", &["x"], &["y"], vec![])], "y");
        let mut session = session(same, &spec()).unwrap();
        let powers = x.map(|v| (v as f64).exp());
        let total: f64 = powers.iter().sum();
        for class in 0..3 {
            let mut seed = [0.0; 3];
            seed[class] = 1.0;
            let found = session.gradient(&x, &seed).unwrap().input.to_vec();
            for (i, found) in found.into_iter().enumerate() {
                let others: f64 = (0..3).filter(|j| *j != class).map(|j| powers[j]).sum();
                let part = if i == class { others } else { -powers[i] };
                let slope = powers[class] * part / (total * total);
                assert!((found as f64 - slope).abs() < 1e-5 * slope.abs(), "{x:?}, {class}, {i}: {found} for {slope}");
            }
        }
    }
}
