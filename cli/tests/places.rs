//! Models that score every place, and ones that nobody knows how to read, as users meet them.

mod common;

use std::path::{Path, PathBuf};

use common::{text, whyline};
use whyline_runtime::image::Picture;
use whyline_runtime::onnx::{Attr, DType, Dim, Facts, Graph, Input, Node, Tensor, write_model};

fn done(words: &[&str]) -> String {
    let run = whyline(words);
    assert!(run.status.success(), "{words:?}: {}", text(&run.stderr));
    text(&run.stdout)
}

fn json(path: &str) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn node(op: &str, inputs: &[&str], output: &str, attributes: &[(&str, Attr)]) -> Node {
    Node {
        name: output.into(),
        op: op.into(),
        inputs: inputs.iter().map(|name| name.to_string()).collect(),
        outputs: vec![output.into()],
        attributes: attributes.iter().map(|(name, value)| (name.to_string(), value.clone())).collect(),
        ..Node::default()
    }
}

/// A grey image of 12 x 12: what is lighter and what is darker than its surroundings, at every second pixel.
fn segmentation(folder: &Path) -> String {
    let edges: Vec<f32> = (0..9).map(|i| if i == 4 { 8.0 } else { -1.0 }).collect();
    let weights: Vec<f32> = edges.iter().copied().chain(edges.iter().map(|v| -v)).collect();
    let attributes = [("pads", Attr::Ints(vec![1; 4])), ("strides", Attr::Ints(vec![2; 2]))];
    let nodes = vec![node("Conv", &["x", "w"], "z", &attributes), node("Relu", &["z"], "y", &[])];
    let dims = Some([1, 1, 12, 12].map(Dim::Fixed).to_vec());
    let mut graph = Graph {
        opset: 18,
        inputs: vec![Input { name: "x".into(), dtype: DType::F32, dims }],
        outputs: vec!["y".into()],
        nodes,
        ..Graph::default()
    };
    graph.constants.insert("w".into(), Tensor::f32(&[2, 1, 3, 3], &weights));
    let path = folder.join("places.onnx");
    write_model(&graph, &Facts::default(), &path).unwrap();
    std::fs::write(folder.join("places.toml"), "labels = [\"light\", \"dark\"]\n").unwrap();
    path.display().to_string()
}

/// Images with a light spot, and masks of it.
fn images(folder: &Path) -> PathBuf {
    let inside = folder.join("images");
    std::fs::create_dir(&inside).unwrap();
    for number in 0..3u32 {
        let spot = move |x: u32, y: u32| (3 + number..6 + number).contains(&x) && (4..7).contains(&y);
        let picture =
            |light: u8, dark: u8| Picture::from_fn(12, 12, |x, y| [if spot(x, y) { light } else { dark }; 3].into());
        picture(230, 60 + 7 * number as u8).save(inside.join(format!("{number}.png"))).unwrap();
        picture(255, 0).save(inside.join(format!("{number}.mask.png"))).unwrap();
    }
    inside
}

#[test]
fn a_class_is_explained_over_places() {
    let folder = tempfile::tempdir().unwrap();
    let (model, inside) = (segmentation(folder.path()), images(folder.path()));
    let path = |name: &str| folder.path().join(name).display().to_string();
    let [image, mask] = ["0.png", "0.mask.png"].map(|name| inside.join(name).display().to_string());
    let (record, gradient, samples) = (path("record.json"), path("gradient.onnx"), inside.display().to_string());
    let explain = ["explain", &model, &image, "-m", "gxi", "--target", "light", "--json", &record, "-q"];
    for (over, told) in [("all", "all"), (mask.as_str(), &mask)] {
        done(&[&explain[..], &["--over", over]].concat());
        let record = json(&record);
        let place = record["over"]["region"]["file"].as_str().or(record["over"].as_str());
        assert_eq!((place, &record["target"]["label"]), (Some(told), &"light".into()), "{record}");
    }
    // Compiled, it explains the same.
    done(&["compile", &model, "--over", "all", "-o", &gradient, "-q"]);
    let maps = [path("a.npy"), path("b.npy")];
    done(&["explain", &model, &image, "--over", "all", "-m", "vanilla", "--target", "light", "--npy", &maps[0], "-q"]);
    done(&["explain", &gradient, &image, "-m", "vanilla", "--target", "light", "--npy", &maps[1], "-q"]);
    assert_eq!(std::fs::read(&maps[0]).unwrap(), std::fs::read(&maps[1]).unwrap());
    done(&["explain", &gradient, &image, "-m", "vanilla", "--target", "light", "--json", &record, "-q"]);
    assert_eq!(json(&record)["over"], "all", "the file says what it is of");
    let checks = ["--checks", "same-numbers,engine,derivative", "-m", "vanilla", "--random", "1"];
    done(&[&["validate", &model, "--over", "all"][..], &checks].concat());
    // As of a classifier: what is light lies where the mask says.
    let out = path("out.json");
    let evaluate =
        ["evaluate", &model, &samples, "-m", "gxi,ig", "--metrics", "all", "--target", "light", "--json", &out];
    let (part, whole) = (path("part.wls"), path("whole.wls"));
    done(&[&evaluate[..], &["--over", "all", "--metric-param", "stages=2", "--state", &whole]].concat());
    let report = json(&out);
    let results = report["results"].as_array().unwrap();
    let mean = |metric: &str| results.iter().find(|c| c["metric"] == metric).map(|c| c["mean"].as_f64().unwrap());
    assert_eq!((mean("pointing-game"), mean("mprt").is_some()), (Some(1.0), true));
    // What the means have not is left out, and named; a state of other places is another's.
    assert_eq!(mean("insertion"), None);
    let elsewhere = whyline(&[&evaluate[..], &["--over", &mask, "--state", &whole]].concat());
    assert!(!elsewhere.status.success() && text(&elsewhere.stderr).contains("target"), "{}", text(&elsewhere.stderr));
    let one_place = whyline(&["evaluate", &model, &samples, "-m", "gxi", "--metrics", "mprt", "--target", "light@2,2"]);
    assert!(one_place.status.code() == Some(2) && text(&one_place.stderr).contains("--over all"));
    // A class without its place is asked for either way; nothing is written where there is nothing.
    for wrong in [&["--over", "none.png"][..], &["--over", &path("images")], &[]] {
        let run = whyline(&[&["explain", &model, &image, "--target", "light", "--json", &part, "-q"], wrong].concat());
        assert!(matches!(run.status.code(), Some(2 | 4)), "{wrong:?}: {}", text(&run.stderr));
    }
    assert!(!Path::new(&part).exists());
    assert!(done(&["inspect", &model]).contains("--over all"));
}
