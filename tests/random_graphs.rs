//! Random networks, put together of what networks are made of: plans against tract's executor. Values are read by
//! several nodes, channels do not fill blocks, branches meet again.

mod common;

use std::sync::Arc;

use common::{assert_close, assert_incremental, assert_shared, graph, graphs, ints, node, normal, typed};
use whyline_runtime::engine::{Isa, Packs, PlanSession, Plans, Precision, Resources, Session, TractSession};
use whyline_runtime::gradient::{GradientGraph, Spec, differentiate};
use whyline_runtime::onnx::{Attr, Graph, Tensor};
use whyline_runtime::rng::Rng;

/// An image value: its name and extents.
#[derive(Clone)]
struct Value(String, [usize; 4]);

struct Maker {
    rng: Rng,
    drawn: u64,
    graph: Graph,
    values: Vec<Value>,
}

impl Maker {
    fn below(&mut self, end: usize) -> usize {
        self.drawn += 1;
        (self.rng.bits(self.drawn) % end as u64) as usize
    }

    /// Later values are likelier.
    fn pick(&mut self) -> Value {
        let n = self.values.len();
        let at = n - 1 - self.below(n).min(self.below(n));
        self.values[at].clone()
    }

    fn constant(&mut self, shape: &[usize]) -> String {
        self.drawn += 1;
        let size = (shape.iter().skip(1).product::<usize>() as f32).sqrt();
        let values: Vec<f32> = normal(shape.iter().product(), self.drawn).iter().map(|v| v / size).collect();
        self.fixed(Tensor::f32(shape, &values))
    }

    fn fixed(&mut self, tensor: Tensor) -> String {
        let name = format!("c{}", self.graph.constants.len());
        self.graph.constants.insert(name.clone(), tensor);
        name
    }

    fn push(&mut self, op: &str, inputs: &[&str], attributes: Vec<(&str, Attr)>) -> String {
        let name = format!("v{}", self.graph.nodes.len());
        self.graph.nodes.push(node(op, inputs, &[&name], attributes));
        name
    }

    fn keep(&mut self, name: String, shape: [usize; 4]) {
        self.values.push(Value(name, shape));
    }

    fn conv(&mut self) {
        let Value(x, [n, c, h, w]) = self.pick();
        let kernel = [1, 3, 3, 5][self.below(4)].min(h).min(w);
        let (stride, pad) = (1 + self.below(4) / 3, kernel / 2);
        let (groups, outs) = match self.below(4) {
            0 => (c, c),
            1 if c % 2 == 0 => (2, 2 * (1 + self.below(16))),
            2 => (1, 1 + self.below(36)),
            _ => (1, 16 * (1 + self.below(3))),
        };
        let weights = self.constant(&[outs, c / groups, kernel, kernel]);
        let bias = self.constant(&[outs]);
        let pads = ints(&[pad as i64; 4]);
        let flags = vec![("pads", pads), ("strides", ints(&[stride as i64; 2])), ("group", Attr::Int(groups as i64))];
        let y = self.push("Conv", &[&x, &weights, &bias], flags);
        let to = |e: usize| (e + 2 * pad - kernel) / stride + 1;
        self.keep(y, [n, outs, to(h), to(w)]);
    }

    fn activation(&mut self) {
        let Value(x, shape) = self.pick();
        let ops = [
            "Relu",
            "Sigmoid",
            "Tanh",
            "HardSwish",
            "LeakyRelu",
            "Elu",
            "Softplus",
            "Erf",
            "Neg",
            "Abs",
            "HardSigmoid",
        ];
        let choice = self.below(ops.len() + 3);
        let y = match choice.checked_sub(ops.len()) {
            None => self.push(ops[choice], &[&x], vec![]),
            Some(0) => {
                let (low, high) = (self.fixed(Tensor::f32(&[], &[-0.4])), self.fixed(Tensor::f32(&[], &[0.9])));
                self.push("Clip", &[&x, &low, &high], vec![])
            }
            Some(1) => {
                let s = self.push("Sigmoid", &[&x], vec![]);
                self.push("Mul", &[&x, &s], vec![])
            }
            _ => {
                let bound = self.constant(&[1]);
                let small = self.push("Less", &[&x, &bound], vec![]);
                let other = self.push("Mul", &[&x, &x], vec![]);
                self.push("Where", &[&small, &x, &other], vec![])
            }
        };
        self.keep(y, shape);
    }

    fn binary(&mut self) {
        let Value(x, shape) = self.pick();
        let op = ["Add", "Mul", "Sub", "Add"][self.below(4)];
        let same: Vec<Value> = self.values.iter().filter(|v| v.1 == shape).cloned().collect();
        let [_, c, h, w] = shape;
        let other = match self.below(6) {
            0 => self.constant(&[1, c, 1, 1]),
            1 => self.constant(&[c, 1, 1]),
            2 => self.constant(&[h, w]),
            3 => self.constant(&[1]),
            _ => same[self.below(same.len())].0.clone(),
        };
        // tract's optimiser takes a constant minus a convolution for something else; ONNX Runtime agrees with our plans.
        let y = if op == "Sub" || self.below(2) == 0 { [&x, &other] } else { [&other, &x] };
        let y = self.push(op, &[y[0], y[1]], vec![]);
        self.keep(y, shape);
    }

    /// Channels put beside each other, or taken apart; often by whole blocks, and a value beside itself or its own parts.
    fn channels(&mut self) {
        let Value(x, [n, c, h, w]) = self.pick();
        if c > 1 && self.below(2) == 0 {
            let (from, to) = match c / 16 {
                blocks @ 2.. if self.below(3) > 0 => {
                    let from = self.below(blocks);
                    (16 * from, 16 * (from + 1 + self.below(blocks - from)))
                }
                _ => (self.below(c - 1), c - self.below(2).min(c - 1)),
            };
            let axis = self.fixed(Tensor::i64(&[1], &[1]));
            let (start, end) =
                (self.fixed(Tensor::i64(&[1], &[from as i64])), self.fixed(Tensor::i64(&[1], &[to as i64])));
            let y = self.push("Slice", &[&x, &start, &end, &axis], vec![]);
            self.keep(y, [n, to - from, h, w]);
            return;
        }
        let beside: Vec<Value> = self.values.iter().filter(|v| v.1[2..] == [h, w]).cloned().collect();
        let mut parts = vec![Value(x, [n, c, h, w])];
        for _ in 0..1 + self.below(3) {
            parts.push(beside[self.below(beside.len())].clone());
        }
        let names: Vec<&str> = parts.iter().map(|part| part.0.as_str()).collect();
        let y = self.push("Concat", &names, vec![("axis", Attr::Int(1))]);
        self.keep(y, [n, parts.iter().map(|part| part.1[1]).sum(), h, w]);
    }

    fn pool(&mut self) {
        let Value(x, [n, c, h, w]) = self.pick();
        if h < 3 || w < 3 {
            return;
        }
        let op = ["MaxPool", "AveragePool"][self.below(2)];
        let (pad, stride) = (self.below(2), 1 + self.below(2));
        let flags = vec![
            ("kernel_shape", ints(&[3, 3])),
            ("pads", ints(&[pad as i64; 4])),
            ("strides", ints(&[stride as i64; 2])),
        ];
        let y = self.push(op, &[&x], flags);
        let to = |e: usize| (e + 2 * pad - 3) / stride + 1;
        self.keep(y, [n, c, to(h), to(w)]);
    }

    /// Normalisation, over the batch's statistics or over each pixel's channels.
    fn norm(&mut self) {
        let Value(x, shape) = self.pick();
        let c = shape[1];
        let (scale, shift) = (self.constant(&[c]), self.constant(&[c]));
        let y = match self.below(2) {
            0 => {
                let mean = self.constant(&[c]);
                let variance =
                    self.fixed(Tensor::f32(&[c], &(0..c).map(|i| 0.5 + i as f32 / c as f32).collect::<Vec<_>>()));
                self.push("BatchNormalization", &[&x, &scale, &shift, &mean, &variance], vec![])
            }
            _ => {
                let last = self.push("Transpose", &[&x], vec![("perm", ints(&[0, 2, 3, 1]))]);
                let flags = vec![("axis", Attr::Int(-1))];
                let y = self.push("LayerNormalization", &[&last, &scale, &shift], flags);
                self.push("Transpose", &[&y], vec![("perm", ints(&[0, 3, 1, 2]))])
            }
        };
        self.keep(y, shape);
    }

    /// Squeeze and excitation: channels weighted by their own means.
    fn excite(&mut self) {
        let Value(x, shape) = self.pick();
        let c = shape[1];
        let weights = self.constant(&[c, c, 1, 1]);
        let mean = self.push("GlobalAveragePool", &[&x], vec![]);
        let mixed = self.push("Conv", &[&mean, &weights], vec![]);
        let gate = self.push("Sigmoid", &[&mixed], vec![]);
        let y = self.push("Mul", &[&x, &gate], vec![]);
        self.keep(y, shape);
    }

    fn step(&mut self) {
        match self.below(9) {
            0..=2 => self.conv(),
            3 | 4 => self.activation(),
            5 => self.binary(),
            6 => self.channels(),
            7 => [Maker::pool, Maker::norm][self.below(2)](self),
            _ => self.excite(),
        }
    }

    /// Scores of the means of a few values.
    fn finish(mut self) -> Graph {
        let mut scores: Option<String> = None;
        for _ in 0..2 {
            let Value(x, [_, c, ..]) = self.pick();
            let mean = self.push("GlobalAveragePool", &[&x], vec![]);
            let flat = self.push("Flatten", &[&mean], vec![]);
            let weights = self.constant(&[c, 7]);
            let y = self.push("MatMul", &[&flat, &weights], vec![]);
            scores = Some(match scores {
                Some(other) => self.push("Add", &[&other, &y], vec![]),
                None => y,
            });
        }
        self.graph.outputs = scores.into_iter().collect();
        self.graph
    }
}

fn random_graph(seed: u64) -> Graph {
    let mut maker = Maker { rng: Rng::new(seed, 0), drawn: 0, graph: Graph::default(), values: vec![] };
    let shape = [1, 1 + maker.below(20), 5 + maker.below(14), 5 + maker.below(14)];
    maker.graph = graph(&shape, vec![], "");
    maker.values.push(Value("x".into(), shape));
    for _ in 0..3 + maker.below(14) {
        maker.step();
    }
    maker.finish()
}

/// The logits and the gradient by tract's executor; nothing where its optimiser fails, as it does on some.
fn by_tract(derived: &GradientGraph, x: &[f32], cotangent: &[f32]) -> Option<(Vec<f32>, Vec<f32>)> {
    let mut tract = TractSession::new(derived).ok()?;
    let both = tract.gradient(x, cotangent).ok()?;
    Some((both.logits.to_vec(), both.input.to_vec()))
}

#[test]
fn random_graphs_agree_with_tract() {
    let (range, mut compared) = (graphs(0..48), 0);
    for seed in range.clone() {
        let graph = random_graph(seed);
        let ops: Vec<&str> = graph.nodes.iter().map(|n| n.op.as_str()).collect();
        let what = format!("graph {seed}: {}", ops.join(" "));
        let derived = differentiate(&typed(graph).unwrap(), &Spec::default()).unwrap();
        let cotangent = normal(7, 6);
        for &isa in Isa::here() {
            let plans = Arc::new(
                Plans::keeping(&derived, &mut Packs::new(Precision::F32, isa))
                    .unwrap_or_else(|e| panic!("{what}: {e}")),
            );
            let mut ours = PlanSession::of(plans, Resources::default()).unwrap();
            let x = normal(ours.input_shape().iter().product(), 5);
            let alone = ours.forward(&x).unwrap().to_vec();
            let both = ours.gradient(&x, &cotangent).unwrap();
            assert_close(&format!("{what}: logits of the gradient pass"), both.logits, &alone, 1e-5);
            let both = both.input.to_vec();
            assert_shared(&what, &mut ours, &x, &cotangent);
            assert_incremental(&what, &mut ours, &x);
            let Some((logits, gradient)) = by_tract(&derived, &x, &cotangent) else { continue };
            compared += 1;
            assert_close(&format!("{what}: logits"), &alone, &logits, 1e-4);
            // Where a network hardly reads its input, what is left of the gradient is rounding.
            if gradient.iter().any(|g| g.abs() > 1e-4) {
                assert_close(&format!("{what}: gradient"), &both, &gradient, 2e-3);
            }
        }
    }
    let count = range.end - range.start;
    assert!(compared >= count, "tract ran {compared} of {} plans only", 2 * count);
}
