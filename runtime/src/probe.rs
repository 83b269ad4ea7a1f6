//! A prepared method as metrics ask it: scores at other inputs, and maps of them.

use crate::engine::{Limit, Make, Passes, Session, Take};
use crate::error::{Error, Result};
use crate::explain::{Bare, Explainer};
use crate::gradient::head::Head;
use crate::gradient::target::Explained;
use crate::metrics::Subject;
use crate::onnx::Change;
use crate::variants::Variants;

/// A method with its model, and the passes that were taken of it.
pub struct Probe<'e, 'a> {
    explainer: &'e mut Explainer<'a>,
    variants: &'e mut Variants<'a>,
    /// Since it was made.
    pub passes: Passes,
    /// Whether the budget ended one of its explanations early.
    pub degraded: bool,
}

impl<'e, 'a> Probe<'e, 'a> {
    /// Of a prepared method, whose budget holds for each of its explanations.
    pub fn new(explainer: &'e mut Explainer<'a>, variants: &'e mut Variants<'a>) -> Probe<'e, 'a> {
        Probe { explainer, variants, passes: Passes::default(), degraded: false }
    }

    /// What makes probabilities of the model's scores.
    pub fn head(&self) -> Head {
        self.explainer.part.prepared.head
    }

    /// The scores of an input.
    pub fn logits(&mut self, input: &[f32]) -> Result<Vec<f32>> {
        self.begin();
        let logits = self.explainer.part.session.prepare(input)?.to_vec();
        self.end();
        Ok(logits)
    }

    /// Counts from zero; metrics take as many passes as they say, unless somebody wants no more.
    fn begin(&mut self) {
        let interrupt = self.explainer.budget.interrupt;
        self.explainer.part.session.inner.reset(Limit { interrupt, ..Limit::default() });
    }

    fn end(&mut self) {
        self.passes = self.passes.plus(self.explainer.part.session.inner.passes());
    }

    /// Metrics ask for many explanations; after an interruption for none.
    fn goes_on(&self) -> Result<()> {
        match self.explainer.budget.is_interrupted() {
            true => Err(Error::Budget { reason: "interrupted".into() }),
            false => Ok(()),
        }
    }

    /// Counts an explanation.
    fn count(&mut self, made: Bare) -> Vec<f32> {
        self.passes = self.passes.plus(made.passes);
        self.degraded |= made.degraded;
        made.map
    }
}

impl Subject for Probe<'_, '_> {
    fn forwards(&mut self, count: usize, make: Make, take: Take) -> Result<()> {
        self.begin();
        let taken = self.explainer.part.session.forwards(count, make, take);
        self.end();
        taken
    }

    fn explain(&mut self, input: &[f32], explained: Explained) -> Result<Vec<f32>> {
        self.goes_on()?;
        let made = self.explainer.map_of(input, explained)?;
        Ok(self.count(made))
    }

    fn layers(&self) -> usize {
        self.explainer.loaded.layers()
    }

    fn explain_changed(
        &mut self,
        change: &Change,
        next: Option<&Change>,
        input: &[f32],
        explained: Explained,
    ) -> Result<Vec<f32>> {
        self.goes_on()?;
        let made =
            self.variants.with(self.explainer, (change, next), |explainer| explainer.map_of(input, explained))?;
        Ok(self.count(made))
    }

    fn representation(&mut self, input: &[f32], layer: Option<&str>) -> Result<Vec<f32>> {
        self.goes_on()?;
        let (values, passes) = self.variants.representation(self.explainer, input, layer)?;
        self.passes = self.passes.plus(passes);
        Ok(values)
    }
}
