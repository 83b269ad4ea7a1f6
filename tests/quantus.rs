//! Metrics as Quantus computes them, against what Quantus itself gave (models/quantus_parity.py): 32 samples of digits-cnn,
//! vanilla gradients. Where it fails or says the same of every map, the golden values say so, and the paper's definition holds.
//! Those that divide by gradients near zero, or have ties there, are compared on a model too whose gradients are never near it.

use std::path::{Path, PathBuf};

use serde_json::Value;
use whyline_runtime::engine::{Precision, Resources};
use whyline_runtime::evaluate::{Effort, Evaluation, Marked, Measure, Subjected};
use whyline_runtime::explain::{LoadOptions, Loaded, Target};
use whyline_runtime::image::preprocess::mask;
use whyline_runtime::image::{Picture, decode, prepare};
use whyline_runtime::metrics::{METRICS, Observation, find, quantus};
use whyline_runtime::params::Given;
use whyline_runtime::record::FileRecord;

const SAMPLES: usize = 32;
const SIDE: u32 = 48;
const DIGITS: (&str, &str) = ("metrics", "models/digits-cnn.onnx");
const SMOOTH: (&str, &str) = ("smooth", "tests/goldens/quantus-smooth.onnx");

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

fn goldens() -> Value {
    serde_json::from_str(&std::fs::read_to_string(folder("tests/goldens/quantus.json")).unwrap()).unwrap()
}

/// Pictures from a sheet, one below the other.
fn pictures(sheet: &str) -> Vec<Picture> {
    let sheet = decode(&folder("tests/goldens").join(sheet)).unwrap();
    let picture = |i: usize| Picture::from_fn(SIDE, SIDE, |x, y| *sheet.get_pixel(x, y + i as u32 * SIDE));
    (0..SAMPLES).map(picture).collect()
}

fn given(params: &Value) -> Given {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_string);
    params.as_object().unwrap().iter().map(|(name, value)| (name.clone(), text(value))).collect()
}

/// A model that is given images as digits-cnn is.
fn load(model: &str) -> Loaded {
    let digits = Loaded::read(&folder(DIGITS.1), &LoadOptions::default()).unwrap();
    Loaded::read(&folder(model), &LoadOptions { card: Some(digits.card), ..LoadOptions::default() }).unwrap()
}

/// The scores of the first samples of a model by metrics with their parameters, and the metrics' means.
fn scores(model: &str, metrics: &[(&str, Given)], count: usize) -> (Vec<Vec<Option<f64>>>, Vec<f64>) {
    let loaded = load(model);
    let explainer = loaded.explainer("vanilla", &Given::new(), Precision::F32, Resources::default()).unwrap();
    let measure = |(name, given): &(&str, Given)| Measure::of(quantus::of(find(name).unwrap(), 1), given).unwrap();
    let measures = metrics.iter().map(measure).collect();
    let mut evaluation = Evaluation::new(vec![explainer], measures, Effort::default()).unwrap();
    let (shape, layout) = (loaded.input_shape().unwrap(), loaded.layout().unwrap().unwrap());
    let card = &loaded.card.input;
    let mut all = vec![];
    for (picture, marks) in pictures("quantus-samples.png").iter().zip(pictures("quantus-masks.png")).take(count) {
        let input = prepare(picture, &shape, layout, card).unwrap().input;
        let marked = mask(&marks, &shape, layout, card).unwrap();
        let file = FileRecord { file: "sheet".into(), sha256: String::new() };
        let sample =
            Subjected { input: &input, file, marked: &Marked::Object(marked), mosaic: false, target: Target::Top };
        let scores = evaluation.push(&sample).unwrap().remove(0).unwrap().scores;
        all.push(
            scores
                .into_iter()
                .map(|observed| match observed {
                    Ok(Observation::Score(score) | Observation::Grouped { score, .. }) => Some(score),
                    _ => None,
                })
                .collect(),
        );
    }
    let means = evaluation.rows[0].scores.iter().map(|tally| tally.scores().moments().mean()).collect();
    (all, means)
}

/// Every golden value of the metrics of a model that `wanted` names, each within its bound.
fn compare((key, model): (&str, &str), wanted: impl Fn(&str) -> bool, count: usize) {
    let goldens = goldens();
    let metrics = goldens[key].as_object().unwrap();
    let chosen: Vec<(&String, &Value)> =
        metrics.iter().filter(|(name, own)| wanted(name) && own["values"].is_array()).collect();
    assert!(!chosen.is_empty());
    let measured: Vec<(&str, Given)> =
        chosen.iter().map(|(name, own)| (name.as_str(), given(&own["params"]))).collect();
    let (found, _) = scores(model, &measured, count);
    for (column, (name, own)) in chosen.iter().enumerate() {
        let values: Vec<Option<f64>> = own["values"].as_array().unwrap().iter().map(Value::as_f64).collect();
        let ties: Vec<u64> = own["ties"].as_array().unwrap().iter().filter_map(Value::as_u64).collect();
        // Without instructions that multiply and add at once more is rounded off where values near zero decide.
        let wider = if cfg!(target_arch = "x86") && is_relative(name) { 2.0 } else { 1.0 };
        // Differences count relative to the value, or to a hundredth of the largest where it is less.
        let least = 0.01 * values.iter().flatten().fold(0.0, |most: f64, v| most.max(v.abs()));
        let mut differences = vec![];
        for (sample, (golden, found)) in values.iter().zip(&found).enumerate() {
            let (Some(golden), Some(found)) = (golden, found[column]) else {
                assert_eq!(*golden, found[column], "{name}, sample {sample}");
                continue;
            };
            let difference = (golden - found).abs() / golden.abs().max(least).max(f64::MIN_POSITIVE);
            differences.push(if *golden == found { 0.0 } else { difference });
            let fits = *golden == found || difference <= wider * own["bound"].as_f64().unwrap();
            assert!(fits || ties.contains(&(sample as u64)), "{name}, sample {sample}: {found} for {golden}");
        }
        // Where gradients near zero are divided by, which single precision knows less well, single samples may be farther away.
        differences.sort_unstable_by(f64::total_cmp);
        let median = differences[differences.len() / 2];
        assert!(median <= if is_relative(name) { 2e-3 } else { 1e-3 }, "{name}: {median} in the median");
    }
}

/// Whether a metric divides by every value of a gradient.
fn is_relative(metric: &str) -> bool {
    metric.starts_with("relative-") && metric.ends_with("stability")
}

/// A metric with a pass for every feature is compared on fewer samples.
const LONG: &str = "non-sensitivity";

#[test]
fn scores_are_those_of_quantus() {
    compare(DIGITS, |name| name != LONG, SAMPLES);
}

#[test]
fn scores_of_many_passes_are_those_of_quantus() {
    compare(DIGITS, |name| name == LONG, 6);
}

/// What digits-cnn brings to the limits of single precision.
#[test]
fn scores_of_a_smooth_model_are_those_of_quantus() {
    let goldens = goldens();
    let loose =
        |own: &Value| own["bound"].as_f64() > Some(1e-3) || own["ties"].as_array().is_some_and(|t| !t.is_empty());
    let metrics = goldens["metrics"].as_object().unwrap();
    let all: Vec<&String> = metrics.iter().filter(|(_, own)| loose(own)).map(|(name, _)| name).collect();
    assert!(all.iter().all(|&name| !loose(&goldens["smooth"][name]) && goldens["smooth"][name].is_object()));
    compare(SMOOTH, |_| true, SAMPLES);
}

#[test]
fn what_quantus_computes_of_a_batch_is_that_of_the_dataset() {
    let golden = goldens()["dataset"]["consistency"]["value"].as_f64().unwrap();
    let (_, means) = scores(DIGITS.1, &[("consistency", Given::new())], SAMPLES);
    assert!((means[0] - golden).abs() < 1e-8, "{} for {golden}", means[0]);
}

/// Every metric is Quantus's and has golden values, or there is a reason for it to be the paper's.
#[test]
fn every_metric_is_compared_or_told_apart() {
    let goldens = goldens();
    for entry in METRICS {
        let compared = goldens["metrics"][entry.name]["values"].is_array() || entry.name == "consistency";
        let reason = quantus::paper(entry.name, 1);
        assert!(
            reason.is_none() == compared,
            "{}: either there are golden values, or `quantus::paper` says why not: {reason:?}",
            entry.name
        );
        assert_eq!(std::ptr::eq(quantus::of(entry, 1), *entry), !compared, "{}", entry.name);
    }
    for entry in quantus::METRICS {
        let own = find(entry.name).unwrap();
        // In colour it fails for two of them.
        let fails = ["irof", "road"].contains(&entry.name);
        assert_eq!(std::ptr::eq(quantus::of(own, 3), own), fails, "{}", entry.name);
        assert_eq!(quantus::paper(entry.name, 3).is_some(), fails, "{}", entry.name);
        assert_eq!((own.family, own.better, own.wants), (entry.family, entry.better, entry.wants), "{}", entry.name);
        assert!(entry.params(&[("compat".into(), "quantus".into())].into()).is_ok(), "{}", entry.name);
    }
}
