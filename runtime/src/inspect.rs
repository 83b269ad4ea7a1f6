//! What a model consists of, what its gradient costs, and where CAM methods can look.

mod compiled;

use std::collections::BTreeMap;

use serde::Serialize;

pub use compiled::{Compiled, compiled};

use crate::engine::{Halves, Memory, Passes, Plans, Precision};
use crate::error::{Error, Result};
use crate::explain::{Loaded, Wanted, with_target};
use crate::flops::{flops, gradient_flops};
use crate::gradient::composite::GRADIENT;
use crate::gradient::coverage::{FLAT, find_gaps, find_path};
use crate::gradient::layers::{cam_layers, default_layer};
use crate::gradient::target::find_target;
use crate::gradient::{COMPOSITES, adjoints};
use crate::methods::{Entry, Extents, Given, METHODS};

/// Everything `whyline inspect` shows.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs)]
pub struct Inspection {
    pub model: String,
    pub sha256: String,
    pub opset: i64,
    pub nodes: usize,
    pub input: String,
    pub input_shape: Vec<usize>,
    pub target: String,
    pub target_shape: Vec<usize>,
    /// Whether it is a score of each place, which `CLASS@ROW,COLUMN` names.
    pub of_places: bool,
    /// How many of them compete, where that is known.
    pub competing: Option<usize>,
    pub stepped_over: Option<String>,
    pub parameters: usize,
    pub parameter_bytes: usize,
    pub widened: bool,
    pub forward_flops: u64,
    /// Absent where the gradient can't be derived.
    pub backward_flops: Option<u64>,
    /// Bytes that a session needs; absent where the gradient can't be derived.
    pub memory: Option<Memory>,
    /// Nodes of the gradient graph that run on tract's executor, one by one, for want of a kernel.
    pub on_tract: Vec<String>,
    /// How numbers are kept and multiplied here; absent where the gradient can't be derived.
    pub precision: Option<Precision>,
    /// Which steps use halves, where precision is not single.
    pub halves: Option<Halves>,
    pub ops: Vec<OpLine>,
    /// Nodes on the path that can't be differentiated.
    pub gaps: Vec<String>,
    /// Nodes on the path whose derivative is zero.
    pub flat: Vec<String>,
    pub layers: Vec<LayerLine>,
    pub default_layer: Option<String>,
    pub methods: Vec<MethodLine>,
}

/// One kind of op.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs)]
pub struct OpLine {
    pub op: String,
    pub count: usize,
    pub derivative: String,
}

/// One layer.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs)]
pub struct LayerLine {
    pub name: String,
    pub op: String,
    pub shape: Vec<usize>,
}

/// What a method takes of this model, with its defaults.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs)]
pub struct MethodLine {
    pub name: String,
    /// At most, and before it can be stopped.
    pub passes: Passes,
    pub least: Passes,
    /// Why the model can't be explained by it, if it can't.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// What each method takes of a model, and which are not defined for it.
pub fn method_lines(loaded: &Loaded) -> Result<Vec<MethodLine>> {
    METHODS.iter().map(|entry| method_line(loaded, entry, &Given::new())).collect()
}

/// What a method with some parameters takes of a model, and whether it is defined for it.
pub fn method_line(loaded: &Loaded, entry: &'static Entry, given: &Given) -> Result<MethodLine> {
    let method = (entry.build)(&entry.params(given)?)?;
    let (model, refused) = match loaded.admits(method.as_ref()) {
        Ok(model) => (model, None),
        Err(error) => (Extents::default(), Some(error.to_string())),
    };
    // What is refused takes nothing.
    let of = |passes: Passes| if refused.is_none() { with_target(passes) } else { Passes::default() };
    let (passes, least) = (of(method.passes(model)), of(method.least(model)));
    Ok(MethodLine { name: entry.name.into(), passes, least, refused })
}

/// Looks a loaded model over.
pub fn inspect(loaded: &Loaded, precision: Precision) -> Result<Inspection> {
    if loaded.ready_made.is_some() {
        return Err(Error::usage("the file is a gradient graph, not a forward model"));
    }
    let typed = &loaded.typed;
    let graph = &typed.graph;
    let output = loaded.output();
    let target = find_target(typed, output)?;
    let input = loaded.input()?.to_string();
    let path = find_path(typed, &[&input], &target.logits);
    let gaps = find_gaps(typed, &path, &GRADIENT);
    let forward_flops = flops(graph, &typed.facts);
    let (mut backward_flops, mut plans) = (None, None);
    if gaps.is_empty() {
        let derived = loaded.derive(&Wanted::default())?;
        backward_flops = Some(gradient_flops(&derived)?.saturating_sub(forward_flops));
        plans = Some(Plans::new(&derived, precision)?);
    }
    let layers = cam_layers(typed, output, loaded.layout()?)?;
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    graph.nodes.iter().for_each(|n| *counts.entry(n.qualified_op()).or_default() += 1);
    let weights = graph.constants.values().filter(|t| t.dtype.is_float());
    Ok(Inspection {
        model: loaded.model.name.clone(),
        sha256: loaded.model.sha256.clone(),
        opset: loaded.model.opset,
        nodes: graph.nodes.len(),
        input_shape: loaded.input_shape()?,
        input,
        target: target.logits,
        target_shape: target.shape,
        of_places: loaded.places()?.is_some(),
        competing: loaded.competing()?,
        stepped_over: target.stepped_over.map(|stepped| stepped.node),
        parameters: weights.clone().map(|t| t.len()).sum(),
        parameter_bytes: weights.map(|t| t.bytes().len()).sum(),
        widened: graph.widened,
        forward_flops,
        backward_flops,
        memory: plans.as_ref().map(Plans::memory),
        on_tract: plans.as_ref().map(Plans::fallbacks).unwrap_or_default(),
        precision: plans.as_ref().map(Plans::precision),
        halves: plans.as_ref().filter(|p| p.precision().keeps_halves()).map(Plans::halves),
        ops: counts.into_iter().map(|(op, count)| OpLine { derivative: derivative(&op), op, count }).collect(),
        gaps: gaps
            .iter()
            .map(|g| format!("{} ({}) cuts the path at '{}': {}", g.node, g.op, g.cut_at, g.reason))
            .collect(),
        flat: path.flat.iter().map(|(node, op)| format!("{node} ({op})")).collect(),
        default_layer: default_layer(&layers).map(|l| l.name.clone()),
        methods: method_lines(loaded)?,
        layers: layers.into_iter().map(|l| LayerLine { name: l.name, op: l.op, shape: l.shape }).collect(),
    })
}

/// What can be said of an op's derivative, by rule.
fn derivative(op: &str) -> String {
    if FLAT.contains(&op) {
        return "zero".into();
    }
    if adjoints::find(op).is_none() {
        return "none".into();
    }
    let ruled = COMPOSITES.iter().filter(|c| c.rule(op).is_some()).map(|c| c.name);
    std::iter::once("gradient").chain(ruled).collect::<Vec<_>>().join(", ")
}
