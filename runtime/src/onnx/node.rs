//! A node of a graph and its attributes.

use std::collections::BTreeMap;

use tract_onnx::pb;
use tract_onnx::pb::attribute_proto::AttributeType;

use super::tensor::Tensor;
use crate::error::{Error, Result};

/// The value of a node's attribute.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Attr {
    Int(i64),
    Ints(Vec<i64>),
    Float(f32),
    Floats(Vec<f32>),
    Text(String),
    Texts(Vec<String>),
    Tensor(Tensor),
    /// A sub-graph; carried, never interpreted.
    Graph(Box<pb::GraphProto>),
    /// Inside a function's body: the value of the calling node's attribute of this name.
    FromCaller(String),
}

/// One op of the graph. Values are named, as in ONNX; an empty name is an absent optional value.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Node {
    /// Unique in its graph.
    pub name: String,
    /// The op's name.
    pub op: String,
    /// Empty for the standard domain.
    pub domain: String,
    /// Names of the values read.
    pub inputs: Vec<String>,
    /// Names of the values written.
    pub outputs: Vec<String>,
    /// By name.
    pub attributes: BTreeMap<String, Attr>,
}

impl Node {
    /// The op with its domain where that is not the standard one.
    pub fn qualified_op(&self) -> String {
        if self.domain.is_empty() { self.op.clone() } else { format!("{}::{}", self.domain, self.op) }
    }

    /// The i-th input, `None` where it is left out.
    pub fn input(&self, i: usize) -> Option<&str> {
        self.inputs.get(i).map(String::as_str).filter(|s| !s.is_empty())
    }

    /// The i-th output, `None` where it is left out.
    pub fn output(&self, i: usize) -> Option<&str> {
        self.outputs.get(i).map(String::as_str).filter(|s| !s.is_empty())
    }

    /// An integer attribute, or `default`.
    pub fn int(&self, name: &str, default: i64) -> i64 {
        match self.attributes.get(name) {
            Some(Attr::Int(v)) => *v,
            _ => default,
        }
    }

    /// A list of integers, where given.
    pub fn ints(&self, name: &str) -> Option<&[i64]> {
        match self.attributes.get(name) {
            Some(Attr::Ints(v)) => Some(v),
            _ => None,
        }
    }

    /// A float attribute, or `default`.
    pub fn float(&self, name: &str, default: f32) -> f32 {
        match self.attributes.get(name) {
            Some(Attr::Float(v)) => *v,
            _ => default,
        }
    }

    /// A text attribute, or `default`.
    pub fn text<'a>(&'a self, name: &str, default: &'a str) -> &'a str {
        match self.attributes.get(name) {
            Some(Attr::Text(v)) => v,
            _ => default,
        }
    }

    /// Of a BatchNormalization: what it multiplies each channel by, and what it adds then. `vector` gives its constant inputs.
    pub fn batch_norm(&self, vector: impl Fn(&str) -> Option<Vec<f32>>) -> Option<(Vec<f64>, Vec<f64>)> {
        let input = |slot: usize| vector(self.input(slot)?);
        let (gamma, beta, mean, variance) = (input(1)?, input(2)?, input(3)?, input(4)?);
        if [&beta, &mean, &variance].iter().any(|v| v.len() != gamma.len()) {
            return None;
        }
        let epsilon = self.float("epsilon", 1e-5) as f64;
        let scale = gamma.iter().zip(&variance).map(|(&g, &v)| g as f64 / (v as f64 + epsilon).sqrt());
        let scale: Vec<f64> = scale.collect();
        let shift = beta.iter().zip(&mean).zip(&scale).map(|((&b, &m), s)| b as f64 - m as f64 * s).collect();
        Some((scale, shift))
    }

    /// Whether the op has results that differ from run to run.
    pub fn is_random(&self) -> bool {
        self.op.starts_with("Random") || matches!(self.op.as_str(), "Multinomial" | "Bernoulli")
    }

    /// An error that names this node.
    pub fn error(&self, reason: impl Into<String>) -> Error {
        Error::Node { node: self.name.clone(), op: self.qualified_op(), reason: reason.into() }
    }

    pub(crate) fn from_proto(proto: pb::NodeProto, folder: Option<&std::path::Path>) -> Result<Node> {
        let named = |a: pb::AttributeProto| Ok((a.name.clone(), attr_from_proto(a, folder)?));
        let attributes = proto.attribute.into_iter().map(named).collect::<Result<_>>();
        let mut node = Node {
            // It is shown: a line of its own, or a colour, is not for it to make.
            name: proto.name.replace(char::is_control, "?"),
            op: proto.op_type,
            domain: if proto.domain == "ai.onnx" { String::new() } else { proto.domain },
            inputs: proto.input,
            outputs: proto.output,
            attributes: BTreeMap::new(),
        };
        // Some ops count their inputs, and would count those left out at the end.
        while node.inputs.last().is_some_and(String::is_empty) {
            node.inputs.pop();
        }
        node.attributes = attributes.map_err(|e| node.error(e.to_string()))?;
        Ok(node)
    }

    pub(crate) fn to_proto(&self) -> pb::NodeProto {
        pb::NodeProto {
            name: self.name.clone(),
            op_type: self.op.clone(),
            domain: self.domain.clone(),
            input: self.inputs.clone(),
            output: self.outputs.clone(),
            attribute: self.attributes.iter().map(|(name, value)| attr_to_proto(name, value)).collect(),
            ..Default::default()
        }
    }
}

fn attr_from_proto(proto: pb::AttributeProto, folder: Option<&std::path::Path>) -> Result<Attr> {
    if !proto.ref_attr_name.is_empty() {
        return Ok(Attr::FromCaller(proto.ref_attr_name));
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let name = proto.name.clone();
    let missing = || Error::graph(format!("attribute '{name}' has no value"));
    Ok(match proto.r#type() {
        AttributeType::Int => Attr::Int(proto.i),
        AttributeType::Ints => Attr::Ints(proto.ints),
        AttributeType::Float => Attr::Float(proto.f),
        AttributeType::Floats => Attr::Floats(proto.floats),
        AttributeType::String => Attr::Text(text(&proto.s)),
        AttributeType::Strings => Attr::Texts(proto.strings.iter().map(|s| text(s)).collect()),
        AttributeType::Tensor => Attr::Tensor(Tensor::from_proto(proto.t.ok_or_else(missing)?, folder)?),
        AttributeType::Graph => Attr::Graph(Box::new(proto.g.ok_or_else(missing)?)),
        other => {
            return Err(Error::graph(format!("attribute '{}' has unsupported type {other:?}", proto.name)));
        }
    })
}

fn attr_to_proto(name: &str, value: &Attr) -> pb::AttributeProto {
    let mut proto = pb::AttributeProto { name: name.to_string(), ..Default::default() };
    proto.r#type = match value {
        Attr::Int(v) => {
            proto.i = *v;
            AttributeType::Int
        }
        Attr::Ints(v) => {
            proto.ints = v.clone();
            AttributeType::Ints
        }
        Attr::Float(v) => {
            proto.f = *v;
            AttributeType::Float
        }
        Attr::Floats(v) => {
            proto.floats = v.clone();
            AttributeType::Floats
        }
        Attr::Text(v) => {
            proto.s = v.clone().into_bytes();
            AttributeType::String
        }
        Attr::Texts(v) => {
            proto.strings = v.iter().map(|s| s.clone().into_bytes()).collect();
            AttributeType::Strings
        }
        Attr::Tensor(v) => {
            proto.t = Some(v.to_proto(""));
            AttributeType::Tensor
        }
        Attr::Graph(v) => {
            proto.g = Some(*v.clone());
            AttributeType::Graph
        }
        Attr::FromCaller(v) => {
            proto.ref_attr_name = v.clone();
            AttributeType::Undefined
        }
    } as i32;
    proto
}
