//! What tract knows about single nodes: types and values.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use prost::Message;
use tract_onnx::pb;
use tract_onnx::prelude::{
    DatumType, InferenceFact, InferenceModel, InferenceModelExt, IntoRunnable, TractError, TractResult, TypedFact,
    TypedRunnableModel, tvec,
};
use tract_onnx::tract_hir::infer::Factoid;
use tract_onnx::tract_hir::internal::{TDim, format_err};

use crate::error::{Error, Result};
use crate::gradient::functions;
use crate::hash::sha256;
use crate::onnx::{DType, Fact, Graph, Input, Known, Node, Operators, Tensor as Constant, write};

/// Larger float constants are given to type inference by type alone: no op's shape depends on them.
const SMALL: usize = 64;

/// The types that nodes were found to give. Graphs of one model ask of the same nodes again and again: the model itself, its
/// gradients, and both with other weights.
#[derive(Clone, Debug, Default)]
pub struct Types(Arc<Mutex<HashMap<String, Vec<Fact>>>>);

impl Types {
    fn known(&self, question: &str) -> Option<Vec<Fact>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(question).cloned()
    }

    fn keep(&self, question: String, facts: &[Fact]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(question, facts.to_vec());
    }
}

/// Asks tract, one node at a time.
pub struct TractOperators {
    onnx: tract_onnx::Onnx,
    types: Types,
}

impl Default for TractOperators {
    fn default() -> Self {
        TractOperators::remembering(Types::default())
    }
}

impl Operators for TractOperators {
    fn knows(&self, node: &Node) -> bool {
        node.domain.is_empty() && self.onnx.op_register.0.contains_key(&node.op)
    }

    fn infer(&self, node: &Node, opset: i64, inputs: &[Known]) -> Result<Vec<Fact>> {
        let by_value = |k: &Known| k.value.is_some_and(|v| !v.dtype.is_float() || v.len() <= SMALL);
        let question = nameless(node, opset, inputs, by_value);
        if let Some(facts) = self.types.known(&question) {
            return Ok(facts);
        }
        let quick = guarded(node, || {
            let mut model = self.single(node, opset, inputs, by_value)?;
            model.analyse(false)?;
            let facts = outputs(&model);
            facts.iter().map(inference_fact).collect::<TractResult<Option<Vec<Fact>>>>()
        })?;
        if let Some(facts) = quick {
            self.types.keep(question, &facts);
            return Ok(facts);
        }
        // Some ops know their shape only once they are typed.
        guarded(node, || {
            let model = self.single(node, opset, inputs, |k| k.value.is_some())?.into_typed()?;
            let outlets = model.output_outlets()?.to_vec();
            outlets.iter().map(|o| typed_fact(model.outlet_fact(*o)?)).collect()
        })
    }

    fn evaluate(&self, node: &Node, opset: i64, inputs: &[Known]) -> Result<Vec<Constant>> {
        guarded(node, || {
            let model = self.single(node, opset, inputs, |k| k.value.is_some())?.into_typed()?;
            let values = model.into_runnable()?.run(tvec!())?;
            values.into_iter().map(|v| to_constant(&v)).collect()
        })
    }
}

impl TractOperators {
    /// Asks only what is not known yet.
    pub fn remembering(types: Types) -> TractOperators {
        TractOperators { onnx: tract_onnx::onnx().with_ignore_value_info(true), types }
    }

    fn single(
        &self,
        node: &Node,
        opset: i64,
        inputs: &[Known],
        by_value: impl Fn(&Known) -> bool,
    ) -> TractResult<InferenceModel> {
        Ok(self.onnx.parse(&alone(node, opset, inputs, by_value), None)?.model)
    }
}

/// A model of a node alone; inputs that `by_value` picks are constants in it.
fn alone(node: &Node, opset: i64, inputs: &[Known], by_value: impl Fn(&Known) -> bool) -> pb::ModelProto {
    let mut graph = Graph { opset, nodes: vec![node.clone()], ..Graph::default() };
    for known in inputs {
        match known.value.filter(|_| by_value(known)) {
            Some(value) => {
                graph.constants.insert(known.name.to_string(), value.clone());
            }
            None if graph.inputs.iter().any(|i| i.name == known.name) => {}
            None => graph.inputs.push(Input {
                name: known.name.to_string(),
                dtype: known.fact.dtype,
                dims: Some(known.fact.shape.iter().map(|&d| crate::onnx::Dim::Fixed(d)).collect()),
            }),
        }
    }
    graph.outputs = crate::onnx::graph::outputs_of(node).map(str::to_string).collect();
    write::to_proto(&graph, &Default::default())
}

/// What identifies such a model, whatever the node and its values are called.
fn nameless(node: &Node, opset: i64, inputs: &[Known], by_value: impl Fn(&Known) -> bool) -> String {
    let first = |name: &str| match node.inputs.iter().position(|input| input == name) {
        Some(at) if !name.is_empty() => format!("input {at}"),
        _ => String::new(),
    };
    let names: Vec<String> = inputs.iter().map(|known| first(known.name)).collect();
    let renamed: Vec<Known> = inputs.iter().zip(&names).map(|(known, name)| Known { name, ..*known }).collect();
    let outputs = node.outputs.iter().enumerate().map(|(at, name)| match name.as_str() {
        "" => String::new(),
        _ => format!("output {at}"),
    });
    let node = Node {
        name: String::new(),
        inputs: node.inputs.iter().map(|name| first(name)).collect(),
        outputs: outputs.collect(),
        ..node.clone()
    };
    sha256([alone(&node, opset, &renamed, by_value).encode_to_vec().as_slice()])
}

/// Asks tract, and knows our own ops besides.
pub struct PlanOperators {
    tract: TractOperators,
    /// Of ours, those that a file defines; all where there is no file.
    defined: Option<Vec<String>>,
}

impl PlanOperators {
    /// Asks only what is not known yet.
    pub fn remembering(types: Types) -> PlanOperators {
        PlanOperators { tract: TractOperators::remembering(types), defined: None }
    }

    /// For a file's graph: our own ops are those whose functions it has kept.
    pub fn of_file(graph: &Graph, types: Types) -> PlanOperators {
        let defined = graph.functions.keys().map(|(_, name)| name.clone()).collect();
        PlanOperators { defined: Some(defined), ..PlanOperators::remembering(types) }
    }
}

impl Operators for PlanOperators {
    fn knows(&self, node: &Node) -> bool {
        let defined = || self.defined.as_ref().is_none_or(|defined| defined.contains(&node.op));
        (node.domain == functions::DOMAIN && defined()) || self.tract.knows(node)
    }

    fn infer(&self, node: &Node, opset: i64, inputs: &[Known]) -> Result<Vec<Fact>> {
        if node.domain != functions::DOMAIN {
            return self.tract.infer(node, opset, inputs);
        }
        let first = inputs.first().ok_or_else(|| node.error("has no inputs"))?;
        if let Some(with) = inputs.get(1).filter(|with| with.fact.shape != first.fact.shape) {
            let (own, other) = (&first.fact.shape, &with.fact.shape);
            return Err(node.error(format!("has a cotangent of {own:?} for a value of {other:?}")));
        }
        if functions::OF_ROWS.iter().any(|own| own.name == node.op) {
            return Ok(vec![first.fact.clone()]);
        }
        // What is given a shape takes it; the others keep their cotangent's.
        if node.op != functions::MAX_POOL_GRAD.name {
            let one = |bound: &Known| bound.fact.shape.iter().product::<usize>() == 1;
            return match inputs.iter().skip(2).all(one) {
                true => Ok(vec![first.fact.clone()]),
                false => Err(node.error("has bounds that are not single numbers")),
            };
        }
        let number = |slot: usize| inputs.get(slot).and_then(|known| known.value?.to_i64());
        let (Some(count), Some(shape)) = (number(2), number(3)) else {
            return Err(node.error("is given a shape that is not constant"));
        };
        let extents: Vec<usize> = shape.iter().filter_map(|&extent| usize::try_from(extent).ok()).collect();
        let all = extents.iter().try_fold(1usize, |all, extent| all.checked_mul(*extent));
        match extents.len() == shape.len() && all.is_some_and(|all| all > 0 && count == [all as i64]) {
            true => Ok(vec![Fact::f32(&extents)]),
            false => Err(node.error(format!("is given {count:?} values of the shape {shape:?}"))),
        }
    }

    fn evaluate(&self, node: &Node, opset: i64, inputs: &[Known]) -> Result<Vec<Constant>> {
        if node.domain == functions::DOMAIN {
            return Err(node.error("depends on constants alone"));
        }
        self.tract.evaluate(node, opset, inputs)
    }
}

/// A node as a model of its own, ready to run. `constants` are those of its inputs that are.
pub(super) fn runnable_node(
    node: &Node,
    opset: i64,
    inputs: &[(String, Fact)],
    constants: Vec<(String, Constant)>,
) -> Result<Arc<TypedRunnableModel>> {
    let mut graph = Graph { opset, nodes: vec![node.clone()], ..Graph::default() };
    graph.constants.extend(constants);
    for (name, fact) in inputs {
        let dims = fact.shape.iter().map(|&d| crate::onnx::Dim::Fixed(d)).collect();
        graph.inputs.push(Input { name: name.clone(), dtype: fact.dtype, dims: Some(dims) });
    }
    graph.outputs = crate::onnx::graph::outputs_of(node).map(str::to_string).collect();
    guarded(node, || {
        let proto = write::to_proto(&graph, &Default::default());
        let parsed = tract_onnx::onnx().with_ignore_value_info(true).parse(&proto, None)?;
        parsed.model.into_optimized()?.into_runnable()
    })
}

/// tract's name of an element type.
pub(super) fn datum_type(dtype: DType) -> DatumType {
    match dtype {
        DType::F32 => DatumType::F32,
        DType::F16 | DType::BF16 => DatumType::F16,
        DType::F64 => DatumType::F64,
        DType::I8 => DatumType::I8,
        DType::I16 => DatumType::I16,
        DType::I32 => DatumType::I32,
        DType::I64 => DatumType::I64,
        DType::U8 => DatumType::U8,
        DType::U16 => DatumType::U16,
        DType::U32 => DatumType::U32,
        DType::U64 => DatumType::U64,
        DType::Bool => DatumType::Bool,
    }
}

/// Runs tract on one node; its errors, and its panics on malformed nodes, name the node.
fn guarded<T>(node: &Node, run: impl FnOnce() -> TractResult<T>) -> Result<T> {
    quietly(run).map_err(|reason| node.error(format!("tract can't use it: {reason}")))
}

/// Runs `run` and turns an error or a panic inside tract into its reason.
pub(super) fn quietly<T>(run: impl FnOnce() -> TractResult<T>) -> std::result::Result<T, String> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(chain(&error)),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            Err(text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked").to_string())
        }
    }
}

/// The innermost causes say what is wrong; the outer ones only where, which we know.
fn chain(error: &TractError) -> String {
    let causes: Vec<String> = error.chain().map(|c| c.to_string()).collect();
    let keep = causes.len().saturating_sub(2);
    causes[keep..].join(": ")
}

fn outputs(model: &InferenceModel) -> Vec<InferenceFact> {
    let outlets = model.output_outlets().map(|o| o.to_vec()).unwrap_or_default();
    outlets.iter().filter_map(|o| model.outlet_fact(*o).ok().cloned()).collect()
}

fn inference_fact(fact: &InferenceFact) -> TractResult<Option<Fact>> {
    let (Some(datum), Some(shape)) = (fact.datum_type.concretize(), fact.shape.concretize()) else {
        return Ok(None);
    };
    Ok(extents(&shape).and_then(|shape| Some(Fact { dtype: dtype(datum)?, shape })))
}

fn typed_fact(fact: &TypedFact) -> TractResult<Fact> {
    let shape = extents(&fact.shape).ok_or_else(|| format_err!("its output's shape is not known"))?;
    let dtype = dtype(fact.datum_type)
        .ok_or_else(|| format_err!("its output's type {:?} is not supported", fact.datum_type))?;
    Ok(Fact { dtype, shape })
}

fn extents(dims: &[TDim]) -> Option<Vec<usize>> {
    // What a 32-bit machine can't count is kept impossibly large, not cut to its low bits.
    dims.iter().map(|d| d.to_i64().ok().map(|v| usize::try_from(v).unwrap_or(usize::MAX))).collect()
}

/// tract computes with sizes in a type of its own; to ONNX they are int64.
fn dtype(datum: DatumType) -> Option<DType> {
    Some(match datum {
        DatumType::F32 => DType::F32,
        DatumType::F16 => DType::F16,
        DatumType::F64 => DType::F64,
        DatumType::I8 => DType::I8,
        DatumType::I16 => DType::I16,
        DatumType::I32 => DType::I32,
        DatumType::I64 | DatumType::TDim => DType::I64,
        DatumType::U8 => DType::U8,
        DatumType::U16 => DType::U16,
        DatumType::U32 => DType::U32,
        DatumType::U64 => DType::U64,
        DatumType::Bool => DType::Bool,
        _ => return None,
    })
}

fn to_constant(tensor: &tract_onnx::prelude::Tensor) -> TractResult<Constant> {
    let tensor = match tensor.datum_type() {
        DatumType::TDim => tensor.cast_to::<i64>()?.into_owned(),
        _ => tensor.clone(),
    };
    let dtype = dtype(tensor.datum_type())
        .ok_or_else(|| format_err!("its value's type {:?} is not supported", tensor.datum_type()))?;
    let bytes = tensor.try_as_plain_ram()?.as_bytes().to_vec();
    Constant::from_bytes(dtype, tensor.shape(), bytes).ok_or_else(|| format_err!("its value has no plain bytes"))
}

/// An error of the engine as a whole.
pub(super) fn engine_error(action: &'static str, reason: String) -> Error {
    Error::Engine { action, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_known_by_what_it_does_and_reads() {
        let (small, large) = (Fact::f32(&[1, 2]), Fact::f32(&[3, 4]));
        let ask = |op: &str, names: &[&str], facts: &[&Fact], output: &str| {
            let node = Node {
                name: format!("{op} of {output}"),
                op: op.into(),
                inputs: names.iter().map(|name| name.to_string()).collect(),
                outputs: vec![output.into()],
                ..Node::default()
            };
            let known = names.iter().zip(facts).map(|(name, fact)| Known { name, fact, value: None });
            nameless(&node, 18, &known.collect::<Vec<_>>(), |_| false)
        };
        let own = ask("Add", &["a", "b"], &[&small, &large], "c");
        assert_eq!(own, ask("Add", &["x", "y"], &[&small, &large], "z"));
        let others = [
            ask("Mul", &["a", "b"], &[&small, &large], "c"),
            ask("Add", &["a", "b"], &[&large, &small], "c"),
            ask("Add", &["a", "a"], &[&small, &small], "c"),
            ask("Add", &["a", "b"], &[&small, &small], "c"),
        ];
        assert!(
            others.iter().enumerate().all(|(i, other)| *other != own && !others[..i].contains(other)),
            "{others:?}"
        );
    }

    #[test]
    fn extents_that_constants_say_are_asked_for_anew() {
        let operators = TractOperators::default();
        let node = Node {
            op: "Reshape".into(),
            inputs: vec!["x".into(), "shape".into()],
            outputs: vec!["y".into()],
            ..Node::default()
        };
        let (x, extents) = (Fact::f32(&[2, 6]), Fact { dtype: DType::I64, shape: vec![2] });
        for to in [[3, 4], [4, 3], [3, 4]] {
            let bytes = to.iter().flat_map(|extent: &i64| extent.to_le_bytes()).collect();
            let value = Constant::from_bytes(DType::I64, &[2], bytes);
            let known = |name, fact, value| Known { name, fact, value };
            let inputs = [known("x", &x, None), known("shape", &extents, value.as_ref())];
            let shape = to.map(|extent| extent as usize);
            assert_eq!(operators.infer(&node, 18, &inputs).unwrap(), [Fact::f32(&shape)]);
        }
    }
}
