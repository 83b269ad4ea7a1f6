//! Passes of small and real-sized models on tract's executor.

use std::path::Path;

use criterion::{Criterion, criterion_group, criterion_main};
use whyline_runtime::engine::{PlanSession, Session};
use whyline_runtime::explain::{LoadOptions, Loaded};
use whyline_runtime::gradient::composite::GRADIENT;

fn passes(c: &mut Criterion) {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models");
    for name in ["digits-cnn", "digits-vit", "architectures/squeezenet1_1", "architectures/mobilenet_v2"] {
        let options = LoadOptions { random_weights: Some(0), ..LoadOptions::default() };
        let loaded = Loaded::read(&models.join(name).with_extension("onnx"), &options).unwrap();
        let mut session = PlanSession::new(&loaded.derive(&GRADIENT, None).unwrap()).unwrap();
        let input = vec![0.5; session.input_shape().iter().product()];
        let classes = session.forward(&input).unwrap().len();
        let seed = vec![1.0; classes];
        let mut group = c.benchmark_group(name);
        group.sample_size(10);
        group.bench_function("forward", |b| b.iter(|| session.forward(&input).map(drop).unwrap()));
        group.bench_function("gradient", |b| b.iter(|| session.gradient(&input, &seed).map(drop).unwrap()));
        group.finish();
    }
}

criterion_group!(benches, passes);
criterion_main!(benches);
