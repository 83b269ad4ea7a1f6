//! A method made ready for a model.

use std::time::Instant;

use super::{Budget, Explainer, Loaded, Shared, milliseconds};
use crate::attribution::Grid;
use crate::engine::{Precision, Resources};
use crate::error::{Error, Result};
use crate::methods::{self, Given};
use crate::onnx::Change;
use crate::prepare::{Part, perturbed};

impl Loaded {
    /// What a map has values for.
    pub fn grid(&self) -> Result<Grid> {
        Ok(Grid::of(&self.input_shape()?, self.layout()?))
    }

    /// Prepares a method for this model.
    pub fn explainer(
        &self,
        method: &str,
        given: &Given,
        precision: Precision,
        resources: Resources,
    ) -> Result<Explainer<'_>> {
        self.explainer_sharing(&mut Shared::default(), method, given, precision, resources)
    }

    /// The same; plans and passes at the input are shared with the other methods of `shared` that need the same.
    pub fn explainer_sharing(
        &self,
        shared: &mut Shared,
        method: &str,
        given: &Given,
        precision: Precision,
        resources: Resources,
    ) -> Result<Explainer<'_>> {
        self.explainer_of(&[], shared, method, given, precision, resources)
    }

    /// The same, for the model with some changes.
    pub(super) fn explainer_of(
        &self,
        changes: &[Change],
        shared: &mut Shared,
        method: &str,
        given: &Given,
        precision: Precision,
        resources: Resources,
    ) -> Result<Explainer<'_>> {
        let start = Instant::now();
        let entry = methods::find(method)?;
        let params = entry.params(given)?;
        let method = (entry.build)(&params)?;
        let (needs, also) = (method.needs(), method.also());
        let layer = self.layer_for(&needs)?;
        let model = self.extents(method.as_ref())?;
        // No more threads than passes of a kind: an arena that nobody uses is memory lost.
        let passes = method.passes(model);
        let most = usize::try_from(passes.gradient.max(passes.forward).max(1)).unwrap_or(usize::MAX);
        let kept = method.keeps(model);
        let memory = resources.memory.map(|most| without(most, kept, entry.name)).transpose()?;
        let resources = Resources { threads: resources.threads.min(most), memory, ..resources };
        let said = |error| if kept > 0 { beside(error, kept) } else { error };
        // It takes single passes, and the rest of the memory is for the first one's threads.
        let mut other = match &also {
            Some(also) => {
                let resources = Resources { threads: 1, ..resources };
                let part = Part::new((self, changes), shared, also, self.layer_for(also)?, precision, resources);
                Some(part.map_err(said)?)
            }
            None => None,
        };
        let taken = other.as_ref().map_or(0, Part::bytes);
        let resources = Resources { memory: memory.map(|most| most.saturating_sub(taken)), ..resources };
        let part = Part::new((self, changes), shared, &needs, layer, precision, resources).map_err(said)?;
        if let Some(other) = &mut other {
            other.session.inner.share_limit(&part.session.inner);
        }
        let kept = kept
            + [Some(&part), other.as_ref()].into_iter().flatten().map(|p| perturbed(&needs, p.plans())).sum::<usize>();
        let prepare_ms = milliseconds(start);
        Ok(Explainer {
            loaded: self,
            changes: changes.to_vec(),
            entry,
            params,
            method,
            model,
            kept,
            part,
            other,
            prepare_ms,
            budget: Budget::default(),
            baselines: vec![],
            baseline_files: vec![],
            region: None,
        })
    }
}

/// The bytes that are left beside what a method keeps.
fn without(most: usize, kept: usize, method: &str) -> Result<usize> {
    most.checked_sub(kept).ok_or_else(|| Error::Budget {
        reason: format!("{method} keeps up to {kept} bytes of gradients; {most} are too few: allow fewer with --steps"),
    })
}

/// Says what a method keeps, where the rest of the memory did not suffice.
fn beside(error: Error, kept: usize) -> Error {
    match error {
        Error::Budget { reason } => {
            Error::Budget { reason: format!("{reason}: the gradients that are kept take {kept}") }
        }
        other => other,
    }
}
