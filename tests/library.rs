//! What a program holds whyline to that has it as a library: models and frames from memory, several threads, several models, and
//! typed errors for what does not fit.

mod common;

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use common::{graph, node};
use whyline_runtime::Kind;
use whyline_runtime::engine::{PlanSession, Precision, Resources};
use whyline_runtime::evaluate::{Effort, Evaluation, Marked, Measure, Subjected};
use whyline_runtime::explain::{Budget, Explainer, LoadOptions, Loaded, Shared, Target, Wanted};
use whyline_runtime::gradient::target::Score;
use whyline_runtime::image::Picture;
use whyline_runtime::image::colormap::Colormap;
use whyline_runtime::image::overlay::{Style, draw};
use whyline_runtime::image::preprocess::{picture_of, prepare};
use whyline_runtime::methods::Given;
use whyline_runtime::metrics::{Undefined, find, quantus};
use whyline_runtime::onnx::{Attr, Card, Facts, Layout, Tensor, write_model};
use whyline_runtime::record::FileRecord;
use whyline_runtime::rng::Rng;
use whyline_runtime::state::RowState;

fn model(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models").join(name)
}

fn loaded(name: &str) -> Loaded {
    Loaded::read(&model(name), &LoadOptions::default()).unwrap()
}

fn input(loaded: &Loaded, draw: u64) -> Vec<f32> {
    let rng = Rng::new(4, draw);
    (0..loaded.input_shape().unwrap().iter().product::<usize>() as u64).map(|i| rng.uniform(i)).collect()
}

fn file() -> FileRecord {
    FileRecord::of_bytes("frame", &[1, 2, 3])
}

fn explainer<'a>(loaded: &'a Loaded, shared: &mut Shared, method: &str) -> Explainer<'a> {
    loaded.explainer_sharing(shared, method, &Given::new(), Precision::F32, Resources::default()).unwrap()
}

#[test]
fn sessions_go_to_other_threads() {
    fn is_send<T: Send>() {}
    is_send::<Explainer>();
    is_send::<PlanSession>();
    is_send::<Evaluation>();
    is_send::<Shared>();
}

/// A model's bytes are the same model, a gradient graph's too.
#[test]
fn models_come_from_memory() {
    let bytes = std::fs::read(model("digits-cnn.onnx")).unwrap();
    let card = Card::beside(&model("digits-cnn.onnx")).unwrap();
    let options = LoadOptions { card, ..LoadOptions::default() };
    let (ours, theirs) = (Loaded::parse(&bytes, "digits", &options).unwrap(), loaded("digits-cnn.onnx"));
    let x = input(&ours, 1);
    let [a, b] = [&ours, &theirs].map(|loaded| {
        explainer(loaded, &mut Shared::default(), "vanilla").explain(&x, file(), &Target::Class(3)).unwrap()
    });
    assert_eq!(a.attribution.values, b.attribution.values);
    assert_eq!((a.record.model.file.as_str(), &a.record.model.sha256), ("digits", &b.record.model.sha256));
    let error = Loaded::parse(&bytes[..bytes.len() / 2], "half a model", &LoadOptions::default()).unwrap_err();
    assert!(error.kind() == Kind::Model && error.to_string().contains("half a model"), "{error}");
}

/// Whoever explains what, with what is shared by methods: the map is as if nothing were.
#[test]
fn what_is_shared_is_of_the_model_and_the_input() {
    let (cnn, vit) = (loaded("digits-cnn.onnx"), loaded("digits-vit.onnx"));
    let options = LoadOptions { score: Score::Probability, ..LoadOptions::default() };
    let probability = Loaded::read(&model("digits-cnn.onnx"), &options).unwrap();
    let mut shared = Shared::default();
    for loaded in [&cnn, &vit, &probability, &cnn] {
        let x = input(loaded, 2);
        let map = |shared: &mut Shared| {
            explainer(loaded, shared, "vanilla").explain(&x, file(), &Target::Class(1)).unwrap().attribution.values
        };
        assert_eq!(map(&mut shared), map(&mut Shared::default()));
    }
    let shared = Mutex::new(Shared::default());
    let alone: Vec<Vec<f32>> = (0..8)
        .map(|draw| {
            let mut own = explainer(&cnn, &mut Shared::default(), "vanilla");
            own.explain(&input(&cnn, draw), file(), &Target::Class(3)).unwrap().attribution.values
        })
        .collect();
    std::thread::scope(|scope| {
        for thread in 0..2u64 {
            let (shared, alone, cnn) = (&shared, &alone, &cnn);
            scope.spawn(move || {
                let mut own = explainer(cnn, &mut shared.lock().unwrap(), "vanilla");
                for turn in 0..60u64 {
                    let draw = (turn * (1 + thread) + 3 * thread) % 8;
                    let map = own.explain(&input(cnn, draw), file(), &Target::Class(3)).unwrap().attribution.values;
                    assert_eq!(map, alone[draw as usize], "turn {turn} of thread {thread}");
                }
            });
        }
    });
}

#[test]
fn what_a_method_would_not_look_at_is_refused() {
    let cnn = loaded("digits-cnn.onnx");
    let x = input(&cnn, 1);
    let mut own = explainer(&cnn, &mut Shared::default(), "integrated-gradients");
    let error = own.set_baselines(vec![(file(), x.clone())]).unwrap_err();
    assert!(error.kind() == Kind::Usage && error.to_string().contains("baseline=file:"), "{error}");
    assert!(own.set_region(file(), vec![true; x.len()]).is_err());
    let given = Given::from([("baseline".to_string(), "file:healthy".to_string())]);
    let mut told = cnn.explainer("integrated-gradients", &given, Precision::F32, Resources::default()).unwrap();
    let mut wrong = x.clone();
    wrong[7] = f32::NAN;
    let error = told.set_baselines(vec![(file(), wrong)]).unwrap_err().to_string();
    assert!(error.contains("element 7 is NaN"), "{error}");
    told.set_baselines(vec![(file(), x.clone())]).unwrap();
    let explained = told.explain(&x, file(), &Target::Top).unwrap();
    assert!(explained.attribution.values.iter().all(|v| *v == 0.0) && explained.record.baselines.len() == 1);
    // Longer than any clock goes: as none.
    own.set_budget(Budget { deadline: Some(Duration::MAX), ..Budget::default() }).unwrap();
    own.explain(&x, file(), &Target::Top).unwrap();
}

/// A map of zeros is told; memory is not said to be bounded where tract decides what steps take.
#[test]
fn what_a_map_or_a_bound_does_not_say_is_told() {
    let nodes = vec![
        node("ReduceL2", &["x", "axis"], &["l"], vec![("keepdims", Attr::Int(0))]),
        node("Sub", &["l", "far"], &["s"], vec![]),
        node("Relu", &["s"], &["y"], vec![]),
    ];
    let mut graph = graph(&[1, 2, 5], nodes, "y");
    graph.constants.extend([("axis", Tensor::ints(&[2])), ("far", Tensor::scalar(100.0))].map(|(n, t)| (n.into(), t)));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("closed.onnx");
    write_model(&graph, &Facts::default(), &path).unwrap();
    let closed = Loaded::read(&path, &LoadOptions::default()).unwrap();
    let x = input(&closed, 1);
    let explained = explainer(&closed, &mut Shared::default(), "vanilla").explain(&x, file(), &Target::Top).unwrap();
    assert!(explained.record.warnings.iter().any(|w| w.contains("zero")), "{:?}", explained.record.warnings);
    let bounded = Resources { memory: Some(64 << 20), ..Resources::default() };
    let error = closed.explainer("vanilla", &Given::new(), Precision::F32, bounded).err().unwrap();
    assert!(error.kind() == Kind::Usage && error.to_string().contains("tract"), "{error}");
}

/// Of scores of places one is named by its class, row and column; its rival is of the same place.
#[test]
fn scores_of_places_are_named_by_their_place() {
    let nodes = vec![node("Conv", &["x", "w"], &["y"], vec![])];
    let mut graph = graph(&[1, 1, 6, 5], nodes, "y");
    graph.constants.insert("w".into(), Tensor::f32(&[2, 1, 1, 1], &[2.0, -3.0]));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("places.onnx");
    write_model(&graph, &Facts::default(), &path).unwrap();
    let card = Card { labels: vec!["lung".into(), "heart".into()], ..Card::default() };
    let places = Loaded::read(&path, &LoadOptions { card: Some(card), ..LoadOptions::default() }).unwrap();
    let x = input(&places, 1);
    let explain = |target: Target| explainer(&places, &mut Shared::default(), "vanilla").explain(&x, file(), &target);
    let named = |name: &str| Target::Named(name.into());
    let explained = explain(named("heart@2,3")).unwrap();
    let mut expected = vec![0.0; 30];
    expected[13] = -3.0;
    assert_eq!(explained.attribution.values, expected);
    let class = &explained.record.target.class;
    assert_eq!((class.class, class.label.as_deref()), (43, Some("heart@2,3")));
    assert!(explained.record.warnings.is_empty(), "{:?}", explained.record.warnings);
    let margin = Target::Margin { class: Box::new(named("1@2,3")), against: None };
    let explained = explain(margin).unwrap();
    expected[13] = -5.0;
    assert_eq!(explained.attribution.values, expected);
    assert_eq!(explained.record.target.against.unwrap().label.as_deref(), Some("lung@2,3"));
    for (name, reason) in [("heart", "heart@ROW,COLUMN"), ("heart@6,0", "6 rows"), ("liver@0,0", "liver"), ("60", "60")]
    {
        let error = explain(named(name)).unwrap_err();
        assert!(error.kind() == Kind::Usage && error.to_string().contains(reason), "{error}");
    }
}

/// Over places, a class's map is the mean of those of its scores there; a gradient graph that is written explains the same.
#[test]
fn scores_of_places_are_taken_together_by_class() {
    let nodes = vec![
        node(
            "Conv",
            &["x", "w"],
            &["z"],
            vec![("pads", common::ints(&[1, 1, 1, 1])), ("strides", common::ints(&[2, 2]))],
        ),
        node("Sigmoid", &["z"], &["a"], vec![]),
        node("Conv", &["a", "v"], &["y"], vec![]),
        node("Softmax", &["y"], &["p"], vec![("axis", Attr::Int(1))]),
    ];
    let mut graph = graph(&[1, 1, 8, 6], nodes, "p");
    let constants = [("w", common::weight(&[3, 1, 3, 3], 1)), ("v", common::weight(&[2, 3, 1, 1], 2))];
    graph.constants.extend(constants.map(|(name, tensor)| (name.to_string(), tensor)));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("places.onnx");
    write_model(&graph, &Facts::default(), &path).unwrap();
    let card = Card { labels: vec!["lung".into(), "heart".into()], ..Card::default() };
    let load = |path: &Path| Loaded::read(path, &LoadOptions { card: Some(card.clone()), ..LoadOptions::default() });
    let places = load(&path).unwrap();
    let x = input(&places, 1);
    let explain = |loaded: &Loaded, method: &str, target: &str| {
        let mut explainer = explainer(loaded, &mut Shared::default(), method);
        explainer.explain(&x, file(), &Target::Named(target.into())).unwrap()
    };
    // Places are of two by two pixels: one marked whole, one by a quarter.
    let marked = |pixel: usize| matches!((pixel / 6, pixel % 6), (2..4, 2..4) | (0, 5));
    let region = Some((file(), (0..48).map(marked).collect()));
    let weigh = |shares: &[(usize, usize, f32)]| {
        let mut sum = vec![0.0; 48];
        for &(row, column, share) in shares {
            let map = explain(&places, "vanilla", &format!("heart@{row},{column}")).attribution.values;
            sum.iter_mut().zip(&map).for_each(|(sum, value)| *sum += share * value);
        }
        sum
    };
    let everywhere: Vec<_> = (0..12).map(|place| (place / 3, place % 3, 1.0 / 12.0)).collect();
    let some = vec![(1, 1, 0.8), (0, 2, 0.2)];
    for (region, shares) in [(None, everywhere), (region, some)] {
        let is_whole = region.is_none();
        let over = load(&path).unwrap().over(region).unwrap();
        let explained = explain(&over, "vanilla", "heart");
        common::assert_close("over places", &explained.attribution.values, &weigh(&shares), 1e-5);
        let record = serde_json::to_value(&explained.record).unwrap();
        match is_whole {
            true => assert_eq!(record["over"], "all"),
            false => assert_eq!(record["over"]["region"]["file"], "frame"),
        }
        assert_eq!(record["target"]["label"], "heart");
        assert!(record["target"].get("probability").is_none_or(serde_json::Value::is_null), "{record}");
        // CAM is taken at features, and what is written is the same model.
        assert_eq!(explain(&over, "grad-cam", "heart").record.layer.as_deref(), Some("a"));
        let written = folder.path().join("gradient.onnx");
        let derived = over.derive(&Wanted::default()).unwrap();
        write_model(&derived.graph, &derived.facts, &written).unwrap();
        let ready = load(&written).unwrap();
        assert_eq!(explain(&ready, "vanilla", "heart").attribution, explained.attribution);
        assert!(ready.over(None).unwrap_err().to_string().contains("forward model"));
    }
    let error = |loaded: Loaded, region| loaded.over(region).unwrap_err();
    let wrong = |marked: Vec<bool>| error(load(&path).unwrap(), Some((file(), marked)));
    assert!(wrong(vec![false; 48]).to_string().contains("no pixel"));
    assert!(wrong(vec![true; 47]).kind() == Kind::Input && wrong(vec![]).to_string().contains("frame"));
    assert!(error(loaded("digits-cnn.onnx"), None).to_string().contains("does not score places"));
}

#[test]
fn cards_from_memory_are_checked() {
    let mut card = Card::default();
    card.input.std = vec![0.0];
    let options = LoadOptions { card: Some(card), ..LoadOptions::default() };
    let error = Loaded::read(&model("digits-cnn.onnx"), &options).unwrap_err().to_string();
    assert!(error.contains("std"), "{error}");
}

/// A record says what it was computed with.
#[test]
fn records_name_the_tract_that_is_built_in() {
    let cnn = loaded("digits-cnn.onnx");
    let x = input(&cnn, 1);
    let record = explainer(&cnn, &mut Shared::default(), "vanilla").explain(&x, file(), &Target::Top).unwrap().record;
    let wanted = format!("tract-onnx = {{ version = \"={}\"", record.tract);
    assert!(include_str!("../Cargo.toml").contains(&wanted), "{wanted}");
}

/// An evaluation of vanilla gradients.
fn evaluation(cnn: &Loaded, measures: Vec<Measure>, effort: Effort) -> Evaluation<'_> {
    Evaluation::new(vec![explainer(cnn, &mut Shared::default(), "vanilla")], measures, effort).unwrap()
}

/// Of objects of several classes, those of the class explained count.
#[test]
fn the_mask_is_of_the_class_that_is_explained() {
    let cnn = loaded("digits-cnn.onnx");
    let x = input(&cnn, 1);
    let scored = |marked: Marked, target: Target| {
        let measures = vec![Measure::new("attribution-localisation", &Given::new()).unwrap()];
        let mut evaluation = evaluation(&cnn, measures, Effort::default());
        let sample = Subjected { input: &x, file: file(), marked: &marked, mosaic: false, target };
        evaluation.push(&sample).unwrap().remove(0).unwrap().scores.remove(0)
    };
    let upper: Vec<bool> = (0..x.len()).map(|i| i < x.len() / 2).collect();
    let lower: Vec<bool> = upper.iter().map(|is_upper| !is_upper).collect();
    let classes = || Marked::Classes(vec![(3, upper.clone()), (5, lower.clone())]);
    for (class, own) in [(3, &upper), (5, &lower)] {
        let target = || Target::Class(class);
        assert_eq!(scored(classes(), target()), scored(Marked::Object(own.clone()), target()));
    }
    assert_eq!(scored(classes(), Target::Class(4)), Err(Undefined::NoMask));
}

/// 48 by 48 pixels that are to be two superpixels have one to start from: it is the whole image, and no map puts it in an order.
#[test]
fn an_image_that_is_one_segment_has_no_order_of_segments() {
    let cnn = loaded("digits-cnn.onnx");
    let x = input(&cnn, 1);
    let given = [("segments".to_string(), "2".to_string())].into();
    let entry = find("irof").unwrap();
    let measures = [entry, quantus::of(entry, 1)].map(|entry| Measure::of(entry, &given).unwrap());
    let mut evaluation = evaluation(&cnn, measures.into(), Effort::default());
    let marked = Marked::Nothing;
    let sample = Subjected { input: &x, file: file(), marked: &marked, mosaic: false, target: Target::Top };
    let scores = evaluation.push(&sample).unwrap().remove(0).unwrap().scores;
    assert!(scores.iter().all(|score| *score == Err(Undefined::TooFewFeatures)), "{scores:?}");
}

/// A standard error that any draws have ends a mean as soon as there are enough of them.
#[test]
fn the_effort_of_an_evaluation_reaches_its_metrics() {
    let cnn = loaded("digits-cnn.onnx");
    let x = input(&cnn, 1);
    let explained = |standard_error: Option<f64>| {
        let given = [("draws".to_string(), "300".to_string())].into();
        let measures = vec![Measure::new("avg-sensitivity", &given).unwrap()];
        let mut evaluation = evaluation(&cnn, measures, Effort { standard_error, ..Effort::default() });
        let marked = Marked::Nothing;
        let sample = Subjected { input: &x, file: file(), marked: &marked, mosaic: false, target: Target::Top };
        assert!(evaluation.push(&sample).unwrap().remove(0).unwrap().scores[0].is_ok());
        evaluation.rows[0].passes.gradient
    };
    // The sample's own explanation, and one for each draw: all of them, or the five that a mean takes at least.
    assert_eq!((explained(None), explained(Some(1e9))), (301, 6));
}

/// Scores of a sample with a mask of another size, and states of something else, are refused; nothing is counted.
#[test]
fn what_does_not_fit_an_evaluation_is_refused() {
    let cnn = loaded("digits-cnn.onnx");
    let evaluation = |metrics: &[&str]| {
        let measures = metrics.iter().map(|name| Measure::new(name, &Given::new()).unwrap()).collect();
        evaluation(&cnn, measures, Effort::default())
    };
    let x = input(&cnn, 1);
    let mut masked = evaluation(&["pointing-game", "relevance-mass-accuracy", "top-k-intersection", "auc"]);
    for len in [0, 3, x.len() + 1] {
        let (mask, classes) = (vec![true; len], vec![(1, vec![true; x.len()]), (2, vec![true; len])]);
        for marked in [Marked::Object(mask), Marked::Classes(classes)] {
            let sample = Subjected { input: &x, file: file(), marked: &marked, mosaic: false, target: Target::Top };
            let error = masked.push(&sample).unwrap_err();
            assert!(error.kind() == Kind::Input && error.to_string().contains(&format!("{len} features")), "{error}");
        }
    }
    assert!(
        masked.state()
            == evaluation(&["pointing-game", "relevance-mass-accuracy", "top-k-intersection", "auc"]).state()
    );
    let mut sparse = evaluation(&["sparseness"]);
    assert!(sparse.restore(masked.state()).is_err());
    assert!(sparse.restore(vec![RowState::default()]).is_err());
    assert!(sparse.restore(vec![]).is_err());
    sparse.restore(evaluation(&["complexity"]).state()).unwrap();
}

#[test]
fn pictures_and_maps_that_are_none_are_refused() {
    let (shape, layout, card) = ([1, 1, 8, 8], Layout::ChannelsFirst, Card::default().input);
    for (width, height) in [(0, 0), (0, 5), (5, 0)] {
        assert_eq!(prepare(&Picture::new(width, height), &shape, layout, &card).unwrap_err().kind(), Kind::Input);
    }
    assert!(picture_of(&[0.0; 3], &shape, layout, None).is_err());
    let style = |zoom| Style { colormap: Colormap::Diverging, side_by_side: true, zoom };
    let picture = Picture::new(8, 8);
    assert!(draw(&[0.0; 3], (8, 8), &picture, &style(None)).is_err());
    assert!(draw(&[0.0; 64], (8, 8), &picture, &style(Some(u32::MAX))).is_err());
    assert!(draw(&[0.0; 64], (8, 8), &Picture::new(0, 8), &style(None)).is_err());
    assert!(draw(&[0.0; 64], (8, 8), &picture, &style(None)).is_ok());
    let nowhere = Path::new("no such file");
    assert_eq!(FileRecord::of(nowhere).unwrap_err().kind(), Kind::Input);
    assert_eq!(whyline_runtime::image::decode(nowhere).unwrap_err().kind(), Kind::Input);
}
