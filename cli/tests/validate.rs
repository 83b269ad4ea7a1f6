//! `whyline validate`, and what it leaves in files.

mod common;

use std::path::{Path, PathBuf};

use common::whyline;
use serde_json::Value;

fn models(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models").join(name).display().to_string()
}

/// Runs, and asserts the exit code; what was printed, and what went wrong.
fn ends(args: &[&str], code: i32) -> (String, String) {
    let output = whyline(args);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{args:?}: {out}{err}");
    (out, err)
}

fn names(report: &Value, verdict: &str) -> Vec<String> {
    let checks = report["checks"].as_array().unwrap().iter().filter(|check| check["verdict"] == verdict);
    checks.map(|check| check["check"].as_str().unwrap().to_string()).collect()
}

#[test]
fn a_sound_model_passes_and_the_report_says_by_what() {
    let (model, samples) = (models("digits-cnn.onnx"), models("samples"));
    let checks = "admission,derivative,engine,same-numbers,f16,completeness,sanity";
    let (out, _) = ends(&["validate", &model, &samples, "--inputs", "2", "--checks", checks, "--json", "-"], 0);
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(names(&report, "passed").join(","), checks);
    assert_eq!((&report["passed"], report["inputs"].as_array().unwrap().len()), (&Value::Bool(true), 2));
    let halves = &report["checks"][4];
    assert!(halves["numbers"]["methods"]["vanilla"]["cosine"].as_f64().unwrap() > 0.99, "{halves}");
    assert_eq!(halves["limits"]["cosine"], "0.99");
    let summary = report["checks"][3]["summary"].as_str().unwrap();
    assert!(!summary.contains("no other process"), "a fresh process was asked: {summary}");
}

#[test]
fn what_fails_is_named_and_is_the_exit_code() {
    let model = models("digits-cnn.onnx");
    let (out, err) = ends(
        &["validate", &model, &models("samples"), "-m", "guided-backprop", "--inputs", "3", "--checks", "sanity"],
        6,
    );
    assert!(out.contains("FAILED") && out.contains("guided-backprop hardly changes"), "{out}");
    assert!(err.contains("1 of 1 checks failed: sanity"), "{err}");
    // A limit of one's own.
    let limit = ["validate", &model, "--random", "2", "--checks", "f16", "--limit", "f16.cosine=0.9999999", "-q"];
    let (out, err) = ends(&limit, 6);
    assert_eq!((out.as_str(), err.contains("f16")), ("", true), "{err}");
}

#[test]
fn wrong_arguments_and_inputs_are_told_before_anything_runs() {
    let model = models("digits-cnn.onnx");
    for (args, code, what) in [
        (vec!["--limit", "cosines=1"], 2, "none of the checks has a limit 'cosines'"),
        (vec!["--limit", "sanity.cosine=1"], 2, "sanity.cosine"),
        (vec!["--limit", "derivative.tolerance=nan", "-q"], 2, "derivative: tolerance"),
        (vec!["--memory", "1KiB", "-q"], 5, "bytes"),
        (vec!["--checks", "f17"], 2, "f17"),
        (vec!["-m", "vanila"], 2, "vanila"),
        (vec!["-p", "stepps=3"], 2, "stepps"),
        (vec!["nowhere"], 4, "nowhere"),
        (vec![&models("samples") as &str, "--random", "3"], 2, "--random"),
    ] {
        let (out, err) = ends(&[&["validate", &model], &args[..]].concat(), code);
        assert!(err.contains(what) && out.is_empty(), "{args:?}: {out}{err}");
    }
    // What is read is not written over, wherever in the dataset it is.
    let folder = tempfile::tempdir().unwrap();
    let (image, inside) = (folder.path().join("a.png"), folder.path().join("b"));
    std::fs::create_dir(&inside).unwrap();
    for path in [&image, &inside.join("c.png")] {
        std::fs::copy(models("samples/digit-3.png"), path).unwrap();
        let (data, path) = (folder.path().display().to_string(), path.display().to_string());
        let (_, err) = ends(&["validate", &model, &data, "--checks", "admission", "--json", &path], 2);
        assert!(err.contains("is read"), "{err}");
        ends(&["compile", &model, "-o", &path, "--f16", &format!("--validated={data}")], 2);
        assert_eq!(std::fs::read(&path).unwrap(), std::fs::read(models("samples/digit-3.png")).unwrap());
    }
    let empty = tempfile::tempdir().unwrap();
    let (_, err) = ends(&["validate", &model, &empty.path().display().to_string()], 4);
    assert!(err.contains("holds no PNG or JPEG images"), "{err}");
}

#[test]
fn methods_are_told_of_files_and_those_that_are_not_for_a_model_are_named() {
    let (model, samples) = (models("digits-cnn.onnx"), models("samples"));
    let baseline = format!("baseline={}", models("samples/digit-1.png"));
    let args = ["validate", &model, &samples, "--inputs", "1", "-m", "integrated-gradients", "-p", &baseline];
    ends(&[&args[..], &["--checks", "completeness,same-numbers", "--limit", "gap=0.2"]].concat(), 0);
    // A gradient graph of other rules has no plain gradient, and admits its own methods alone.
    let folder = tempfile::tempdir().unwrap();
    let guided = folder.path().join("guided.onnx").display().to_string();
    ends(&["compile", &model, "-o", &guided, "--rule", "guided", "-q"], 0);
    let args = ["validate", &guided, &samples, "--inputs", "1", "--checks", "admission,derivative,engine,same-numbers"];
    let (out, _) = ends(&[&args[..], &["-m", "guided-backprop"]].concat(), 0);
    assert!(out.contains("2 checks passed, 2 skipped"), "{out}");
    let (out, _) = ends(&[&args[..], &["-m", "guided-backprop,vanilla"]].concat(), 6);
    assert!(out.contains("(wanted by vanilla)"), "{out}");
}

#[test]
fn half_precision_that_was_validated_is_explained_without_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| -> (PathBuf, String) {
        let path = folder.path().join(name);
        (path.clone(), path.display().to_string())
    };
    let (model, sample) = (models("digits-cnn.onnx"), models("samples/digit-3.png"));
    let said = "nobody has said what half precision does";
    let warned = |model: &str| ends(&["explain", model, &sample, "-m", "vanilla", "--f16"], 0).1.contains(said);
    let ((_, plain), (_, good), (bad_path, bad)) = (file("plain.onnx"), file("good.onnx"), file("bad.onnx"));
    ends(&["compile", &model, "-o", &plain, "--f16", "-q"], 0);
    ends(&["compile", &model, "-o", &good, "--f16", &format!("--validated={}", models("samples")), "-q"], 0);
    assert!(warned(&model) && warned(&plain) && !warned(&good));
    let single = ends(&["explain", &model, &sample, "-m", "vanilla"], 0).1;
    assert!(!single.contains(said), "{single}");
    // Without a dataset, random inputs; and only with --f16.
    ends(&["compile", &model, "-o", &good, "--f16", "--validated", "-q"], 0);
    assert!(!warned(&good));
    ends(&["compile", &model, "-o", &bad, "--validated"], 2);
    let (_, err) = ends(&["compile", &model, "-o", &bad, "--f16", "--validated=nowhere"], 4);
    assert!(err.contains("nowhere") && !bad_path.exists(), "{err}");
}

#[test]
fn every_rules_graph_is_looked_at_as_it_will_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let (model, graph) = (models("digits-cnn.onnx"), folder.path().join("g.onnx").display().to_string());
    let compile = |more: &[&str], code: i32| {
        ends(&[&["compile", &model, "-o", &graph, "--f16", "--validated", "-q"], more].concat(), code).1
    };
    let told = || -> Value { serde_json::from_str(&ends(&["inspect", &graph, "--json", "-"], 0).0).unwrap() };
    let of = |report: &Value| {
        report["validated"]["found"]["methods"].as_object().unwrap().keys().cloned().collect::<Vec<_>>()
    };
    compile(&["--rule", "guided"], 0);
    assert_eq!(of(&told()), ["guided-backprop"]);
    compile(&["-m", "smoothgrad,saliency"], 0);
    assert_eq!(of(&told()), ["saliency", "smoothgrad"]);
    let explained =
        |method: &str| ends(&["explain", &graph, &models("samples/digit-3.png"), "-m", method, "--f16"], 0).1;
    assert!(!explained("smoothgrad").contains("half precision"));
    let said = explained("vanilla");
    assert!(said.contains("of vanilla") && said.contains("of saliency, smoothgrad the file says it"), "{said}");
    assert!(compile(&["-m", "lrp"], 2).contains("lrp"));
    assert!(ends(&["compile", &model, "-o", &graph, "-m", "vanilla"], 2).1.contains("--validated"));
}

#[test]
fn limits_that_are_none_are_refused_before_the_first_check() {
    let model = models("digits-cnn.onnx");
    for limit in ["draws.tolerance=x", "derivative.tolerance=nan", "f16.precision=f32", "sanity.nonsense=1"] {
        let (out, err) = ends(&["validate", &model, "--random", "1", "--limit", limit], 2);
        assert!(
            out.is_empty() && err.contains(limit.split_once('.').unwrap().1.split_once('=').unwrap().0),
            "{out}{err}"
        );
    }
    let (out, err) = ends(&["validate", &model, "--random", "1", "--output", "nope"], 2);
    assert!(out.is_empty() && err.contains("no output 'nope'"), "{out}{err}");
    ends(&["validate", &model, "--inputs", "2"], 2);
}

/// What was found before memory ran out is in the report all the same.
#[test]
fn what_cuts_checks_short_loses_none_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report.json").display().to_string();
    let args = ["validate", &models("digits-cnn.onnx"), "--random", "1", "--checks", "admission,same-numbers"];
    let (_, err) = ends(&[&args[..], &["--memory", "100KiB", "--json", &report]].concat(), 5);
    assert!(err.contains("same-numbers"), "{err}");
    let report: Value = serde_json::from_slice(&std::fs::read(&report).unwrap()).unwrap();
    assert_eq!((names(&report, "passed"), &report["passed"]), (vec!["admission".to_string()], &Value::Bool(false)));
}

/// What of a class a gradient graph explains is settled when it is made; a pass of it is counted as one of the model.
#[test]
fn a_gradient_graph_says_what_it_explains() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name).display().to_string();
    let (model, image) = (models("digits-cnn.onnx"), models("samples/digit-3.png"));
    let (logits, probabilities) = (place("logits.onnx"), place("probabilities.onnx"));
    ends(&["compile", &model, "-o", &logits, "-q"], 0);
    ends(&["compile", &model, "-o", &probabilities, "--score", "probability", "-q"], 0);
    let (_, err) = ends(&["explain", &logits, &image, "-m", "vanilla", "--score", "probability", "--json", "-"], 2);
    assert!(err.contains("explains logits"), "{err}");
    let record = |args: &[&str]| -> Value {
        let common = ["-m", "gradient-x-input", "--json", "-"];
        serde_json::from_str(&ends(&[&["explain"], args, &common].concat(), 0).0).unwrap()
    };
    let compiled = record(&[&probabilities, &image]);
    let own = record(&[&model, &image, "--score", "probability"]);
    assert_eq!(compiled["target"], own["target"]);
    assert!(own["target"]["kind"] == "probability" && own["target"]["class"]["logit"].is_null(), "{}", own["target"]);
    // A rate times the time that it was told for.
    let flops = |path: &str, pass: &str| -> f64 {
        let report: Value = serde_json::from_str(&ends(&["bench", path, "--runs", "3", "--json", "-"], 0).0).unwrap();
        report[pass]["gflops"].as_f64().unwrap() * report[pass]["p50_ms"].as_f64().unwrap()
    };
    let apart = flops(&logits, "forward") / flops(&model, "forward") - 1.0;
    assert!(apart.abs() < 0.01, "{apart}");
}

#[test]
fn a_methods_line_is_for_a_method_and_refuses_in_json_too() {
    let vit = models("digits-vit.onnx");
    let (out, err) = ends(&["inspect", &vit, "--method", "deep-taylor", "--json", "-"], 3);
    assert!(out.contains("refused") && !err.is_empty(), "{out}{err}");
    let (out, _) = ends(&["inspect", &vit, "--method", "ig", "--json", "-"], 0);
    let line: Value = serde_json::from_str(&out).unwrap();
    assert!(line["passes"]["gradient"] == 50 && line["memory"]["weights"].as_u64().unwrap() > 0, "{line}");
    ends(&["inspect", &vit, "--steps", "100"], 2);
    ends(&["inspect", &vit, "-p", "foo=bar"], 2);
}
