//! What a file says of itself that is a gradient graph already.

use serde::Serialize;

use super::{MethodLine, method_lines};
use crate::engine::{Halves, Memory, Plans, Precision};
use crate::error::{Error, Result};
use crate::explain::Loaded;
use crate::gradient::names;
use crate::load::Validated;

/// A gradient graph, as `whyline inspect` shows it.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs)]
pub struct Compiled {
    pub model: String,
    pub sha256: String,
    /// SHA-256 of the forward model that it was made from, where it says so.
    pub source: Option<String>,
    pub nodes: usize,
    pub composite: String,
    pub input: String,
    pub input_shape: Vec<usize>,
    pub target: String,
    pub classes: usize,
    /// Values that can be looked at on the way.
    pub taps: Vec<String>,
    pub memory: Memory,
    /// Nodes that run on tract's executor, one by one, for want of a kernel.
    pub on_tract: Vec<String>,
    /// How numbers are kept and multiplied here.
    pub precision: Precision,
    /// Which steps use halves, where precision is not single.
    pub halves: Option<Halves>,
    /// What `compile --f16 --validated` has found, where it was asked for.
    pub validated: Option<Validated>,
    /// The methods that it serves.
    pub methods: Vec<MethodLine>,
}

/// Looks a gradient graph over.
///
/// Errors: a forward model, which is no such graph.
pub fn compiled(loaded: &Loaded, precision: Precision) -> Result<Compiled> {
    let Some(ready) = &loaded.ready_made else {
        return Err(Error::usage("the file is a forward model, not a gradient graph"));
    };
    let said = |name: &str| ready.graph.metadata.get(name);
    let plans = Plans::new(ready, precision)?;
    Ok(Compiled {
        model: loaded.model.name.clone(),
        sha256: loaded.model.sha256.clone(),
        source: said(names::SOURCE).cloned(),
        nodes: ready.graph.nodes.len(),
        composite: ready.composite.clone(),
        input: ready.input.clone(),
        input_shape: loaded.input_shape()?,
        target: ready.logits.clone(),
        classes: loaded.classes()?,
        taps: ready.taps.iter().map(|tap| tap.value.clone()).collect(),
        memory: plans.memory(),
        on_tract: plans.fallbacks(),
        precision: plans.precision(),
        halves: plans.precision().keeps_halves().then(|| plans.halves()),
        validated: loaded.validated(),
        methods: method_lines(loaded)?.into_iter().filter(|line| line.refused.is_none()).collect(),
    })
}
