//! A session on tract's own executor.

use tract_onnx::prelude::{
    InferenceModelExt, IntoRunnable, IntoTValue, Runnable, TValue, TVec, Tensor, TractResult, tvec,
};

use super::operators::{PlanOperators, Types, engine_error, quietly};
use super::repeats;
use super::runner::Reweigh;
use super::session::{FIXED_WEIGHTS, Gradient, NO_BASELINE, Session, Tap};
use crate::error::{Error, Result};
use crate::gradient::GradientGraph;
use crate::onnx::{Facts, Graph, WeightNoise, inline::inline_functions, type_graph, write};

/// What tract runs a model on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Device {
    /// The processor.
    #[default]
    Cpu,
    /// An NVIDIA GPU.
    #[cfg(feature = "cuda")]
    Cuda,
}

/// Forward and gradient graph, each lowered by tract.
pub struct TractSession<'m> {
    shape: Vec<usize>,
    seed_shape: Vec<usize>,
    device: Device,
    lowered: Lowered,
    /// With the weights' own values, while others are in force.
    original: Option<Lowered>,
    reweigh: Option<Reweigh<'m>>,
    tap_shapes: Vec<Vec<usize>>,
    input_gradient: bool,
    /// What differences are taken from, for a graph that takes any.
    baseline: Option<Vec<f32>>,
    /// Of the latest pass: logits, the input's gradient if there is one, then each tap's value and gradient.
    outputs: Vec<Vec<f32>>,
}

/// What tract has made of a gradient graph.
struct Lowered {
    forward: Box<dyn Runnable>,
    gradient: Box<dyn Runnable>,
}

impl Lowered {
    fn of(derived: &GradientGraph, device: Device) -> Result<Lowered> {
        let mut graph = derived.graph.clone();
        inline_functions(&mut graph)?;
        let logits = vec![derived.logits.clone()];
        let mut wanted = logits.clone();
        wanted.extend(derived.input_gradient.clone());
        for tap in &derived.taps {
            wanted.extend([tap.value.clone(), tap.gradient.clone()]);
        }
        graph.outputs.clone_from(&wanted);
        let repeats = repeats::read_by_products(&graph);
        if !repeats.is_empty() {
            let typed = type_graph(graph, &PlanOperators::remembering(Types::default()))?;
            graph = typed.graph;
            repeats::gather(&mut graph, &typed.facts, &repeats);
        }
        let mut inputs = vec![derived.input.as_str(), derived.seed.as_str()];
        inputs.extend(derived.baseline.as_deref());
        let forward = lower(&graph, &[&derived.input], &logits, device)?;
        Ok(Lowered { forward, gradient: lower(&graph, &inputs, &wanted, device)? })
    }
}

impl<'m> TractSession<'m> {
    /// Prepares a gradient graph and the forward graph inside it.
    pub fn new(derived: &GradientGraph) -> Result<TractSession<'m>> {
        Self::on(derived, Device::Cpu)
    }

    /// The same, to be run on a device.
    ///
    /// Errors: there is no such device here that can be used.
    pub fn on(derived: &GradientGraph, device: Device) -> Result<TractSession<'m>> {
        let shape_of = |name: &str| match derived.facts.get(name) {
            Some(fact) => Ok(fact.shape.clone()),
            None => Err(Error::graph(format!("'{name}' is not typed"))),
        };
        let shape = shape_of(&derived.input)?;
        Ok(TractSession {
            baseline: derived.baseline.as_ref().map(|_| vec![0.0; shape.iter().product()]),
            shape,
            seed_shape: shape_of(&derived.seed)?,
            device,
            lowered: Lowered::of(derived, device)?,
            original: None,
            reweigh: None,
            tap_shapes: derived.taps.iter().map(|t| shape_of(&t.gradient)).collect::<Result<_>>()?,
            input_gradient: derived.input_gradient.is_some(),
            outputs: vec![],
        })
    }

    /// Lets weights be perturbed: `reweigh` makes the graphs.
    pub fn allow_reweighing(&mut self, reweigh: Reweigh<'m>) {
        self.reweigh = Some(reweigh);
    }

    /// Nodes of the gradient graph that the device leaves to the processor, with their ops.
    #[cfg(feature = "cuda")]
    pub fn left_to_the_processor(&self) -> Vec<String> {
        let nodes = self.lowered.gradient.typed_model().map(|model| model.nodes.as_slice()).unwrap_or_default();
        let is_left =
            |op: &str| !["Cuda", "Gpu", "DeviceSync", "Source", "Const"].iter().any(|own| op.starts_with(own));
        let named = nodes.iter().map(|node| (node.op().name(), &node.name));
        named.filter(|(op, _)| is_left(op)).map(|(op, name)| format!("{name} ({op})")).collect()
    }

    fn tensor(shape: &[usize], values: &[f32], what: &str) -> Result<TValue> {
        if values.len() != shape.iter().product::<usize>() {
            let reason = format!("{what} has {} values, but the model wants {shape:?}", values.len());
            return Err(Error::bad_input(reason));
        }
        let tensor = Tensor::from_shape(shape, values).map_err(|e| engine_error("take the input", e.to_string()))?;
        Ok(tensor.into_tvalue())
    }
}

impl Session for TractSession<'_> {
    fn input_shape(&self) -> &[usize] {
        &self.shape
    }

    fn set_baseline(&mut self, baseline: &[f32]) -> Result<()> {
        Self::tensor(&self.shape, baseline, "the baseline")?;
        match &mut self.baseline {
            Some(own) => own.copy_from_slice(baseline),
            None => return Err(Error::usage(NO_BASELINE)),
        }
        Ok(())
    }

    fn perturb_weights(&mut self, noise: Option<WeightNoise>) -> Result<()> {
        let Some(noise) = noise else {
            if let Some(original) = self.original.take() {
                self.lowered = original;
            }
            return Ok(());
        };
        let reweigh = self.reweigh.as_ref().ok_or_else(|| Error::usage(FIXED_WEIGHTS))?;
        let lowered = Lowered::of(&reweigh(noise)?, self.device)?;
        let before = std::mem::replace(&mut self.lowered, lowered);
        self.original.get_or_insert(before);
        Ok(())
    }

    fn forward(&mut self, input: &[f32]) -> Result<&[f32]> {
        let input = Self::tensor(&self.shape, input, "it")?;
        self.outputs = run(&*self.lowered.forward, tvec!(input))?;
        Ok(&self.outputs[0])
    }

    fn gradient(&mut self, input: &[f32], seed: &[f32]) -> Result<Gradient<'_>> {
        let input = Self::tensor(&self.shape, input, "it")?;
        let seed = Self::tensor(&self.seed_shape, seed, "the cotangent")?;
        let mut inputs = tvec!(input, seed);
        if let Some(baseline) = &self.baseline {
            inputs.push(Self::tensor(&self.shape, baseline, "the baseline")?);
        }
        self.outputs = run(&*self.lowered.gradient, inputs)?;
        Ok(Gradient { logits: &self.outputs[0], input: if self.input_gradient { &self.outputs[1] } else { &[] } })
    }

    fn tap(&self, index: usize) -> Option<Tap<'_>> {
        let first = 1 + self.input_gradient as usize + 2 * index;
        Some(Tap {
            shape: self.tap_shapes.get(index)?,
            value: self.outputs.get(first)?,
            gradient: self.outputs.get(first + 1)?,
        })
    }
}

fn run(plan: &dyn Runnable, inputs: TVec<TValue>) -> Result<Vec<Vec<f32>>> {
    let outputs = quietly(|| plan.run(inputs)).map_err(|reason| engine_error("run the model", reason))?;
    outputs.iter().map(floats).collect()
}

fn floats(value: &TValue) -> Result<Vec<f32>> {
    let copy = || -> TractResult<Vec<f32>> { Ok(value.try_as_plain_ram()?.as_slice::<f32>()?.to_vec()) };
    copy().map_err(|e| engine_error("hand out a result", e.to_string()))
}

/// The part of a graph from `inputs` to `outputs`, optimised and ready to run.
fn lower(graph: &Graph, inputs: &[&str], outputs: &[String], device: Device) -> Result<Box<dyn Runnable>> {
    let mut graph = graph.clone();
    graph.outputs = outputs.to_vec();
    graph.prune();
    graph.inputs.retain(|i| inputs.contains(&i.name.as_str()));
    graph.inputs.sort_by_key(|i| inputs.iter().position(|name| *name == i.name));
    quietly(|| {
        let proto = write::to_proto(&graph, &Facts::new());
        let parsed = tract_onnx::onnx().with_ignore_value_info(true).parse(&proto, None)?;
        drop(proto);
        match device {
            Device::Cpu => Ok(Box::new(parsed.model.into_optimized()?.into_runnable()?) as Box<dyn Runnable>),
            #[cfg(feature = "cuda")]
            Device::Cuda => {
                tract_cuda::utils::ensure_cuda_runtime_dependencies("no GPU can be used here")?;
                let runtime = tract_onnx::prelude::runtime_for_name("cuda")?;
                let runtime =
                    runtime.ok_or_else(|| tract_onnx::prelude::TractError::msg("this build of tract has no 'cuda'"))?;
                runtime.prepare(parsed.model.into_typed()?)
            }
        }
    })
    .map_err(|reason| engine_error("prepare the model", reason))
}
