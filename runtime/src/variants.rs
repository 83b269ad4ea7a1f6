//! A method on other models than the one it explains: with other weights, or another input. Planning one takes as long as
//! several explanations, and metrics ask for the same ones for every sample, so plans are kept while memory allows.

use crate::engine::{Limit, Passes, Resources, Session};
use crate::error::{Error, Result};
use crate::explain::Explainer;
use crate::gradient::composite::GRADIENT;
use crate::methods::{Needs, Taps};
use crate::onnx::Change;
use crate::prepare::{Part, Shared};

/// What is kept, unless somebody says otherwise: a gibibyte.
pub const MEMORY: usize = 1 << 30;

/// Plans of changed models, for all methods that are evaluated together, and the memory that they take turns in.
pub struct Variants<'a> {
    most: usize,
    shared: Shared,
    /// Reads the layer of that name.
    reader: Option<(Option<String>, Part<'a>)>,
}

impl<'a> Variants<'a> {
    /// Keeps about so many bytes of plans and arenas; those that are in use may come on top.
    pub fn within(most: usize) -> Variants<'a> {
        Variants { most, shared: Shared::default(), reader: None }
    }

    /// Hands `explainer`'s method on the changed model to `with`. One for which there is no room is planned each time. `next` is the
    /// change that is asked for thereafter at the same input, if any: what both models have in common is computed once.
    pub fn with<T>(
        &mut self,
        explainer: &Explainer<'a>,
        (change, next): (&Change, Option<&Change>),
        with: impl FnOnce(&mut Explainer<'a>) -> Result<T>,
    ) -> Result<T> {
        let known = self.shared.plans();
        let mut changed = explainer.changed(change, next, &mut self.shared)?;
        let outcome = with(&mut changed);
        changed.leave(&mut self.shared);
        if self.shared.plans() > known && self.shared.bytes() > self.most {
            self.shared.truncate(known);
        }
        outcome
    }

    /// The values of a layer of the model that `explainer` explains, and the passes they took.
    pub fn representation(
        &mut self,
        explainer: &Explainer<'a>,
        input: &[f32],
        layer: Option<&str>,
    ) -> Result<(Vec<f32>, Passes)> {
        let mut reader = match self.reader.take().filter(|(name, _)| name.as_deref() == layer) {
            Some((_, reader)) => reader,
            None => {
                let layer = layer.map(str::to_string);
                let needs = Needs { taps: Taps::Layer, layer, ..Needs::of(&GRADIENT) };
                let precision = explainer.part.plans().precision();
                let at = explainer.loaded.layer_for(&needs)?;
                let model = (explainer.loaded, &[][..]);
                let resources = Resources { engine: explainer.part.prepared.engine, ..Resources::default() };
                Part::new(model, &mut self.shared, &needs, at, precision, resources)?
            }
        };
        let session = &mut reader.session.inner;
        session.reset(Limit::default());
        session.gradient(input, &vec![0.0; explainer.loaded.classes()?])?;
        let values = session.tap(0).map(|tap| tap.value.to_vec());
        let passes = session.passes();
        self.reader = Some((layer.map(str::to_string), reader));
        Ok((values.ok_or_else(|| Error::graph("the layer has no values"))?, passes))
    }
}
