//! What half precision does to maps: how far they turn from those of single precision, and that nothing overflows or
//! vanishes on the way.

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::{dot, graph, ints, node, normal, typed};
use whyline_runtime::engine::{Isa, Packs, PlanSession, Plans, Precision, Resources, Session};
use whyline_runtime::explain::{LoadOptions, Loaded, Target};
use whyline_runtime::gradient::{GradientGraph, Spec, differentiate};
use whyline_runtime::image::{decode, prepare};
use whyline_runtime::methods::Given;
use whyline_runtime::onnx::Tensor;
use whyline_runtime::record::FileRecord;

const HALVES: [Precision; 2] = [Precision::F16Weights, Precision::F16Emulated];

fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models")
}

fn load(name: &str) -> Loaded {
    let options = LoadOptions { random_weights: Some(0), ..LoadOptions::default() };
    Loaded::read(&models().join(name).with_extension("onnx"), &options).unwrap()
}

fn map(loaded: &Loaded, input: &[f32], method: &str, steps: Option<&str>, precision: Precision) -> Vec<f32> {
    let given: Given = steps.iter().map(|n| ("steps".to_string(), n.to_string())).collect();
    let mut explainer = loaded.explainer(method, &given, precision, Resources::default()).unwrap();
    let file = FileRecord { file: String::new(), sha256: String::new() };
    explainer.explain(input, file, &Target::Top).unwrap().attribution.values
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// Of the tenth of places with the largest magnitudes: which part two maps have in common.
fn top_decile(a: &[f32], b: &[f32]) -> f64 {
    let top = |map: &[f32]| {
        let mut order: Vec<usize> = (0..map.len()).collect();
        order.sort_by(|&i, &j| map[j].abs().total_cmp(&map[i].abs()));
        order.truncate(map.len() / 10);
        order
    };
    let (a, b) = (top(a), top(b));
    a.iter().filter(|i| b.contains(i)).count() as f64 / a.len() as f64
}

#[test]
fn maps_of_architectures_keep_their_direction() {
    for name in ["resnet18", "mobilenet_v2", "squeezenet1_1", "efficientnet_b0"] {
        let loaded = load(&format!("architectures/{name}"));
        let input = normal(loaded.input_shape().unwrap().iter().product(), 1);
        for (method, steps, least) in [("vanilla", None, 0.98), ("integrated-gradients", Some("4"), 0.99)] {
            let single = map(&loaded, &input, method, steps, Precision::F32);
            for precision in HALVES {
                let cosine = cosine(&map(&loaded, &input, method, steps, precision), &single);
                assert!(cosine >= least, "{name}, {method}, {}: {cosine}", precision.name());
            }
        }
    }
}

#[test]
fn maps_of_the_trained_models_keep_their_direction_and_their_peaks() {
    for name in ["digits-cnn", "digits-vit"] {
        let loaded = load(name);
        for digit in [0, 3, 5, 8] {
            let picture = decode(&models().join(format!("samples/digit-{digit}.png"))).unwrap();
            let layout = loaded.layout().unwrap().unwrap();
            let input = prepare(&picture, &loaded.input_shape().unwrap(), layout, &loaded.card.input).unwrap().input;
            for (method, steps, least) in [("vanilla", None, 0.99), ("integrated-gradients", Some("12"), 0.999)] {
                let single = map(&loaded, &input, method, steps, Precision::F32);
                for precision in HALVES {
                    let half = map(&loaded, &input, method, steps, precision);
                    let (cosine, top) = (cosine(&half, &single), top_decile(&half, &single));
                    let what = format!("{name}, digit {digit}, {method}, {}", precision.name());
                    assert!(cosine >= least && top >= 0.95, "{what}: cosine {cosine}, top decile {top}");
                }
            }
        }
    }
}

/// A 1x1 convolution, then one with stride two, of values and weights of these sizes.
fn two_convolutions(values: f32, weights: f32) -> (GradientGraph, Vec<f32>) {
    let nodes = vec![
        node("Conv", &["x", "w0"], &["inner"], vec![]),
        node("Conv", &["inner", "w1"], &["y"], vec![("strides", ints(&[2, 2]))]),
    ];
    let mut graph = graph(&[1, 20, 9, 7], nodes, "y");
    for (name, shape, draw) in [("w0", [40, 20, 1, 1], 1), ("w1", [24, 40, 3, 3], 2)] {
        let scaled = normal(shape.iter().product(), draw).iter().map(|v| v * weights).collect::<Vec<_>>();
        graph.constants.insert(name.into(), Tensor::f32(&shape, &scaled));
    }
    let x = normal(20 * 9 * 7, 3).iter().map(|v| v * values).collect();
    (differentiate(&typed(graph).unwrap(), &Spec::default()).unwrap(), x)
}

fn passes(derived: &GradientGraph, precision: Precision, isa: Isa, x: &[f32], seed: f32) -> (Vec<f32>, Vec<f32>) {
    let plans = Plans::sharing(derived, &mut Packs::new(precision, isa)).unwrap();
    let halves = plans.halves();
    let all = halves.multiplied + halves.kept + halves.floats.len();
    let expected = match precision {
        Precision::F32 => (0, 0, 4),
        Precision::F16Weights => (0, 4, 0),
        _ => (4, 0, 0),
    };
    assert_eq!((halves.multiplied, halves.kept, halves.floats.len()), expected, "of {all} steps");
    let mut session = PlanSession::of(Arc::new(plans), Resources::default()).unwrap();
    let logits = session.forward(x).unwrap().to_vec();
    let seed: Vec<f32> = normal(logits.len(), 4).iter().map(|v| v * seed).collect();
    let gradient = session.gradient(x, &seed).unwrap().input.to_vec();
    (logits, gradient)
}

#[test]
fn nothing_overflows_and_nothing_vanishes() {
    for (values, weights, seed) in [(1.0, 1.0, 1.0), (1e8, 1.0, 1e-20), (1e-12, 1e6, 1e-15), (1e5, 1e-7, 1e4)] {
        let (derived, x) = two_convolutions(values, weights);
        for &isa in Isa::here() {
            let (logits, gradient) = passes(&derived, Precision::F32, isa, &x, seed);
            for precision in HALVES {
                let (half_logits, half_gradient) = passes(&derived, precision, isa, &x, seed);
                for (half, single) in [(half_logits, &logits), (half_gradient, &gradient)] {
                    let what =
                        format!("{} on {}, values of {values}, weights of {weights}", precision.name(), isa.name());
                    let apart: Vec<f32> = half.iter().zip(single).map(|(a, b)| a - b).collect();
                    let error = (dot(&apart, &apart) / dot(single, single)).sqrt();
                    assert!(error < 2e-3 && error > 0.0, "{what}: relative error {error}");
                }
            }
        }
    }
}

/// Emulated halves are the same on every instruction set, and those of a machine nearly so: see `Emulated`.
#[test]
fn halves_round_alike_everywhere() {
    let (derived, x) = two_convolutions(1.0, 1.0);
    let plain = passes(&derived, Precision::F16Emulated, Isa::Portable, &x, 1.0);
    let best = passes(&derived, Precision::F16Emulated, Isa::best(), &x, 1.0);
    for (plain, best) in [(plain.0, best.0), (plain.1, best.1)] {
        let apart: Vec<f32> = plain.iter().zip(&best).map(|(a, b)| a - b).collect();
        let error = (dot(&apart, &apart) / dot(&plain, &plain)).sqrt();
        assert!(error < 1e-4, "relative error {error}");
    }
}

/// Weights kept as halves are taken to Winograd's points a few blocks of channels at a time: here in four groups, for each of two
/// strips of the image.
#[test]
fn winograd_of_halves_goes_by_groups() {
    let nodes = vec![node("Conv", &["x", "w"], &["y"], vec![("pads", ints(&[1, 1, 1, 1]))])];
    let mut graph = graph(&[1, 128, 48, 12], nodes, "y");
    graph.constants.insert("w".into(), Tensor::f32(&[128, 128, 3, 3], &normal(128 * 128 * 9, 1)));
    let (derived, x) = (differentiate(&typed(graph).unwrap(), &Spec::default()).unwrap(), normal(128 * 48 * 12, 3));
    for &isa in Isa::here() {
        let [single, half] = [Precision::F32, Precision::F16Weights].map(|precision| {
            let plans = Plans::sharing(&derived, &mut Packs::new(precision, isa)).unwrap();
            let mut session = PlanSession::of(Arc::new(plans), Resources::default()).unwrap();
            let steps = session.profile_forward(&x).unwrap();
            assert!(steps.iter().any(|step| step.kernel == "winograd"), "{}: {steps:?}", precision.name());
            let logits = session.forward(&x).unwrap().to_vec();
            let gradient = session.gradient(&x, &normal(logits.len(), 4)).unwrap().input.to_vec();
            [logits, gradient]
        });
        for (single, half) in single.iter().zip(&half) {
            let apart: Vec<f32> = half.iter().zip(single).map(|(a, b)| a - b).collect();
            let error = (dot(&apart, &apart) / dot(single, single)).sqrt();
            assert!(error < 1e-3 && error > 0.0, "{}: relative error {error}", isa.name());
        }
    }
}
