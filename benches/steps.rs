//! How many gradients integrated gradients take for a completeness gap, and for a map as near to the limit, by each rule.
//!
//! `cargo bench --bench steps` prints, per model and rule, the median over the inputs of the fewest gradients whose gap is at
//! most 5 %, 1 % and 0.5 % of what is explained, and of those beyond which it stays so; and the same for the map's distance
//! (relative L2) from that of very many steps. A fixed rule's length is not known before; adaptive nodes stop by themselves.
//! `WHYLINE_CALIBRATION=FOLDER` takes the digits that are learned from out of a folder: by default every other sample.
//! `WHYLINE_MODELS=digits-cnn,architectures/resnet18` chooses models, `WHYLINE_RULES=adaptive,left` rules.

use std::path::{Path, PathBuf};

use whyline_runtime::engine::{Precision, Resources};
use whyline_runtime::explain::{LoadOptions, Loaded, Shared, Target};
use whyline_runtime::image::{decode, prepare};
use whyline_runtime::methods::Given;
use whyline_runtime::record::FileRecord;
use whyline_runtime::rng::Rng;

const GAPS: [f64; 3] = [0.05, 0.01, 0.005];
const DISTANCES: [f64; 3] = [0.2, 0.1, 0.05];
const RULES: [&str; 4] = ["gauss-legendre", "left", "midpoint", "calibrated"];

/// A map, and what it took.
struct Run {
    gradients: u64,
    gap: f64,
    map: Vec<f32>,
}

fn main() {
    // `cargo test` runs benches with this flag, to see that they work.
    let quick = std::env::args().any(|a| a == "--test");
    let chosen = std::env::var("WHYLINE_MODELS").unwrap_or("digits-cnn,digits-vit,architectures/resnet18".into());
    println!("| model | rule | gap 5 % | 1 % | 0.5 % | map 20 % | 10 % | 5 % |\n|---|---|---|---|---|---|---|---|");
    for name in chosen.split(',').take(if quick { 1 } else { usize::MAX }) {
        let small = name.starts_with("digits");
        let mut loaded = load(name);
        let (learned, tried) = inputs(&loaded, small);
        let steps = {
            let mut calibrator = loaded.calibrator("zero", resources()).unwrap();
            learned.iter().for_each(|input| calibrator.learn(input).unwrap());
            calibrator.steps().unwrap()
        };
        loaded.card.steps = Some(steps);
        let lengths = lengths(
            if quick {
                8
            } else if small {
                400
            } else {
                128
            },
            if small { 1.05 } else { 1.25 },
        );
        let tried = if quick { &tried[..1] } else { &tried[..] };
        report(
            &loaded,
            name,
            tried,
            &lengths,
            if quick {
                32
            } else if small {
                4096
            } else {
                512
            },
        );
    }
}

fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models")
}

fn load(name: &str) -> Loaded {
    let options = LoadOptions { random_weights: Some(0), ..LoadOptions::default() };
    Loaded::read(&models().join(name).with_extension("onnx"), &options).unwrap()
}

fn resources() -> Resources {
    Resources { threads: std::thread::available_parallelism().map_or(1, usize::from), ..Resources::default() }
}

/// What is learned from, and what is tried.
fn inputs(loaded: &Loaded, small: bool) -> (Vec<Vec<f32>>, Vec<Vec<f32>>) {
    if !small {
        let len = loaded.input_shape().unwrap().iter().product::<usize>() as u64;
        let noise = |draw: u64| (0..len).map(|i| Rng::new(5, draw).normal(i)).collect();
        return ((0..4).map(noise).collect(), (4..7).map(noise).collect());
    }
    let read = |path: PathBuf| {
        let (shape, layout) = (loaded.input_shape().unwrap(), loaded.layout().unwrap().unwrap());
        prepare(&decode(&path).unwrap(), &shape, layout, &loaded.card.input).unwrap().input
    };
    let sample = |digit: usize| read(models().join(format!("samples/digit-{digit}.png")));
    match std::env::var("WHYLINE_CALIBRATION") {
        Ok(folder) => {
            let files = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
            (files.map(read).collect(), (0..10).map(sample).collect())
        }
        Err(_) => ((0..5).map(|i| sample(2 * i)).collect(), (0..5).map(|i| sample(2 * i + 1)).collect()),
    }
}

/// Numbers of steps, each so many times the one before, and at least one more.
fn lengths(most: usize, factor: f64) -> Vec<usize> {
    let next = |n: &usize| Some(((*n as f64 * factor) as usize).max(n + 1));
    std::iter::successors(Some(2), next).take_while(|n| *n <= most).collect()
}

fn report(loaded: &Loaded, name: &str, inputs: &[Vec<f32>], lengths: &[usize], many: usize) {
    let mut shared = Shared::default();
    let mut run = |input: &[f32], given: &[(&str, String)]| {
        let given: Given = given.iter().map(|(k, v)| (k.to_string(), v.clone())).collect();
        let made = loaded.explainer_sharing(&mut shared, "ig", &given, Precision::F32, resources());
        let file = FileRecord { file: String::new(), sha256: String::new() };
        let explained = made.unwrap().explain(input, file, &Target::Top).unwrap();
        let gap = explained.record.completeness.map_or(0.0, |c| c.relative_gap);
        Run { gradients: explained.record.passes.gradient, gap, map: explained.attribution.values }
    };
    let exact: Vec<Vec<f32>> = inputs
        .iter()
        .map(|input| run(input, &[("rule", "midpoint".into()), ("steps", many.to_string())]).map)
        .collect();
    let chosen = std::env::var("WHYLINE_RULES").ok();
    let wanted = |rule: &str| chosen.as_ref().is_none_or(|chosen| chosen.split(',').any(|name| name == rule));
    for rule in RULES.into_iter().filter(|rule| wanted(rule)) {
        let runs: Vec<Vec<Run>> = inputs
            .iter()
            .map(|input| {
                lengths.iter().map(|n| run(input, &[("rule", rule.into()), ("steps", n.to_string())])).collect()
            })
            .collect();
        let gap = |gap: f64| column(&runs, |_, r| r.gap <= gap);
        let map = |far: f64| column(&runs, |i, r| distance(&r.map, &exact[i]) <= far);
        let cells = GAPS.map(gap).into_iter().chain(DISTANCES.map(map));
        println!("| {name} | {rule} | {} |", cells.collect::<Vec<_>>().join(" | "));
    }
    if !wanted("adaptive") {
        return;
    }
    let mut adaptive = |tolerance: f64| {
        let given = [("rule", "adaptive".into()), ("steps", "1024".into()), ("tolerance", tolerance.to_string())];
        inputs.iter().map(|input| run(input, &given)).collect::<Vec<_>>()
    };
    let mut cells: Vec<String> =
        GAPS.iter().map(|&gap| median(adaptive(gap).iter().map(|r| r.gradients as f64).collect())).collect();
    // As many as they are given, for the map.
    let runs: Vec<Vec<Run>> = inputs
        .iter()
        .map(|input| {
            let given = |n: &usize| [("rule", "adaptive".to_string()), ("steps", n.to_string())];
            lengths.iter().map(|n| run(input, &given(n))).collect()
        })
        .collect();
    cells.extend(DISTANCES.map(|far| column(&runs, |i, r| distance(&r.map, &exact[i]) <= far)));
    println!("| {name} | adaptive | {} |", cells.join(" | "));
}

/// The medians of the fewest gradients that are good, and of those from which on all are.
fn column(runs: &[Vec<Run>], good: impl Fn(usize, &Run) -> bool) -> String {
    let of =
        |at: Option<usize>, runs: &[Run]| at.and_then(|at| runs.get(at)).map_or(f64::INFINITY, |r| r.gradients as f64);
    let first = |(i, runs): (usize, &Vec<Run>)| of(runs.iter().position(|r| good(i, r)), runs);
    let kept =
        |(i, runs): (usize, &Vec<Run>)| of(Some(runs.iter().rposition(|r| !good(i, r)).map_or(0, |at| at + 1)), runs);
    let both = [runs.iter().enumerate().map(first).collect(), runs.iter().enumerate().map(kept).collect()];
    let [first, kept] = both.map(median);
    format!("{first} ({kept})")
}

fn median(mut values: Vec<f64>) -> String {
    values.sort_by(f64::total_cmp);
    match values[values.len() / 2] {
        value if value.is_finite() => format!("{value:.0}"),
        _ => "more".into(),
    }
}

fn distance(a: &[f32], b: &[f32]) -> f64 {
    let apart: f64 = a.iter().zip(b).map(|(a, b)| (*a as f64 - *b as f64).powi(2)).sum();
    (apart / b.iter().map(|b| (*b as f64).powi(2)).sum::<f64>()).sqrt()
}
