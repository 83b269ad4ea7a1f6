//! Ops of our own: one fused kernel each in the engine, and spelled out in standard ops inside the file, so
//! that any engine that inlines functions can run it.

use std::collections::BTreeMap;

use crate::onnx::{Attr, Function, Node, Tensor};

/// The domain of our ops.
pub const DOMAIN: &str = "ai.whyline";

/// One of our ops.
#[derive(Debug)]
pub struct FusedOp {
    /// Its name; none of ONNX's standard ops is called so.
    pub name: &'static str,
    /// Its inputs' names.
    pub inputs: &'static [&'static str],
    body: fn(&mut Body) -> String,
}

/// Every op of ours.
pub const FUNCTIONS: &[&FusedOp] =
    &[&RELU_GRAD, &GUIDED_RELU_GRAD, &CLIP_GRAD, &MAX_POOL_GRAD, &SOFTMAX_GRAD, &STANDARDISE_GRAD];

/// Those that work along some axes.
pub const OF_ROWS: &[&FusedOp] = &[&SOFTMAX_GRAD, &STANDARDISE_GRAD];

/// `g` where `x > 0`, else 0.
pub const RELU_GRAD: FusedOp = FusedOp {
    name: "ReluGrad",
    inputs: &["g", "x"],
    body: |b| {
        let zero = b.scalar(0.0);
        let on = b.op("Greater", &["x", &zero]);
        b.op("Where", &[&on, "g", &zero])
    },
};

/// `g` where `x > 0` and `g > 0`, else 0.
pub const GUIDED_RELU_GRAD: FusedOp = FusedOp {
    name: "GuidedReluGrad",
    inputs: &["g", "x"],
    body: |b| {
        let zero = b.scalar(0.0);
        let on = b.op("Greater", &["x", &zero]);
        let positive = b.op("Relu", &["g"]);
        b.op("Where", &[&on, &positive, &zero])
    },
};

/// `g` where `low < x < high`, else 0.
pub const CLIP_GRAD: FusedOp = FusedOp {
    name: "ClipGrad",
    inputs: &["g", "x", "low", "high"],
    body: |b| {
        let zero = b.scalar(0.0);
        let above = b.op("Greater", &["x", "low"]);
        let below = b.op("Less", &["x", "high"]);
        let inside = b.op("And", &[&above, &below]);
        b.op("Where", &[&inside, "g", &zero])
    },
};

/// `g` added to zeros of shape `shape`, which has `count` elements, at the flat positions `indices`.
pub const MAX_POOL_GRAD: FusedOp = FusedOp {
    name: "MaxPoolGrad",
    inputs: &["g", "indices", "count", "shape"],
    body: |b| {
        let flat = b.constant(Tensor::ints(&[-1]));
        let g = b.op("Reshape", &["g", &flat]);
        let indices = b.op("Reshape", &["indices", &flat]);
        let zero = b.constant(Tensor::f32(&[1], &[0.0]));
        let zeros = b.op("Expand", &[&zero, "count"]);
        let add = vec![("axis", Attr::Int(0)), ("reduction", Attr::Text("add".into()))];
        let sums = b.op_with("ScatterElements", &[&zeros, &indices, &g], add);
        b.op("Reshape", &[&sums, "shape"])
    },
};

/// `y (g - sum(g y))` over some axes: the adjoint of `y = softmax(x)`.
pub const SOFTMAX_GRAD: FusedOp = FusedOp {
    name: "SoftmaxGrad",
    inputs: &["g", "y", "axes"],
    body: |b| {
        let weighted = b.op("Mul", &["g", "y"]);
        let total = b.op("ReduceSum", &[&weighted, "axes"]);
        let centred = b.op("Sub", &["g", &total]);
        b.op("Mul", &["y", &centred])
    },
};

/// `(g - mean(g) - n mean(g n)) / root` over some axes: the adjoint of `n = (x - mean(x)) / root` with
/// `root = sqrt(variance(x) + epsilon)`.
pub const STANDARDISE_GRAD: FusedOp = FusedOp {
    name: "StandardiseGrad",
    inputs: &["g", "x", "axes", "epsilon"],
    body: |b| {
        let mean = b.op("ReduceMean", &["x", "axes"]);
        let centred = b.op("Sub", &["x", &mean]);
        let square = b.op("Mul", &[&centred, &centred]);
        let variance = b.op("ReduceMean", &[&square, "axes"]);
        let shifted = b.op("Add", &[&variance, "epsilon"]);
        let root = b.op("Sqrt", &[&shifted]);
        let inverse = b.op("Reciprocal", &[&root]);
        let normal = b.op("Mul", &[&centred, &inverse]);
        let g_mean = b.op("ReduceMean", &["g", "axes"]);
        let g_centred = b.op("Sub", &["g", &g_mean]);
        let product = b.op("Mul", &["g", &normal]);
        let product_mean = b.op("ReduceMean", &[&product, "axes"]);
        let along = b.op("Mul", &[&normal, &product_mean]);
        let inner = b.op("Sub", &[&g_centred, &along]);
        b.op("Mul", &[&inner, &inverse])
    },
};

/// Whether a function is one of ours, by name and to the letter.
pub fn is_ours(function: &Function) -> bool {
    FUNCTIONS.iter().any(|own| own.name == function.name && own.define(function.opset) == *function)
}

impl FusedOp {
    /// The function that goes into a file of op set `opset`.
    pub fn define(&self, opset: i64) -> Function {
        let mut body = Body { nodes: vec![] };
        let output = (self.body)(&mut body);
        Function {
            name: self.name.into(),
            domain: DOMAIN.into(),
            inputs: self.inputs.iter().map(|s| s.to_string()).collect(),
            outputs: vec![output],
            attributes: vec![],
            nodes: body.nodes,
            opset,
        }
    }
}

/// The body of a function under construction. It has no initializers, so constants are nodes.
struct Body {
    nodes: Vec<Node>,
}

impl Body {
    fn op(&mut self, op: &str, inputs: &[&str]) -> String {
        self.op_with(op, inputs, vec![])
    }

    fn op_with(&mut self, op: &str, inputs: &[&str], attributes: Vec<(&str, Attr)>) -> String {
        let output = format!("v{}", self.nodes.len());
        self.nodes.push(Node {
            name: output.clone(),
            op: op.to_string(),
            domain: String::new(),
            inputs: inputs.iter().map(|s| s.to_string()).collect(),
            outputs: vec![output.clone()],
            attributes: attributes.into_iter().map(|(k, v)| (k.to_string(), v)).collect::<BTreeMap<_, _>>(),
        });
        output
    }

    fn constant(&mut self, tensor: Tensor) -> String {
        self.op_with("Constant", &[], vec![("value", Attr::Tensor(tensor))])
    }

    fn scalar(&mut self, value: f32) -> String {
        self.constant(Tensor::scalar(value))
    }
}
