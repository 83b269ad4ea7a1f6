//! A method on other models than the one it explains: with other weights, or another input. Preparing one takes as long as
//! several explanations, and metrics ask for the same ones for every sample, so they are kept while memory allows.

use std::collections::BTreeMap;

use crate::engine::{Limit, Passes, Resources, Session};
use crate::error::{Error, Result};
use crate::explain::Explainer;
use crate::gradient::composite::GRADIENT;
use crate::methods::{self, Needs, Taps};
use crate::onnx::Change;
use crate::params::Params;
use crate::prepare::{Part, Shared};

/// What is kept, unless somebody says otherwise: a gibibyte.
pub const MEMORY: usize = 1 << 30;

/// Prepared methods of changed models, of all methods that are evaluated together.
pub struct Variants<'a> {
    most: usize,
    shared: Shared,
    kept: Vec<Variant<'a>>,
    /// Reads the layer of that name.
    reader: Option<(Option<String>, Part<'a>)>,
}

struct Variant<'a> {
    method: &'static str,
    params: Params,
    change: Change,
    explainer: Explainer<'a>,
}

impl<'a> Variants<'a> {
    /// Keeps so many bytes of weights and arenas, and no more once it has them; one more that is in use may come on top.
    pub fn within(most: usize) -> Variants<'a> {
        Variants { most, shared: Shared::default(), kept: vec![], reader: None }
    }

    /// Hands `explainer`'s method on the changed model to `with`. One for which there is no room is prepared each time.
    pub fn with<T>(
        &mut self,
        explainer: &Explainer<'a>,
        change: &Change,
        with: impl FnOnce(&mut Explainer<'a>) -> Result<T>,
    ) -> Result<T> {
        let (entry, params): (&methods::Entry, _) = (explainer.entry(), explainer.params());
        let same = |v: &&mut Variant| v.method == entry.name && v.change == *change && v.params == *params;
        if let Some(known) = self.kept.iter_mut().find(same) {
            return with(&mut known.explainer);
        }
        if self.bytes() >= self.most {
            return with(&mut explainer.changed(change, &mut Shared::default())?);
        }
        let mut made = explainer.changed(change, &mut self.shared)?;
        let outcome = with(&mut made);
        self.kept.push(Variant { method: entry.name, params: params.clone(), change: change.clone(), explainer: made });
        outcome
    }

    /// What is kept, weights that several share counted once.
    fn bytes(&self) -> usize {
        let parts = || self.kept.iter().flat_map(|v| v.explainer.parts()).chain(self.reader.iter().map(|r| &r.1));
        let weights: BTreeMap<usize, usize> = parts().flat_map(|part| part.plans().weights()).collect();
        weights.values().sum::<usize>() + parts().map(Part::arenas).sum::<usize>() + self.shared.bytes()
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
                Part::new(model, &mut self.shared, &needs, at, precision, Resources::default())?
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
