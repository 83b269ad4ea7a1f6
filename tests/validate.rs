//! Every check passes on a sound model, and fails on what was broken on purpose.

mod common;

use std::path::{Path, PathBuf};

use common::{graph, ints, node, normal, typed, weight};
use whyline_runtime::Kind;
use whyline_runtime::engine::{Device, Engine, PlanSession, Session, TractSession};
use whyline_runtime::explain::{LoadOptions, Loaded, Wanted};
use whyline_runtime::gradient::GradientGraph;
use whyline_runtime::gradient::layers::values_between;
use whyline_runtime::image::{decode, prepare};
use whyline_runtime::methods::{self, Given};
use whyline_runtime::onnx::{Graph, Node, Tensor, write_model};
use whyline_runtime::params::Params;
use whyline_runtime::record::FileRecord;
use whyline_runtime::rng::Rng;
use whyline_runtime::validate::engine::maps_apart;
use whyline_runtime::validate::same_numbers::{Again, differences, follows_its_seed};
use whyline_runtime::validate::{CHECKS, Finding, Scene, Specimen, Verdict, derivative, engine, find};

fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models")
}

fn digits() -> Loaded {
    Loaded::read(&models().join("digits-cnn.onnx"), &LoadOptions::default()).unwrap()
}

/// The first samples.
fn specimens(loaded: &Loaded, count: usize) -> Vec<Specimen> {
    let specimen = |i: usize| {
        let path = models().join(format!("samples/digit-{i}.png"));
        let (picture, shape) = (decode(&path).unwrap(), loaded.input_shape().unwrap());
        let values = prepare(&picture, &shape, loaded.layout().unwrap().unwrap(), &loaded.card.input).unwrap().input;
        Specimen { file: FileRecord::of(&path).unwrap(), values }
    };
    (0..count).map(specimen).collect()
}

fn given(pairs: &[(&str, &str)]) -> Given {
    pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

fn scene<'a>(loaded: &'a Loaded, inputs: Vec<Specimen>, named: &[(&str, &[(&str, &str)])]) -> Scene<'a> {
    let methods = named.iter().map(|(name, told)| (methods::find(name).unwrap(), given(told))).collect();
    let resources = Default::default();
    Scene::new(loaded, inputs, methods, resources)
}

fn params(check: &str, told: &[(&str, &str)]) -> Params {
    let check = find(check).unwrap();
    Params::new(check.name, check.parameters, &given(told)).unwrap()
}

fn found(scene: &Scene, check: &str, told: &[(&str, &str)]) -> Finding {
    scene.make(find(check).unwrap(), &params(check, told)).unwrap().finding
}

/// Fails for a reason that says `what`.
fn fails(finding: &Finding, what: &str) {
    assert_eq!(finding.verdict, Verdict::Failed, "{finding:?}");
    assert!(finding.reasons.iter().any(|reason| reason.contains(what)), "{what}: {:?}", finding.reasons);
}

fn passes(finding: &Finding) {
    assert_eq!((finding.verdict, &finding.reasons), (Verdict::Passed, &vec![]), "{finding:?}");
}

/// A model in a file, read.
fn written(folder: &Path, graph: Graph) -> Loaded {
    let (path, typed) = (folder.join("model.onnx"), typed(graph).unwrap());
    write_model(&typed.graph, &typed.facts, &path).unwrap();
    Loaded::read(&path, &LoadOptions::default()).unwrap()
}

#[test]
fn a_sound_model_passes_every_check() {
    let loaded = digits();
    let scene = scene(&loaded, specimens(&loaded, 2), &[("vanilla", &[]), ("integrated-gradients", &[])]);
    for check in CHECKS.iter().filter(|check| !["other-engine", "gpu"].contains(&check.name)) {
        let told: &[(&str, &str)] = if check.name == "steps" { &[("inputs", "1")] } else { &[] };
        match check.name {
            "draws" => assert_eq!(found(&scene, check.name, told).verdict, Verdict::Skipped),
            _ => passes(&found(&scene, check.name, told)),
        }
    }
}

#[test]
fn ops_without_rules_are_listed_with_the_methods_that_miss_them() {
    let nodes = vec![
        node("ReduceL2", &["x", "axes"], &["r"], vec![]),
        node("ReduceL1", &["x", "axes"], &["i"], vec![]),
        node("Mul", &["i", "r"], &["m"], vec![]),
        node("Flatten", &["m"], &["y"], vec![]),
    ];
    let mut graph = graph(&[1, 4, 3, 3], nodes, "y");
    graph.constants.insert("axes".into(), Tensor::ints(&[1]));
    let folder = tempfile::tempdir().unwrap();
    let loaded = written(folder.path(), graph);
    let inputs = vec![Specimen::random(&loaded, 0).unwrap()];
    let finding =
        found(&scene(&loaded, inputs, &[("vanilla", &[]), ("lrp", &[]), ("deeplift-rescale", &[])]), "admission", &[]);
    for what in ["ReduceL2", "ReduceL1", "lrp", "deeplift-rescale"] {
        fails(&finding, what);
    }
    assert!(!finding.reasons.iter().any(|reason| reason.contains("vanilla")), "{finding:?}");
}

/// The gradient graph with the weights of one of its backward convolutions halved.
fn with_a_wrong_adjoint(derived: &GradientGraph) -> GradientGraph {
    let mut wrong = derived.clone();
    let nodes = &mut wrong.graph.nodes;
    let constants = &mut wrong.graph.constants;
    let is_backward = |n: &&mut Node| n.op == "ConvTranspose" && constants.contains_key(&n.inputs[1]);
    let node = nodes.iter_mut().filter(is_backward).nth(3).unwrap();
    let weights = &constants[&node.inputs[1]];
    let halved: Vec<f32> = weights.to_f32().unwrap().iter().map(|w| 0.5 * w).collect();
    let halved = Tensor::f32(&weights.shape, &halved);
    node.inputs[1] = "halved".into();
    constants.insert("halved".into(), halved);
    wrong
}

#[test]
fn a_wrong_adjoint_is_no_derivative() {
    let loaded = digits();
    let derived = loaded.derive(&Wanted::default()).unwrap();
    let inputs = specimens(&loaded, 2);
    let inputs: Vec<&[f32]> = inputs.iter().map(|input| input.values.as_slice()).collect();
    let params = params("derivative", &[]);
    passes(&derivative::check(&mut PlanSession::new(&derived).unwrap(), &inputs, &params).unwrap());
    let wrong = with_a_wrong_adjoint(&derived);
    fails(&derivative::check(&mut PlanSession::new(&wrong).unwrap(), &inputs, &params).unwrap(), "directions are off");
    // Its sum along signs that follow it stays about the same.
    let masked = with_a_mask(&derived);
    let finding = derivative::check(&mut PlanSession::new(&masked).unwrap(), &inputs, &params).unwrap();
    fails(&finding, "is missing or too much");
}

/// A target that hardly moves beside what is added to it.
#[test]
fn slopes_that_rounding_hides_are_no_wrong_ones() {
    let nodes = vec![node("Flatten", &["x"], &["f"], vec![]), node("Gemm", &["f", "w", "b"], &["y"], vec![])];
    let mut graph = graph(&[1, 1, 6, 6], nodes, "y");
    let weights: Vec<f32> = normal(72, 1).iter().map(|w| 1e-6 * w).collect();
    graph.constants.insert("w".into(), Tensor::f32(&[36, 2], &weights));
    graph.constants.insert("b".into(), Tensor::f32(&[2], &[1000.0, -1000.0]));
    let folder = tempfile::tempdir().unwrap();
    let loaded = written(folder.path(), graph);
    let inputs = vec![Specimen::random(&loaded, 0).unwrap()];
    assert_eq!(found(&scene(&loaded, inputs, &[("vanilla", &[])]), "derivative", &[]).verdict, Verdict::Skipped);
}

/// The gradient graph with every element of the gradient times a number between zero and two.
fn with_a_mask(derived: &GradientGraph) -> GradientGraph {
    let mut wrong = derived.clone();
    let (shape, gradient) = (derived.facts[&derived.input].shape.clone(), derived.input_gradient.clone().unwrap());
    let factors: Vec<f32> = (0..shape.iter().product()).map(|i| Rng::new(3, 0).uniform(i as u64) * 2.0).collect();
    wrong.graph.constants.insert("factors".into(), Tensor::f32(&shape, &factors));
    wrong.graph.nodes.push(node("Mul", &[&gradient, "factors"], &["masked"], vec![]));
    wrong.graph.outputs.push("masked".into());
    wrong.facts.insert("masked".into(), derived.facts[&gradient].clone());
    wrong.input_gradient = Some("masked".into());
    wrong
}

/// The graph with the forward convolution that gives `value` a pixel off.
fn a_pixel_off(derived: &GradientGraph, value: &str) -> GradientGraph {
    let mut off = derived.clone();
    let node = off.graph.nodes.iter_mut().find(|n| n.output(0) == Some(value)).unwrap();
    assert_eq!((node.op.as_str(), node.ints("pads")), ("Conv", Some(&[1, 1, 1, 1][..])));
    node.attributes.insert("pads".into(), ints(&[1, 2, 1, 0]));
    off
}

#[test]
fn a_kernel_that_is_a_pixel_off_is_found_and_named() {
    let loaded = digits();
    let values = values_between(&loaded.typed, None).unwrap();
    let (at, conv) =
        values.iter().enumerate().filter(|(_, (_, op))| op == "Conv").map(|(i, v)| (i, v.0.clone())).nth(3).unwrap();
    let taps = values.iter().map(|(name, _)| name.clone()).collect();
    let (plain, tapped) =
        (loaded.derive(&Wanted::default()).unwrap(), loaded.derive(&Wanted { taps, ..Wanted::default() }).unwrap());
    let inputs = specimens(&loaded, 2);
    let inputs: Vec<&[f32]> = inputs.iter().map(|input| input.values.as_slice()).collect();
    let params = params("engine", &[]);
    let sessions = |derived: &GradientGraph, own: &GradientGraph| {
        (PlanSession::new(own).unwrap(), TractSession::new(derived).unwrap())
    };
    let (mut ours, mut reference) = sessions(&plain, &plain);
    passes(&engine::check(&mut ours, &mut reference, &inputs, &params).unwrap());
    let (mut ours, mut reference) = sessions(&plain, &a_pixel_off(&plain, &conv));
    fails(&engine::check(&mut ours, &mut reference, &inputs, &params).unwrap(), "gradients are off");
    let difference = |ours: &mut dyn Session, reference: &mut dyn Session| {
        engine::first_difference(ours, reference, &inputs, &values, 1e-4).unwrap()
    };
    let (mut ours, mut reference) = sessions(&tapped, &a_pixel_off(&tapped, &conv));
    let named = difference(&mut ours, &mut reference).unwrap();
    assert!(named.contains(&format!("value of '{conv}' (Conv)")) && at > 0, "{named}");
    // What is wrong on the way back alone is found there.
    let (mut ours, mut reference) = sessions(&tapped, &with_a_wrong_adjoint(&tapped));
    let named = difference(&mut ours, &mut reference).unwrap();
    assert!(named.contains("gradient of"), "{named}");
    let (mut ours, mut reference) = sessions(&tapped, &tapped);
    assert_eq!(difference(&mut ours, &mut reference), None);
}

#[test]
fn maps_that_depend_on_threads_runs_or_processes_are_found() {
    let ways = [Again::Threads(2), Again::Threads(4), Again::After, Again::Process];
    let all = |map: &mut dyn FnMut(Again) -> Vec<f32>| differences(&ways, &mut |again| Ok(map(again))).unwrap();
    assert_eq!(all(&mut |_| vec![1.0, 0.0]), Vec::<String>::new());
    // The last bit depends on how sums are split.
    let found = all(&mut |again| vec![if again == Again::Threads(4) { 1.0 + f32::EPSILON } else { 1.0 }]);
    assert_eq!(found, ["4 threads gives another map than 1 thread"]);
    // A clock for a seed.
    let mut clock = 0.0;
    let found = all(&mut |_| {
        clock += 1.0;
        vec![clock]
    });
    assert_eq!(found.len(), 4, "{found:?}");
    let found = all(&mut |again| vec![if again == Again::Process { -0.0 } else { 0.0 }]);
    assert_eq!(found, ["another process gives another map than 1 thread"]);
}

#[test]
fn a_seed_that_is_ignored_is_found() {
    let follows = |map: &mut dyn FnMut(u64, usize) -> Vec<f32>| {
        follows_its_seed(7, 3, &mut |seed, input| Ok(map(seed, input))).unwrap()
    };
    assert!(follows(&mut |seed, _| vec![seed as f32]));
    assert!(!follows(&mut |_, input| vec![input as f32]));
    // It may decide nothing for some inputs and seeds.
    assert!(follows(&mut |seed, input| vec![f32::from(input == 2 && seed == 9)]));
}

/// Two classes, the one with weights so much smaller that halves beside the other's hold none of them.
#[test]
fn a_model_that_halves_cannot_hold_does_not_pass_the_gate() {
    let nodes = vec![
        node("Flatten", &["x"], &["f"], vec![]),
        node("MatMul", &["f", "w"], &["m"], vec![]),
        node("Mul", &["m", "back"], &["y"], vec![]),
    ];
    let mut graph = graph(&[1, 1, 8, 8], nodes, "y");
    let drawn = normal(128, 1);
    let weights: Vec<f32> =
        drawn.iter().enumerate().map(|(i, w)| if i % 2 == 0 { w.abs() * 1e6 } else { w.abs() * 1e-6 }).collect();
    graph.constants.insert("w".into(), Tensor::f32(&[64, 2], &weights));
    graph.constants.insert("back".into(), Tensor::f32(&[1, 2], &[1e-8, 1e7]));
    let folder = tempfile::tempdir().unwrap();
    let loaded = written(folder.path(), graph);
    let inputs = (0..4).map(|number| Specimen::random(&loaded, number).unwrap()).collect();
    let finding = found(&scene(&loaded, inputs, &[("vanilla", &[])]), "f16", &[]);
    fails(&finding, "cosine");
    fails(&finding, "of the classes change");
}

#[test]
fn too_few_steps_leave_a_gap_and_are_told_how_many_to_take() {
    let loaded = digits();
    let few: &[(&str, &[(&str, &str)])] = &[("integrated-gradients", &[("steps", "2")])];
    fails(&found(&scene(&loaded, specimens(&loaded, 4), few), "completeness", &[]), "are missing");
    let finding = found(&scene(&loaded, specimens(&loaded, 1), few), "steps", &[]);
    fails(&finding, "its steps leave");
    let needed = finding.numbers["methods"]["integrated-gradients"]["needed"][0].as_u64().unwrap();
    assert!((4..=256).contains(&needed), "{finding:?}");
    fails(&finding, &format!("take -p steps={needed}"));
    let enough = [("integrated-gradients", &[("steps", needed.to_string().leak() as &str)][..])];
    passes(&found(&scene(&loaded, specimens(&loaded, 1), &enough), "steps", &[]));
}

/// The map of as many steps as there are is not ended by the tolerance of the one that is measured by it.
#[test]
fn a_tolerance_that_ends_too_early_is_seen() {
    let loaded = digits();
    let loose: &[(&str, &[(&str, &str)])] = &[
        ("integrated-gradients", &[("tolerance", "0.5"), ("rule", "adaptive")]),
        ("expected-gradients", &[("tolerance", "0.9")]),
    ];
    let scene = scene(&loaded, specimens(&loaded, 1), loose);
    fails(&found(&scene, "steps", &[]), "its steps, ended by its tolerance, leave");
    fails(&found(&scene, "steps", &[]), "take a smaller tolerance");
    fails(&found(&scene, "draws", &[("tolerance", "0.1")]), "its samples, ended by its tolerance, leave");
}

/// Of a linear model one gradient is as good as many, wherever it is taken.
#[test]
fn draws_that_decide_nothing_need_not_follow_a_seed() {
    let mut linear = graph(&[1, 8], vec![node("MatMul", &["x", "w"], &["y"], vec![])], "y");
    linear.constants.insert("w".into(), weight(&[8, 4], 1));
    let folder = tempfile::tempdir().unwrap();
    let loaded = written(folder.path(), linear);
    let specimen = Specimen { values: normal(8, 3), file: FileRecord { file: "normal".into(), sha256: String::new() } };
    passes(&found(
        &scene(&loaded, vec![specimen], &[("smoothgrad", &[]), ("expected-gradients", &[])]),
        "same-numbers",
        &[],
    ));
}

#[test]
fn a_check_that_finds_nothing_to_look_at_says_so() {
    let vit = Loaded::read(&models().join("digits-vit.onnx"), &LoadOptions::default()).unwrap();
    let scene = scene(&vit, specimens(&vit, 1), &[("deep-taylor", &[])]);
    for check in ["f16", "sanity", "same-numbers", "completeness", "steps"] {
        assert_eq!(found(&scene, check, &[]).verdict, Verdict::Skipped, "{check}");
    }
}

#[test]
fn too_few_draws_are_told_how_many_to_take() {
    let loaded = digits();
    let few: &[(&str, &[(&str, &str)])] = &[("smoothgrad", &[("samples", "4")]), ("noisegrad", &[("models", "2")])];
    let told = [("inputs", "1"), ("tolerance", "0.4")];
    let finding = found(&scene(&loaded, specimens(&loaded, 1), few), "draws", &told);
    fails(&finding, "smoothgrad: its samples leave");
    fails(&finding, "noisegrad: its models leave");
    let needed = finding.numbers["methods"]["smoothgrad"]["needed"][0].as_u64().unwrap();
    assert!((200..=20_000).contains(&needed), "{finding:?}");
    // An error that is ten times as large takes a hundredth of the draws, and those are said.
    let enough = (needed as f64 / 64.0).ceil();
    fails(&finding, &format!("take about -p samples={}", (needed as f64 / 64.0).round()));
    let enough = [("smoothgrad", &[("samples", enough.to_string().leak() as &str)][..])];
    passes(&found(&scene(&loaded, specimens(&loaded, 1), &enough), "draws", &[("inputs", "1"), ("tolerance", "0.5")]));
}

/// References that another engine has computed are those of ours.
#[test]
fn references_may_come_from_another_engine() {
    let folder = tempfile::tempdir().unwrap();
    let nodes = vec![
        node("MatMul", &["x", "w"], &["h"], vec![]),
        node("Relu", &["h"], &["r"], vec![]),
        node("MatMul", &["r", "v"], &["y"], vec![]),
    ];
    let mut small = graph(&[1, 8], nodes, "y");
    small.constants.extend([("w".into(), weight(&[8, 16], 1)), ("v".into(), weight(&[16, 4], 2))]);
    let loaded = written(folder.path(), small);
    let specimen = Specimen { values: normal(8, 3), file: FileRecord { file: "normal".into(), sha256: String::new() } };
    let own = scene(&loaded, vec![specimen], &[("noisegrad", &[])]);
    let ours = found(&own, "draws", &[]);
    let theirs = found(&Scene { references: Engine::Tract(Device::Cpu), ..own }, "draws", &[]);
    let needed = |finding: &Finding| finding.numbers["methods"]["noisegrad"]["needed"][0].as_f64().unwrap();
    assert!((needed(&ours) / needed(&theirs) - 1.0).abs() < 0.01, "{ours:?} {theirs:?}");
    assert_eq!((ours.numbers["engine"].as_str(), theirs.numbers["engine"].as_str()), (Some("kernels"), Some("tract")));
}

#[test]
fn maps_of_another_engine_are_ours_or_named() {
    for model in ["digits-cnn", "digits-vit"] {
        let loaded = Loaded::read(&models().join(model).with_extension("onnx"), &LoadOptions::default()).unwrap();
        let few: &[(&str, &str)] = &[("samples", "3"), ("models", "1"), ("steps", "6"), ("classes", "2")];
        let told =
            |entry: &methods::Entry| few.iter().filter(|(name, _)| entry.parameters.iter().any(|p| p.name == *name));
        // Deep Taylor decomposition is for networks of Relu.
        let all = methods::METHODS.iter().filter(|m| m.name != "deep-taylor" || model == "digits-cnn");
        let named: Vec<(&str, Vec<(&str, &str)>)> = all.map(|m| (m.name, told(m).copied().collect())).collect();
        let named: Vec<(&str, &[(&str, &str)])> = named.iter().map(|(name, told)| (*name, told.as_slice())).collect();
        let (scene, mut reasons) = (scene(&loaded, specimens(&loaded, 1), &named), vec![]);
        let apart = maps_apart(&scene, Engine::Tract(Device::Cpu), 1e-3, &mut reasons).unwrap();
        // Rounding decides maps of two methods, which are left out.
        assert_eq!((apart.len() + 2, &reasons), (named.len(), &vec![]), "{model}: {apart:?}");
    }
    // Two programs that add in different orders are never the same.
    let (loaded, mut reasons) = (digits(), vec![]);
    let scene = scene(&loaded, specimens(&loaded, 1), &[("vanilla", &[])]);
    maps_apart(&scene, Engine::Tract(Device::Cpu), 0.0, &mut reasons).unwrap();
    assert!(reasons.iter().any(|r| r.starts_with("vanilla: maps are off by")), "{reasons:?}");
}

#[test]
fn maps_that_stay_when_the_model_is_randomised_are_named() {
    let loaded = digits();
    let named: &[(&str, &[(&str, &str)])] = &[("vanilla", &[]), ("guided-backprop", &[])];
    let finding = found(&scene(&loaded, specimens(&loaded, 3), named), "sanity", &[]);
    fails(&finding, "guided-backprop hardly changes");
    assert!(!finding.reasons.iter().any(|reason| reason.contains("vanilla")), "{finding:?}");
}

#[test]
fn checks_that_say_nothing_of_a_method_are_skipped_and_what_goes_wrong_is_no_pass() {
    let loaded = digits();
    let vanilla = scene(&loaded, specimens(&loaded, 1), &[("vanilla", &[])]);
    for check in ["completeness", "steps"] {
        assert_eq!(found(&vanilla, check, &[]).verdict, Verdict::Skipped, "{check}");
    }
    let overflowing =
        Specimen { values: vec![f32::MAX; vanilla.inputs[0].values.len()], file: vanilla.inputs[0].file.clone() };
    let broken = scene(&loaded, vec![overflowing], &[("vanilla", &[]), ("integrated-gradients", &[])]);
    for check in ["derivative", "engine"] {
        assert_eq!(found(&broken, check, &[]).verdict, Verdict::Failed, "{check}");
    }
    for check in ["same-numbers", "f16", "completeness", "sanity", "steps"] {
        fails(&found(&broken, check, &[]), "integrated-gradients: could not be looked at");
    }
    let file = vanilla.inputs[0].file.clone();
    assert_eq!(Specimen::new(file, vec![1.0, f32::NAN]).err().map(|error| error.kind()), Some(Kind::Input));
    // A limit that is none is no finding.
    for told in [("tolerance", "nan"), ("tolerance", "-1"), ("directions", "0")] {
        let error = vanilla.make(find("derivative").unwrap(), &params("derivative", &[told])).unwrap_err();
        assert_eq!(error.kind(), Kind::Usage, "{told:?}");
    }
}

/// Where a Relu's input is exactly zero, gradients have two sides, and two engines may take one each.
#[test]
fn an_input_on_a_kink_is_no_alarm() {
    let loaded = digits();
    let blank =
        Specimen { values: vec![0.0; 48 * 48], file: FileRecord { file: "blank".into(), sha256: String::new() } };
    let scene = scene(&loaded, vec![blank], &[("vanilla", &[])]);
    for check in ["derivative", "engine"] {
        passes(&found(&scene, check, &[]));
    }
}

/// Of ten classes twenty are all: no draw decides which are climbed to. Of three that are drawn one does.
#[test]
fn a_seed_that_decides_nothing_is_no_alarm() {
    let loaded = digits();
    for (classes, draws) in [("20", false), ("3", true)] {
        let told = given(&[("classes", classes)]);
        let explainer = loaded.explainer("agi", &told, Default::default(), Default::default()).unwrap();
        assert_eq!(explainer.draws(), draws, "{classes}");
        let told: &[(&str, &str)] = &[("classes", classes)];
        passes(&found(&scene(&loaded, specimens(&loaded, 1), &[("agi", told)]), "same-numbers", &[]));
    }
}

/// Of two inputs the worse counts.
#[test]
fn of_two_inputs_one_that_is_far_off_is_not_outvoted() {
    let loaded = digits();
    let few: &[(&str, &[(&str, &str)])] = &[("integrated-gradients", &[("steps", "12")])];
    let gap = |input: usize| {
        let one = vec![specimens(&loaded, input + 1).remove(input)];
        let finding = found(&scene(&loaded, one, few), "completeness", &[("gap", "10")]);
        finding.numbers["gaps"]["integrated-gradients"][0].as_f64().unwrap()
    };
    let limit = (gap(0) + gap(1)) / 2.0;
    assert!((gap(0) - gap(1)).abs() > 0.1 * limit, "they differ");
    let finding = found(&scene(&loaded, specimens(&loaded, 2), few), "completeness", &[("gap", &limit.to_string())]);
    fails(&finding, "are missing");
}
