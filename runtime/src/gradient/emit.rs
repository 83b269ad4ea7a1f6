//! Appends nodes to a graph: the vocabulary that adjoints are written in.

use std::collections::HashMap;
use std::ops::Range;

use crate::onnx::{Attr, Graph, Node, Tensor};

use super::functions;

/// The name of a value.
pub type Name = String;

/// Appends nodes and constants to a graph under fresh names.
#[derive(Debug)]
pub struct Emit {
    pub(super) graph: Graph,
    /// Constants by content, so that each is stored once.
    stored: HashMap<(Vec<usize>, Vec<u8>, bool), Name>,
    /// What [`Emit::place`] gave, and sums of it.
    placed: HashMap<Name, Placed>,
    count: usize,
}

/// Parts that are put beside each other at most. Each sum on the way is a node with all parts so far, of which only the last stays.
const MOST_PARTS: usize = 64;

/// A value that is zero but for parts of it along one axis, which do not overlap.
#[derive(Clone, Debug)]
struct Placed {
    axis: usize,
    shape: Vec<usize>,
    /// Where each lies, the first one first.
    parts: Vec<(Range<usize>, Name)>,
}

impl Placed {
    /// The sum of two, where it is such a value, too.
    fn with(&self, other: &Placed) -> Option<Placed> {
        let mut parts = [&self.parts[..], &other.parts].concat();
        parts.sort_by_key(|(place, _)| place.start);
        let apart = parts.windows(2).all(|pair| pair[0].0.end <= pair[1].0.start);
        let fits = apart && parts.len() <= MOST_PARTS && self.axis == other.axis && self.shape == other.shape;
        fits.then(|| Placed { parts, ..self.clone() })
    }

    /// Where the parts lie, if they lie side by side.
    fn place(&self) -> Option<Range<usize>> {
        let beside = self.parts.windows(2).all(|pair| pair[0].0.end == pair[1].0.start);
        beside.then_some(self.parts.first()?.0.start..self.parts.last()?.0.end)
    }
}

impl Emit {
    /// Appends to `graph`.
    pub fn new(graph: Graph) -> Emit {
        Emit { graph, stored: HashMap::new(), placed: HashMap::new(), count: 0 }
    }

    fn fresh(&mut self, what: &str) -> Name {
        self.count += 1;
        format!("why.{}.{}", what.to_lowercase(), self.count)
    }

    /// One node with one output, which is returned.
    pub fn op(&mut self, op: &str, inputs: &[&str]) -> Name {
        self.op_with(op, inputs, vec![])
    }

    /// One node with attributes and one output, which is returned.
    pub fn op_with(&mut self, op: &str, inputs: &[&str], attributes: Vec<(&str, Attr)>) -> Name {
        self.node("", op, inputs, attributes)
    }

    /// The values of the `k` largest elements of a vector, the largest first.
    pub fn largest(&mut self, vector: &str, k: usize) -> Name {
        let k = self.ints(&[k as i64]);
        let values = self.op_with("TopK", &[vector, &k], vec![("axis", Attr::Int(0))]);
        let indices = self.fresh("indices");
        self.graph.nodes.last_mut().into_iter().for_each(|node| node.outputs.push(indices.clone()));
        values
    }

    /// A call of one of our functions ([`functions::FUNCTIONS`]), which travels in the file.
    pub fn call(&mut self, function: &functions::FusedOp, inputs: &[&str]) -> Name {
        let key = (functions::DOMAIN.to_string(), function.name.to_string());
        let opset = self.graph.opset;
        self.graph.functions.entry(key).or_insert_with(|| function.define(opset));
        self.node(functions::DOMAIN, function.name, inputs, vec![])
    }

    fn node(&mut self, domain: &str, op: &str, inputs: &[&str], attributes: Vec<(&str, Attr)>) -> Name {
        let output = self.fresh(op);
        self.graph.nodes.push(Node {
            name: output.clone(),
            op: op.to_string(),
            domain: domain.to_string(),
            inputs: inputs.iter().map(|s| s.to_string()).collect(),
            outputs: vec![output.clone()],
            attributes: attributes.into_iter().map(|(k, v)| (k.to_string(), v)).collect(),
        });
        output
    }

    /// A forward node once more, with the inputs that `node` has; its first output is returned.
    pub fn again(&mut self, node: &Node) -> Name {
        let output = self.fresh(&node.op);
        let outputs = vec![output.clone()];
        self.graph.nodes.push(Node { name: output.clone(), outputs, ..node.clone() });
        output
    }

    /// Gives a value a second, chosen name.
    pub fn rename(&mut self, from: &str, to: &str) {
        self.graph.nodes.push(Node {
            name: to.to_string(),
            op: "Identity".into(),
            inputs: vec![from.to_string()],
            outputs: vec![to.to_string()],
            ..Node::default()
        });
    }

    /// A constant; equal ones are stored once.
    pub fn constant(&mut self, tensor: Tensor) -> Name {
        let key = (tensor.shape.clone(), tensor.bytes().to_vec(), tensor.dtype.is_float());
        if let Some(name) = self.stored.get(&key) {
            return name.clone();
        }
        let name = self.fresh("const");
        self.graph.constants.insert(name.clone(), tensor);
        self.stored.insert(key, name.clone());
        name
    }

    /// A float32 scalar constant.
    pub fn scalar(&mut self, value: f32) -> Name {
        self.constant(Tensor::scalar(value))
    }

    /// A one-dimensional int64 constant.
    pub fn ints(&mut self, values: &[i64]) -> Name {
        self.constant(Tensor::ints(values))
    }

    /// Extents as a constant.
    pub fn extents(&mut self, shape: &[usize]) -> Name {
        self.ints(&shape.iter().map(|&d| d as i64).collect::<Vec<_>>())
    }

    /// Axes of so many as a constant, counted from behind.
    pub fn axes(&mut self, axes: &[usize], rank: usize) -> Name {
        self.ints(&axes.iter().map(|&axis| axis as i64 - rank as i64).collect::<Vec<_>>())
    }

    /// `a + b`
    pub fn add(&mut self, a: &str, b: &str) -> Name {
        self.op("Add", &[a, b])
    }

    /// `a - b`
    pub fn sub(&mut self, a: &str, b: &str) -> Name {
        self.op("Sub", &[a, b])
    }

    /// `a * b`
    pub fn mul(&mut self, a: &str, b: &str) -> Name {
        self.op("Mul", &[a, b])
    }

    /// `a / b`
    pub fn div(&mut self, a: &str, b: &str) -> Name {
        self.op("Div", &[a, b])
    }

    /// `a * factor`; `a` itself where the factor is one.
    pub fn scale(&mut self, a: &str, factor: f32) -> Name {
        if factor == 1.0 {
            return a.to_string();
        }
        let factor = self.scalar(factor);
        self.mul(a, &factor)
    }

    /// `a + shift`
    pub fn shift(&mut self, a: &str, shift: f32) -> Name {
        let shift = self.scalar(shift);
        self.add(a, &shift)
    }

    /// `a` where `condition`, zero elsewhere.
    pub fn keep_where(&mut self, condition: &str, a: &str) -> Name {
        let zero = self.scalar(0.0);
        self.op("Where", &[condition, a, &zero])
    }

    /// `a` in another shape of as many elements.
    pub fn reshape(&mut self, a: &str, shape: &[usize]) -> Name {
        let shape = self.extents(shape);
        self.op("Reshape", &[a, &shape])
    }

    /// `a` broadcast to `shape`.
    pub fn expand(&mut self, a: &str, shape: &[usize]) -> Name {
        let shape = self.extents(shape);
        self.op("Expand", &[a, &shape])
    }

    /// `a` with its axes in the order `perm`.
    pub fn transpose(&mut self, a: &str, perm: &[usize]) -> Name {
        if perm.iter().enumerate().all(|(i, &p)| i == p) {
            return a.to_string();
        }
        let perm = perm.iter().map(|&p| p as i64).collect();
        self.op_with("Transpose", &[a], vec![("perm", Attr::Ints(perm))])
    }

    /// A reduction (`ReduceSum`, `ReduceMean`, ...) over `axes`, which stay with extent one.
    pub fn reduce(&mut self, op: &str, a: &str, axes: &[usize]) -> Name {
        if axes.is_empty() {
            return a.to_string();
        }
        let axes = self.extents(axes);
        self.op_with(op, &[a, &axes], vec![("keepdims", Attr::Int(1))])
    }

    /// Zeros of this shape.
    pub fn zeros(&mut self, shape: &[usize]) -> Name {
        let zero = self.scalar(0.0);
        self.expand(&zero, shape)
    }

    /// Sums a value of shape `from` over the axes along which `to` was broadcast to it.
    pub fn sum_to(&mut self, a: &str, from: &[usize], to: &[usize]) -> Name {
        if from == to {
            return a.to_string();
        }
        let lead = from.len() - to.len();
        let broadcast = |axis: &usize| *axis < lead || (to[axis - lead] == 1 && from[*axis] != 1);
        let axes: Vec<usize> = (0..from.len()).filter(broadcast).collect();
        let summed = self.reduce("ReduceSum", a, &axes);
        if lead == 0 { summed } else { self.reshape(&summed, to) }
    }

    /// Zero-pads (`before`, `after`) per axis; a negative amount cuts.
    pub fn pad_or_cut(&mut self, a: &str, shape: &[usize], before: &[i64], after: &[i64]) -> Name {
        let mut value = a.to_string();
        if before.iter().chain(after).any(|&p| p < 0) {
            let starts: Vec<i64> = before.iter().map(|&p| (-p).max(0)).collect();
            let ends: Vec<i64> = shape.iter().zip(after).map(|(&d, &p)| d as i64 + p.min(0)).collect();
            let (starts, ends) = (self.ints(&starts), self.ints(&ends));
            let axes = self.ints(&(0..shape.len() as i64).collect::<Vec<_>>());
            value = self.op("Slice", &[&value, &starts, &ends, &axes]);
        }
        if before.iter().chain(after).any(|&p| p > 0) {
            let pads: Vec<i64> = before.iter().chain(after).map(|&p| p.max(0)).collect();
            let (pads, zero) = (self.ints(&pads), self.scalar(0.0));
            value = self.op("Pad", &[&value, &pads, &zero]);
        }
        value
    }

    /// `part` from `first` on along an axis of zeros; `shape` is that of the whole.
    pub fn place(&mut self, part: &str, place: Range<usize>, axis: usize, shape: &[usize]) -> Name {
        if place.len() == shape[axis] {
            return part.to_string();
        }
        let placed = Placed { axis, shape: shape.to_vec(), parts: vec![(place, part.to_string())] };
        self.spread(placed).unwrap_or_else(|| part.to_string())
    }

    /// Parts that lie side by side, amid zeros.
    fn spread(&mut self, placed: Placed) -> Option<Name> {
        let (axis, place) = (placed.axis, placed.place()?);
        let names: Vec<&str> = placed.parts.iter().map(|(_, name)| name.as_str()).collect();
        let joined = match names[..] {
            [one] => one.to_string(),
            _ => self.op_with("Concat", &names, vec![("axis", Attr::Int(axis as i64))]),
        };
        let mut shape = placed.shape.clone();
        let (mut before, mut after) = (vec![0; shape.len()], vec![0; shape.len()]);
        before[axis] = place.start as i64;
        after[axis] = (shape[axis] - place.end) as i64;
        shape[axis] = place.len();
        let whole = self.pad_or_cut(&joined, &shape, &before, &after);
        self.placed.insert(whole.clone(), placed);
        Some(whole)
    }

    /// `a + b`, of which parts that were read from one value may be put beside each other in place of adding zeros to them.
    pub fn collect(&mut self, a: &str, b: &str) -> Name {
        let both = self.placed.get(a).zip(self.placed.get(b)).and_then(|(a, b)| a.with(b));
        let Some(placed) = both else { return self.add(a, b) };
        self.spread(placed.clone()).unwrap_or_else(|| {
            // Another may lie between them.
            let sum = self.add(a, b);
            self.placed.insert(sum.clone(), placed);
            sum
        })
    }

    /// The adjoint of reading an axis of extent `extent` at `indices`: each element of `a` is added to
    /// the place it was read from. `shape` is `a`'s, with `indices.len()` at `axis`.
    pub fn scatter_axis(&mut self, a: &str, shape: &[usize], axis: usize, indices: &[usize], extent: usize) -> Name {
        let read = indices.len();
        // Round r collects the (r+1)-th reading of every place; places read less often get the zero
        // that is appended to the axis.
        let mut rounds: Vec<Vec<i64>> = vec![];
        let mut times = vec![0; extent];
        for (from, &to) in indices.iter().enumerate() {
            if times[to] == rounds.len() {
                rounds.push(vec![read as i64; extent]);
            }
            rounds[times[to]][to] = from as i64;
            times[to] += 1;
        }
        let mut after = vec![0; shape.len()];
        after[axis] = 1;
        let padded = self.pad_or_cut(a, shape, &vec![0; shape.len()], &after);
        let mut sum: Option<Name> = None;
        for round in &rounds {
            let indices = self.ints(round);
            let part = self.op_with("Gather", &[&padded, &indices], vec![("axis", Attr::Int(axis as i64))]);
            sum = Some(match sum {
                Some(sum) => self.add(&sum, &part),
                None => part,
            });
        }
        sum.unwrap_or_else(|| {
            let mut whole = shape.to_vec();
            whole[axis] = extent;
            self.zeros(&whole)
        })
    }
}
