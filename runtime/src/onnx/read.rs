//! Reads an ONNX file into a [`Graph`] and checks it.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use prost::Message;
use tract_onnx::pb;
use tract_onnx::pb::tensor_proto::DataLocation;
use tract_onnx::pb::tensor_shape_proto::dimension::Value as DimValue;
use tract_onnx::pb::type_proto::Value as TypeValue;

use super::graph::{Dim, Function, Graph, Input};
use super::inline::inline_some;
use super::node::{Attr, Node};
use super::tensor::{DType, Tensor};
use super::weights;
use crate::error::{Error, Result};
use crate::files;
use crate::hash::sha256;

/// The oldest op set whose ops mean what ours do (broadcasting as in NumPy).
const OLDEST_OPSET: i64 = 7;

/// A model as it was read.
#[derive(Clone, Debug)]
pub struct Model {
    /// Its graph: functions inlined but for those that were kept, half precision widened, nodes in topological order.
    pub graph: Graph,
    /// SHA-256 of the file's bytes and, after them, of its external data, in hexadecimal.
    pub sha256: String,
    /// The file's op set.
    pub opset: i64,
    /// The file's name, for messages and records.
    pub name: String,
    /// Other files that some of its weights are in.
    pub external: Vec<PathBuf>,
    /// The seed of random weights, where the file leaves some out.
    pub random_weights: Option<u64>,
}

/// Reads the ONNX file at `path`, with external data from its folder.
///
/// `random_weights` fills weights that the file leaves out (`why.weightless`) from a seed; without it
/// such a file is an error.
pub fn read_model(path: &Path, random_weights: Option<u64>) -> Result<Model> {
    read_model_keeping(path, random_weights, &|_| false)
}

/// The same, with calls of those functions that are `kept` left as they are.
pub fn read_model_keeping(path: &Path, random_weights: Option<u64>, kept: &dyn Fn(&Function) -> bool) -> Result<Model> {
    let bytes = files::read(path)?;
    // The parent of a bare file name is the empty path, which is the current folder.
    let folder = path.parent().map(|p| if p.as_os_str().is_empty() { Path::new(".") } else { p });
    parse_model_keeping(&bytes, &path.display().to_string(), folder, random_weights, kept)
}

/// Reads an ONNX model from memory; `name` is used in messages, `folder` holds external data.
pub fn parse_model(bytes: &[u8], name: &str, folder: Option<&Path>, random_weights: Option<u64>) -> Result<Model> {
    parse_model_keeping(bytes, name, folder, random_weights, &|_| false)
}

/// The same, with calls of those functions that are `kept` left as they are.
pub fn parse_model_keeping(
    bytes: &[u8],
    name: &str,
    folder: Option<&Path>,
    random_weights: Option<u64>,
    kept: &dyn Fn(&Function) -> bool,
) -> Result<Model> {
    let refuse = |reason: String| Error::NotOnnx { model: name.to_string(), reason };
    let (proto, graph_proto, opset) = decode(bytes).map_err(refuse)?;
    let mut graph = Graph {
        opset,
        metadata: proto.metadata_props.iter().map(|e| (e.key.clone(), e.value.clone())).collect(),
        ..Graph::default()
    };
    for function in proto.functions {
        let function = read_function(function, opset)?;
        graph.functions.insert((function.domain.clone(), function.name.clone()), function);
    }
    let Stored { missing, external, files } = read_initializers(&mut graph, graph_proto.initializer, folder)?;
    if let Some(sparse) = graph_proto.sparse_initializer.first() {
        let name = sparse.values.as_ref().map_or("", |v| v.name.as_str());
        return Err(Error::tensor(name, "sparse initializers are not supported; store it densely"));
    }
    graph.nodes = graph_proto.node.into_iter().map(|n| Node::from_proto(n, folder)).collect::<Result<_>>()?;
    graph.name_nodes();
    inline_but(&mut graph, kept)?;
    let names: HashSet<&str> = missing.iter().map(|m| m.name.as_str()).collect();
    for input in &graph_proto.input {
        if !graph.constants.contains_key(&input.name) && !names.contains(input.name.as_str()) {
            graph.inputs.push(read_input(input)?);
        }
    }
    graph.outputs = graph_proto.output.iter().map(|o| o.name.clone()).collect();
    if graph.outputs.is_empty() {
        return Err(refuse("its graph has no outputs".into()));
    }
    let random_weights = random_weights.filter(|_| !missing.is_empty());
    weights::fill(&mut graph, missing, random_weights, name)?;
    widen_halves(&mut graph);
    check_finite(&graph)?;
    graph.sort()?;
    graph.prune();
    let sha256 = sha256(std::iter::once(bytes).chain(external.iter().map(Tensor::bytes)));
    Ok(Model { graph, sha256, opset, name: name.to_string(), external: files.into_iter().collect(), random_weights })
}

/// A file's model, its graph and its op set; or what is wrong with it.
fn decode(bytes: &[u8]) -> std::result::Result<(pb::ModelProto, pb::GraphProto, i64), String> {
    if image::guess_format(bytes).is_ok() {
        return Err("it is an image; the model comes first, and then its input".into());
    }
    let mut proto = pb::ModelProto::decode(bytes).map_err(|e| format!("it does not decode: {e}"))?;
    let graph = proto.graph.take().ok_or("it holds no graph")?;
    if graph.node.is_empty() {
        return Err("its graph has no nodes".into());
    }
    let opset = standard_opset(&proto.opset_import).ok_or("it names no op set")?;
    if opset < OLDEST_OPSET {
        return Err(format!("its op set is {opset}; {OLDEST_OPSET} is the oldest that is understood"));
    }
    Ok((proto, graph, opset))
}

/// Of a file's initializers, those that are not in it.
#[derive(Default)]
struct Stored {
    /// Nowhere: the file was written without weights.
    missing: Vec<weights::Blank>,
    /// In other files.
    external: Vec<Tensor>,
    files: BTreeSet<PathBuf>,
}

/// Reads constants into the graph.
fn read_initializers(graph: &mut Graph, tensors: Vec<pb::TensorProto>, folder: Option<&Path>) -> Result<Stored> {
    let weightless = graph.metadata.get(weights::WEIGHTLESS).is_some_and(|v| v == "1");
    let mut stored = Stored::default();
    for tensor in tensors {
        if weightless && weights::is_missing(&tensor) {
            stored.missing.push(weights::blank(&tensor)?);
            continue;
        }
        let lies_elsewhere = tensor.data_location() == DataLocation::External;
        let location = tensor.external_data.iter().find(|entry| lies_elsewhere && entry.key == "location");
        stored.files.extend(location.zip(folder).map(|(entry, folder)| folder.join(&entry.value)));
        let name = tensor.name.clone();
        let constant = Tensor::from_proto(tensor, folder)?;
        stored.external.extend(lies_elsewhere.then(|| constant.clone()));
        graph.constants.insert(name, constant);
    }
    Ok(stored)
}

/// Puts the bodies of functions in the places of their calls, but for those that are `kept`.
fn inline_but(graph: &mut Graph, kept: &dyn Fn(&Function) -> bool) -> Result<()> {
    let calls = graph.functions.iter().filter(|(_, function)| kept(function));
    let calls: BTreeMap<_, _> = calls.map(|(name, function)| (name.clone(), function.clone())).collect();
    let is_kept = |node: &Node| {
        let called = calls.get(&(node.domain.clone(), node.op.clone()));
        called.is_some_and(|function| function.is_called_in_full(node))
    };
    inline_some(graph, |node| !is_kept(node))?;
    graph.functions = calls;
    Ok(())
}

fn standard_opset(imports: &[pb::OperatorSetIdProto]) -> Option<i64> {
    imports.iter().find(|o| o.domain.is_empty() || o.domain == "ai.onnx").map(|o| o.version)
}

fn read_function(proto: pb::FunctionProto, model_opset: i64) -> Result<Function> {
    let function = Function {
        name: proto.name.unwrap_or_default(),
        domain: proto.domain.unwrap_or_default(),
        inputs: proto.input,
        outputs: proto.output,
        attributes: proto.attribute,
        nodes: proto.node.into_iter().map(|n| Node::from_proto(n, None)).collect::<Result<_>>()?,
        opset: standard_opset(&proto.opset_import).unwrap_or(model_opset),
    };
    // Inlined nodes take the model's op set; forms that changed in between would be read wrongly.
    let (older, newer) = (function.opset.min(model_opset), function.opset.max(model_opset));
    let regrouped = (older..newer).contains(&20) && function.nodes.iter().any(|n| n.op == "GroupNormalization");
    if (older < newer && older < super::upgrade::OPSET) || regrouped {
        return Err(Error::graph(format!(
            "function '{}' uses op set {}, the model {model_opset}; export both with one",
            function.name, function.opset
        )));
    }
    Ok(function)
}

fn read_input(proto: &pb::ValueInfoProto) -> Result<Input> {
    let lacking = |what: &str| Error::graph(format!("input '{}' {what}", proto.name));
    let Some(TypeValue::TensorType(tensor)) = proto.r#type.as_ref().and_then(|t| t.value.as_ref()) else {
        return Err(lacking("is not a tensor"));
    };
    let dtype = DType::from_onnx(tensor.elem_type).ok_or_else(|| lacking("has an unsupported element type"))?;
    let dims = tensor.shape.as_ref().map(|shape| {
        let dim = |(axis, d): (usize, &pb::tensor_shape_proto::Dimension)| match &d.value {
            Some(DimValue::DimValue(v)) if *v > 0 => match usize::try_from(*v) {
                Ok(extent) => Ok(Dim::Fixed(extent)),
                Err(_) => Err(lacking(&format!("has the impossible extent {v}"))),
            },
            Some(DimValue::DimParam(s)) => Ok(Dim::Symbol(s.clone())),
            _ => Ok(Dim::Symbol(format!("axis {axis}"))),
        };
        shape.dim.iter().enumerate().map(dim).collect::<Result<_>>()
    });
    let dims = dims.transpose()?;
    Ok(Input { name: proto.name.clone(), dtype, dims })
}

/// Weights in half precision are stored so, and computed with in float32.
fn widen_halves(graph: &mut Graph) {
    let half = |d: DType| matches!(d, DType::F16 | DType::BF16);
    let mut widened = false;
    for input in graph.inputs.iter_mut().filter(|i| half(i.dtype)) {
        input.dtype = DType::F32;
        widened = true;
    }
    for tensor in graph.constants.values_mut().filter(|t| half(t.dtype)) {
        *tensor = tensor.widened();
        widened = true;
    }
    for node in &mut graph.nodes {
        for (name, value) in &mut node.attributes {
            match value {
                Attr::Tensor(tensor) if half(tensor.dtype) => {
                    *tensor = tensor.widened();
                    widened = true;
                }
                Attr::Int(code)
                    if matches!(name.as_str(), "to" | "dtype" | "output_dtype")
                        && DType::from_onnx(*code as i32).is_some_and(half) =>
                {
                    *code = DType::F32.onnx() as i64;
                    widened = true;
                }
                _ => {}
            }
        }
    }
    graph.widened = widened;
}

/// A NaN anywhere, or an infinity in a tensor of weights, makes every map meaningless.
/// A lone infinity is a bound (Clip without a limit) and means something.
fn check_finite(graph: &Graph) -> Result<()> {
    for (name, tensor) in graph.constants.iter().filter(|(_, t)| t.dtype == DType::F32) {
        let bad = |v: f32| v.is_nan() || (v.is_infinite() && tensor.len() > 1);
        let (chunks, _) = tensor.bytes().as_chunks::<4>();
        if let Some(i) = chunks.iter().position(|c| bad(f32::from_le_bytes(*c))) {
            let value = f32::from_le_bytes(chunks[i]);
            return Err(Error::tensor(name, format!("holds {value} at element {i}; the weights must be finite")));
        }
    }
    Ok(())
}

/// Checks a shape read from a file before anything of its size is allocated.
pub(crate) fn checked_shape(name: &str, dims: &[i64]) -> Result<Vec<usize>> {
    let shape: Vec<usize> = dims
        .iter()
        .map(|&d| usize::try_from(d).map_err(|_| Error::tensor(name, format!("has a negative extent {d}"))))
        .collect::<Result<_>>()?;
    match weights::possible_count(&shape) {
        Some(_) => Ok(shape),
        None => Err(Error::tensor(name, format!("has the impossible shape {shape:?}"))),
    }
}
