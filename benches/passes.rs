//! Passes and methods, on the trained models and on architectures of real size with random weights.

use std::path::Path;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use whyline_runtime::engine::{PlanSession, Plans, Precision, Resources, Session};
use whyline_runtime::explain::Wanted;
use whyline_runtime::explain::{LoadOptions, Loaded, Target};
use whyline_runtime::methods::{Given, METHODS};
use whyline_runtime::record::FileRecord;

fn load(name: &str) -> Loaded {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models");
    let options = LoadOptions { random_weights: Some(0), ..LoadOptions::default() };
    Loaded::read(&models.join(name).with_extension("onnx"), &options).unwrap()
}

fn passes(c: &mut Criterion) {
    let names = ["resnet18", "resnet50", "mobilenet_v2", "squeezenet1_1", "efficientnet_b0", "vit_tiny"];
    let architectures = names.map(|name| format!("architectures/{name}"));
    for name in ["digits-cnn", "digits-vit"].into_iter().chain(architectures.iter().map(String::as_str)) {
        let derived = load(name).derive(&Wanted::default()).unwrap();
        for precision in [Precision::F32, Precision::F16] {
            let plans = Arc::new(Plans::new(&derived, precision).unwrap());
            let mut group = c.benchmark_group(format!("{name}, {}", plans.precision().name()));
            let mut session = PlanSession::of(plans, Resources::default()).unwrap();
            let input = vec![0.5; session.input_shape().iter().product()];
            let seed = vec![1.0; session.forward(&input).unwrap().len()];
            group.sample_size(10);
            group.bench_function("forward", |b| b.iter(|| session.forward(&input).map(drop).unwrap()));
            group.bench_function("gradient", |b| b.iter(|| session.gradient(&input, &seed).map(drop).unwrap()));
            group.finish();
        }
    }
}

fn methods(c: &mut Criterion) {
    for name in ["digits-cnn", "architectures/mobilenet_v2"] {
        let loaded = load(name);
        let input = vec![0.5; loaded.input_shape().unwrap().iter().product()];
        let mut group = c.benchmark_group(format!("{name}, methods"));
        group.sample_size(10);
        for entry in METHODS {
            let mut explainer =
                loaded.explainer(entry.name, &Given::new(), Precision::F32, Resources::default()).unwrap();
            let file = || FileRecord { file: String::new(), sha256: String::new() };
            group.bench_function(entry.name, |b| {
                b.iter(|| explainer.explain(&input, file(), &Target::Top).map(drop).unwrap());
            });
        }
        group.finish();
    }
}

criterion_group!(benches, passes, methods);
criterion_main!(benches);
