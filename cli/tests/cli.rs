//! The command as a user meets it.

mod common;

use std::path::Path;
use std::process::Output;

use common::{models, whyline};
use tempfile::TempDir;
use whyline_runtime::image::Picture;

fn model(name: &str) -> String {
    models().join(name).display().to_string()
}

fn sample(digit: usize) -> String {
    model(&format!("samples/digit-{digit}.png"))
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs, and asserts success.
fn good(args: &[&str]) -> String {
    let output = whyline(args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    stdout(&output)
}

/// Runs, and asserts the exit code; returns what was said.
fn bad(code: i32, args: &[&str]) -> String {
    let output = whyline(args);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
    assert!(!said.contains("internal error") && !said.contains("panicked"), "{said}");
    said
}

fn in_folder(folder: &TempDir, name: &str) -> String {
    folder.path().join(name).display().to_string()
}

#[test]
fn explain_writes_an_overlay_a_map_and_a_record() {
    let folder = tempfile::tempdir().unwrap();
    let (png, npy, json) =
        (in_folder(&folder, "why.png"), in_folder(&folder, "map.npy"), in_folder(&folder, "why.json"));
    let said = good(&["explain", &model("digits-cnn.onnx"), &sample(7), "-o", &png, "--npy", &npy, "--json", &json]);
    for word in
        ["predicted  class 7, probability", "target     class 7", "integrated-gradients", "50 gradient", "gap", "time"]
    {
        assert!(said.contains(word), "'{word}' is missing in\n{said}");
    }
    let record: serde_json::Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    assert_eq!(record["predicted"]["class"], 7);
    assert_eq!(record["map"]["shape"], serde_json::json!([1, 1, 48, 48]));
    assert_eq!(record["parameters"]["steps"], "50");
    assert_eq!(record["passes"]["gradient"], 50);
    assert_eq!(record["model"]["sha256"].as_str().unwrap().len(), 64);
    assert!(record["completeness"]["relative_gap"].as_f64().unwrap() < 0.2);
    let bytes = std::fs::read(&png).unwrap();
    assert!(bytes.starts_with(b"\x89PNG") && bytes.windows(4).any(|w| w == b"iTXt"));
    assert_eq!(std::fs::read(&npy).unwrap().len(), 128 + 48 * 48 * 4);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3, "no part of a file stays behind");
}

#[test]
fn the_same_command_writes_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = |name: &str| {
        let path = in_folder(&folder, name);
        good(&[
            "explain",
            &model("digits-vit.onnx"),
            &sample(2),
            "-m",
            "smoothgrad",
            "--samples",
            "4",
            "--npy",
            &path,
            "-q",
        ]);
        std::fs::read(path).unwrap()
    };
    assert_eq!(bytes("a.npy"), bytes("b.npy"));
}

#[test]
fn threads_do_not_change_a_byte() {
    let folder = tempfile::tempdir().unwrap();
    let map = |threads: &str| {
        let npy = in_folder(&folder, "map.npy");
        let json = good(&[
            "explain",
            &model("digits-vit.onnx"),
            &sample(4),
            "-m",
            "ig",
            "--steps",
            "17",
            "--npy",
            &npy,
            "--threads",
            threads,
            "--json",
            "-",
        ]);
        let record: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(record["threads"].to_string(), threads);
        assert_eq!(record["passes"]["gradient"], 17);
        std::fs::read(npy).unwrap()
    };
    let one = map("1");
    for threads in ["2", "3", "4"] {
        assert_eq!(map(threads), one, "{threads} threads");
    }
}

#[test]
fn methods_are_compared_in_one_picture_and_share_passes() {
    let folder = tempfile::tempdir().unwrap();
    let (png, json, cnn) =
        (in_folder(&folder, "grid.png"), in_folder(&folder, "records.json"), model("digits-cnn.onnx"));
    let methods = "vanilla,saliency,ig,grad-cam,layer-cam";
    let said = good(&["compare", &cnn, &sample(3), "-m", methods, "--steps", "5", "-o", &png, "--json", &json]);
    assert!(said.contains("class 3") && said.contains("grid.png"), "{said}");
    let written: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&json).unwrap()).unwrap();
    let records = written["records"].as_array().unwrap();
    assert_eq!(records.len(), 5);
    assert!(records.iter().all(|r| r["target"]["class"] == 3));
    assert_eq!(records[2]["parameters"]["steps"], "5");
    // One gradient and one forward for the first two, five gradients and the baseline's forward for the third, and one
    // of each for the layer that the last two look at.
    assert_eq!(written["passes"], serde_json::json!({"forward": 3, "gradient": 7}));
    assert_eq!(written["saved"], serde_json::json!({"forward": 4, "gradient": 2}));
    // The maps are those that explain makes.
    let grid = std::fs::read(&png).unwrap();
    assert!(grid.starts_with(b"\x89PNG") && grid.windows(4).any(|w| w == b"iTXt"));
    let refused = |args: &[&str]| bad(2, &[&["compare", cnn.as_str(), &sample(3), "-o", &png], args].concat());
    assert!(refused(&["-m", "ig,integrated-gradients"]).contains("twice"));
    assert!(refused(&["-m", "ig,nonsense"]).contains("there is no method"));
    assert!(
        refused(&["-m", "all", "--steps", "0"]).contains("from 1 to"),
        "a wrong value is not a method to be left out"
    );
    assert!(refused(&["-m", "all", "--compat", "foo"]).contains("must be none"));
    assert!(refused(&["-m", "all", "--layer", "nope"]).contains("'nope' is no layer"));
    assert!(refused(&["-m", "vanilla,saliency", "--steps", "3"]).contains("none of the methods"));
    assert_eq!(std::fs::read(&png).unwrap(), grid, "a refusal writes nothing");
    assert!(bad(2, &["compare", &cnn, &sample(3), "-m", "ig", "-o", &sample(3)]).contains("must not be written over"));
}

#[test]
fn baselines_come_from_files_and_folders() {
    let folder = tempfile::tempdir().unwrap();
    let record = |args: &[&str]| -> serde_json::Value {
        let fixed = ["explain", &model("digits-cnn.onnx"), &sample(3), "--json", "-"];
        serde_json::from_str(&good(&[&fixed[..], args].concat())).unwrap()
    };
    let one = record(&["-m", "ig", "--baseline", &sample(7)]);
    assert_eq!(one["baselines"].as_array().unwrap().len(), 1);
    assert_eq!(one["baselines"][0]["sha256"].as_str().unwrap().len(), 64);
    assert!(one["parameters"]["baseline"].as_str().unwrap().starts_with("file:"));
    assert!(one["completeness"]["relative_gap"].as_f64().unwrap() < 0.2);
    let set = record(&["-m", "expected-gradients", "--samples", "20", "--baseline", &model("samples")]);
    assert_eq!(set["baselines"].as_array().unwrap().len(), 10);
    assert!(set["standard_error"].as_f64().unwrap() > 0.0);
    let cnn = model("digits-cnn.onnx");
    assert!(bad(2, &["explain", &cnn, &sample(3), "--baseline", &model("samples")]).contains("takes one baseline"));
    assert!(bad(2, &["explain", &cnn, &sample(3), "--baseline", "nowhere.png"]).contains("a file that exists"));
    let odd = in_folder(&folder, "odd.npy");
    good(&["explain", &cnn, &sample(3), "-m", "grad-cam", "--npy", &odd, "-q"]);
    assert!(bad(4, &["explain", &cnn, &sample(3), "--baseline", &odd]).contains("has shape"));
}

#[test]
fn a_folder_is_explained_image_by_image() {
    let folder = tempfile::tempdir().unwrap();
    let out = in_folder(&folder, "maps");
    let said = good(&["explain", &model("digits-cnn.onnx"), &model("samples"), "-m", "grad-cam", "-o", &out]);
    assert_eq!(std::fs::read_dir(&out).unwrap().count(), 10, "{said}");
    // Everything may go to one folder, but nothing over the images themselves.
    let all = ["-m", "vanilla", "-o", &out, "--npy", &out, "--json", &out];
    good(&[&["explain", &model("digits-cnn.onnx"), &model("samples")], &all[..]].concat());
    assert_eq!(std::fs::read_dir(&out).unwrap().count(), 30);
    let images = in_folder(&folder, "images");
    std::fs::create_dir(&images).unwrap();
    let image = format!("{images}/digit.png");
    std::fs::copy(sample(3), &image).unwrap();
    let said = bad(2, &["explain", &model("digits-cnn.onnx"), &images, "-m", "vanilla", "-o", &images]);
    assert!(said.contains("must not be written over"), "{said}");
    assert_eq!(std::fs::read(&image).unwrap(), std::fs::read(sample(3)).unwrap());
}

#[test]
fn a_tolerance_decides_how_many_gradients_are_taken() {
    let image = sample(3);
    let run = |more: &[&str]| {
        let text = good(&[&["explain", &model("digits-cnn.onnx"), &image, "--json", "-"], more].concat());
        serde_json::from_str::<serde_json::Value>(&text).unwrap()
    };
    let (rough, fine) = (run(&["--tolerance", "0.1"]), run(&["--tolerance", "0.01"]));
    let gradients = |record: &serde_json::Value| record["passes"]["gradient"].as_u64().unwrap();
    assert!(gradients(&rough) < gradients(&fine) && gradients(&fine) < 50);
    assert!(fine["completeness"]["relative_gap"].as_f64().unwrap() <= 0.01);
    assert_eq!((&fine["status"], &fine["parameters"]["rule"]), (&"complete".into(), &"adaptive".into()));
    let short = run(&["--tolerance", "0.001", "--steps", "7"]);
    assert_eq!((gradients(&short), &short["status"]), (7, &"degraded".into()));
    assert!(short["warnings"][0].as_str().unwrap().contains("--steps"));
    let said = bad(2, &["explain", &model("digits-cnn.onnx"), &image, "-m", "vanilla", "--tolerance", "0.1"]);
    assert!(said.contains("has no parameter 'tolerance'"), "{said}");
}

#[test]
fn calibrated_steps_go_into_a_copy_of_the_model_or_a_card() {
    let folder = tempfile::tempdir().unwrap();
    let (cnn, copy, card) =
        (model("digits-cnn.onnx"), in_folder(&folder, "copy.onnx"), in_folder(&folder, "card.toml"));
    let said = good(&["calibrate", &cnn, &model("samples"), "-o", &copy, "--threads", "1"]);
    assert!(said.contains("inputs     10") && said.contains("copy.onnx"), "{said}");
    let explained = |args: &[&str]| record(&[args, &["--steps", "20"]].concat());
    let found = explained(&[&copy, &sample(3), "-p", "rule=calibrated"]);
    assert_eq!((&found["passes"]["gradient"], &found["parameters"]["rule"]), (&20.into(), &"calibrated".into()));
    assert!(found["completeness"]["relative_gap"].as_f64().unwrap() < 0.05);
    good(&["calibrate", &cnn, &sample(3), "-o", &card, "--baseline", "mean", "-q"]);
    explained(&[&cnn, &sample(3), "--card", &card, "-p", "rule=calibrated", "--baseline", "mean"]);
    let image = sample(3);
    // What is its own baseline has nothing to teach.
    let some = in_folder(&folder, "some");
    std::fs::create_dir(&some).unwrap();
    Picture::from_pixel(48, 48, [128; 3].into()).save(format!("{some}/grey.png")).unwrap();
    std::fs::copy(&image, format!("{some}/three.png")).unwrap();
    let said = good(&["calibrate", &cnn, &some, "-o", &card, "--baseline", "mean"]);
    assert!(said.contains("inputs     1 (1 more taught nothing"), "{said}");
    let refused = bad(2, &["explain", &cnn, &image, "--card", &card, "-p", "rule=calibrated"]);
    assert!(refused.contains("calibrated for the baseline 'mean'"), "{refused}");
    assert!(bad(2, &["explain", &cnn, &image, "-p", "rule=calibrated"]).contains("whyline calibrate"));
    assert!(bad(2, &["calibrate", &cnn, &image, "-o", &cnn]).contains("must not be written over"));
    let bare = in_folder(&folder, "bare.onnx");
    std::fs::copy(&cnn, &bare).unwrap();
    let unsaid = bad(2, &["calibrate", &bare, &image, "-o", &in_folder(&folder, "out.onnx")]);
    assert!(unsaid.contains("has no card"), "{unsaid}");
    assert!(!std::path::Path::new(&in_folder(&folder, "out.onnx")).exists());
    let broken = in_folder(&folder, "broken.toml");
    std::fs::write(&broken, "[steps]\nplaces = [0.0, 0.7, 0.5, 1.0]\nbaseline = 'zero'\ninputs = 1\n").unwrap();
    assert!(bad(3, &["explain", &cnn, &image, "--card", &broken]).contains("ascend from 0 to 1"));
}

#[test]
fn a_model_with_a_card_beside_it_is_not_calibrated_in_vain() {
    let folder = tempfile::tempdir().unwrap();
    let (out, card) = (in_folder(&folder, "out.onnx"), in_folder(&folder, "out.toml"));
    std::fs::copy(model("digits-cnn.toml"), &card).unwrap();
    let said = bad(2, &["calibrate", &model("digits-cnn.onnx"), &sample(3), "-o", &out]);
    assert!(said.contains("would be read in place of what is learned"), "{said}");
    assert!(!std::path::Path::new(&out).exists());
    let inputs = in_folder(&folder, "nan.npy");
    let mut bytes = b"\x93NUMPY\x01\x00v\x00".to_vec();
    let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1, 48, 48), }";
    bytes.extend(format!("{header:<117}\n").bytes());
    bytes.extend([f32::NAN; 48 * 48].iter().flat_map(|v| v.to_le_bytes()));
    std::fs::write(&inputs, bytes).unwrap();
    let said = bad(4, &["calibrate", &model("digits-cnn.onnx"), &inputs, "-o", &in_folder(&folder, "other.onnx")]);
    assert!(said.contains("NaN"), "{said}");
}

/// Weights in other files, and the card that is found by its name, belong to the model as much as its own file does.
#[test]
fn what_lies_beside_a_model_is_not_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let (onnx, card) = (in_folder(&folder, "m.onnx"), in_folder(&folder, "m.toml"));
    std::fs::copy(model("digits-cnn.onnx"), &onnx).unwrap();
    std::fs::copy(model("digits-cnn.toml"), &card).unwrap();
    let kept = std::fs::read(&card).unwrap();
    let commands: [&[&str]; 5] = [
        &["explain", &onnx, &sample(3), "--npy", &card],
        &["compare", &onnx, &sample(3), "-m", "vanilla", "-o", &card],
        &["compile", &onnx, "-o", &card],
        &["inspect", &onnx, "--json", &card],
        &["calibrate", &onnx, &sample(3), "-o", &card],
    ];
    for command in commands {
        assert!(bad(2, command).contains("must not be written over"), "{command:?}");
        assert_eq!(std::fs::read(&card).unwrap(), kept, "{command:?}");
    }
    assert!(bad(2, &["inspect", &onnx, "--json", &onnx]).contains("must not be written over"));
}

#[test]
fn budgets_hold_for_what_methods_are_made_of() {
    let cnn = model("digits-cnn.onnx");
    let run = |args: &[&str]| record(&[&[cnn.as_str(), &sample(3)], args].concat());
    let all =
        |r: &serde_json::Value| r["passes"]["gradient"].as_u64().unwrap() + r["passes"]["forward"].as_u64().unwrap();
    for (method, count) in [("smoothgrad", "samples=3"), ("noisegrad", "models=2"), ("fusiongrad", "models=2")] {
        let whole = run(&["-m", method, "-p", "base=score-cam", "-p", count]);
        assert_eq!(whole["status"], "complete");
        let cut = run(&["-m", method, "-p", "base=score-cam", "-p", count, "--max-passes", "131"]);
        assert!(all(&cut) <= 131, "{method}: {}", all(&cut));
        assert_eq!((&cut["status"], &cut["stopped_by"]), (&"degraded".into(), &"passes".into()), "{method}");
    }
    // A tolerance that the base misses is not lost.
    let missed = run(&["-m", "smoothgrad", "-p", "base=ig rule=adaptive tolerance=1e-7 steps=3", "--samples", "3"]);
    assert_eq!((&missed["status"], &missed["stopped_by"]), (&"degraded".into(), &"steps".into()));
    let agi = ["-m", "smoothgrad", "-p", "base=agi steps=3", "--samples", "3"];
    let (taken, said) = (run(&agi), good(&[&["inspect", cnn.as_str()], &agi[..], &["--json", "-"]].concat()));
    let stated: serde_json::Value = serde_json::from_str(&said).unwrap();
    for kind in ["forward", "gradient"] {
        assert!(taken["passes"][kind].as_u64() <= stated["passes"][kind].as_u64(), "{taken} {stated}");
    }
    // Two gradients at each place, one for the region.
    let hessians = run(&["-m", "ih", "--max-passes", "130"]);
    assert_eq!((all(&hessians), &hessians["status"]), (130, &"complete".into()));
    // Few nodes whose gap is small are enough.
    let few = run(&["--tolerance", "0.5", "--steps", "4"]);
    assert_eq!(few["status"] == "complete", few["completeness"]["relative_gap"].as_f64().unwrap() <= 0.5);
    // What a budget does to paths, a compat that has none of it is spared.
    let pair = run(&["-m", "blur-ig", "--compat", "pair", "--steps", "20", "--max-passes", "15"]);
    assert_eq!((&pair["status"], &pair["parameters"]["rule"]), (&"degraded".into(), &"middle".into()));
    let asked = run(&["--tolerance", "0"]);
    assert_eq!(asked["parameters"]["rule"], "gauss-legendre", "no tolerance was asked for");
}

#[test]
fn a_region_is_a_rectangle_or_what_an_image_marks() {
    let (cnn, mask) = (model("digits-cnn.onnx"), model("samples/digit-3.mask.png"));
    let folder = tempfile::tempdir().unwrap();
    let run = |region: &str| {
        let region = format!("region={region}");
        record(&[&cnn, &sample(3), "-m", "ih", "--steps", "16", "-p", &region])
    };
    let marked = run(&mask);
    assert_eq!(marked["region"]["sha256"].as_str().unwrap().len(), 64);
    // The digit's ink is most of what speaks for it.
    let explained = |r: &serde_json::Value| r["completeness"]["difference"].as_f64().unwrap();
    assert!(explained(&marked) > 2.0 * explained(&run("0,0,10,10")).abs(), "{}", explained(&marked));
    let black = in_folder(&folder, "black.png");
    good(&["explain", &cnn, &sample(3), "-m", "vanilla", "-o", &black, "-q"]);
    assert!(bad(4, &["explain", &cnn, &sample(3), "-m", "ih", "-p", &format!("region={cnn}")]).contains("digits-cnn"));
    assert!(bad(2, &["explain", &cnn, &sample(3), "-m", "ih", "-p", "region=no.png"]).contains("an image file"));
    let said = good(&[
        "compare",
        &cnn,
        &sample(3),
        "-m",
        "all",
        "--against",
        "next",
        "-o",
        &black,
        "--steps",
        "4",
        "--samples",
        "2",
        "-p",
        "models=1",
    ]);
    assert!(
        said.contains("adversarial-gradient-integration   not defined here: ") && said.contains("one class"),
        "{said}"
    );
}

#[test]
fn several_classes_are_one_document_and_no_more_than_there_are() {
    let cnn = model("digits-cnn.onnx");
    let folder = tempfile::tempdir().unwrap();
    let both = good(&["explain", &cnn, &sample(3), "-m", "vanilla", "--top-k", "2", "--json", "-"]);
    let both: serde_json::Value = serde_json::from_str(&both).unwrap();
    assert_eq!((both.as_array().unwrap().len(), &both[0]["target"]["class"]), (2, &3.into()));
    let said = bad(2, &["explain", &cnn, &sample(3), "--top-k", "11", "--npy", &in_folder(&folder, "a.npy")]);
    assert!(said.contains("has 10 classes"), "{said}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    let most = usize::MAX;
    for region in [format!("{most},0,2,2"), format!("1,1,{most},1"), format!("0,0,{most},2")] {
        let region = format!("region={region}");
        assert!(bad(2, &["explain", &cnn, &sample(3), "-m", "ih", "-p", &region]).contains("48 x 48"));
    }
}

#[test]
fn a_tensor_is_taken_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let (input, map, png) = (in_folder(&folder, "x.npy"), in_folder(&folder, "a.npy"), in_folder(&folder, "a.png"));
    let values: Vec<f32> = (0..48 * 48).map(|i| (i % 7) as f32 * 0.1).collect();
    whyline_runtime::npy::write(Path::new(&input), &[1, 1, 48, 48], &values).unwrap();
    good(&["explain", &model("digits-cnn.onnx"), &input, "-m", "vanilla", "--npy", &map, "-o", &png, "--side-by-side"]);
    assert_eq!(whyline_runtime::npy::read(Path::new(&map)).unwrap().shape, [1, 1, 48, 48]);
    whyline_runtime::npy::write(Path::new(&input), &[1, 1, 4, 4], &[0.0; 16]).unwrap();
    assert!(bad(4, &["explain", &model("digits-cnn.onnx"), &input]).contains("[1, 1, 48, 48]"));
    let mut poisoned = values.clone();
    poisoned[5] = f32::NAN;
    whyline_runtime::npy::write(Path::new(&input), &[1, 1, 48, 48], &poisoned).unwrap();
    assert!(bad(4, &["explain", &model("digits-cnn.onnx"), &input]).contains("NaN at element 5"));
}

#[test]
fn a_compiled_gradient_graph_gives_the_models_own_map() {
    let folder = tempfile::tempdir().unwrap();
    for (rule, method) in [("gradient", "vanilla"), ("guided", "guided-backprop")] {
        let (graph, a, b) = (in_folder(&folder, "grad.onnx"), in_folder(&folder, "a.npy"), in_folder(&folder, "b.npy"));
        let said = good(&["compile", &model("digits-cnn.onnx"), "-o", &graph, "--rule", rule]);
        assert!(said.contains("why.grad.image"), "{said}");
        good(&["explain", &graph, &sample(3), "-m", method, "--npy", &a, "-q"]);
        good(&["explain", &model("digits-cnn.onnx"), &sample(3), "-m", method, "--npy", &b, "-q"]);
        assert_eq!(std::fs::read(a).unwrap(), std::fs::read(b).unwrap(), "{rule}");
    }
    let graph = in_folder(&folder, "grad.onnx");
    assert!(bad(2, &["explain", &graph, &sample(3), "-m", "vanilla"]).contains("was made with 'guided'"));
    assert!(bad(2, &["compile", &graph, "-o", &in_folder(&folder, "again.onnx")]).contains("gradient graph already"));
}

#[test]
fn half_precision_halves_the_file_and_is_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let (single, half, npy) =
        (in_folder(&folder, "single.onnx"), in_folder(&folder, "half.onnx"), in_folder(&folder, "map.npy"));
    let digits = model("digits-vit.onnx");
    good(&["compile", &digits, "-o", &single]);
    assert!(good(&["compile", &digits, "-o", &half, "--f16"]).contains("float16"));
    let size = |path: &str| std::fs::metadata(path).unwrap().len() as f64;
    let nodes = size(&single) - 4.0 * parameters(&digits);
    assert!(size(&half) - nodes < 0.55 * (size(&single) - nodes), "{} of {} bytes", size(&half), size(&single));
    let record = |model: &str, precision: &str| -> serde_json::Value {
        let said = good(&["explain", model, &sample(3), "-m", "vanilla", "--precision", precision, "--json", "-"]);
        serde_json::from_str(&said).unwrap()
    };
    assert_eq!(record(&half, "f32")["predicted"]["class"], 3);
    assert!(record(&digits, "f32")["halves"].is_null());
    let told = record(&digits, "f16-weights");
    assert_eq!((told["precision"].as_str(), told["halves"]["multiplied"].as_u64()), (Some("f16-weights"), Some(0)));
    assert!(told["halves"]["kept"].as_u64() > Some(10), "{told}");
    let emulated = record(&digits, "f16-emulated");
    assert!(emulated["precision"].as_str().unwrap().starts_with("f16"), "{emulated}");
    assert!(emulated["halves"]["multiplied"].as_u64() > Some(10), "{emulated}");
    let bytes = |precision: &str| {
        let said = good(&["inspect", &digits, "--precision", precision, "--json", "-"]);
        serde_json::from_str::<serde_json::Value>(&said).unwrap()["memory"]["weights"].as_f64().unwrap()
    };
    assert!(bytes("f16-weights") < 0.6 * bytes("f32"));
    assert!(good(&["inspect", &digits, "--precision", "f16-weights"]).contains("weights in halves"));
    assert!(good(&["inspect", &digits, "--f16"]).contains("precision   f16"));
    assert!(bad(2, &["inspect", &digits, "--f16", "--precision", "f32"]).contains("cannot be used with"));
    assert!(bad(2, &["explain", &digits, &sample(3), "--precision", "f8", "--npy", &npy]).contains("f16-weights"));
}

/// How many parameters a model has.
fn parameters(model: &str) -> f64 {
    let said = good(&["inspect", model, "--json", "-"]);
    serde_json::from_str::<serde_json::Value>(&said).unwrap()["parameters"].as_f64().unwrap()
}

#[test]
fn inspect_bench_methods_and_completions_answer() {
    let folder = tempfile::tempdir().unwrap();
    let said = good(&["inspect", &model("digits-cnn.onnx")]);
    for word in ["parameters", "forward", "backward", "Relu", "gradient, guided", "(default)"] {
        assert!(said.contains(word), "'{word}' is missing in\n{said}");
    }
    let inspected: serde_json::Value =
        serde_json::from_str(&good(&["inspect", &model("digits-cnn.onnx"), "--json", "-"])).unwrap();
    assert_eq!(inspected["input_shape"], serde_json::json!([1, 1, 48, 48]));
    let timed: serde_json::Value =
        serde_json::from_str(&good(&["bench", &model("digits-cnn.onnx"), "--runs", "3", "--json", "-"])).unwrap();
    for key in ["forward", "gradient"] {
        assert!(timed[key]["p50_ms"].as_f64().unwrap() > 0.0 && timed[key]["p99_ms"].as_f64().unwrap() > 0.0);
    }
    assert_eq!((timed["threads"].as_u64(), timed["precision"].as_str()), (Some(1), Some("f32")));
    assert!(good(&["methods"]).contains("grad-cam (also gradcam)"));
    let list: serde_json::Value = serde_json::from_str(&good(&["methods", "--json"])).unwrap();
    assert!(list.as_array().unwrap().len() >= 7);
    assert!(good(&["completions", "bash"]).contains("whyline"));
    drop(folder);
}

#[test]
fn an_architecture_gets_weights_from_a_seed() {
    let (architecture, sample) = (model("architectures/squeezenet1_1.onnx"), sample(3));
    let folder = tempfile::tempdir().unwrap();
    let map = |flag: &str| {
        let npy = in_folder(&folder, "map.npy");
        // The flag's value is never taken from the argument behind it.
        good(&["explain", &architecture, flag, &sample, "-m", "vanilla", "--npy", &npy, "-q"]);
        std::fs::read(npy).unwrap()
    };
    let first = map("--random-weights");
    assert_eq!(map("--random-weights=0"), first);
    assert_ne!(map("--random-weights=1"), first);
    bad(3, &["explain", &architecture, &sample, "-m", "vanilla"]);
}

#[test]
fn wrong_usage_is_code_2_and_says_what_is_right() {
    let (m, s) = (model("digits-cnn.onnx"), sample(1));
    assert!(bad(2, &["explain", &m, &s, "-m", "magic"]).contains("integrated-gradients"));
    assert!(bad(2, &["explain", &m, &s, "--target", "10"]).contains("the card names 0, 1"));
    assert!(bad(2, &["explain", &m, &s, "--target", "cat"]).contains("the card names"));
    assert!(bad(2, &["explain", &m, &s, "-m", "vanilla", "--steps", "3"]).contains("no parameter 'steps'"));
    assert!(bad(2, &["explain", &m, &s, "-m", "grad-cam", "--layer", "nope"]).contains("inspect"));
    assert!(bad(2, &["explain", &m, &s, "-p", "steps"]).contains("NAME=VALUE"));
    assert!(bad(2, &["compile", &m, "-o", "/tmp/x.onnx", "--rule", "nope"]).contains("guided"));
    bad(2, &["explain", &m]);
    bad(2, &["frobnicate"]);
}

#[test]
fn a_bad_model_is_code_3() {
    let folder = tempfile::tempdir().unwrap();
    let path = in_folder(&folder, "bad.onnx");
    assert!(bad(3, &["explain", &path, &sample(1)]).contains("bad.onnx"));
    std::fs::write(&path, b"this is not a model").unwrap();
    assert!(bad(3, &["inspect", &path]).contains("not a usable ONNX model"));
    std::fs::write(folder.path().join("bad.toml"), "labels = 3").unwrap();
    std::fs::copy(model("digits-cnn.onnx"), &path).unwrap();
    assert!(bad(3, &["explain", &path, &sample(1)]).contains("bad.toml"));
}

#[test]
fn a_bad_input_is_code_4_and_leaves_what_was_there() {
    let folder = tempfile::tempdir().unwrap();
    let (image, png) = (in_folder(&folder, "x.png"), in_folder(&folder, "why.png"));
    std::fs::write(&png, "precious").unwrap();
    let explain = |code| bad(code, &["explain", &model("digits-cnn.onnx"), &image, "-o", &png]);
    assert!(explain(4).contains("x.png"));
    std::fs::write(&image, "no image").unwrap();
    assert!(explain(4).contains("not an image"));
    let mut whole = std::fs::read(sample(1)).unwrap();
    whole.truncate(whole.len() / 2);
    std::fs::write(&image, &whole).unwrap();
    assert!(explain(4).contains("can't be decoded"));
    std::fs::write(&image, huge_png()).unwrap();
    assert!(explain(4).contains("can't be decoded"));
    let empty = folder.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    assert!(bad(4, &["explain", &model("digits-cnn.onnx"), &empty.display().to_string()]).contains("no PNG or JPEG"));
    assert_eq!(std::fs::read_to_string(&png).unwrap(), "precious");
}

#[test]
fn what_is_read_is_never_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let (m, s, same) = (in_folder(&folder, "m.onnx"), in_folder(&folder, "s.png"), in_folder(&folder, "same"));
    std::fs::copy(model("digits-cnn.onnx"), &m).unwrap();
    std::fs::copy(sample(1), &s).unwrap();
    assert!(bad(2, &["explain", &m, &s, "-o", &m]).contains("must not be written over"));
    assert!(bad(2, &["explain", &m, &s, "--npy", &s]).contains("must not be written over"));
    assert!(bad(2, &["compile", &m, "-o", &m]).contains("must not be written over"));
    assert!(bad(2, &["explain", &m, &s, "--npy", &same, "-o", &same]).contains("twice"));
    assert_eq!(std::fs::read(&m).unwrap(), std::fs::read(model("digits-cnn.onnx")).unwrap());
}

#[cfg(unix)]
#[test]
fn devices_are_written_to_and_never_read_to_their_end() {
    let (m, s) = (model("digits-cnn.onnx"), sample(1));
    let said = good(&["explain", &m, &s, "-m", "vanilla", "-q", "--json", "/dev/stdout"]);
    assert!(said.contains("\"method\": \"vanilla\""));
    assert!(bad(3, &["explain", "/dev/zero", &s]).contains("not a regular file"));
    assert!(bad(4, &["explain", &m, "/dev/zero"]).contains("not a regular file"));
    assert!(bad(2, &["explain", &m, &s, "--target", "-1"]).contains("-1"));
}

/// The header of an 80 000 x 80 000 PNG, with nothing behind it.
fn huge_png() -> Vec<u8> {
    let mut chunk = b"IHDR".to_vec();
    chunk.extend(80_000u32.to_be_bytes());
    chunk.extend(80_000u32.to_be_bytes());
    chunk.extend([8, 2, 0, 0, 0]);
    let crc = chunk.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ *byte as u32, |c, _| if c & 1 == 1 { (c >> 1) ^ 0xedb8_8320 } else { c >> 1 })
    });
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    png.extend(13u32.to_be_bytes());
    png.extend(chunk);
    png.extend((!crc).to_be_bytes());
    png
}

#[test]
fn a_budget_that_does_not_fit_is_code_5() {
    let (m, s) = (model("digits-cnn.onnx"), sample(1));
    assert!(bad(5, &["explain", &m, &s, "-m", "grad-cam", "--max-passes", "1"]).contains("takes 2 passes"));
    good(&["explain", &m, &s, "-m", "grad-cam", "--max-passes", "2", "-q"]);
    // The adaptive rule keeps its gradients.
    let many = ["--tolerance", "0.01", "--steps", "1000", "--memory", "8MB"];
    let said = bad(5, &[&["explain", &model("digits-cnn.onnx"), &sample(1)], &many[..]].concat());
    assert!(said.contains("9216000 bytes of gradients"), "{said}");
    let said = bad(5, &["explain", &model("digits-cnn.onnx"), &sample(1), "--memory", "100kB"]);
    assert!(said.contains("bytes of weights") && said.contains("bytes of arena"), "{said}");
    // Enough for one thread, not for two.
    let json = good(&[
        "explain",
        &model("digits-cnn.onnx"),
        &sample(1),
        "--memory",
        "3.9MiB",
        "--threads",
        "2",
        "--json",
        "-",
    ]);
    let record: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(record["threads"], 1);
    assert!(record["memory"]["weights"].as_u64() > Some(100_000));
}

/// Of all methods, those that take more are left out, and named.
#[test]
fn all_methods_are_those_that_the_budget_allows() {
    let (m, s) = (model("digits-cnn.onnx"), sample(1));
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (png, json) = (path("all.png"), path("all.json"));
    for layer in [&[][..], &["--layer", "/Relu_output_0"]] {
        let few = ["compare", &m, &s, "-m", "all", "--max-passes", "20", "-o", &png, "--json", &json, "-q"];
        good(&[&few, layer].concat());
        let records: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&json).unwrap()).unwrap();
        let skipped = records["skipped"].as_array().unwrap();
        let reason = skipped.iter().find(|s| s["method"] == "boundary-ig").unwrap()["reason"].as_str().unwrap();
        assert!(reason.contains("more than the 20"), "{reason}");
    }
    std::fs::copy(&s, path("one.png")).unwrap();
    let dataset = folder.path().display().to_string();
    let few =
        ["evaluate", &m, &dataset, "-m", "all", "--metrics", "sparseness", "--max-passes", "20", "-q", "--csv", "-"];
    let scores = good(&few);
    assert!(scores.contains("vanilla,sparseness") && !scores.contains("boundary-ig"), "{scores}");
    assert!(
        bad(5, &["compare", &m, &s, "-m", "boundary-ig", "--max-passes", "20", "-o", &png]).contains("boundary-ig")
    );
}

/// The record of an explanation.
fn record(args: &[&str]) -> serde_json::Value {
    let json = good(&[&["explain"], args, &["--json", "-"]].concat());
    serde_json::from_str(&json).unwrap()
}

#[test]
fn methods_in_steps_end_where_the_budget_does() {
    let (m, s) = (model("digits-cnn.onnx"), sample(3));
    for method in
        ["ig", "blur-ig", "guided-ig", "idgi", "expected-gradients", "smoothgrad", "vargrad", "score-cam", "agi"]
    {
        let record = record(&[&m, &s, "-m", method, "--max-passes", "12"]);
        let taken = record["passes"]["forward"].as_u64().unwrap() + record["passes"]["gradient"].as_u64().unwrap();
        assert!((2..=12).contains(&taken), "{method}: {taken}");
        assert_eq!((&record["status"], &record["stopped_by"]), (&"degraded".into(), &"passes".into()), "{method}");
        assert!(record["warnings"][0].as_str().unwrap().contains("--max-passes"), "{method}");
    }
    // Enough is enough: the map is whole.
    let whole = record(&[&m, &s, "-m", "ig", "--max-passes", "51"]);
    assert_eq!((&whole["status"], &whole["stopped_by"]), (&"complete".into(), &serde_json::Value::Null));
    let hasty = record(&[&m, &s, "-m", "smoothgrad", "--deadline", "50ms", "--samples", "1000000"]);
    assert_eq!((&hasty["status"], &hasty["stopped_by"]), (&"degraded".into(), &"deadline".into()));
    // No time at all is refused before it is spent.
    assert!(bad(5, &["explain", &m, &s, "-m", "smoothgrad", "--deadline", "1us"]).contains("1 gradient and 1 forward"));
    assert!(bad(2, &["explain", &m, &s, "--deadline", "20"]).contains("ms"));
}

#[test]
fn targets_are_classes_margins_and_probabilities() {
    let folder = tempfile::tempdir().unwrap();
    let (m, s) = (model("digits-cnn.onnx"), sample(3));
    let margin = record(&[&m, &s, "-m", "ig", "--against", "next"]);
    assert_eq!((&margin["target"]["kind"], &margin["target"]["class"]), (&"margin".into(), &3.into()));
    let behind = &margin["target"]["against"];
    assert_ne!(behind["class"], 3);
    let ahead = margin["target"]["logit"].as_f64().unwrap() - behind["logit"].as_f64().unwrap();
    assert!(ahead > 0.0);
    assert!(bad(2, &["explain", &m, &s, "--target", "5", "--against", "5"]).contains("margin over itself"));
    let probability = record(&[&m, &s, "-m", "ig", "--steps", "400", "--score", "probability"]);
    assert_eq!(probability["target"]["kind"], "probability");
    assert_eq!(probability["target"]["logit"], serde_json::Value::Null);
    let difference = probability["completeness"]["difference"].as_f64().unwrap();
    assert!((0.5..=1.0).contains(&difference), "{difference}");
    assert!(probability["completeness"]["relative_gap"].as_f64() < Some(0.02));
    assert!(bad(2, &["explain", &m, &s, "-m", "lrp", "--score", "probability"]).contains("explains logits"));
    // The largest classes, each in files of its own, with one forward pass for all.
    let why = in_folder(&folder, "why.png");
    good(&[
        "explain",
        &m,
        &s,
        "-m",
        "vanilla",
        "--top-k",
        "3",
        "-o",
        &why,
        "--json",
        &in_folder(&folder, "r.json"),
        "-q",
    ]);
    let read = |rank: usize| -> serde_json::Value {
        assert!(folder.path().join(format!("why-{rank}.png")).exists());
        serde_json::from_slice(&std::fs::read(folder.path().join(format!("r-{rank}.json"))).unwrap()).unwrap()
    };
    let logits: Vec<f64> = (1..=3).map(|rank| read(rank)["target"]["logit"].as_f64().unwrap()).collect();
    assert!(logits[0] > logits[1] && logits[1] > logits[2], "{logits:?}");
    assert_eq!((&read(2)["passes"]["forward"], &read(2)["saved"]["forward"]), (&0.into(), &1.into()));
}

#[test]
fn one_sees_before_what_a_method_takes() {
    let (cnn, vit) = (model("digits-cnn.onnx"), model("digits-vit.onnx"));
    let said = good(&["inspect", &cnn, "-m", "score-cam"]);
    assert!(said.contains("1 gradient and 129 forward at most") && said.contains("arena"), "{said}");
    assert!(bad(3, &["inspect", &vit, "--method", "deep-taylor"]).contains("/head/Gemm"));
    let said = good(&["methods", "--model", &vit]);
    let line = |name: &str| said.lines().find(|l| l.trim_start().starts_with(name)).unwrap().to_string();
    assert!(line("deep-taylor").contains("not defined for this model"), "{said}");
    assert!(line("lrp").contains("1 gradient, 1 forward"), "{said}");
    let folder = tempfile::tempdir().unwrap();
    let grid = in_folder(&folder, "all.png");
    let few = ["--samples", "2", "--steps", "3", "-p", "models=2"];
    let said = good(&[&["compare", &vit, &sample(3), "-m", "all", "-o", &grid], &few[..]].concat());
    assert!(said.contains("deep-taylor                        not defined here"), "{said}");
}

#[test]
fn a_gradient_graph_tells_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let (graph, digits) = (in_folder(&folder, "grad.onnx"), model("digits-cnn.onnx"));
    good(&["compile", &digits, "-o", &graph, "--rule", "guided", "-q"]);
    let told =
        |path: &str| -> serde_json::Value { serde_json::from_str(&good(&["inspect", path, "--json", "-"])).unwrap() };
    let (own, of) = (told(&graph), told(&digits));
    assert_eq!((own["composite"].as_str(), &own["source"]), (Some("guided"), &of["sha256"]));
    assert_eq!((&own["memory"], own["on_tract"].as_array().unwrap().len()), (&of["memory"], 0));
    assert!(own["validated"].is_null() && own["methods"][0]["name"] == "guided-backprop", "{own}");
    good(&["compile", &digits, "-o", &graph, "--f16", "--validated", "-q"]);
    let said = good(&["inspect", &graph]);
    assert!(said.contains("half precision was validated on 4 inputs (random)") && said.contains("vanilla"), "{said}");
}
