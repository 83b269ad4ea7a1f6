//! Whether deadlines are met: a thousand explanations with deadlines drawn from 1 to 200 ms, methods and models in turn.
//!
//! `cargo bench --bench deadlines` prints, per model, how many ended later than the deadline by more than one gradient pass
//! and by more than two, and the worst. `WHYLINE_RUNS=N` draws another number.

use std::path::Path;
use std::time::{Duration, Instant};

use whyline_runtime::engine::{Precision, Resources};
use whyline_runtime::explain::{Budget, LoadOptions, Loaded, Target};
use whyline_runtime::methods::Given;
use whyline_runtime::record::FileRecord;
use whyline_runtime::rng::Rng;

const MODELS: &[&str] = &["digits-cnn", "digits-vit", "architectures/mobilenet_v2"];
const METHODS: &[(&str, &[(&str, &str)])] = &[
    ("integrated-gradients", &[("rule", "adaptive"), ("steps", "1000")]),
    ("smoothgrad", &[("samples", "100000")]),
    ("expected-gradients", &[("samples", "100000")]),
    ("blur-ig", &[("steps", "5000")]),
    ("guided-ig", &[("steps", "5000")]),
    ("idgi", &[("steps", "5000")]),
    ("adversarial-gradient-integration", &[("steps", "1000")]),
];

/// Of the explanations of a model.
#[derive(Default)]
struct Overruns {
    runs: usize,
    /// Before they began: no map can be had in the time.
    refused: usize,
    by_one: usize,
    by_two: usize,
    /// In passes.
    worst: f64,
    /// Of the time given, in the mean.
    used: f64,
}

fn main() {
    // `cargo test` runs benches with this flag, to see that they work.
    let runs = if std::env::args().any(|a| a == "--test") { 20 } else { 1000 };
    let runs = std::env::var("WHYLINE_RUNS").ok().and_then(|n| n.parse().ok()).unwrap_or(runs);
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models");
    println!(
        "| model | deadlines | refused as too short | over by more than 1 pass | by more than 2 | worst, passes | time used | pass |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|");
    for (number, name) in MODELS.iter().enumerate() {
        let options = LoadOptions { random_weights: Some(0), ..LoadOptions::default() };
        let loaded = Loaded::read(&models.join(name).with_extension("onnx"), &options).unwrap();
        let (overruns, pass) = measure(&loaded, runs / MODELS.len(), number as u64);
        let share = 100.0 * overruns.used / (overruns.runs - overruns.refused).max(1) as f64;
        println!(
            "| {name} | {} | {} | {} | {} | {:.2} | {share:.0} % | {:.2} ms |",
            overruns.runs,
            overruns.refused,
            overruns.by_one,
            overruns.by_two,
            overruns.worst,
            1e3 * pass
        );
    }
}

fn measure(loaded: &Loaded, runs: usize, draw: u64) -> (Overruns, f64) {
    let rng = Rng::new(7, draw);
    let len: usize = loaded.input_shape().unwrap().iter().product();
    let input: Vec<f32> = (0..len as u64).map(|i| rng.normal(1_000_000 + i)).collect();
    let file = FileRecord { file: "drawn".into(), sha256: String::new() };
    let mut explainers: Vec<_> = METHODS
        .iter()
        .map(|(name, given)| {
            let given: Given = given.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
            loaded.explainer(name, &given, Precision::F32, Resources::default()).unwrap()
        })
        .collect();
    // A pass at an input that has been seen would not be taken again.
    let mut seen = 0.0;
    let mut unseen = || {
        seen += 1e-4;
        input.iter().map(|v| v + seen).collect::<Vec<f32>>()
    };
    // What a gradient takes on this machine.
    let mut vanilla = loaded.explainer("vanilla", &Given::new(), Precision::F32, Resources::default()).unwrap();
    let mut timed = || {
        let input = unseen();
        let start = Instant::now();
        vanilla.explain(&input, file.clone(), &Target::Top).unwrap();
        start.elapsed().as_secs_f64()
    };
    let mut times: Vec<f64> = (0..9).map(|_| timed()).collect();
    times.sort_by(f64::total_cmp);
    // The class is found by a forward pass, half a gradient.
    let pass = times[4] / 1.5;
    let mut overruns = Overruns::default();
    for run in 0..runs {
        let seconds = 1e-3 * (1.0 + 199.0 * rng.uniform(run as u64) as f64);
        let explainer = &mut explainers[run % METHODS.len()];
        let budget = Budget { deadline: Some(Duration::from_secs_f64(seconds)), ..Budget::default() };
        overruns.runs += 1;
        if explainer.set_budget(budget).is_err() {
            overruns.refused += 1;
            continue;
        }
        let input = unseen();
        let start = Instant::now();
        explainer.explain(&input, file.clone(), &Target::Top).unwrap();
        let over = (start.elapsed().as_secs_f64() - seconds) / pass;
        overruns.by_one += usize::from(over > 1.0);
        overruns.by_two += usize::from(over > 2.0);
        overruns.worst = overruns.worst.max(over);
        overruns.used += start.elapsed().as_secs_f64() / seconds;
        if over > 1.0 && std::env::var("WHYLINE_SHOW").is_ok() {
            eprintln!("{} over by {over:.2} passes of {seconds:.4} s", METHODS[run % METHODS.len()].0);
        }
    }
    (overruns, pass)
}
