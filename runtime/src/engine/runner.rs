//! A session on whichever engine was asked for.

use std::sync::Arc;

use super::plan::arena::Spare;
use super::plan_session::PlanSession;
use super::plans::Plans;
use super::resources::{Engine, Resources};
use super::session::{Gradient, Make, Session, Take, Tap};
use super::tract_session::TractSession;
use crate::error::{Error, Result};
use crate::gradient::GradientGraph;
use crate::onnx::WeightNoise;

/// Makes the gradient graph of the same model with noise on its weights.
pub type Reweigh<'m> = Box<dyn Fn(WeightNoise) -> Result<GradientGraph> + Send + 'm>;

/// A session of one engine or another.
pub enum Runner<'m> {
    /// On our kernels.
    Kernels(PlanSession<'m>),
    /// On tract's executor.
    Tract(TractSession<'m>),
}

impl<'m> Runner<'m> {
    /// A session of a graph: on its plans, in arenas that others have left where there are some; or of what `derive` gives.
    ///
    /// Errors: memory that does not suffice; bounds or halves, which are our kernels' own, for another engine.
    pub fn of(
        plans: &Arc<Plans>,
        derive: impl FnOnce() -> Result<GradientGraph>,
        resources: Resources,
        spare: &mut Spare,
    ) -> Result<Runner<'m>> {
        let Engine::Tract(device) = resources.engine else {
            return Ok(Runner::Kernels(PlanSession::of_spare(plans.clone(), resources, spare)?));
        };
        let own = |what: &str| {
            let engine = resources.engine.name();
            Err(Error::usage(format!("{what} is our kernels' own; leave it out, or the engine '{engine}'")))
        };
        match (resources.memory, plans.precision().keeps_halves()) {
            (Some(_), _) => own("bounded memory"),
            (_, true) => own("half precision"),
            _ => Ok(Runner::Tract(TractSession::on(&derive()?, device)?)),
        }
    }

    /// Leaves its arenas to others.
    pub fn leave(self, spare: &mut Spare) {
        if let Runner::Kernels(session) = self {
            session.leave(spare);
        }
    }

    /// Lets weights be perturbed: `reweigh` makes the graphs.
    pub fn allow_reweighing(&mut self, reweigh: Reweigh<'m>) {
        match self {
            Runner::Kernels(session) => session.allow_reweighing(reweigh),
            Runner::Tract(session) => session.allow_reweighing(reweigh),
        }
    }

    fn session(&self) -> &dyn Session {
        match self {
            Runner::Kernels(session) => session,
            Runner::Tract(session) => session,
        }
    }

    fn session_mut(&mut self) -> &mut dyn Session {
        match self {
            Runner::Kernels(session) => session,
            Runner::Tract(session) => session,
        }
    }
}

impl Session for Runner<'_> {
    fn input_shape(&self) -> &[usize] {
        self.session().input_shape()
    }

    fn forward(&mut self, input: &[f32]) -> Result<&[f32]> {
        self.session_mut().forward(input)
    }

    fn prepare(&mut self, input: &[f32]) -> Result<&[f32]> {
        self.session_mut().prepare(input)
    }

    fn is_prepared(&self, input: &[f32]) -> bool {
        self.session().is_prepared(input)
    }

    fn set_baseline(&mut self, baseline: &[f32]) -> Result<()> {
        self.session_mut().set_baseline(baseline)
    }

    fn perturb_weights(&mut self, noise: Option<WeightNoise>) -> Result<()> {
        self.session_mut().perturb_weights(noise)
    }

    fn threads(&self) -> usize {
        self.session().threads()
    }

    fn gradient(&mut self, input: &[f32], seed: &[f32]) -> Result<Gradient<'_>> {
        self.session_mut().gradient(input, seed)
    }

    fn gradients(&mut self, seed: &[f32], count: usize, make: Make, take: Take) -> Result<()> {
        self.session_mut().gradients(seed, count, make, take)
    }

    fn forwards(&mut self, count: usize, make: Make, take: Take) -> Result<()> {
        self.session_mut().forwards(count, make, take)
    }

    fn tap(&self, index: usize) -> Option<Tap<'_>> {
        self.session().tap(index)
    }
}
