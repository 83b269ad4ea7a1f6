//! Maps of digits-cnn beside those of the programs that people know, as `models/method_parity.py` has written them down.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use whyline_runtime::engine::{Precision, Resources};
use whyline_runtime::explain::{LoadOptions, Loaded, Target};
use whyline_runtime::image::{decode, prepare};
use whyline_runtime::methods::{Given, METHODS};
use whyline_runtime::npy;
use whyline_runtime::record::FileRecord;

/// Some values of a reference's map.
#[derive(Deserialize)]
struct Golden {
    method: String,
    params: Vec<String>,
    reference: String,
    image: String,
    target: usize,
    largest: f64,
    sum: f64,
    /// Every so many-th of the map.
    values: Vec<f64>,
}

/// Which value of a map is kept.
const STRIDE: usize = 37;

/// Of the largest magnitude, the largest difference.
const BOUND: f64 = 1e-3;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn goldens() -> Vec<Golden> {
    let text = std::fs::read_to_string(root().join("tests/goldens/methods.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn input_of(loaded: &Loaded, image: &str) -> Vec<f32> {
    let picture = decode(&root().join("models/samples").join(image)).unwrap();
    let layout = loaded.layout().unwrap().unwrap();
    prepare(&picture, &loaded.input_shape().unwrap(), layout, &loaded.card.input).unwrap().input
}

fn named(file: &str) -> FileRecord {
    FileRecord { file: file.into(), sha256: String::new() }
}

/// The map, and where baselines are files, those.
fn map(loaded: &Loaded, golden: &Golden) -> Vec<f32> {
    let mut given: Given =
        golden.params.iter().filter_map(|p| p.split_once('=')).map(|(k, v)| (k.into(), v.into())).collect();
    let baselines = match given.get("baseline").map(String::as_str) {
        Some("noise") => {
            let noise = npy::read(&root().join("tests/goldens/noise.npy")).unwrap();
            vec![(named("noise"), noise.to_f32().unwrap())]
        }
        Some("samples") => (0..3).map(|d| (named("set"), input_of(loaded, &format!("digit-{d}.png")))).collect(),
        _ => vec![],
    };
    if !baselines.is_empty() {
        given.insert("baseline".into(), "file:".into());
    }
    let mut explainer = loaded.explainer(&golden.method, &given, Precision::F32, Resources::default()).unwrap();
    explainer.set_baselines(baselines).unwrap();
    let target = Target::Named(golden.target.to_string());
    explainer.explain(&input_of(loaded, &golden.image), named(&golden.image), &target).unwrap().attribution.values
}

#[test]
fn maps_are_those_of_the_reference_programs() {
    let goldens = goldens();
    let loaded = Loaded::read(&root().join("models/digits-cnn.onnx"), &LoadOptions::default()).unwrap();
    let mut wrong = vec![];
    for golden in &goldens {
        let map = map(&loaded, golden);
        let kept = map.iter().step_by(STRIDE);
        assert_eq!(kept.len(), golden.values.len(), "{}", golden.method);
        let apart = kept.zip(&golden.values).map(|(&a, b)| (a as f64 - b).abs()).fold(0.0, f64::max);
        let size: f64 = map.iter().map(|v| v.abs() as f64).sum();
        let sums = (map.iter().map(|&v| v as f64).sum::<f64>() - golden.sum).abs();
        if apart > BOUND * golden.largest || sums > BOUND * size {
            let (method, params) = (&golden.method, golden.params.join(" "));
            let by = format!("{:.2e}, {:.2e} of the sum", apart / golden.largest, sums / size);
            wrong.push(format!("{method} {params} of {}, from {}: {by}", golden.image, golden.reference));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // Every method that a reference program has is among them.
    let told = |name: &str| goldens.iter().any(|g| g.method == name);
    for name in ["saliency", "integrated-gradients", "gradient-shap", "deeplift-rescale", "lrp", "grad-cam", "fullgrad"]
    {
        assert!(told(name), "{name}");
    }
}

/// Every method has values of another program's map, or is named where maps are worked out on paper, in part as a composite's: what a
/// name is worth there is not seen.
#[test]
fn every_method_has_values() {
    let numbers = [
        include_str!("method_values.rs"),
        include_str!("rule_values.rs"),
        include_str!("adversarial_values.rs"),
        include_str!("methods.rs"),
        include_str!("equivalences.rs"),
    ]
    .concat();
    let goldens = goldens();
    for entry in METHODS {
        let called = |name: &&str| numbers.contains(&format!("\"{name}\""));
        let compared = goldens.iter().any(|golden| golden.method == entry.name);
        assert!(
            compared || std::iter::once(&entry.name).chain(entry.aliases).any(called),
            "{} has neither a golden map (models/method_parity.py) nor a test in method_values.rs",
            entry.name
        );
    }
}
