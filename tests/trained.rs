//! The trained models of this project, and those that other people use.

use std::path::{Path, PathBuf};

use whyline_runtime::engine::{Precision, Resources};
use whyline_runtime::evaluate::{Effort, Evaluation, Marked, Measure, Row, Subjected};
use whyline_runtime::explain::{Explanation, LoadOptions, Loaded, Target};
use whyline_runtime::image::{decode, prepare};
use whyline_runtime::methods::{Given, METHODS};
use whyline_runtime::onnx::card::InputCard;
use whyline_runtime::onnx::metadata::with_metadata;
use whyline_runtime::onnx::{Attr, Card, Dim, Fact, Node};
use whyline_runtime::record::FileRecord;
use whyline_runtime::variants::MEMORY;

fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models")
}

fn load(path: &Path) -> Loaded {
    Loaded::read(path, &LoadOptions::default()).unwrap()
}

fn explain(loaded: &Loaded, image: &Path, method: &str, given: &[(&str, &str)], target: &Target) -> Explanation {
    let given: Given = given.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    let input = input_of(loaded, image);
    let file = FileRecord::of(image).unwrap();
    loaded
        .explainer(method, &given, Precision::F32, Resources::default())
        .unwrap()
        .explain(&input, file, target)
        .unwrap()
}

fn input_of(loaded: &Loaded, image: &Path) -> Vec<f32> {
    let layout = loaded.layout().unwrap().unwrap();
    prepare(&decode(image).unwrap(), &loaded.input_shape().unwrap(), layout, &loaded.card.input).unwrap().input
}

fn sample(digit: usize) -> PathBuf {
    models().join(format!("samples/digit-{digit}.png"))
}

fn relative_error(a: &[f32], b: &[f32]) -> f64 {
    let apart: f64 = a.iter().zip(b).map(|(a, b)| (*a as f64 - *b as f64).powi(2)).sum();
    let size: f64 = b.iter().map(|b| (*b as f64).powi(2)).sum();
    (apart / size).sqrt()
}

/// One noisy model is the same for both parts of Guided Grad-CAM.
#[test]
fn noise_on_weights_is_on_both_models_of_a_method() {
    let loaded = load(&models().join("digits-cnn.onnx"));
    let noisy = |base: &str| {
        let given = [("base", base), ("models", "1"), ("weight-sigma", "0.3")];
        explain(&loaded, &sample(3), "noisegrad", &given, &Target::Class(3)).attribution.values
    };
    let (guided, cam, both) = (noisy("guided-backprop"), noisy("grad-cam"), noisy("guided-grad-cam"));
    let product: Vec<f32> = guided.iter().zip(&cam).map(|(g, c)| g * c.max(0.0)).collect();
    assert!(relative_error(&both, &product) < 1e-5, "{}", relative_error(&both, &product));
    let clean = explain(&loaded, &sample(3), "grad-cam", &[], &Target::Class(3)).attribution.values;
    assert!(relative_error(&cam, &clean) > 0.05, "the noise is seen");
    let given = [("base".to_string(), "fullgrad".to_string())].into();
    let refused = loaded.explainer("noisegrad", &given, Precision::F32, Resources::default());
    assert!(refused.is_err_and(|error| error.to_string().contains("biases")));
}

#[test]
fn both_models_read_every_sample() {
    for model in ["digits-cnn", "digits-vit"] {
        let loaded = load(&models().join(model).with_extension("onnx"));
        for digit in 0..10 {
            let record = explain(&loaded, &sample(digit), "vanilla", &[], &Target::Top).record;
            assert_eq!(record.predicted.class, digit, "{model}");
            assert_eq!(record.predicted.label.as_deref(), Some(digit.to_string().as_str()), "{model}");
        }
    }
}

#[test]
fn every_method_explains_both_models_deterministically_within_its_passes() {
    for model in ["digits-cnn", "digits-vit"] {
        let loaded = load(&models().join(model).with_extension("onnx"));
        // Deep Taylor decomposition is for networks of Relu.
        for method in METHODS.iter().filter(|m| m.name != "deep-taylor" || model == "digits-cnn") {
            let few = [("samples", "3"), ("models", "2"), ("steps", "6"), ("classes", "2")];
            let given = few.iter().filter(|(name, _)| method.parameters.iter().any(|p| p.name == *name));
            let given: Given = given.map(|(k, v)| (k.to_string(), v.to_string())).collect();
            let run = |threads: usize| {
                let resources = Resources { threads, ..Resources::default() };
                let mut explainer = loaded.explainer(method.name, &given, Precision::F32, resources).unwrap();
                let input = input_of(&loaded, &sample(3));
                let most = explainer.passes();
                let explained = explainer.explain(&input, FileRecord::of(&sample(3)).unwrap(), &Target::Top).unwrap();
                let taken = explained.record.passes.plus(explained.record.saved.unwrap_or_default());
                let both = format!("{model} {}: {taken:?} of {most:?}", method.name);
                assert!(taken.forward <= most.forward && taken.gradient <= most.gradient, "{both}");
                explained
            };
            let (first, again) = (run(1), run(2));
            assert_eq!(first.attribution, again.attribution, "{model} {}", method.name);
            assert!(first.attribution.values.iter().any(|v| *v != 0.0), "{model} {}", method.name);
        }
    }
}

#[test]
fn integrated_gradients_nearly_add_up() {
    for (model, allowed) in [("digits-cnn", 0.02), ("digits-vit", 0.001)] {
        let loaded = load(&models().join(model).with_extension("onnx"));
        for digit in [2, 5, 8] {
            let given = [("steps", "64"), ("rule", "midpoint")];
            let record = explain(&loaded, &sample(digit), "ig", &given, &Target::Top).record;
            let gap = record.completeness.unwrap();
            assert!(gap.relative_gap < allowed, "{model} {digit}: {gap:?}");
        }
    }
}

#[test]
fn deeplift_adds_up() {
    for model in ["digits-cnn", "digits-vit"] {
        let loaded = load(&models().join(model).with_extension("onnx"));
        for (baseline, method) in [
            ("zero", "deeplift"),
            ("0.3", "deeplift"),
            ("uniform:4", "deeplift"),
            ("0.3", "revealcancel"),
            ("uniform:4", "revealcancel"),
        ] {
            let given = [("baseline", baseline)];
            let gap = explain(&loaded, &sample(6), method, &given, &Target::Top).record.completeness.unwrap();
            assert!(gap.relative_gap < 1e-4, "{model}, {method} from {baseline}: {gap:?}");
        }
    }
}

#[test]
fn softplus_makes_hessians_smooth_and_comes_near_the_model_as_it_sharpens() {
    let loaded = load(&models().join("digits-cnn.onnx"));
    let run = |softplus: &str, form: &str, steps: &str| {
        let given = [("softplus", softplus), ("form", form), ("steps", steps), ("region", "18,18,12,12")];
        explain(&loaded, &sample(3), "integrated-hessians", &given, &Target::Top).record
    };
    let own = run("0", "differences", "16");
    assert_eq!((own.passes.gradient, own.warnings.len()), (32, 0));
    let (soft, sharp) = (run("10", "differences", "16"), run("200", "kinks", "16"));
    assert_eq!((soft.passes.gradient, sharp.passes.gradient), (32, 16));
    assert!(soft.warnings[0].contains("Softplus (10) in place of 13 Relu"), "{:?}", soft.warnings);
    assert!(sharp.completeness.unwrap().relative_gap < 1e-6, "{:?}", sharp.completeness);
    let logit = |r: &whyline_runtime::record::Record| r.target.class.logit.unwrap();
    let (far, near) = ((logit(&soft) - logit(&own)).abs(), (logit(&sharp) - logit(&own)).abs());
    assert!(near < 0.2 * far && near < 0.05, "{near} and {far}");
}

/// By differences the map of a network of Relu is that of the nearly same network without kinks; by kinks it would be another.
#[test]
fn hessians_of_relu_are_those_of_softplus() {
    let loaded = load(&models().join("digits-cnn.onnx"));
    let map = |softplus: &str, steps: &str| {
        let given = [("softplus", softplus), ("steps", steps), ("region", "20,20,6,6")];
        explain(&loaded, &sample(3), "integrated-hessians", &given, &Target::Top).attribution.values
    };
    let (own, smooth) = (map("0", "64"), map("50", "200"));
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| *a as f64 * *b as f64).sum::<f64>();
    let cosine = dot(&own, &smooth) / (dot(&own, &own) * dot(&smooth, &smooth)).sqrt();
    assert!(cosine > 0.8, "{cosine}");
}

#[test]
fn steps_are_learned_and_baked_into_a_copy_of_the_model() {
    let path = models().join("digits-cnn.onnx");
    let loaded = load(&path);
    let mut calibrator = loaded.calibrator("zero", Resources::default()).unwrap();
    assert!(calibrator.steps().is_err());
    (0..10).for_each(|digit| calibrator.learn(&input_of(&loaded, &sample(digit))).unwrap());
    let steps = calibrator.steps().unwrap();
    assert_eq!((steps.inputs, steps.baseline.as_str()), (10, "zero"));
    let card = Card { steps: Some(steps), ..loaded.card.clone() };
    let bytes = std::fs::read(&path).unwrap();
    let baked = with_metadata(&bytes, "digits", "why.card", &card.to_toml().unwrap()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("calibrated.onnx");
    std::fs::write(&copy, &baked).unwrap();
    let calibrated = load(&copy);
    assert_eq!(calibrated.card, card);
    let plain = explain(&loaded, &sample(3), "vanilla", &[], &Target::Top).attribution;
    assert_eq!(explain(&calibrated, &sample(3), "vanilla", &[], &Target::Top).attribution, plain);
    // Again: what was baked before is replaced, and all else stays byte for byte.
    let twice = with_metadata(&baked, "digits", "why.card", &card.to_toml().unwrap()).unwrap();
    assert_eq!(twice, baked);
    // What was learned from every other digit serves the rest: nearer to the limit than evenly spaced steps are.
    let mut calibrator = loaded.calibrator("zero", Resources::default()).unwrap();
    (0..5).for_each(|i| calibrator.learn(&input_of(&loaded, &sample(2 * i))).unwrap());
    let mut learned = load(&path);
    learned.card.steps = Some(calibrator.steps().unwrap());
    let far = |rule: &str, digit: usize| {
        let map = |steps: &str, rule: &str| {
            explain(&learned, &sample(digit), "ig", &[("rule", rule), ("steps", steps)], &Target::Top)
                .attribution
                .values
        };
        relative_error(&map("16", rule), &map("256", "midpoint"))
    };
    let sum = |rule: &str| [1, 3, 5, 7, 9].map(|digit| far(rule, digit)).iter().sum::<f64>();
    let (calibrated, even) = (sum("calibrated"), sum("midpoint"));
    assert!(calibrated < 0.9 * even, "{calibrated} and {even}");
    assert!(with_metadata(&bytes[..1000], "digits", "k", "v").is_err());
    assert!(loaded.calibrator("file:x", Resources::default()).is_err());
}

#[test]
fn which_classes_are_climbed_to_depends_on_the_seed() {
    let loaded = load(&models().join("digits-cnn.onnx"));
    let map = |seed: &str| {
        let given = [("classes", "1"), ("seed", seed)];
        explain(&loaded, &sample(6), "agi", &given, &Target::Top).attribution
    };
    assert_eq!(map("0"), map("0"));
    assert!(["1", "2", "3"].iter().any(|seed| map(seed) != map("0")));
}

#[test]
fn weights_are_their_own_again_after_noise() {
    let loaded = load(&models().join("digits-cnn.onnx"));
    let given = [("models", "2")].map(|(k, v)| (k.to_string(), v.to_string())).into();
    let mut explainer = loaded.explainer("noisegrad", &given, Precision::F32, Resources::default()).unwrap();
    let (input, file) = (input_of(&loaded, &sample(3)), FileRecord::of(&sample(3)).unwrap());
    let mut run = || explainer.explain(&input, file.clone(), &Target::Top).unwrap();
    let (first, second) = (run(), run());
    assert_eq!(first.attribution, second.attribution);
    assert_eq!(first.record.predicted.logit, second.record.predicted.logit);
    assert_ne!(first.attribution, explain(&loaded, &sample(3), "vanilla", &[], &Target::Top).attribution);
}

#[test]
fn deep_taylor_is_for_networks_of_relu() {
    let loaded = load(&models().join("digits-cnn.onnx"));
    let map = explain(&loaded, &sample(6), "deep-taylor", &[], &Target::Top).attribution;
    let most = map.values.iter().fold(0.0f32, |m, v| m.max(*v));
    assert!(most > 0.0 && map.values.iter().all(|v| *v >= 0.0));
    let loaded = load(&models().join("digits-vit.onnx"));
    let refused = loaded.explainer("deep-taylor", &Given::new(), Precision::F32, Resources::default());
    let message = refused.err().unwrap().to_string();
    assert!(message.contains("Gemm") && message.contains("deep Taylor"), "{message}");
}

#[test]
fn the_target_decides_the_map() {
    let loaded = load(&models().join("digits-cnn.onnx"));
    let map = |name: &str| explain(&loaded, &sample(3), "vanilla", &[], &Target::Named(name.into())).attribution;
    assert_eq!(map("3"), explain(&loaded, &sample(3), "vanilla", &[], &Target::Top).attribution);
    assert_ne!(map("3"), map("8"));
}

#[test]
fn guided_backprop_differs_from_the_gradient_and_warns_where_it_can_not() {
    let image = sample(4);
    let cnn = load(&models().join("digits-cnn.onnx"));
    let gradient = explain(&cnn, &image, "vanilla", &[], &Target::Top);
    let guided = explain(&cnn, &image, "guided-backprop", &[], &Target::Top);
    assert_ne!(gradient.attribution, guided.attribution);
    assert_eq!((guided.record.composite.as_str(), guided.record.warnings.len()), ("guided", 0));
    let vit = load(&models().join("digits-vit.onnx"));
    let same = explain(&vit, &image, "guided-backprop", &[], &Target::Top);
    assert!(same.record.warnings[0].contains("no node has the rule 'guided'"), "{:?}", same.record.warnings);
}

#[test]
fn a_gradient_graph_from_pytorch_agrees_with_ours() {
    let ours = load(&models().join("digits-cnn.onnx"));
    let mut foreign = load(&models().join("digits-cnn-gradient.onnx"));
    assert!(foreign.ready_made.is_some() && ours.ready_made.is_none());
    foreign.card = ours.card.clone();
    for digit in 0..10 {
        for (method, given) in [("vanilla", vec![]), ("ig", vec![("steps", "8")])] {
            let a = explain(&foreign, &sample(digit), method, &given, &Target::Top);
            let b = explain(&ours, &sample(digit), method, &given, &Target::Top);
            let error = relative_error(&a.attribution.values, &b.attribution.values);
            assert!(error < 1e-4, "digit {digit}, {method}: {error:.2e}");
        }
    }
}

/// A folder of other people's models beside the checkout, where there is one.
fn shared() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/models");
    if !folder.is_dir() {
        eprintln!("skipped: {} is not there", folder.display());
        return None;
    }
    Some(folder)
}

/// Loads a model that has no card, with pixels taken as they are.
fn load_raw(path: &Path) -> Loaded {
    let card = Card { input: InputCard { scale: 1.0, ..InputCard::default() }, ..Card::default() };
    Loaded::read(path, &LoadOptions { card: Some(card), ..LoadOptions::default() }).unwrap()
}

#[test]
fn resnet8_takes_an_eagle_for_a_bird_and_a_pelican_for_an_airplane() {
    let Some(folder) = shared() else { return };
    let loaded = load_raw(&folder.join("mlperf-tiny-resnet8-cifar10.onnx"));
    assert_eq!(loaded.input_shape().unwrap(), [1, 32, 32, 3]);
    for (image, class, probability) in [("bald_eagle.jpeg", 2, 0.96), ("pelican.jpeg", 0, 0.99)] {
        let explained = explain(&loaded, &folder.join(image), "ig", &[], &Target::Top);
        let predicted = &explained.record.predicted;
        assert_eq!(predicted.class, class, "{image}");
        let found = predicted.probability.unwrap();
        assert!((found - probability).abs() < 0.03, "{image}: {found}");
        assert_eq!(explained.attribution.shape, [1, 32, 32, 3]);
        assert_eq!(explain(&loaded, &folder.join(image), "grad-cam", &[], &Target::Top).attribution.shape, [32, 32]);
    }
}

/// Inside a model of images with their channels last, layers may have them first: each bias has the layout of its own layer.
#[test]
fn full_gradients_are_the_same_wherever_the_channels_are() {
    let cnn = load(&models().join("digits-cnn.onnx"));
    let mut last = load(&models().join("digits-cnn.onnx"));
    let (graph, facts) = (&mut last.typed.graph, &mut last.typed.facts);
    let name = graph.inputs[0].name.clone();
    graph.nodes.iter_mut().flat_map(|n| &mut n.inputs).filter(|i| **i == name).for_each(|i| *i = "first".into());
    let perm = std::collections::BTreeMap::from([("perm".to_string(), Attr::Ints(vec![0, 3, 1, 2]))]);
    let (inputs, outputs) = (vec![name.clone()], vec!["first".to_string()]);
    let turn =
        Node { name: "turn".into(), op: "Transpose".into(), inputs, outputs, attributes: perm, ..Node::default() };
    graph.nodes.insert(0, turn);
    graph.inputs[0].dims = Some([1, 48, 48, 1].map(Dim::Fixed).into());
    facts.insert("first".into(), facts[&name].clone());
    facts.insert(name, Fact::f32(&[1, 48, 48, 1]));
    last.card.input.layout = None;
    let map = |loaded: &Loaded| explain(loaded, &sample(5), "fullgrad", &[], &Target::Top).attribution.values;
    let error = relative_error(&map(&last), &map(&cnn));
    assert!(error < 1e-5, "{error}");
}

/// A transformer's norms, attention and Gelu have more beside their slopes than its layers have biases.
#[test]
fn full_gradients_of_the_transformer_add_up_with_implicit_biases() {
    let vit = load(&models().join("digits-vit.onnx"));
    let full = explain(&vit, &sample(3), "fullgrad", &[("implicit", "true")], &Target::Top);
    let completeness = full.record.completeness.unwrap();
    assert!(completeness.relative_gap < 1e-4, "{completeness:?}");
}

#[test]
fn the_zoos_mnist_model_reads_four_digits() {
    let Some(folder) = shared() else { return };
    let loaded = load_raw(&folder.join("onnx-zoo-mnist.onnx"));
    for digit in [0, 3, 5, 7] {
        let explained = explain(&loaded, &folder.join(format!("digit-{digit}.jpg")), "ig", &[], &Target::Top);
        assert_eq!(explained.record.predicted.class, digit);
    }
}

#[test]
fn a_model_of_sound_is_explained_from_a_tensor() {
    let Some(folder) = shared() else { return };
    let loaded = load_raw(&folder.join("mlperf-tiny-dscnn-keywords.onnx"));
    let rng = whyline_runtime::rng::Rng::new(3, 0);
    let input: Vec<f32> = (0..490).map(|i| 20.0 * rng.normal(i)).collect();
    let file = FileRecord { file: "noise".into(), sha256: String::new() };
    let mut explainer = loaded.explainer("ig", &Given::new(), Precision::F32, Resources::default()).unwrap();
    let explained = explainer.explain(&input, file, &Target::Top).unwrap();
    assert_eq!(explained.attribution.shape, [1, 49, 10, 1]);
    assert!(explained.attribution.values.iter().any(|v| *v != 0.0));
}

/// The means of metrics over four of the samples, method by method.
fn means(loaded: &Loaded, methods: &[&str], metrics: &[&str], memory: usize) -> Vec<f64> {
    let explainer = |m: &&str| loaded.explainer(m, &Given::new(), Precision::F32, Resources::default()).unwrap();
    let measures = metrics.iter().map(|m| Measure::new(m, &Given::new()).unwrap()).collect();
    let mut evaluation =
        Evaluation::new(methods.iter().map(explainer).collect(), measures, Effort { memory, ..Effort::default() })
            .unwrap();
    for digit in 0..4 {
        let image = sample(digit);
        let (input, file) = (input_of(loaded, &image), FileRecord::of(&image).unwrap());
        let sample = Subjected { input: &input, file, marked: &Marked::Nothing, mosaic: false, target: Target::Top };
        evaluation.push(&sample).unwrap().into_iter().for_each(|scores| drop(scores.unwrap()));
    }
    let of_row = |row: &Row| row.scores.iter().map(|tally| tally.scores().moments().mean()).collect::<Vec<f64>>();
    evaluation.rows.iter().flat_map(of_row).collect()
}

/// Kindermans et al.'s check, and one layer's values beside the map.
#[test]
fn a_shift_of_the_input_is_seen_by_what_multiplies_by_it() {
    let cnn = load(&models().join("digits-cnn.onnx"));
    let methods = ["vanilla", "guided-backprop", "gradient-x-input", "ig"];
    let found = means(&cnn, &methods, &["input-invariance"], MEMORY);
    assert!(found[..2].iter().all(|change| *change < 1e-3), "{found:?}");
    assert!(found[2..].iter().all(|change| *change > 0.1), "{found:?}");
    let stability = means(&cnn, &["vanilla", "grad-cam"], &["relative-representation-stability"], 0);
    assert!(stability.iter().all(|s| s.is_finite() && *s > 0.0), "{stability:?}");
}

/// Adebayo et al.'s sanity check: with the model's layers randomised from the top, what depends on them changes, and guided
/// backpropagation hardly does.
#[test]
fn random_weights_change_gradients_more_than_guided_backpropagation() {
    let cnn = load(&models().join("digits-cnn.onnx"));
    let methods = ["vanilla", "ig", "guided-backprop"];
    let means = means(&cnn, &methods, &["mprt"], MEMORY);
    let [vanilla, integrated, guided] = means[..] else { panic!("{means:?}") };
    assert!(guided > vanilla + 0.1 && guided > integrated + 0.1, "{means:?}");
    assert_eq!(
        self::means(&cnn, &methods, &["mprt"], 0),
        means,
        "randomised models that are prepared each time are the same"
    );
    // The weights are the model's own again.
    let again = explain(&cnn, &sample(3), "vanilla", &[], &Target::Top).attribution.values;
    assert_eq!(
        again,
        explain(&load(&models().join("digits-cnn.onnx")), &sample(3), "vanilla", &[], &Target::Top).attribution.values
    );
}
