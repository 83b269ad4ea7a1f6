//! A network of Relu as a smooth one.

use crate::onnx::{Fact, Node, Tensor, TypedGraph};

/// The graph with `ln(1 + exp(b z)) / b` in the place of every Relu, and how many there were. As
/// `((b z + |b z|) / 2 + ln(1 + exp(-|b z|))) / b`, which does not overflow, and has the derivative one half at zero.
pub fn soften(typed: &TypedGraph, sharpness: f32) -> (TypedGraph, usize) {
    let mut soft = typed.clone();
    let mut count = 0;
    let nodes = std::mem::take(&mut soft.graph.nodes);
    for node in nodes {
        match (node.op.as_str(), node.domain.as_str(), node.input(0)) {
            ("Relu", "", Some(z)) => {
                let (z, parts) = (z.to_string(), Parts { typed: &mut soft, relu: &node });
                parts.emit(&z, sharpness);
                count += 1;
            }
            _ => soft.graph.nodes.push(node),
        }
    }
    (soft, count)
}

/// What stands in a Relu's place.
struct Parts<'a> {
    typed: &'a mut TypedGraph,
    relu: &'a Node,
}

impl Parts<'_> {
    fn emit(mut self, z: &str, sharpness: f32) {
        let (sharp, flat) = (self.constant("b", sharpness), self.constant("1/b", 1.0 / sharpness));
        let (one, half) = (self.constant("1", 1.0), self.constant("1/2", 0.5));
        let scaled = self.node("Mul", &[z, &sharp], "scaled");
        let size = self.node("Abs", &[&scaled], "size");
        let twice = self.node("Add", &[&scaled, &size], "twice");
        let positive = self.node("Mul", &[&twice, &half], "positive");
        let less = self.node("Neg", &[&size], "less");
        let grown = self.node("Exp", &[&less], "grown");
        let more = self.node("Add", &[&grown, &one], "more");
        let tail = self.node("Log", &[&more], "tail");
        let sum = self.node("Add", &[&positive, &tail], "sum");
        self.node("Mul", &[&sum, &flat], "");
    }

    fn value(&self, what: &str) -> String {
        format!("{}.soft.{what}", self.relu.outputs[0])
    }

    fn constant(&mut self, what: &str, value: f32) -> String {
        let name = self.value(what);
        self.typed.facts.insert(name.clone(), Fact::f32(&[]));
        self.typed.graph.constants.insert(name.clone(), Tensor::scalar(value));
        name
    }

    /// A node whose output has the Relu's shape, or is the Relu's own where it has no name.
    fn node(&mut self, op: &str, inputs: &[&str], what: &str) -> String {
        let output = if what.is_empty() { self.relu.outputs[0].clone() } else { self.value(what) };
        if let Some(fact) = self.typed.facts.get(&self.relu.outputs[0]).cloned() {
            self.typed.facts.insert(output.clone(), fact);
        }
        let mut node = self.relu.clone();
        (node.op, node.name) = (op.into(), format!("{}.soft.{what}", self.relu.name));
        (node.inputs, node.outputs) = (inputs.iter().map(|i| i.to_string()).collect(), vec![output.clone()]);
        self.typed.graph.nodes.push(node);
        output
    }
}
