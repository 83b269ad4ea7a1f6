//! Types every value, and folds what does not depend on the input.
//!
//! What an op does to shapes and values is asked of [`Operators`], which the engine implements with
//! tract; this module only walks the graph.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::graph::{Dim, Graph, drop_unread};
use super::node::{Attr, Node};
use super::sound::{self, Folded};
use super::tensor::{DType, Tensor, element_count};
use super::upgrade;
use super::weights::possible_count;
use crate::error::{Error, Gap, Result};

/// Element type and extents of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// Element type.
    pub dtype: DType,
    /// Extent of each axis.
    pub shape: Vec<usize>,
}

impl Fact {
    /// A float32 value of this shape.
    pub fn f32(shape: &[usize]) -> Fact {
        Fact { dtype: DType::F32, shape: shape.to_vec() }
    }

    /// The axis that `index` means, counted from the end where negative.
    pub fn axis(&self, index: i64) -> Option<usize> {
        let rank = self.shape.len() as i64;
        let axis = if index < 0 { index + rank } else { index };
        (0..rank).contains(&axis).then_some(axis as usize)
    }
}

/// The facts of all values of a graph, by name.
pub type Facts = HashMap<String, Fact>;

/// An input of a node, as far as it is known.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// The value's name.
    pub name: &'a str,
    /// Its type.
    pub fact: &'a Fact,
    /// Its value, where it is constant.
    pub value: Option<&'a Tensor>,
}

/// What the execution engine knows about ops, one node at a time.
pub trait Operators {
    /// Whether a node of this op can be executed.
    fn knows(&self, node: &Node) -> bool;
    /// The types of the node's outputs (those not left out), in order.
    fn infer(&self, node: &Node, opset: i64, inputs: &[Known]) -> Result<Vec<Fact>>;
    /// The values of the node's outputs (those not left out), in order. All inputs are constant.
    fn evaluate(&self, node: &Node, opset: i64, inputs: &[Known]) -> Result<Vec<Tensor>>;
}

/// A graph in which every extent is known and every value typed.
#[derive(Clone, Debug)]
pub struct TypedGraph {
    /// Without constant nodes, dropout, or ops on constants; op set 18 or newer.
    pub graph: Graph,
    /// Of every value.
    pub facts: Facts,
}

impl TypedGraph {
    /// The constant of this name.
    pub fn constant(&self, name: &str) -> Option<&Tensor> {
        self.graph.constants.get(name)
    }
}

impl upgrade::Values for TypedGraph {
    fn fact(&self, name: &str) -> Option<Fact> {
        self.facts.get(name).cloned()
    }

    fn ints(&self, name: &str) -> Option<Vec<i64>> {
        self.constant(name).and_then(Tensor::to_i64)
    }

    fn floats(&self, name: &str) -> Option<Vec<f32>> {
        self.constant(name).and_then(Tensor::to_f32)
    }
}

/// Gives every input its extents: `shapes` by name, and 1 for a symbolic first axis (the batch).
pub fn fix_shapes(graph: &mut Graph, shapes: &BTreeMap<String, Vec<usize>>) -> Result<()> {
    for input in &mut graph.inputs {
        let fixed: Vec<usize> = match (shapes.get(&input.name), &input.dims) {
            (Some(shape), None) => shape.clone(),
            (Some(shape), Some(dims)) => {
                let fits = |(given, dim): (&usize, &Dim)| matches!(dim, Dim::Symbol(_)) || *dim == Dim::Fixed(*given);
                if shape.len() != dims.len() || !shape.iter().zip(dims).all(fits) {
                    let reason =
                        format!("shape {shape:?} does not fit the model's input '{}' {}", input.name, show_dims(dims));
                    return Err(Error::bad_input(reason));
                }
                shape.clone()
            }
            (None, Some(dims)) => dims
                .iter()
                .enumerate()
                .map(|(axis, dim)| match dim {
                    Dim::Fixed(n) => Ok(*n),
                    Dim::Symbol(_) if axis == 0 => Ok(1),
                    Dim::Symbol(_) => Err(Error::usage(format!(
                        "the model's input '{}' has the open extents {}; give them with --shape or in the model card",
                        input.name,
                        show_dims(dims)
                    ))),
                })
                .collect::<Result<_>>()?,
            (None, None) => {
                let reason = format!("the model's input '{}' has no shape; give one with --shape", input.name);
                return Err(Error::usage(reason));
            }
        };
        input.dims = Some(fixed.into_iter().map(Dim::Fixed).collect());
    }
    Ok(())
}

fn show_dims(dims: &[Dim]) -> String {
    let show = |d: &Dim| match d {
        Dim::Fixed(n) => n.to_string(),
        Dim::Symbol(s) => s.clone(),
    };
    format!("[{}]", dims.iter().map(show).collect::<Vec<_>>().join(", "))
}

/// Types and folds the graph. Inputs must have fixed extents and nodes be in topological order.
///
/// Errors: ops the engine can't execute (all of them at once), nodes whose inputs don't fit.
pub fn type_graph(graph: Graph, operators: &dyn Operators) -> Result<TypedGraph> {
    refuse_unknown_ops(&graph, operators)?;
    let mut walk = Walk {
        typed: start(&graph)?,
        folded: Folded::of(graph.constants.values().map(|tensor| tensor.bytes().len() as u64).sum()),
        aliases: HashMap::new(),
        operators,
        opset: graph.opset.max(upgrade::OPSET),
    };
    let read = graph.consumers().keys().map(|k| k.to_string()).collect::<HashSet<_>>();
    for mut node in graph.nodes {
        drop_unread(&mut node, |output| read.contains(output) || graph.outputs.iter().any(|o| o == output));
        walk.visit(node, graph.opset)?;
    }
    let Walk { mut typed, aliases, opset, .. } = walk;
    typed.graph.opset = opset;
    // An output that was folded away or renamed is carried by an Identity.
    for output in &graph.outputs {
        if let Some(source) = aliases.get(output) {
            let identity = Node {
                name: format!("{output}/identity"),
                op: "Identity".into(),
                inputs: vec![source.clone()],
                outputs: vec![output.clone()],
                ..Node::default()
            };
            let fact = typed.facts.get(source).cloned().ok_or_else(|| identity.error("has an untyped input"))?;
            typed.facts.insert(output.clone(), fact);
            typed.graph.nodes.push(identity);
        }
    }
    typed.graph.prune();
    Ok(typed)
}

fn refuse_unknown_ops(graph: &Graph, operators: &dyn Operators) -> Result<()> {
    let rewritten = ["Constant", "Upsample", "CastLike"];
    let nodes: Vec<Gap> = graph
        .nodes
        .iter()
        .filter(|n| !(operators.knows(n) || (n.domain.is_empty() && rewritten.contains(&n.op.as_str()))))
        .map(|n| Gap {
            node: n.name.clone(),
            op: n.qualified_op(),
            cut_at: n.output(0).unwrap_or_default().to_string(),
            reason: "tract has no such op, and the file defines no function of this name".into(),
        })
        .collect();
    if nodes.is_empty() { Ok(()) } else { Err(Error::UnknownOps { nodes }) }
}

fn start(graph: &Graph) -> Result<TypedGraph> {
    let mut facts = Facts::new();
    for input in &graph.inputs {
        let fixed = |d: &Dim| match d {
            Dim::Fixed(n) => Some(*n),
            Dim::Symbol(_) => None,
        };
        let shape: Option<Vec<usize>> = input.dims.as_ref().and_then(|dims| dims.iter().map(fixed).collect());
        let shape = shape.ok_or_else(|| Error::graph(format!("input '{}' has open extents", input.name)))?;
        if possible_count(&shape).is_none() {
            return Err(Error::graph(format!("input '{}' has the impossible extents {shape:?}", input.name)));
        }
        facts.insert(input.name.clone(), Fact { dtype: input.dtype, shape });
    }
    for (name, tensor) in &graph.constants {
        facts.insert(name.clone(), Fact { dtype: tensor.dtype, shape: tensor.shape.clone() });
    }
    let graph = Graph { nodes: vec![], ..graph.clone() };
    Ok(TypedGraph { graph, facts })
}

/// Elements of which no op that is not listed makes too many.
const SMALL: usize = 1 << 12;

/// Ops whose results may be much larger than what they read.
const GROWING: &[&str] = &[
    "ConstantOfShape",
    "Range",
    "Expand",
    "Pad",
    "Resize",
    "Tile",
    "OneHot",
    "Einsum",
    "Conv",
    "ConvTranspose",
    "AveragePool",
    "MaxPool",
];

struct Walk<'a> {
    typed: TypedGraph,
    folded: Folded,
    /// Values that are other values under a new name.
    aliases: HashMap<String, String>,
    operators: &'a dyn Operators,
    opset: i64,
}

impl Walk<'_> {
    fn visit(&mut self, mut node: Node, source_opset: i64) -> Result<()> {
        for input in &mut node.inputs {
            if let Some(source) = self.aliases.get(input) {
                *input = source.clone();
            }
        }
        if node.input(0).is_none() && node.op != "Constant" && !node.is_random() {
            return Err(node.error("lacks its first input"));
        }
        // What is rewritten has been looked at, and what it becomes is looked at again.
        sound::attributes(&node)?;
        let (nodes, extra) = upgrade::upgrade(node, source_opset, &self.typed)?;
        for (name, tensor) in extra {
            if self.typed.facts.contains_key(&name) {
                return Err(Error::graph(format!(
                    "the name '{name}' is wanted for a rewritten node, but the model uses it"
                )));
            }
            self.define(name, tensor);
        }
        nodes.into_iter().try_for_each(|node| self.settle(node))
    }

    fn define(&mut self, name: String, tensor: Tensor) {
        self.typed.facts.insert(name.clone(), Fact { dtype: tensor.dtype, shape: tensor.shape.clone() });
        self.typed.graph.constants.insert(name, tensor);
    }

    /// Folds the node, sees through it, or types and keeps it.
    fn settle(&mut self, node: Node) -> Result<()> {
        if node.is_random() {
            return Err(node.error("gives random values, which an explanation can't have"));
        }
        if node.attributes.values().any(|a| matches!(a, Attr::Graph(_))) {
            return Err(node.error("holds a sub-graph, which is not supported; export the model without control flow"));
        }
        if let Some(constant) = constant_node(&node)? {
            self.define(node.outputs[0].clone(), constant);
            return Ok(());
        }
        let inputs = self.known_inputs(&node)?;
        sound::attributes(&node)?;
        sound::check(&node, &inputs)?;
        if let Some(value) = self.shape_question(&node, &inputs) {
            self.define(node.outputs[0].clone(), value);
            return Ok(());
        }
        if passes_through(&node, &inputs)? {
            self.aliases.insert(node.outputs[0].clone(), node.inputs[0].clone());
            return Ok(());
        }
        let outputs = node.outputs.iter().filter(|o| !o.is_empty()).cloned();
        if inputs.iter().all(|k| k.value.is_some()) {
            let bytes = self.size_up(&node, &inputs)?;
            self.folded.add(&node, bytes)?;
            let values = self.operators.evaluate(&node, self.opset, &inputs)?;
            let values: Vec<(String, Tensor)> = outputs.zip(values).collect();
            values.into_iter().for_each(|(name, value)| self.define(name, value));
            return Ok(());
        }
        let facts = self.operators.infer(&node, self.opset, &inputs)?;
        facts.iter().try_for_each(|fact| refuse_impossible(&node, &inputs, fact))?;
        let facts: Vec<(String, Fact)> = outputs.zip(facts).collect();
        self.typed.facts.extend(facts);
        self.typed.graph.nodes.push(node);
        Ok(())
    }

    /// Refuses a folded result that would be impossibly large, before it is made; the bytes of one that may be large.
    fn size_up(&self, node: &Node, inputs: &[Known]) -> Result<u64> {
        let count: usize = inputs.iter().map(|input| input.fact.shape.iter().product::<usize>()).sum();
        if count <= SMALL && !GROWING.contains(&node.op.as_str()) {
            return Ok(0);
        }
        let facts = match (node.op.as_str(), inputs) {
            ("ConstantOfShape", [to]) => {
                let shape = to.value.and_then(Tensor::to_i64).unwrap_or_default();
                let extent = |&d: &i64| usize::try_from(d.max(0)).unwrap_or(usize::MAX);
                vec![Fact::f32(&shape.iter().map(extent).collect::<Vec<_>>())]
            }
            ("Range", [start, limit, delta]) => {
                let number = |of: &Known| {
                    let whole = of.value?.to_i64().and_then(|v| v.first().map(|v| *v as f64));
                    whole.or_else(|| of.value?.to_f32()?.first().map(|v| *v as f64))
                };
                let steps = || Some((number(limit)? - number(start)?) / number(delta)?);
                vec![Fact::f32(&[steps().map_or(0, |steps| steps.max(0.0).ceil() as usize)])]
            }
            // Without the data's values tract can only size the result, not make it. Where it cannot even do that, the result
            // is of what the inputs are.
            (op, [data, rest @ ..]) => {
                let unknown = Known { value: None, ..*data };
                match self.operators.infer(node, self.opset, &[&[unknown], rest].concat()) {
                    Err(error) if ["Expand", "Pad", "Resize", "Tile"].contains(&op) => return Err(error),
                    sized => sized.unwrap_or_default(),
                }
            }
            _ => return Ok(0),
        };
        facts.iter().try_for_each(|fact| refuse_impossible(node, inputs, fact))?;
        Ok(facts.iter().map(|fact| fact.shape.iter().product::<usize>() as u64 * fact.dtype.size() as u64).sum())
    }

    fn known_inputs(&self, node: &Node) -> Result<Vec<Known<'_>>> {
        super::graph::inputs_of(node)
            .map(|name| {
                let (name, fact) = self
                    .typed
                    .facts
                    .get_key_value(name)
                    .ok_or_else(|| node.error(format!("reads '{name}', whose type is not known")))?;
                Ok(Known { name, fact, value: self.typed.graph.constants.get(name) })
            })
            .collect()
    }

    /// Shape and Size of a typed value are constants.
    fn shape_question(&self, node: &Node, inputs: &[Known]) -> Option<Tensor> {
        let shape = &inputs.first()?.fact.shape;
        match node.op.as_str() {
            "Size" => Some(Tensor::i64(&[], &[shape.iter().product::<usize>() as i64])),
            "Shape" => {
                let rank = shape.len() as i64;
                let clamp = |v: i64| (if v < 0 { v + rank } else { v }).clamp(0, rank) as usize;
                let (start, end) = (clamp(node.int("start", 0)), clamp(node.int("end", rank)));
                let extents: Vec<i64> = shape.get(start..end).unwrap_or_default().iter().map(|&d| d as i64).collect();
                Some(Tensor::ints(&extents))
            }
            _ => None,
        }
    }
}

/// Sizes that no image model has, and reshapes that don't come out, which tract lets pass.
fn refuse_impossible(node: &Node, inputs: &[Known], fact: &Fact) -> Result<()> {
    let Some(count) = possible_count(&fact.shape) else {
        return Err(node.error(format!("would give the impossible extents {:?}", fact.shape)));
    };
    if let ("Reshape", [x, to, ..]) = (node.op.as_str(), inputs) {
        let to = to.value.and_then(Tensor::to_i64).unwrap_or_default();
        let asked = |(&to, &got): (&i64, &usize)| to <= 0 || usize::try_from(to) == Ok(got);
        let fits = to.len() == fact.shape.len() && to.iter().zip(&fact.shape).all(asked);
        if !fits || element_count(&x.fact.shape) != Some(count) {
            return Err(node.error(format!("can't reshape {:?} to {to:?}", x.fact.shape)));
        }
    }
    Ok(())
}

/// The value of a Constant node.
fn constant_node(node: &Node) -> Result<Option<Tensor>> {
    if node.op != "Constant" || !node.domain.is_empty() {
        return Ok(None);
    }
    let value = node.attributes.iter().find_map(|(name, value)| match (name.as_str(), value) {
        ("value", Attr::Tensor(t)) => Some(t.clone()),
        ("value_float", Attr::Float(v)) => Some(Tensor::scalar(*v)),
        ("value_floats", Attr::Floats(v)) => Some(Tensor::f32(&[v.len()], v)),
        ("value_int", Attr::Int(v)) => Some(Tensor::i64(&[], &[*v])),
        ("value_ints", Attr::Ints(v)) => Some(Tensor::ints(v)),
        _ => None,
    });
    value.map(Some).ok_or_else(|| node.error("holds no value that is understood"))
}

/// Ops whose only output is their first input, at inference.
fn passes_through(node: &Node, inputs: &[Known]) -> Result<bool> {
    Ok(match node.op.as_str() {
        "Identity" => true,
        "Dropout" => {
            if node.input(2).is_some()
                && inputs.last().and_then(|k| k.value).is_none_or(|v| v.bytes().iter().any(|&b| b != 0))
            {
                return Err(node.error("drops at random (training_mode); export the model in evaluation mode"));
            }
            if node.output(1).is_some() {
                return Err(node.error("hands out its mask, which is not supported"));
            }
            true
        }
        "Cast" => {
            let to = DType::from_onnx(node.int("to", 0) as i32);
            inputs.first().is_some_and(|k| Some(k.fact.dtype) == to)
        }
        _ => false,
    })
}
