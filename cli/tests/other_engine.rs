//! ONNX Runtime beside the kernels: built with the feature `ort` alone, with `WHYLINE_ORT_LIB` naming its library, or a folder that
//! holds it.
#![cfg(feature = "ort")]

use std::path::Path;
use std::process::{Command, Output};

fn validate(model: &str, library: &str, more: &[&str]) -> Output {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models");
    let mut command = Command::new(env!("CARGO_BIN_EXE_whyline"));
    command.arg("validate").arg(models.join(model)).arg(models.join("samples")).args(["--inputs", "2"]);
    command.args(["--checks", "other-engine", "--ort-lib", library]).args(more).output().unwrap()
}

fn library() -> String {
    std::env::var("WHYLINE_ORT_LIB").expect("WHYLINE_ORT_LIB names ONNX Runtime's library, or a folder that holds it")
}

fn ends(output: Output, code: i32, what: &str) {
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert_eq!((output.status.code(), said.contains(what)), (Some(code), true), "{said}");
}

#[test]
fn the_trained_models_agree_with_onnx_runtime() {
    for model in ["digits-cnn.onnx", "digits-vit.onnx"] {
        ends(validate(model, &library(), &[]), 0, "passed   other-engine");
    }
}

#[test]
fn what_is_apart_fails() {
    ends(validate("digits-cnn.onnx", &library(), &["--limit", "tolerance=1e-12"]), 6, "FAILED   other-engine");
}

#[test]
fn a_library_that_is_none_is_named() {
    ends(validate("digits-cnn.onnx", "/nowhere/at/all", &[]), 6, "/nowhere/at/all");
}
