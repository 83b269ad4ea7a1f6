//! `whyline evaluate` and `whyline merge`, as users call them.

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::{models, text, whyline};
use whyline_runtime::image::Picture;

fn evaluate(dataset: &Path, more: &[&str]) -> Output {
    let (model, dataset) = (models().join("digits-cnn.onnx"), dataset.display().to_string());
    whyline(&[&["evaluate", &model.display().to_string(), &dataset], more].concat())
}

fn json(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// A dataset of the first so many samples, with masks.
fn dataset(folder: &Path, count: usize) -> PathBuf {
    let inside = folder.join("samples");
    std::fs::create_dir(&inside).unwrap();
    for digit in 0..count {
        for name in [format!("digit-{digit}.png"), format!("digit-{digit}.mask.png")] {
            std::fs::copy(models().join("samples").join(&name), inside.join(&name)).unwrap();
        }
    }
    inside
}

const QUICK: &[&str] = &["-m", "vanilla,gxi", "--metrics", "all-cheap,deletion", "--metric-param", "step=300"];

#[test]
fn methods_are_scored_over_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let (samples, out) = (dataset(folder.path(), 3), folder.path().join("out.json"));
    let (csv, lines) = (folder.path().join("out.csv"), folder.path().join("lines.jsonl"));
    let files = ["--json", out.to_str().unwrap(), "--csv", csv.to_str().unwrap(), "--samples", lines.to_str().unwrap()];
    let run = evaluate(&samples, &[QUICK, &files].concat());
    assert!(run.status.success(), "{}", text(&run.stderr));
    let printed = text(&run.stdout);
    assert!(printed.contains("deletion ↓") && printed.contains("3 of 3 samples"), "{printed}");
    let report = json(&out);
    let results = report["results"].as_array().unwrap();
    let cell = |method: &str, metric: &str| {
        results.iter().find(|c| c["method"] == method && c["metric"] == metric).unwrap().clone()
    };
    assert_eq!(cell("vanilla", "pointing-game")["samples"], 3);
    assert!(cell("gradient-x-input", "deletion")["mean"].as_f64() < cell("vanilla", "deletion")["mean"].as_f64());
    assert_eq!(std::fs::read_to_string(&csv).unwrap().lines().count(), results.len() + 1);
    // The mean of the lines is the result.
    let lines = std::fs::read_to_string(&lines).unwrap();
    let values = lines.lines().map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        line["methods"]["vanilla"]["complexity"].as_f64().unwrap()
    });
    let mean = values.sum::<f64>() / 3.0;
    assert!((cell("vanilla", "complexity")["mean"].as_f64().unwrap() - mean).abs() < 1e-12);
}

#[test]
fn shards_in_any_order_are_the_whole_and_threads_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let samples = dataset(folder.path(), 4);
    let path = |name: &str| folder.path().join(name).display().to_string();
    let whole = path("whole.json");
    assert!(evaluate(&samples, &[QUICK, &["-q", "--threads", "1", "--json", &whole]].concat()).status.success());
    for shard in ["0/3", "1/3", "2/3"] {
        let state = path(&format!("{}.wls", &shard[..1]));
        let run = evaluate(&samples, &[QUICK, &["-q", "--threads", "2", "--shard", shard, "--state", &state]].concat());
        assert!(run.status.success(), "{}", text(&run.stderr));
    }
    let (merged, states) = (path("merged.json"), ["2", "0", "1"].map(|n| path(&format!("{n}.wls"))));
    let [a, b, c] = &states;
    assert!(whyline(&["merge", a, b, c, "-q", "--json", &merged]).status.success());
    let (whole, merged) = (json(Path::new(&whole)), json(Path::new(&merged)));
    let cells = |report: &serde_json::Value| report["results"].as_array().unwrap().clone();
    for (own, other) in cells(&whole).iter().zip(&cells(&merged)) {
        assert_eq!((&own["metric"], &own["samples"]), (&other["metric"], &other["samples"]));
        assert_eq!((own["mean"].is_null(), &own["undefined"]), (other["mean"].is_null(), &other["undefined"]));
        let (own, other) = (own["mean"].as_f64().unwrap_or(0.0), other["mean"].as_f64().unwrap_or(0.0));
        assert!((own - other).abs() <= 1e-9 * own.abs(), "{own} and {other}");
    }
    // More shards than samples: some have nothing to do, and say so.
    let empty = path("empty.wls");
    assert!(evaluate(&samples, &[QUICK, &["-q", "--shard", "7/9", "--state", &empty]].concat()).status.success());
    assert!(Path::new(&empty).exists());
    let refused = whyline(&["merge", a, c]);
    assert!(refused.status.code() == Some(2) && text(&refused.stderr).contains("0/3"), "{}", text(&refused.stderr));
    let refused = whyline(&["merge", a, a, b, c]);
    assert!(refused.status.code() == Some(4) && text(&refused.stderr).contains("same shard"));
}

#[test]
fn what_was_killed_goes_on_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let samples = dataset(folder.path(), 6);
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (whole, state, lines, resumed) = (path("whole.json"), path("s.wls"), path("s.jsonl"), path("resumed.json"));
    assert!(evaluate(&samples, &[QUICK, &["-q", "--json", &whole]].concat()).status.success());
    let kept = ["-q", "--state", &state, "--samples", &lines];
    let model = models().join("digits-cnn.onnx");
    let mut run = Command::new(env!("CARGO_BIN_EXE_whyline"))
        .args(["evaluate", model.to_str().unwrap(), samples.to_str().unwrap()])
        .args([QUICK, &kept].concat())
        .spawn()
        .unwrap();
    // The state appears with the first sample; then the program is killed, wherever it is.
    while !Path::new(&state).exists() && run.try_wait().unwrap().is_none() {
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    run.kill().unwrap();
    run.wait().unwrap();
    assert!(evaluate(&samples, &[QUICK, &kept, &["--json", &resumed]].concat()).status.success());
    let results = |path: &str| json(Path::new(path))["results"].clone();
    assert_eq!(results(&resumed), results(&whole));
    let numbers: Vec<u64> = std::fs::read_to_string(&lines)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["sample"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, [0, 1, 2, 3, 4, 5]);
    // Of something else it is not gone on with, nor where it is not whole.
    let other = evaluate(&samples, &["-m", "gxi", "--metrics", "all-cheap", "--state", &state]);
    assert!(other.status.code() == Some(4) && text(&other.stderr).contains("other methods"), "{}", text(&other.stderr));
    let other = evaluate(&samples, &[QUICK, &["--state", &state, "--mean", "0.1"]].concat());
    assert!(other.status.code() == Some(4) && text(&other.stderr).contains("another preprocessing"));
    let bytes = std::fs::read(&state).unwrap();
    std::fs::write(&state, &bytes[..bytes.len() / 2]).unwrap();
    let cut = evaluate(&samples, &[QUICK, &["--state", &state]].concat());
    assert!(cut.status.code() == Some(4) && text(&cut.stderr).contains("cut short"), "{}", text(&cut.stderr));
}

#[test]
fn bad_samples_are_counted_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let samples = dataset(folder.path(), 2);
    std::fs::write(samples.join("broken.png"), b"no picture").unwrap();
    std::fs::copy(models().join("../docs/why-3.png"), samples.join("digit-1.mask.png")).unwrap();
    let out = folder.path().join("out.json");
    let run = evaluate(&samples, &[QUICK, &["--json", out.to_str().unwrap()]].concat());
    assert!(run.status.success(), "{}", text(&run.stderr));
    let errors = text(&run.stderr);
    assert!(errors.contains("broken.png") && errors.contains("the mask is"), "{errors}");
    let report = json(&out);
    assert_eq!(report["failed"].as_array().unwrap().len(), 2);
    let cells = report["results"].as_array().unwrap();
    let first = cells.iter().find(|cell| cell["metric"] == "complexity").unwrap();
    assert_eq!((&first["samples"], &first["undefined"]["the sample failed"]), (&1.into(), &2.into()), "{first}");
    let unlabelled = evaluate(&samples, &[QUICK, &["--target", "label"]].concat());
    assert!(unlabelled.status.code() == Some(4) && text(&unlabelled.stderr).contains("none of the samples"));
    let over = evaluate(&samples, &[QUICK, &["--csv", samples.join("digit-0.png").to_str().unwrap()]].concat());
    assert!(over.status.code() == Some(2) && text(&over.stderr).contains("must not be written over"));
    let none = evaluate(&folder.path().join("nowhere"), QUICK);
    assert_eq!(none.status.code(), Some(4));
    let unknown = evaluate(&samples, &["-m", "vanilla", "--metrics", "nonsense"]);
    assert!(unknown.status.code() == Some(2) && text(&unknown.stderr).contains("no metric 'nonsense'"));
    let shard = evaluate(&samples, &[QUICK, &["--shard", "3/3"]].concat());
    assert_eq!(shard.status.code(), Some(2));
}

#[test]
fn maps_that_a_budget_ends_early_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let (samples, out) = (dataset(folder.path(), 2), folder.path().join("out.json"));
    let given = ["--max-passes", "9", "--metrics", "complexity", "--json", out.to_str().unwrap()];
    let run = evaluate(&samples, &[&["-m", "ig,vanilla"], &given[..]].concat());
    assert!(
        run.status.success() && text(&run.stdout).contains("the budget ended maps of 2 samples early"),
        "{}",
        text(&run.stdout)
    );
    let report = json(&out);
    let degraded: Vec<u64> =
        report["methods"].as_array().unwrap().iter().map(|m| m["degraded"].as_u64().unwrap()).collect();
    assert_eq!(degraded, [2, 0]);
}

#[test]
fn classes_of_the_pointing_game_count_alike() {
    let folder = tempfile::tempdir().unwrap();
    let (samples, out) = (folder.path().join("samples"), folder.path().join("out.json"));
    std::fs::create_dir_all(&samples).unwrap();
    // Three of a class whose masks are all of the image, one of another whose mask is a corner far from the digit.
    for (i, digit) in [3, 3, 3, 7].into_iter().enumerate() {
        std::fs::copy(models().join(format!("samples/digit-{digit}.png")), samples.join(format!("{i}.png"))).unwrap();
        let marked = |x, y| if digit == 3 || (x < 2 && y < 2) { 255 } else { 0 };
        let mask = Picture::from_fn(48, 48, |x, y| [marked(x, y); 3].into());
        mask.save(samples.join(format!("{i}.mask.png"))).unwrap();
    }
    let score = |average: &str| {
        let average = format!("average={average}");
        let given = ["--metric-param", &average, "--json", out.to_str().unwrap()];
        let run = evaluate(&samples, &[&["-m", "gxi", "--metrics", "pointing-game"], &given[..]].concat());
        assert!(run.status.success(), "{}", text(&run.stderr));
        let cell = json(&out)["results"][0].clone();
        assert_eq!(cell["samples"], 4, "{cell}");
        cell["mean"].as_f64().unwrap()
    };
    assert_eq!((score("classes"), score("samples")), (0.5, 0.75));
}

#[test]
fn folders_are_labels() {
    let folder = tempfile::tempdir().unwrap();
    let labelled = folder.path().join("labelled");
    for digit in ["3", "7"] {
        std::fs::create_dir_all(labelled.join(digit)).unwrap();
        let name = format!("digit-{digit}.png");
        std::fs::copy(models().join("samples").join(&name), labelled.join(digit).join(&name)).unwrap();
    }
    std::fs::create_dir_all(labelled.join("eleven")).unwrap();
    std::fs::copy(models().join("samples/digit-1.png"), labelled.join("eleven/digit-1.png")).unwrap();
    let lines = folder.path().join("lines.jsonl");
    let given = ["--target", "label", "--samples", lines.to_str().unwrap()];
    let run = evaluate(&labelled, &[&["-m", "vanilla", "--metrics", "complexity"], &given[..]].concat());
    assert!(run.status.success(), "{}", text(&run.stderr));
    assert!(text(&run.stderr).contains("no class 'eleven'"), "{}", text(&run.stderr));
    let text = std::fs::read_to_string(&lines).unwrap();
    let classes: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["methods"]["vanilla"]["class"].clone())
        .collect();
    assert_eq!(classes, [3.into(), 7.into(), serde_json::Value::Null]);
}

/// A report's cell of a metric.
fn cell<'r>(report: &'r serde_json::Value, metric: &str) -> &'r serde_json::Value {
    report["results"].as_array().unwrap().iter().find(|cell| cell["metric"] == metric).unwrap()
}

#[test]
fn labels_come_from_a_table_and_what_does_not_parse_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let samples = dataset(folder.path(), 3);
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (labels, out) = (path("labels.csv"), path("out.json"));
    std::fs::write(&labels, "file,label\ndigit-0.png,0\n digit-1.png , 1\nelsewhere.png,4\n").unwrap();
    let told = ["--target", "label", "--labels", &labels, "--json", &out];
    let run = evaluate(&samples, &[QUICK, &told].concat());
    assert!(run.status.success(), "{}", text(&run.stderr));
    assert!(text(&run.stderr).contains("digit-2.png") && text(&run.stderr).contains("no label"));
    assert_eq!(cell(&json(Path::new(&out)), "complexity")["samples"], 2);
    for (wrong, says) in [("digit-0.png\n", "line 1"), ("a,1\na,2\n", "another label"), ("", "no labels")] {
        std::fs::write(&labels, wrong).unwrap();
        let refused = evaluate(&samples, &[QUICK, &told].concat());
        assert!(refused.status.code() == Some(4) && text(&refused.stderr).contains(says), "{}", text(&refused.stderr));
    }
    std::fs::write(&labels, "digit-0.png,zebra\n").unwrap();
    let unknown = evaluate(&samples, &[QUICK, &told].concat());
    assert!(text(&unknown.stderr).contains("zebra"), "{}", text(&unknown.stderr));
}

#[test]
fn boxes_are_masks_and_those_of_something_else_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let samples = folder.path().join("samples");
    std::fs::create_dir(&samples).unwrap();
    for digit in 0..2 {
        let name = format!("digit-{digit}.png");
        std::fs::copy(models().join("samples").join(&name), samples.join(&name)).unwrap();
    }
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (boxes, out) = (path("boxes.json"), path("out.json"));
    let write = |image: &str, bbox: &str| {
        let text = format!(
            r#"{{"images": [{{"id": 7, "file_name": "digit-0.png", "width": {image}, "height": 48}}],
                "categories": [{{"id": 1, "name": "0"}}, {{"id": 2, "name": "dog"}}],
                "annotations": [{{"image_id": 7, "category_id": 1, "bbox": {bbox}}}]}}"#
        );
        std::fs::write(&boxes, text).unwrap();
    };
    let told = ["-m", "vanilla", "--metrics", "relevance-mass", "--boxes", &boxes, "--json", &out];
    // All of the image: all of the map is inside. The other image has no boxes.
    write("48", "[0, 0, 48, 48]");
    let run = evaluate(&samples, &told);
    assert!(run.status.success(), "{}", text(&run.stderr));
    let report = json(Path::new(&out));
    let whole = cell(&report, "relevance-mass");
    assert_eq!(
        (&whole["mean"], &whole["samples"], &whole["undefined"]["there is no mask"]),
        (&1.0.into(), &1.into(), &1.into())
    );
    write("48", "[0, 0, 24, 48]");
    assert!(evaluate(&samples, &told).status.success());
    let half = cell(&json(Path::new(&out)), "relevance-mass")["mean"].as_f64().unwrap();
    assert!(half > 0.0 && half < 1.0, "{half}");
    // The image's only category is its label.
    assert!(evaluate(&samples, &[&told[..], &["--target", "label"]].concat()).status.success());
    // Where one class is explained of all images, it is that one's boxes that count, whatever an image is of.
    let of_class = |class: &str| {
        assert!(evaluate(&samples, &[&told[..], &["--target", class]].concat()).status.success());
        cell(&json(Path::new(&out)), "relevance-mass")["undefined"]["there is no mask"].clone()
    };
    assert_eq!((of_class("0"), of_class("3")), (1.into(), 2.into()));
    // Boxes of something else than the label are not of the object.
    let labels = path("labels.csv");
    std::fs::write(&labels, "digit-0.png,7\ndigit-1.png,1\n").unwrap();
    let labelled = ["--labels", &labels, "--target", "label"];
    assert!(evaluate(&samples, &[&told[..], &labelled].concat()).status.success());
    assert_eq!(cell(&json(Path::new(&out)), "relevance-mass")["undefined"]["there is no mask"], 2);
    for (image, bbox, says) in [("64", "[0, 0, 9, 9]", "64 x 48"), ("48", "[0, 0, 9, 0.0]", "1 boxes hold nothing")] {
        write(image, bbox);
        let run = evaluate(&samples, &told);
        assert!(text(&run.stderr).contains(says), "{}", text(&run.stderr));
    }
    // What is inside of COCO's own files, and written by editors: several categories, boxes without a height or of images that are
    // not there, a mark of the byte order. Images may lie in a folder that is no label. The class explained is 0, and has a half.
    let several = r#"{"images": [{"id": 7, "file_name": "digit-0.png", "width": 48.0, "height": 48}],
        "categories": [{"id": 1, "name": "0"}, {"id": 2, "name": "dog"}, {"id": 3, "name": "5"}],
        "annotations": [{"image_id": 7, "category_id": 1, "bbox": [0, 0, 24, 48]}, {"image_id": 7, "category_id": 2, "bbox": null},
            {"image_id": 7, "category_id": 2, "bbox": [0, 0, 48, 0]}, {"image_id": 7, "category_id": 2, "bbox": [0, 0, 48, 48]},
            {"image_id": 7, "category_id": 3, "bbox": [20, 0, 20, 48]}, {"image_id": 8, "category_id": 1, "bbox": [0, 0, 9, 9]}]}"#;
    std::fs::write(&boxes, format!("\u{feff}{several}")).unwrap();
    let inside = folder.path().join("nested");
    std::fs::create_dir_all(inside.join("val2017")).unwrap();
    std::fs::copy(samples.join("digit-0.png"), inside.join("val2017/digit-0.png")).unwrap();
    for (samples, target) in [(&samples, "top"), (&inside, "top"), (&inside, "0")] {
        let run = evaluate(samples, &[&told[..], &["--target", target]].concat());
        assert!(
            text(&run.stderr).contains("2 boxes hold nothing") && text(&run.stderr).contains("1 boxes are of images")
        );
        assert_eq!(cell(&json(Path::new(&out)), "relevance-mass")["mean"], half, "{target}: {}", text(&run.stderr));
    }
    let twice = r#"{"images": [{"id": 1, "file_name": "a.png"}, {"id": 1, "file_name": "b.png"}], "categories": [], "annotations": []}"#;
    std::fs::write(&boxes, twice).unwrap();
    assert!(text(&evaluate(&samples, &told).stderr).contains("two images with the id 1"));
    std::fs::write(&boxes, "{}").unwrap();
    let refused = evaluate(&samples, &told);
    assert!(refused.status.code() == Some(4) && text(&refused.stderr).contains("COCO"), "{}", text(&refused.stderr));
}

#[test]
fn mosaics_are_made_of_labelled_images() {
    let folder = tempfile::tempdir().unwrap();
    let samples = folder.path().join("samples");
    for (label, digits) in [("3", [3, 8]), ("5", [5, 6])] {
        std::fs::create_dir_all(samples.join(label)).unwrap();
        for digit in digits {
            let name = format!("digit-{digit}.png");
            std::fs::copy(models().join("samples").join(&name), samples.join(label).join(&name)).unwrap();
        }
    }
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (out, lines) = (path("out.json"), path("lines.jsonl"));
    let told = ["-m", "gxi", "--metrics", "localisation", "--json", &out, "--samples", &lines];
    let run = evaluate(&samples, &[&told[..], &["--mosaics", "6"]].concat());
    assert!(run.status.success(), "{}", text(&run.stderr));
    let report = json(Path::new(&out));
    let focus = cell(&report, "focus");
    let mean = focus["mean"].as_f64().unwrap();
    assert!(focus["samples"] == 6 && mean > 0.0 && mean < 1.0, "{focus}");
    let lines = std::fs::read_to_string(&lines).unwrap();
    for line in lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()) {
        assert!(line["file"].as_str().unwrap().matches("digit-").count() == 4, "{line}");
        assert!([3, 5].contains(&line["methods"]["gradient-x-input"]["class"].as_u64().unwrap()), "{line}");
    }
    let unlabelled = evaluate(&samples.join("3"), &[&told[..], &["--mosaics", "6"]].concat());
    assert!(
        unlabelled.status.code() == Some(4)
            && text(&unlabelled.stderr).contains("two images of one of the model's classes")
    );
    let plain = evaluate(&samples, &["-m", "gxi", "--metrics", "focus", "--json", &out]);
    assert!(plain.status.success());
    assert_eq!(cell(&json(Path::new(&out)), "focus")["undefined"]["the sample is no mosaic"], 4);
}

/// Images that come in while it runs are taken, once each; what is begun again goes on behind the last one.
#[test]
fn a_folder_is_followed_as_it_fills() {
    let folder = tempfile::tempdir().unwrap();
    let samples = folder.path().join("camera");
    std::fs::create_dir(&samples).unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (state, lines, out) = (path("s.wls"), path("s.jsonl"), path("out.json"));
    let model = models().join("digits-cnn.onnx");
    let shoot = |number: usize| {
        let from = models().join(format!("samples/digit-{number}.png"));
        std::fs::copy(from, samples.join(format!("frame-{number}.png"))).unwrap();
    };
    let follow = |seconds: &str| {
        Command::new(env!("CARGO_BIN_EXE_whyline"))
            .args(["evaluate", model.to_str().unwrap(), samples.to_str().unwrap(), "-m", "vanilla", "-q", "--follow"])
            .args(["--budget", seconds, "--state", &state, "--samples", &lines, "--json", &out])
            .spawn()
            .unwrap()
    };
    let mut run = follow("4s");
    for number in [1, 2] {
        shoot(number);
        std::thread::sleep(std::time::Duration::from_millis(300));
    }
    assert!(run.wait().unwrap().success());
    let report = json(Path::new(&out));
    assert_eq!((&report["done"], &report["stopped_by"]), (&2.into(), &"budget".into()), "{report}");
    shoot(3);
    assert!(follow("3s").wait().unwrap().success());
    let names: Vec<String> = std::fs::read_to_string(&lines)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["file"].as_str().unwrap().to_string())
        .collect();
    assert_eq!(names, ["frame-1.png", "frame-2.png", "frame-3.png"]);
}

#[test]
fn time_that_is_spent_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let samples = dataset(folder.path(), 3);
    let run = evaluate(&samples, &[QUICK, &["--budget", "0s"]].concat());
    assert!(text(&run.stdout).contains("0 of 3 samples; the time is spent"), "{}", text(&run.stdout));
}

/// Of a family, metrics that a model is not for are left out and named; one that is named itself is refused before any work.
#[test]
fn what_a_model_is_not_for_is_left_out_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let samples = dataset(folder.path(), 2);
    let out = folder.path().join("out.json").display().to_string();
    let gradient = models().join("digits-cnn-gradient.onnx").display().to_string();
    let run = |words: &[&str]| {
        whyline(&[&["evaluate", &gradient, samples.to_str().unwrap(), "-m", "vanilla", "--json", &out], words].concat())
    };
    let all = run(&["--metrics", "axiomatic,randomisation", "--metric-param", "features=20"]);
    let errors = text(&all.stderr);
    assert!(all.status.success(), "{errors}");
    for left_out in ["left out: mprt: it wants", "left out: input-invariance: it wants"] {
        assert!(errors.contains(left_out), "{errors}");
    }
    assert_eq!(cell(&json(Path::new(&out)), "random-logit")["samples"], 2);
    let named = run(&["--metrics", "mprt"]);
    assert!(named.status.code() == Some(2) && text(&named.stderr).contains("forward model"), "{}", text(&named.stderr));
    let layer = evaluate(&samples, &["-m", "vanilla", "--metrics", "rrs", "--metric-param", "layer=nowhere"]);
    assert!(!layer.status.success() && text(&layer.stderr).contains("nowhere"), "{}", text(&layer.stderr));
    let none = evaluate(&samples, &[QUICK, &["--mosaics", "0"]].concat());
    assert_eq!(none.status.code(), Some(2));
}

#[test]
fn quantus_is_computed_and_what_it_cannot_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let samples = dataset(folder.path(), 2);
    let out = folder.path().join("out.json").display().to_string();
    let told = ["-m", "vanilla", "--compat", "quantus", "--json", &out];
    let run = evaluate(&samples, &[&told[..], &["--metrics", "complexity,relevance-mass,completeness"]].concat());
    assert!(run.status.success(), "{}", text(&run.stderr));
    assert!(text(&run.stderr).contains("completeness is the paper's"), "{}", text(&run.stderr));
    let report = json(Path::new(&out));
    let described = report["of"]["metrics"].as_array().unwrap();
    let with =
        |name: &str| described.iter().any(|m| m.as_str().unwrap().starts_with(&format!("{name} compat=quantus")));
    assert!(with("relevance-mass") && !with("completeness"), "{described:?}");
    let other = evaluate(&samples, &[&told[..], &["--metrics", "auc", "--metric-param", "compat=paper"]].concat());
    assert_eq!(other.status.code(), Some(2));
}

/// What is explained again, or looked at, is the margin, too: hardly anything changes where hardly anything has.
#[test]
fn metrics_are_of_the_margin_that_is_explained() {
    let folder = tempfile::tempdir().unwrap();
    let samples = dataset(folder.path(), 3);
    let out = folder.path().join("out.json").display().to_string();
    let told = ["-m", "vanilla", "--metrics", "max-sensitivity,input-invariance", "--against", "next", "--json", &out];
    let run = evaluate(&samples, &[&told[..], &["--metric-param", "radius=1e-6"]].concat());
    assert!(run.status.success(), "{}", text(&run.stderr));
    let report = json(Path::new(&out));
    assert!(cell(&report, "max-sensitivity")["mean"].as_f64().unwrap() < 0.05, "{report}");
    assert!(cell(&report, "input-invariance")["mean"].as_f64().unwrap() < 1e-3, "{report}");
    let refused = evaluate(&samples, &[&told[..], &["--compat", "quantus"]].concat());
    assert_eq!(refused.status.code(), Some(2), "Quantus knows no margins");
}

#[test]
fn the_least_relevant_first_turns_what_is_good_round() {
    let folder = tempfile::tempdir().unwrap();
    let samples = dataset(folder.path(), 3);
    let out = folder.path().join("out.json").display().to_string();
    let told = ["-m", "vanilla,ig", "--metrics", "pixel-flipping", "--metric-param", "step=300", "--json", &out];
    for (order, better, arrow, first) in
        [("morf", "lower", "↓", "integrated-gradients"), ("lerf", "higher", "↑", "integrated-gradients")]
    {
        let run = evaluate(&samples, &[&told[..], &["--metric-param", &format!("order={order}")]].concat());
        assert!(run.status.success() && text(&run.stdout).contains(&format!("pixel-flipping {arrow}")), "{order}");
        let report = json(Path::new(&out));
        assert_eq!(cell(&report, "pixel-flipping")["better"], better, "{order}");
        assert_eq!(report["rankings"][0]["methods"][0]["method"], first, "{order}: {report}");
    }
}
