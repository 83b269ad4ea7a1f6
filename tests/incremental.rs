//! Forward passes at points in a row that differ in a part of the image: to the same bytes as passes of their own, through
//! everything that computes parts of images.

mod common;

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use common::{assert_incremental, graph, graphs, ints, node, normal, typed};
use whyline_runtime::engine::{Bands, Gradient, Isa, Packs, PlanSession, Plans, Precision, Resources, Session};
use whyline_runtime::explain::{LoadOptions, Loaded, Wanted};
use whyline_runtime::gradient::{Spec, differentiate};
use whyline_runtime::onnx::{Attr, Graph, Node, Tensor};
use whyline_runtime::rng::Rng;

/// What networks are made of.
const LAYERS: &[&str] = &[
    "conv",
    "conv",
    "grouped",
    "depthwise",
    "transposed",
    "max",
    "mean",
    "relu",
    "swish",
    "residual",
    "concat",
    "split",
];

/// A network of convolutions and pools that grows layer by layer.
struct Maker {
    rng: Rng,
    drawn: u64,
    graph: Graph,
    /// The value at the end: its name, channels, rows and columns.
    end: (String, [usize; 3]),
}

impl Maker {
    fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        self.drawn += 1;
        all[(self.rng.bits(self.drawn) % all.len() as u64) as usize]
    }

    fn weights(&mut self, shape: &[usize]) -> String {
        let (name, count) = (format!("w{}", self.graph.constants.len()), shape.iter().product());
        let scale = (shape[1..].iter().product::<usize>() as f32).sqrt();
        let values: Vec<f32> = normal(count, self.drawn).iter().map(|v| v / scale).collect();
        self.graph.constants.insert(name.clone(), Tensor::f32(shape, &values));
        name
    }

    fn push(&mut self, op: &str, inputs: &[&str], attributes: Vec<(&str, Attr)>) -> String {
        let name = format!("v{}", self.graph.nodes.len());
        self.graph.nodes.push(node(op, inputs, &[&name], attributes));
        name
    }

    /// A window with a stride over the end; what it makes of an extent.
    fn window(&mut self, kernels: &[usize]) -> (Vec<(&'static str, Attr)>, usize, impl Fn(usize) -> usize + use<>) {
        let (kernel, stride) = (self.pick(kernels), self.pick(&[1, 1, 2]));
        let dilation = self.pick(&[1, 1, 1, 2]);
        let [before, behind] = [0, 1].map(|_| self.pick(&[kernel / 2, kernel / 2, kernel / 2, 0]));
        let flags = vec![
            ("pads", ints(&[before, before, behind, behind].map(|pad| pad as i64))),
            ("strides", ints(&[stride as i64; 2])),
            ("dilations", ints(&[dilation as i64; 2])),
        ];
        (flags, kernel, move |extent| (extent + before + behind - (kernel - 1) * dilation - 1) / stride + 1)
    }

    fn layer(&mut self) {
        let (x, [channels, height, width]) = self.end.clone();
        match self.pick(LAYERS) {
            "conv" => self.conv(&[1, 3, 3, 5], 1),
            "grouped" => self.conv(&[1, 3], if channels.is_multiple_of(2) { 2 } else { 1 }),
            "depthwise" => self.conv(&[3, 3, 5], channels),
            "transposed" => self.transposed(),
            "split" => {
                let few = channels.min(8) as i64;
                let sizes = format!("w{}", self.graph.constants.len());
                self.graph.constants.insert(sizes.clone(), Tensor::ints(&[few, channels as i64 - few]));
                let parts = [0, 1].map(|part| format!("v{}.{part}", self.graph.nodes.len()));
                let outputs = [&*parts[0], &*parts[1]];
                self.graph.nodes.push(node("Split", &[&x, &sizes], &outputs, vec![("axis", Attr::Int(1))]));
                self.end.0 = self.push("Concat", &[outputs[1], outputs[0]], vec![("axis", Attr::Int(1))]);
            }
            kind @ ("max" | "mean") => {
                let (mut flags, kernel, to) = self.window(&[2, 3]);
                flags.push(("kernel_shape", ints(&[kernel as i64; 2])));
                let op = if kind == "max" { "MaxPool" } else { "AveragePool" };
                let name = self.push(op, &[&x], flags);
                self.end = (name, [channels, to(height), to(width)]);
            }
            "relu" => self.end.0 = self.push("Relu", &[&x], vec![]),
            "swish" => self.end.0 = self.push("HardSwish", &[&x], vec![]),
            kind => {
                let weights = self.weights(&[channels, channels, 3, 3]);
                let inner = self.push("Conv", &[&x, &weights], vec![("pads", ints(&[1; 4]))]);
                let both = kind == "residual";
                let (op, flags) = if both { ("Add", vec![]) } else { ("Concat", vec![("axis", Attr::Int(1))]) };
                let mut name = self.push(op, &[&x, &inner], flags);
                if !both {
                    // A chain of its own.
                    name = self.push("HardSwish", &[&name], vec![]);
                }
                self.end = (name, [if both { channels } else { 2 * channels }, height, width]);
            }
        }
    }

    fn transposed(&mut self) {
        let (x, [channels, height, width]) = self.end.clone();
        let (outs, kernel, stride) = (self.pick(&[3, 16, 24]), self.pick(&[2, 3, 4]), self.pick(&[1, 2]));
        let pad = self.pick(&[0, 1]);
        let flags = vec![("pads", ints(&[pad as i64; 4])), ("strides", ints(&[stride as i64; 2]))];
        let weights = self.weights(&[channels, outs, kernel, kernel]);
        let name = self.push("ConvTranspose", &[&x, &weights], flags);
        let to = |extent: usize| (extent - 1) * stride + kernel - 2 * pad;
        self.end = (name, [outs, to(height), to(width)]);
    }

    fn conv(&mut self, kernels: &[usize], groups: usize) {
        let (x, [channels, height, width]) = self.end.clone();
        let outs = if groups > 1 { channels } else { self.pick(&[16, 24, 32]) };
        let (mut flags, kernel, to) = self.window(kernels);
        flags.push(("group", Attr::Int(groups as i64)));
        let weights = self.weights(&[outs, channels / groups, kernel, kernel]);
        let name = self.push("Conv", &[&x, &weights], flags);
        self.end = (name, [outs, to(height), to(width)]);
    }
}

/// Of a few layers, as long as the image is not too small for the next one.
fn network(seed: u64) -> Graph {
    let rng = Rng::new(seed, 9);
    let [height, width] = [0, 1].map(|i| 24 + (rng.bits(1_000 + i) % 30) as usize);
    let channels = 1 + (rng.bits(1_002) % 3) as usize;
    let empty = graph(&[1, channels, height, width], vec![], "");
    let mut maker = Maker { rng, drawn: 0, graph: empty, end: ("x".into(), [channels, height, width]) };
    if seed.is_multiple_of(3) {
        maker.end.0 = maker.push("HardSwish", &["x"], vec![]);
    }
    maker.conv(&[3, 5], 1);
    while maker.graph.nodes.len() < 9 && maker.end.1[1..].iter().all(|&extent| extent > 10) && maker.end.1[0] < 100 {
        maker.layer();
    }
    let (x, [channels, ..]) = maker.end.clone();
    let mean = maker.push("GlobalAveragePool", &[&x], vec![]);
    let flat = maker.push("Flatten", &[&mean], vec![]);
    let weights = maker.weights(&[channels, 5]);
    let logits = maker.push("Gemm", &[&flat, &weights], vec![]);
    Graph { outputs: vec![logits], ..maker.graph }
}

#[test]
fn random_networks_compute_only_what_has_changed() {
    let (usual, mut steps, mut sessions, mut kernels) = (0..30, 0, 0, BTreeSet::new());
    let told = graphs(usual.clone());
    for seed in told.clone() {
        let graph = network(seed);
        let ops: Vec<&str> = graph.nodes.iter().map(|node: &Node| node.op.as_str()).collect();
        let what = format!("network {seed}: {}", ops.join(" "));
        let derived = differentiate(&typed(graph).unwrap(), &Spec::default()).unwrap();
        let precision = if seed % 4 == 3 { Precision::F16Weights } else { Precision::F32 };
        for &isa in Isa::here() {
            for bands in [Bands::default(), Bands { large: 1, most: usize::MAX, rows: 3, places: 0 }] {
                let mut packs = Packs::new(precision, isa).with_bands(bands);
                let plans = Arc::new(Plans::keeping(&derived, &mut packs).unwrap());
                let kept = plans.incremental_steps();
                (steps, sessions) = (steps + kept, sessions + 1);
                let mut session = PlanSession::of(plans, Resources::default()).unwrap();
                let x = normal(session.input_shape().iter().product(), 5);
                let mut first = 0;
                for step in session.profile_forward(&x).unwrap() {
                    kernels.extend((first < kept).then_some(step.kernel.clone()));
                    first += step.kernel.split(", ").count();
                }
                assert_incremental(&what, &mut session, &x);
            }
        }
    }
    // A few networks may have few such steps.
    let least = if told == usual { 5 * sessions / 2 } else { sessions };
    assert!(steps > least, "only {steps} steps of {sessions} sessions computed parts");
    let all = ["conv", "winograd", "depthwise", "max pool", "chain"].into_iter().filter(|_| told == usual);
    for kernel in all {
        assert!(kernels.iter().any(|together| together.contains(kernel)), "{kernel}: never, of {kernels:?}");
    }
}

#[test]
fn it_takes_memory_only_where_that_is_asked_for() {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/digits-cnn.onnx");
    let derived = Loaded::read(&model, &LoadOptions::default()).unwrap().derive(&Wanted::default()).unwrap();
    let packs = || Packs::new(Precision::F32, Isa::best());
    let (none, all) =
        (Plans::sharing(&derived, &mut packs()).unwrap(), Plans::keeping(&derived, &mut packs()).unwrap());
    assert_eq!(none.incremental_steps(), 0);
    assert_eq!(none.memory(), Plans::new(&derived, Precision::F32).unwrap().memory());
    assert!(all.incremental_steps() > 5, "{} steps", all.incremental_steps());
    assert!(all.arena_bytes() <= 2 * none.arena_bytes());
}

/// Every thread has its own point before.
#[test]
fn threads_share_the_points_in_a_row() {
    let derived = differentiate(&typed(network(3)).unwrap(), &Spec::default()).unwrap();
    let plans = Arc::new(Plans::keeping(&derived, &mut Packs::new(Precision::F32, Isa::best())).unwrap());
    let x = normal(plans_input(&plans), 5);
    let make = |i: usize, point: &mut [f32]| {
        point.copy_from_slice(&x);
        point[7 * i..7 * i + 5].fill(0.25);
    };
    let passes = |threads: usize| {
        let resources = Resources { threads, ..Resources::default() };
        let (mut session, mut found) = (PlanSession::of(plans.clone(), resources).unwrap(), vec![]);
        let mut take = |_: usize, pass: Gradient<'_>| {
            found.extend_from_slice(pass.logits);
            Ok(ControlFlow::Continue(()))
        };
        session.forwards(40, &make, &mut take).unwrap();
        found
    };
    assert_eq!(passes(1), passes(3));
}

fn plans_input(plans: &Arc<Plans>) -> usize {
    PlanSession::of(plans.clone(), Resources::default()).unwrap().input_shape().iter().product()
}
