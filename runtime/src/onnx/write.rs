//! Writes a [`Graph`] as an ONNX file.

use std::path::Path;

use prost::Message;
use tract_onnx::pb;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension::Value as DimValue};
use tract_onnx::pb::type_proto::Value as TypeValue;

use super::graph::{Dim, Function, Graph};
use super::infer::Facts;
use super::node::Node;
use super::tensor::DType;
use crate::error::Result;
use crate::files::write_atomically;

/// The version of the ONNX file format that knows functions.
const IR_VERSION: i64 = 8;

/// The graph as a `ModelProto`; `facts` give the types of its outputs.
pub fn to_proto(graph: &Graph, facts: &Facts) -> pb::ModelProto {
    let mut domains: Vec<&str> = graph.functions.keys().map(|(domain, _)| domain.as_str()).collect();
    domains.extend(graph.nodes.iter().map(|n| n.domain.as_str()).filter(|d| !d.is_empty()));
    domains.sort_unstable();
    domains.dedup();
    let import = |domain: &str, version| pb::OperatorSetIdProto { domain: domain.to_string(), version };
    let mut opset_import = vec![import("", graph.opset)];
    opset_import.extend(domains.iter().map(|d| import(d, 1)));
    let outputs = graph.outputs.iter().map(|name| match facts.get(name) {
        Some(fact) => value_info(name, fact.dtype, Some(fact.shape.iter().map(|&d| Dim::Fixed(d)).collect())),
        None => value_info(name, DType::F32, None),
    });
    pb::ModelProto {
        ir_version: IR_VERSION,
        producer_name: "whyline".into(),
        producer_version: env!("CARGO_PKG_VERSION").into(),
        opset_import,
        functions: graph.functions.values().map(function_proto).collect(),
        metadata_props: graph
            .metadata
            .iter()
            .map(|(key, value)| pb::StringStringEntryProto { key: key.clone(), value: value.clone() })
            .collect(),
        graph: Some(pb::GraphProto {
            name: "whyline".into(),
            node: graph.nodes.iter().map(Node::to_proto).collect(),
            initializer: graph.constants.iter().map(|(name, t)| t.to_proto(name)).collect(),
            input: graph.inputs.iter().map(|i| value_info(&i.name, i.dtype, i.dims.clone())).collect(),
            output: outputs.collect(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// Writes the graph to `path`: complete, or not at all.
pub fn write_model(graph: &Graph, facts: &Facts, path: &Path) -> Result<()> {
    write_atomically(path, &to_proto(graph, facts).encode_to_vec())
}

fn value_info(name: &str, dtype: DType, dims: Option<Vec<Dim>>) -> pb::ValueInfoProto {
    let dim = |d: Dim| Dimension {
        value: Some(match d {
            Dim::Fixed(n) => DimValue::DimValue(n as i64),
            Dim::Symbol(s) => DimValue::DimParam(s),
        }),
        ..Default::default()
    };
    let shape = dims.map(|dims| pb::TensorShapeProto { dim: dims.into_iter().map(dim).collect() });
    let tensor = pb::type_proto::Tensor { elem_type: dtype.onnx(), shape };
    pb::ValueInfoProto {
        name: name.to_string(),
        r#type: Some(pb::TypeProto { value: Some(TypeValue::TensorType(tensor)), ..Default::default() }),
        ..Default::default()
    }
}

fn function_proto(function: &Function) -> pb::FunctionProto {
    pb::FunctionProto {
        name: Some(function.name.clone()),
        domain: Some(function.domain.clone()),
        input: function.inputs.clone(),
        output: function.outputs.clone(),
        node: function.nodes.iter().map(Node::to_proto).collect(),
        opset_import: vec![pb::OperatorSetIdProto { domain: String::new(), version: function.opset }],
        ..Default::default()
    }
}
