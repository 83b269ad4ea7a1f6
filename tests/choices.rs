//! Which scores compete: of places, of one score alone, behind a Sigmoid; and what methods and metrics make of it.

mod common;

use common::{assert_close, graph, ints, node, normal, weight};
use whyline_runtime::engine::{Precision, Resources};
use whyline_runtime::evaluate::{Effort, Evaluation, Marked, Measure, Subjected};
use whyline_runtime::explain::{Explanation, LoadOptions, Loaded, Shared, Target};
use whyline_runtime::gradient::target::Score;
use whyline_runtime::methods::Given;
use whyline_runtime::onnx::{Attr, Card, Facts, Graph, Tensor, write_model};
use whyline_runtime::record::FileRecord;
use whyline_runtime::{Error, Kind};

fn load_as(graph: &Graph, options: &LoadOptions) -> Loaded {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    write_model(graph, &Facts::default(), &path).unwrap();
    Loaded::read(&path, options).unwrap()
}

fn load(graph: &Graph) -> Loaded {
    load_as(graph, &LoadOptions::default())
}

fn given(pairs: &[(&str, &str)]) -> Given {
    pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

fn file() -> FileRecord {
    FileRecord::of_bytes("input", &[1])
}

fn explain(
    loaded: &Loaded,
    method: &str,
    told: &[(&str, &str)],
    x: &[f32],
    target: &Target,
) -> Result<Explanation, Error> {
    let explainer = loaded.explainer(method, &given(told), Precision::F32, Resources::default());
    explainer.and_then(|mut explainer| explainer.explain(x, file(), target))
}

/// A metric's score of one sample; none where it is undefined.
fn score(
    loaded: &Loaded,
    (method, told): (&str, &[(&str, &str)]),
    metric: &str,
    x: &[f32],
    target: &Target,
) -> Option<f64> {
    let measure = Measure::new(metric, &Given::new()).unwrap();
    measure.admits(loaded).unwrap();
    let shared = &mut Shared::default();
    let explainer =
        loaded.explainer_sharing(shared, method, &given(told), Precision::F32, Resources::default()).unwrap();
    let mut evaluation = Evaluation::new(vec![explainer], vec![measure], Effort::default()).unwrap();
    let sample = Subjected { input: x, file: file(), marked: &Marked::Nothing, mosaic: false, target: target.clone() };
    evaluation.push(&sample).unwrap().into_iter().for_each(|scores| drop(scores.unwrap()));
    let scores = evaluation.rows[0].scores[0].scores();
    Some(scores.moments()).filter(|moments| moments.count() > 0).map(|moments| moments.mean())
}

fn named(name: &str) -> Target {
    Target::Named(name.into())
}

/// Three classes at each of four by six places, which see three by three pixels each.
fn places(output: Option<&str>) -> Graph {
    let mut nodes =
        vec![node("Conv", &["x", "w"], &["y"], vec![("pads", ints(&[1, 1, 1, 1])), ("strides", ints(&[2, 2]))])];
    match output {
        Some("last") => nodes.push(node("Transpose", &["y"], &["out"], vec![("perm", ints(&[0, 2, 3, 1]))])),
        Some(op) => nodes.push(node(op, &["y"], &["out"], vec![("axis", Attr::Int(1))])),
        None => {}
    }
    let mut graph = graph(&[1, 1, 8, 12], nodes, if output.is_some() { "out" } else { "y" });
    graph.constants.insert("w".into(), weight(&[3, 1, 3, 3], 7));
    graph
}

/// One score of a small network, behind an activation or not.
fn one_score(activation: Option<&str>) -> Graph {
    let mut nodes = vec![
        node("Conv", &["x", "w"], &["z"], vec![]),
        node("Relu", &["z"], &["a"], vec![]),
        node("GlobalAveragePool", &["a"], &["p"], vec![]),
        node("Flatten", &["p"], &["f"], vec![]),
        node("Gemm", &["f", "v", "b"], &["y"], vec![]),
    ];
    nodes.extend(activation.map(|op| node(op, &["y"], &["out"], vec![])));
    let mut graph = graph(&[1, 1, 8, 12], nodes, if activation.is_some() { "out" } else { "y" });
    graph.constants.insert("w".into(), weight(&[4, 1, 3, 3], 8));
    graph.constants.insert("v".into(), weight(&[4, 1], 9));
    graph.constants.insert("b".into(), Tensor::f32(&[1], &[0.05]));
    graph
}

const LEN: usize = 96;

#[test]
fn of_one_place_its_own_classes_compete() {
    let (loaded, x) = (load(&places(None)), normal(LEN, 1));
    // Which class wins a place, whatever the largest score of all is.
    let maps = |class: usize| explain(&loaded, "vanilla", &[], &x, &named(&format!("{class}@1,2"))).unwrap();
    let logits: Vec<f64> = (0..3).map(|class| maps(class).record.target.class.logit.unwrap()).collect();
    let winner = (0..3).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap();
    let top = maps(winner).record.predicted.class;
    assert_ne!(
        loaded.label(top),
        loaded.label(maps(winner).record.target.class.class),
        "another place's is the largest"
    );
    // Where the map's order is turned round, the class stays as long as what it sees is left.
    let target = named(&format!("{winner}@1,2"));
    let stays = score(&loaded, ("vanilla", &[]), "road", &x, &target).unwrap();
    assert!(stays > 0.0 && stays < 1.0, "{stays}");
    let loser = named(&format!("{}@1,2", (0..3).min_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap()));
    assert!(score(&loaded, ("vanilla", &[]), "road", &x, &loser).unwrap() < stays);
    // The other class that is drawn sees the same pixels: the maps differ where both have something.
    let drawn = score(&loaded, ("vanilla", &[]), "random-logit", &x, &target).unwrap();
    assert!(drawn < 0.9, "{drawn}");
    // The nearest input of another class at this place is no input whose largest score is elsewhere.
    let boundary = explain(&loaded, "boundary-ig", &[], &x, &target).unwrap().record.completeness.unwrap();
    let rivals = Target::Margin { class: Box::new(target.clone()), against: None };
    let margin = explain(&loaded, "vanilla", &[], &x, &rivals).unwrap().record;
    assert_eq!(loaded.places().unwrap().unwrap().parts(margin.target.against.unwrap().class).1, [1, 2]);
    assert!(boundary.difference.abs() > 1e-3, "{boundary:?}");
    // Maps are of a few pixels: a shuffled model's are the same zeros elsewhere.
    let refused = |metric: &str| Measure::new(metric, &Given::new()).unwrap().admits(&loaded).unwrap_err().to_string();
    assert!(refused("mprt").contains("--over all") && refused("smooth-mprt").contains("--over all"));
    assert!(refused("insertion").contains("output=logit"), "{}", refused("insertion"));
    let over = load(&places(None)).over(None).unwrap();
    Measure::new("mprt", &Given::new()).unwrap().admits(&over).unwrap();
}

#[test]
fn places_are_told_from_classes_by_the_images_proportions_or_by_a_softmax() {
    let card = || Card { labels: vec!["a".into(), "b".into(), "c".into()], ..Card::default() };
    let labelled = |graph: &Graph| load_as(graph, &LoadOptions { card: Some(card()), ..LoadOptions::default() });
    let x = normal(LEN, 2);
    let maps = ["last", "Softmax"].map(|output| {
        let explained = explain(&labelled(&places(Some(output))), "vanilla", &[], &x, &named("c@3,5")).unwrap();
        assert_eq!(explained.record.target.class.label.as_deref(), Some("c@3,5"), "{output}");
        assert_eq!(explained.record.target.class.probability.is_some(), output == "Softmax");
        explained.attribution.values
    });
    assert_eq!(maps[0], maps[1]);
    // A Softmax at every place gives probabilities there, and they add up.
    let loaded =
        load_as(&places(Some("Softmax")), &LoadOptions { score: Score::Probability, ..LoadOptions::default() });
    let of = |class: usize| explain(&loaded, "vanilla", &[], &x, &named(&format!("{class}@3,5"))).unwrap();
    let all: f64 = (0..3).map(|class| of(class).record.target.class.probability.unwrap()).sum();
    assert!((all - 1.0).abs() < 1e-6, "{all}");
    let sum: Vec<f32> = (0..LEN).map(|i| (0..3).map(|class| of(class).attribution.values[i]).sum()).collect();
    assert!(sum.iter().all(|v| v.abs() < 1e-6), "no probability grows but at another's cost");
}

/// A Sigmoid at the end is no part of what is explained, and makes the probability.
#[test]
fn a_final_sigmoid_is_stepped_over() {
    let x = normal(LEN, 3);
    let (plain, behind) = (load(&one_score(None)), load(&one_score(Some("Sigmoid"))));
    let [map, same] = [&plain, &behind].map(|loaded| explain(loaded, "vanilla", &[], &x, &Target::Top).unwrap());
    assert_eq!(map.attribution, same.attribution);
    let logit = map.record.target.class.logit.unwrap();
    let p = 1.0 / (1.0 + (-logit).exp());
    let told = &same.record.target.class;
    assert!(told.logit == Some(logit) && (told.probability.unwrap() - p).abs() < 1e-6, "{told:?}");
    assert_eq!(map.record.target.class.probability, None);
    // What another curve gives is taken for a probability as it is.
    let bent = explain(&load(&one_score(Some("HardSigmoid"))), "vanilla", &[], &x, &Target::Top).unwrap();
    let told_bent = &bent.record.target.class;
    assert_eq!(told_bent.probability.map(|p| p as f32), told_bent.logit.map(|p| p as f32), "{told_bent:?}");
    let options = LoadOptions { score: Score::Probability, ..LoadOptions::default() };
    let of_probability = explain(&load_as(&one_score(Some("Sigmoid")), &options), "vanilla", &[], &x, &Target::Top);
    let expected: Vec<f32> = map.attribution.values.iter().map(|g| (*g as f64 * p * (1.0 - p)) as f32).collect();
    assert_close("probability", &of_probability.unwrap().attribution.values, &expected, 1e-5);
    // What is written explains the same, and knows what makes its probability.
    let derived = behind.derive(&Default::default()).unwrap();
    let ready = explain(&load(&derived.graph), "vanilla", &[], &x, &Target::Top).unwrap();
    assert_eq!((ready.attribution, ready.record.target.class.probability), (same.attribution, told.probability));
}

/// Of two outputs of the same scores, the one that is explained says what their probabilities are; a Softmax along an axis that was moved
/// to the end and back is one all the same.
#[test]
fn the_output_that_is_explained_says_what_probabilities_are() {
    let x = normal(LEN, 3);
    let mut nodes = places(None).nodes;
    nodes.extend([
        node("Sigmoid", &["y"], &["yes"], vec![]),
        node("Transpose", &["y"], &["last"], vec![("perm", ints(&[0, 2, 3, 1]))]),
        node("Softmax", &["last"], &["soft"], vec![("axis", Attr::Int(3))]),
        node("Transpose", &["soft"], &["which"], vec![("perm", ints(&[0, 3, 1, 2]))]),
    ]);
    let graph = Graph { nodes, outputs: vec!["yes".into(), "which".into()], ..places(None) };
    let of = |output: &str, score: Score, class: usize| {
        let loaded = load_as(&graph, &LoadOptions { output: Some(output.into()), score, ..LoadOptions::default() });
        explain(&loaded, "vanilla", &[], &x, &named(&format!("{class}@1,2"))).unwrap().record.target.class
    };
    let logits: Vec<f64> = (0..3).map(|class| of("yes", Score::Logit, class).logit.unwrap()).collect();
    let total: f64 = logits.iter().map(|l| l.exp()).sum();
    for (class, logit) in logits.iter().enumerate() {
        for score in [Score::Logit, Score::Probability] {
            let [yes, which] = ["yes", "which"].map(|output| of(output, score, class).probability.unwrap());
            assert!((yes - 1.0 / (1.0 + (-logit).exp())).abs() < 1e-6, "{yes}");
            assert!((which - logit.exp() / total).abs() < 1e-6, "{which}");
        }
    }
    // Means over places have no probabilities that could be explained.
    let over = load(&places(None)).over(None).unwrap();
    let error = explain(&over, "agi", &[], &x, &Target::Class(1)).unwrap_err().to_string();
    assert!(error.contains("probabilities"), "{error}");
    // Nor do metrics read them; how many features are large asks the model for nothing.
    let admits = |told: &[(&str, &str)]| Measure::new("effective-complexity", &given(told)).unwrap().admits(&over);
    assert!(admits(&[]).is_ok() && admits(&[("form", "model"), ("output", "logit")]).is_ok());
    assert!(admits(&[("form", "model")]).unwrap_err().to_string().contains("no probabilities"));
}

/// What is picked of probabilities is no logit that wants a Softmax.
#[test]
fn a_part_of_probabilities_is_of_probabilities() {
    let mut graph = one_score(None);
    graph.constants.insert("v".into(), weight(&[4, 3], 9));
    graph.constants.insert("b".into(), weight(&[3], 10));
    graph.constants.insert("which".into(), Tensor::ints(&[2, 0]));
    graph.nodes.push(node("Softmax", &["y"], &["soft"], vec![]));
    graph.nodes.push(node("Gather", &["soft", "which"], &["out"], vec![("axis", Attr::Int(1))]));
    graph.outputs = vec!["out".into()];
    let class = explain(&load(&graph), "vanilla", &[], &normal(LEN, 4), &Target::Class(0)).unwrap().record.target.class;
    assert_eq!((class.logit.is_some(), class.logit), (true, class.probability), "{class:?}");
}

/// A score alone decides whether something is there.
#[test]
fn one_score_has_no_rival_and_changes_its_mind() {
    let (loaded, x) = (load(&one_score(Some("Sigmoid"))), normal(LEN, 3));
    let own = explain(&loaded, "vanilla", &[], &x, &Target::Top).unwrap().record.target.class.logit.unwrap();
    let boundary = explain(&loaded, "boundary-ig", &[], &x, &Target::Top).unwrap().record.completeness.unwrap();
    assert!((boundary.difference - own).abs() < 1e-3, "the boundary is where the logit is zero: {boundary:?} of {own}");
    let next = Target::Margin { class: Box::new(Target::Top), against: None };
    for error in [
        explain(&loaded, "vanilla", &[], &x, &next).unwrap_err(),
        explain(&loaded, "agi", &[], &x, &Target::Top).unwrap_err(),
        Measure::new("random-logit", &Given::new()).unwrap().admits(&loaded).unwrap_err(),
    ] {
        assert!(error.kind() == Kind::Usage && error.to_string().contains("one score"), "{error}");
    }
    // The decision is what stays: with everything gone it is what the bias says.
    let stays = score(&loaded, ("vanilla", &[]), "road", &x, &Target::Top).unwrap();
    assert!((0.0..=1.0).contains(&stays));
}

/// Of scores that are neither, the largest number may be anything.
#[test]
fn of_boxes_nobody_knows_what_competes() {
    let nodes = vec![
        node("Conv", &["x", "w"], &["z"], vec![("strides", ints(&[3, 3]))]),
        node("Reshape", &["z", "rows"], &["r"], vec![]),
        node("Transpose", &["r"], &["y"], vec![("perm", ints(&[0, 2, 1]))]),
    ];
    let mut graph = graph(&[1, 1, 8, 12], nodes, "y");
    graph.constants.insert("w".into(), weight(&[6, 1, 3, 3], 4));
    graph.constants.insert("rows".into(), Tensor::ints(&[1, 6, -1]));
    let (loaded, x) = (load(&graph), normal(LEN, 5));
    let warnings = |target: &Target| explain(&loaded, "vanilla", &[], &x, target).unwrap().record.warnings;
    assert!(warnings(&Target::Top).iter().any(|warning| warning.contains("largest number")));
    assert_eq!(warnings(&Target::Class(3)), Vec::<String>::new());
    for metric in ["road", "consistency", "sufficiency", "random-logit", "relative-input-stability"] {
        let error = Measure::new(metric, &Given::new()).unwrap().admits(&loaded).unwrap_err();
        assert!(error.to_string().contains(metric), "{error}");
    }
}

/// Where scores are a sum of several convolutions', CAM is taken at what they read.
#[test]
fn branches_that_make_scores_are_no_layer_for_cam() {
    let nodes = vec![
        node("Conv", &["x", "w"], &["z"], vec![("pads", ints(&[1, 1, 1, 1]))]),
        node("Relu", &["z"], &["a"], vec![]),
        node("Conv", &["a", "u"], &["p"], vec![]),
        node("Conv", &["a", "v"], &["q"], vec![]),
        node("Add", &["p", "q"], &["y"], vec![]),
    ];
    let mut graph = graph(&[1, 1, 8, 12], nodes, "y");
    for (name, shape) in [("w", &[4, 1, 3, 3]), ("u", &[2, 4, 1, 1]), ("v", &[2, 4, 1, 1])] {
        graph.constants.insert(name.into(), weight(shape, 11));
    }
    let over = load(&graph).over(None).unwrap();
    let explained = explain(&over, "grad-cam", &[], &normal(LEN, 1), &Target::Class(1)).unwrap();
    assert_eq!(explained.record.layer.as_deref(), Some("a"));
}

/// Completeness is of the baseline that the method has.
#[test]
fn completeness_compares_with_the_methods_own_baseline() {
    let (loaded, x) = (load(&one_score(None)), normal(LEN, 6));
    for baseline in ["zero", "0.7", "max-distance", "uniform"] {
        let told: &[(&str, &str)] = &[("baseline", baseline), ("steps", "200")];
        let gap = score(&loaded, ("ig", told), "completeness", &x, &Target::Top).unwrap();
        let own = explain(&loaded, "ig", told, &x, &Target::Top).unwrap().record.completeness.unwrap();
        assert!(gap < 0.05 && (gap - own.relative_gap).abs() < 1e-5, "{baseline}: {gap}, {own:?}");
    }
}

/// A label of several classes means none; where labels are numbers, numbers are labels.
#[test]
fn labels_mean_one_class() {
    let card = |labels: [&str; 3]| Card { labels: labels.map(String::from).into(), ..Card::default() };
    let error = |labels, name: &str| card(labels).class(name, 3).unwrap_err().to_string();
    assert!(error(["crane", "dog", "crane"], "crane").contains("[0, 2]"));
    assert_eq!(card(["crane", "dog", "crane"]).class("2", 3).unwrap(), 2);
    assert_eq!(card(["1", "2", "3"]).class("3", 3).unwrap(), 2);
    assert!(error(["1", "2", "3"], "0").contains("the card names 1, 2, 3"));
    assert!(error(["cat", "dog", "bird"], "3").contains("3, from 0"));
}
