//! Which layer may import which; and that every test file is run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What every layer may import, and itself.
const COMMON: [&str; 6] = ["error", "rng", "hash", "files", "values", "simd"];

/// What else each layer may import.
fn allowed() -> BTreeMap<&'static str, &'static [&'static str]> {
    BTreeMap::from([
        ("onnx", &[][..]),
        ("gradient", &["onnx"]),
        ("engine", &["gradient", "onnx"]),
        ("image", &["onnx"]),
        ("attribution", &["onnx"]),
        ("npy", &["onnx"]),
        ("params", &[]),
        ("baseline", &["image", "onnx", "params"]),
        ("methods", &["engine", "gradient", "image", "attribution", "baseline", "onnx", "params"]),
        ("record", &["asked", "engine", "attribution", "onnx"]),
        ("load", &["asked", "engine", "gradient", "onnx", "record"]),
        ("prepare", &["engine", "gradient", "load", "methods", "onnx"]),
        ("asked", &["gradient", "onnx"]),
        (
            "explain",
            &["asked", "attribution", "baseline", "engine", "gradient", "load", "methods", "onnx", "prepare", "record"],
        ),
        ("metrics", &["attribution", "baseline", "engine", "gradient", "image", "onnx", "params"]),
        ("state", &["engine", "metrics"]),
        ("probe", &["engine", "explain", "gradient", "metrics", "onnx", "record", "variants"]),
        (
            "evaluate",
            &["attribution", "engine", "explain", "load", "metrics", "params", "probe", "record", "state", "variants"],
        ),
        ("variants", &["engine", "explain", "gradient", "methods", "onnx", "params", "prepare"]),
        ("calibrate", &["baseline", "engine", "gradient", "load", "methods", "onnx"]),
        ("flops", &["engine", "gradient", "onnx"]),
        ("bench", &["engine", "explain", "flops", "gradient"]),
        ("inspect", &["engine", "explain", "flops", "gradient", "load", "methods", "onnx"]),
        ("validate", &["engine", "evaluate", "explain", "gradient", "load", "methods", "params", "record"]),
        ("error", &[]),
        ("rng", &[]),
        ("hash", &[]),
        ("files", &[]),
        ("values", &[]),
        ("simd", &[]),
    ])
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The module that each `crate::` path in a source text starts with.
fn imports(text: &str) -> Vec<String> {
    text.split("crate::")
        .skip(1)
        .map(|rest| rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>())
        .filter(|name| name.chars().next().is_some_and(char::is_lowercase))
        .collect()
}

#[test]
fn data_flows_one_way() {
    let src = root().join("runtime/src");
    let mut files = vec![];
    sources(&src, &mut files);
    let allowed = allowed();
    let mut wrong = vec![];
    for file in files {
        let inside = file.strip_prefix(&src).unwrap();
        let layer =
            inside.components().next().unwrap().as_os_str().to_string_lossy().trim_end_matches(".rs").to_string();
        if layer == "lib" {
            continue;
        }
        let may =
            allowed.get(layer.as_str()).unwrap_or_else(|| panic!("{layer} is a layer without a line in this test"));
        for import in imports(&std::fs::read_to_string(&file).unwrap()) {
            let common = COMMON.contains(&import.as_str()) || import == layer;
            if !common && !may.contains(&import.as_str()) {
                wrong.push(format!("{} imports {import}", inside.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn tract_stays_in_the_engine() {
    let src = root().join("runtime/src");
    let mut files = vec![];
    sources(&src, &mut files);
    for file in files.iter().filter(|f| !f.starts_with(src.join("engine"))) {
        let text = std::fs::read_to_string(file).unwrap();
        let other = text.split("tract_onnx::").skip(1).find(|rest| !rest.starts_with("pb"));
        // The file format's message types come with tract-onnx; nothing else of it leaves the engine.
        assert!(other.is_none(), "{} uses tract", file.display());
    }
}

#[test]
fn kernels_know_nothing_of_graphs() {
    let src = root().join("runtime/src");
    for (folder, above) in [("simd", &["engine"][..]), ("engine/kernels", &["plan", "onnx", "error"])] {
        let mut files = vec![];
        sources(&src.join(folder), &mut files);
        assert!(!files.is_empty());
        for file in files {
            let text = std::fs::read_to_string(&file).unwrap();
            let foreign =
                above.iter().find(|a| text.contains(&format!("engine::{a}")) || text.contains(&format!("crate::{a}")));
            assert!(foreign.is_none(), "{} uses {}", file.display(), foreign.unwrap());
        }
    }
}

#[test]
fn every_test_and_bench_file_is_listed_by_a_member() {
    let manifests: String = ["runtime", "runtime/stream", "cli"]
        .iter()
        .map(|m| std::fs::read_to_string(root().join(m).join("Cargo.toml")).unwrap())
        .collect();
    for folder in ["tests", "benches"] {
        let Ok(entries) = std::fs::read_dir(root().join(folder)) else { continue };
        for path in entries.map(|e| e.unwrap().path()).filter(|p| p.extension().is_some_and(|e| e == "rs")) {
            let name = format!("{folder}/{}", path.file_name().unwrap().to_string_lossy());
            assert!(manifests.contains(&name), "{name} is listed by no member, so cargo never runs it");
        }
    }
}

/// What only hosts compare with is in no build by default, for no machine.
#[test]
fn builds_for_devices_have_no_other_engine() {
    let machines = ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu", "armv7-unknown-linux-gnueabihf"];
    let output = std::process::Command::new(env!("CARGO"))
        .args(["tree", "--workspace", "--locked", "--edges", "normal,build", "--prefix", "none", "--format", "{p}"])
        .args(machines.iter().flat_map(|machine| ["--target", machine]))
        .current_dir(root())
        .output()
        .unwrap();
    let (crates, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{error}");
    let names: Vec<&str> = crates.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(names.contains(&"tract-onnx"), "{names:?}");
    for host in ["ort", "ort-sys", "tract-cuda", "tract-gpu", "cudarc"] {
        assert!(!names.contains(&host), "{host} is in a build without features");
    }
}
