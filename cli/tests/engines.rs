//! `--engine`: what runs the passes.

mod common;

use std::path::Path;

use common::whyline;
use serde_json::Value;

fn models(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models").join(name).display().to_string()
}

fn told(args: &[&str]) -> (Value, String) {
    let output = whyline(args);
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{args:?}: {err}");
    (serde_json::from_slice(&output.stdout).unwrap(), err)
}

#[test]
fn the_record_says_which_engine_and_what_it_does_not_promise() {
    let (model, sample) = (models("digits-cnn.onnx"), models("samples/digit-3.png"));
    let explain = ["explain", &model, &sample, "-m", "smoothgrad", "-p", "samples=3", "--json", "-"];
    let (ours, _) = told(&explain);
    let (theirs, err) = told(&[&explain[..], &["--engine", "tract"]].concat());
    assert_eq!((ours["engine"].as_str(), theirs["engine"].as_str()), (Some("kernels"), Some("tract")));
    assert!(err.contains("in memory that nobody bounds") && ours["warnings"].as_array().unwrap().is_empty(), "{err}");
    let logit = |record: &Value| record["predicted"]["logit"].as_f64().unwrap();
    assert!((logit(&ours) - logit(&theirs)).abs() < 1e-4 && ours["passes"] == theirs["passes"]);
}

#[test]
fn what_only_our_kernels_have_is_refused_elsewhere() {
    let (model, sample) = (models("digits-cnn.onnx"), models("samples/digit-3.png"));
    for (flag, what) in [(&["--f16"][..], "half precision"), (&["--memory", "1GiB"], "bounded memory")] {
        let output = whyline(&[&["explain", &model, &sample, "--engine", "tract"], flag].concat());
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), err.contains(what)), (Some(2), true), "{err}");
    }
}

#[test]
fn scores_of_two_engines_agree_and_are_not_mixed() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("s.wls").display().to_string();
    let (model, samples) = (models("digits-cnn.onnx"), folder.path().join("images"));
    std::fs::create_dir(&samples).unwrap();
    for digit in [2, 7] {
        let name = format!("digit-{digit}.png");
        std::fs::copy(models("samples").to_string() + "/" + &name, samples.join(&name)).unwrap();
    }
    let samples = samples.display().to_string();
    let evaluate = ["evaluate", &model, &samples, "-m", "vanilla", "--json", "-"];
    let metrics = ["--metrics", "sparseness,max-sensitivity,mprt,relative-representation-stability"];
    let args = [&evaluate[..], &metrics].concat();
    let (ours, _) = told(&[&args[..], &["--state", &state]].concat());
    let (theirs, _) = told(&[&args[..], &["--engine", "tract"]].concat());
    let means = |report: &Value| -> Vec<f64> {
        report["results"].as_array().unwrap().iter().map(|line| line["mean"].as_f64().unwrap()).collect()
    };
    assert_eq!(means(&ours).len(), 4);
    for (own, other) in means(&ours).into_iter().zip(means(&theirs)) {
        // Where a Relu's input is within rounding of zero, two engines go two ways, and the largest change is another.
        assert!((own - other).abs() <= 0.05 * own.abs(), "{own} {other}");
    }
    let output = whyline(&[&args[..], &["--state", &state, "--engine", "tract"]].concat());
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), err.contains("another engine")), (Some(4), true), "{err}");
}
