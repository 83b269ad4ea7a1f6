//! A session on ONNX Runtime, whose library is loaded from a file when it is wanted: for hosts, to compare with.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ort::environment::Environment;
use ort::session::{Session as Engine, SessionInputValue};
use ort::value::TensorRef;
use prost::Message;

use super::session::{Gradient, Session, Tap};
use crate::error::{Error, Result};
use crate::gradient::GradientGraph;
use crate::onnx::write::to_proto;

/// A program loads one library, once.
static LOADED: Mutex<Option<(PathBuf, Environment)>> = Mutex::new(None);

/// A model of somebody's file, or a gradient graph as its file has it.
pub struct OrtSession {
    engine: Engine,
    shape: Vec<usize>,
    seed_shape: Vec<usize>,
    /// Input and cotangent.
    inputs: [String; 2],
    /// Logits, the input's gradient if there is one, then each tap's value and gradient.
    outputs: Vec<String>,
    tap_shapes: Vec<Vec<usize>>,
    input_gradient: bool,
    latest: Vec<Vec<f32>>,
}

impl OrtSession {
    /// Prepares a gradient graph that takes no differences from a baseline. `library` is ONNX Runtime's, or a folder that holds
    /// it, as that of its Python package.
    pub fn new(derived: &GradientGraph, library: &Path) -> Result<OrtSession> {
        if derived.baseline.is_some() {
            return Err(Error::usage("ONNX Runtime is asked for plain gradients, not for differences from a baseline"));
        }
        let mut outputs = vec![derived.logits.clone()];
        outputs.extend(derived.input_gradient.clone());
        for tap in &derived.taps {
            outputs.extend([tap.value.clone(), tap.gradient.clone()]);
        }
        let mut graph = derived.graph.clone();
        graph.outputs.clone_from(&outputs);
        let shape_of = |name: &str| match derived.facts.get(name) {
            Some(fact) => Ok(fact.shape.clone()),
            None => Err(Error::graph(format!("'{name}' is not typed"))),
        };
        Ok(OrtSession {
            engine: engine(&to_proto(&graph, &derived.facts).encode_to_vec(), library)?,
            shape: shape_of(&derived.input)?,
            seed_shape: shape_of(&derived.seed)?,
            inputs: [derived.input.clone(), derived.seed.clone()],
            outputs,
            tap_shapes: derived.taps.iter().map(|t| shape_of(&t.gradient)).collect::<Result<_>>()?,
            input_gradient: derived.input_gradient.is_some(),
            latest: vec![],
        })
    }
}

/// An output, at each of several inputs, of a model in the bytes of its file, which has one input of this shape.
pub fn outputs_of(
    model: &[u8],
    library: &Path,
    shape: &[usize],
    inputs: &[&[f32]],
    output: &str,
) -> Result<Vec<Vec<f32>>> {
    let mut engine = engine(model, library)?;
    let name = engine.inputs().first().map(|input| input.name().to_string()).unwrap_or_default();
    let mut all = vec![];
    for input in inputs {
        all.extend(run(&mut engine, &[(&name, shape, input)], &[output.to_string()])?);
    }
    Ok(all)
}

impl Session for OrtSession {
    fn input_shape(&self) -> &[usize] {
        &self.shape
    }

    fn forward(&mut self, input: &[f32]) -> Result<&[f32]> {
        let seed = vec![0.0; self.seed_shape.iter().product()];
        Ok(self.gradient(input, &seed)?.logits)
    }

    fn gradient(&mut self, input: &[f32], seed: &[f32]) -> Result<Gradient<'_>> {
        let [x, s] = &self.inputs;
        let given = [(x.as_str(), &self.shape[..], input), (s, &self.seed_shape, seed)];
        self.latest = run(&mut self.engine, &given, &self.outputs)?;
        Ok(Gradient { logits: &self.latest[0], input: if self.input_gradient { &self.latest[1] } else { &[] } })
    }

    fn tap(&self, index: usize) -> Option<Tap<'_>> {
        let first = 1 + self.input_gradient as usize + 2 * index;
        let (value, gradient) = (self.latest.get(first)?, self.latest.get(first + 1)?);
        Some(Tap { shape: self.tap_shapes.get(index)?, value, gradient })
    }
}

fn failed(action: &'static str, reason: impl ToString) -> Error {
    Error::OtherEngine { action, reason: reason.to_string() }
}

/// The library in a folder, or the file itself.
fn library_in(path: &Path) -> Result<PathBuf> {
    if !path.is_dir() {
        return Ok(path.to_path_buf());
    }
    let read = |source| Error::Read { path: path.into(), source };
    let is_library = |name: &str| {
        name.starts_with("libonnxruntime.so") || name == "libonnxruntime.dylib" || name == "onnxruntime.dll"
    };
    let mut found: Vec<PathBuf> = vec![];
    for entry in std::fs::read_dir(path).map_err(read)? {
        let entry = entry.map_err(read)?;
        if entry.file_name().to_str().is_some_and(is_library) {
            found.push(entry.path());
        }
    }
    found.sort();
    found.pop().ok_or_else(|| failed("be loaded", format!("{} holds no libonnxruntime", path.display())))
}

fn engine(model: &[u8], library: &Path) -> Result<Engine> {
    let library = library_in(library)?;
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((other, _)) = loaded.as_ref().filter(|(other, _)| *other != library) {
        return Err(failed("be loaded", format!("this program has loaded {} already", other.display())));
    }
    if loaded.is_none() {
        let environment = ort::init_from(&library).map_err(|e| failed("be loaded", e))?;
        *loaded = Some((library, environment.build().map_err(|e| failed("be loaded", e))?));
    }
    let Some((_, environment)) = loaded.as_ref() else { return Err(failed("be loaded", "nothing is loaded")) };
    let builder = Engine::builder(environment).map_err(|e| failed("prepare the model", e))?;
    let mut builder = builder.with_intra_threads(1).map_err(|e| failed("prepare the model", e))?;
    builder.commit_from_memory(model).map_err(|e| failed("prepare the model", e))
}

fn run(engine: &mut Engine, given: &[(&str, &[usize], &[f32])], wanted: &[String]) -> Result<Vec<Vec<f32>>> {
    let mut inputs: Vec<(Cow<str>, SessionInputValue)> = vec![];
    for (name, shape, values) in given {
        let tensor = TensorRef::from_array_view((shape.to_vec(), *values)).map_err(|e| failed("take the input", e))?;
        inputs.push((Cow::Borrowed(*name), tensor.into()));
    }
    let outputs = engine.run(inputs).map_err(|e| failed("run the model", e))?;
    let values = |name: &String| {
        let value = outputs.get(name).ok_or_else(|| failed("hand out a result", format!("there is no '{name}'")))?;
        let (_, values) = value.try_extract_tensor::<f32>().map_err(|e| failed("hand out a result", e))?;
        Ok(values.to_vec())
    };
    wanted.iter().map(values).collect()
}
