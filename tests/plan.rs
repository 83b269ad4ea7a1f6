//! Plans of our kernels against tract's executor, on whole models.

mod common;

use std::path::{Path, PathBuf};

use common::{assert_close, normal};
use whyline_runtime::engine::{PlanSession, Session, TractSession};
use whyline_runtime::explain::{LoadOptions, Loaded};
use whyline_runtime::gradient::composite::GRADIENT;

fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models")
}

#[test]
fn plans_of_the_trained_models_agree_with_tract() {
    for model in ["digits-cnn", "digits-vit"] {
        let loaded = Loaded::read(&models().join(model).with_extension("onnx"), &LoadOptions::default()).unwrap();
        let derived = loaded.derive(&GRADIENT, None).unwrap();
        let (mut ours, mut tract) = (PlanSession::new(&derived).unwrap(), TractSession::new(&derived).unwrap());
        let x = normal(ours.input_shape().iter().product(), 5);
        let logits = ours.forward(&x).unwrap();
        assert_close(&format!("{model}: logits"), &logits, &tract.forward(&x).unwrap(), 1e-5);
        let seed = normal(logits.len(), 6);
        let (a, b) = (ours.gradient(&x, &seed).unwrap(), tract.gradient(&x, &seed).unwrap());
        assert_close(&format!("{model}: logits of the gradient pass"), &a.logits, &b.logits, 1e-5);
        assert_close(&format!("{model}: gradient"), &a.input, &b.input, 1e-4);
    }
}
