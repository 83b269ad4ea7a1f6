//! A session on plans of our own kernels.

use std::sync::Arc;

use super::plan::arena::{Arena, Spare};
use super::plan::{StepReport, Trunk};
use super::plans::Plans;
use super::precision::Precision;
use super::resources::{Memory, Resources};
use super::runner::Reweigh;
use super::session::{FIXED_WEIGHTS, Gradient, Make, NO_BASELINE, Session, Take, Tap};
use super::turns::in_turns;
use crate::error::{Error, Result};
use crate::gradient::GradientGraph;
use crate::onnx::WeightNoise;
use crate::values::same;

/// Plans with arenas to run them in: its own, or in memory of the caller's that lives for `'m`.
pub struct PlanSession<'m> {
    plans: Arc<Plans>,
    /// One per thread; single passes use the first.
    arenas: Vec<Arena<'m>>,
    /// The input whose forward steps the first arena holds, while it does; empty where nothing may be allocated for it.
    at: Vec<f32>,
    is_prepared: bool,
    /// What the forward steps of the next prepared input may go on from.
    trunk: Trunk,
    /// What differences are taken from; zeros until it is set, and empty where there are none.
    baseline: Vec<f32>,
    /// The plans with the weights' own values, while others are in force.
    original: Option<Arc<Plans>>,
    reweigh: Option<Reweigh<'m>>,
}

impl<'m> PlanSession<'m> {
    /// Prepares a gradient graph and the forward graph inside it, for one thread, in single precision.
    pub fn new(derived: &GradientGraph) -> Result<PlanSession<'m>> {
        Self::of(Arc::new(Plans::new(derived, Precision::F32)?), Resources::default())
    }

    /// A session on plans that others may share; allocates its arenas. Fewer threads are used where the memory does
    /// not suffice for all.
    pub fn of(plans: Arc<Plans>, resources: Resources) -> Result<PlanSession<'m>> {
        Self::of_spare(plans, resources, &mut Spare::default())
    }

    /// The same, in arenas that others have left where there are some.
    pub fn of_spare(plans: Arc<Plans>, resources: Resources, spare: &mut Spare) -> Result<PlanSession<'m>> {
        let Memory { weights, gradient_arena, .. } = plans.memory();
        let mut threads = resources.threads.max(1);
        if let Some(most) = resources.memory {
            let room = most.saturating_sub(weights) / gradient_arena.max(1);
            if weights + gradient_arena > most {
                let reason = format!(
                    "the model needs {weights} bytes of weights and {gradient_arena} bytes of arena, {} in all; {most} \
                     are too few",
                    weights + gradient_arena
                );
                return Err(Error::Budget { reason });
            }
            threads = threads.min(room);
        }
        let arenas = (0..threads).map(|_| spare.arena(plans.arena_floats())).collect::<Result<_>>()?;
        let at = vec![0.0; plans.shape.iter().product()];
        Ok(PlanSession { trunk: std::mem::take(&mut spare.trunk), ..PlanSession::on(plans, arenas, at) })
    }

    /// A session whose arenas lie in `memory`, which may be static: one thread for each arena that fits, up to
    /// `threads`. An arena takes [`Plans::arena_bytes`], and the first begins at a multiple of 64.
    pub fn within(plans: Arc<Plans>, memory: &'m mut [u8], threads: usize) -> Result<PlanSession<'m>> {
        let given = memory.len();
        let arenas = Arena::within(memory, plans.arena_floats(), threads.max(1));
        if arenas.is_empty() {
            let wanted = plans.arena_bytes();
            let reason = format!("an arena takes {wanted} bytes at a multiple of 64; {given} bytes were lent");
            return Err(Error::Budget { reason });
        }
        Ok(PlanSession::on(plans, arenas, vec![]))
    }

    fn on(plans: Arc<Plans>, arenas: Vec<Arena<'m>>, at: Vec<f32>) -> PlanSession<'m> {
        let baseline = plans.zero_baseline();
        let trunk = Trunk::default();
        PlanSession { plans, arenas, at, is_prepared: false, trunk, baseline, original: None, reweigh: None }
    }

    /// Leaves its arenas to others.
    pub fn leave(self, spare: &mut Spare) {
        spare.keep(self.arenas);
        spare.trunk = self.trunk;
    }

    /// Lets weights be perturbed: `reweigh` makes the graphs.
    pub fn allow_reweighing(&mut self, reweigh: Reweigh<'m>) {
        self.reweigh = Some(reweigh);
    }

    /// The plans.
    pub fn plans(&self) -> &Plans {
        &self.plans
    }

    /// One forward pass, with each step's time.
    pub fn profile_forward(&mut self, input: &[f32]) -> Result<Vec<StepReport>> {
        self.check(input)?;
        self.is_prepared = false;
        self.plans.forward.profile(&mut self.arenas[0], &[input])
    }

    /// One gradient pass, with each step's time.
    pub fn profile_gradient(&mut self, input: &[f32], seed: &[f32]) -> Result<Vec<StepReport>> {
        self.check(input)?;
        self.check_seed(seed)?;
        self.is_prepared = false;
        let inputs = [input, seed, &self.baseline];
        self.plans.gradient.profile(&mut self.arenas[0], &inputs[..2 + self.plans.has_baseline as usize])
    }

    fn check(&self, input: &[f32]) -> Result<()> {
        let shape = &self.plans.shape;
        match input.len() == shape.iter().product::<usize>() {
            true => Ok(()),
            false => {
                let reason = format!("has {} values, but the model wants {shape:?}", input.len());
                Err(Error::bad_input(reason))
            }
        }
    }

    fn check_seed(&self, seed: &[f32]) -> Result<()> {
        match seed.len() == self.plans.classes {
            true => Ok(()),
            false => {
                let wanted = self.plans.classes;
                let reason = format!("comes with a cotangent of {} values, but the model wants {wanted}", seed.len());
                Err(Error::bad_input(reason))
            }
        }
    }
}

impl Session for PlanSession<'_> {
    fn input_shape(&self) -> &[usize] {
        &self.plans.shape
    }

    fn threads(&self) -> usize {
        self.arenas.len()
    }

    fn perturb_weights(&mut self, noise: Option<WeightNoise>) -> Result<()> {
        self.is_prepared = false;
        self.trunk.cut();
        let Some(noise) = noise else {
            self.plans = self.original.take().unwrap_or_else(|| self.plans.clone());
            return Ok(());
        };
        // The last draw's weights go before the next one's come.
        if let Some(own) = &self.original {
            self.plans = own.clone();
        }
        let reweigh = self.reweigh.as_ref().ok_or_else(|| Error::usage(FIXED_WEIGHTS))?;
        let plans = Arc::new(self.plans.again(&reweigh(noise)?)?);
        if plans.arena_floats() > self.plans.arena_floats() {
            return Err(Error::Plan { reason: "the perturbed model needs a larger arena".into() });
        }
        let before = std::mem::replace(&mut self.plans, plans);
        self.original.get_or_insert(before);
        Ok(())
    }

    fn set_baseline(&mut self, baseline: &[f32]) -> Result<()> {
        self.check(baseline)?;
        if !self.plans.has_baseline {
            return Err(Error::usage(NO_BASELINE));
        }
        self.is_prepared = false;
        self.baseline.copy_from_slice(baseline);
        Ok(())
    }

    fn prepare(&mut self, input: &[f32]) -> Result<&[f32]> {
        if !self.plans.gradient.is_forward(0) || self.at.len() != input.len() {
            return self.forward(input);
        }
        self.check(input)?;
        self.is_prepared = false;
        let plan = &self.plans.gradient;
        let arena = &mut self.arenas[0];
        plan.input(arena, 0).copy_from_slice(input);
        if self.plans.has_baseline {
            plan.input(arena, 2).copy_from_slice(&self.baseline);
        }
        self.trunk.run(plan, arena, input, &self.baseline)?;
        self.at.copy_from_slice(input);
        self.is_prepared = true;
        Ok(plan.output(&self.arenas[0], 0))
    }

    fn is_prepared(&self, input: &[f32]) -> bool {
        self.is_prepared && same(&self.at, input)
    }

    fn forward(&mut self, input: &[f32]) -> Result<&[f32]> {
        self.check(input)?;
        self.is_prepared = false;
        let plan = &self.plans.forward;
        plan.run(&mut self.arenas[0], &[input])?;
        Ok(plan.output(&self.arenas[0], 0))
    }

    fn gradient(&mut self, input: &[f32], seed: &[f32]) -> Result<Gradient<'_>> {
        self.check(input)?;
        self.check_seed(seed)?;
        let plan = &self.plans.gradient;
        self.is_prepared = self.is_prepared(input);
        if self.is_prepared {
            plan.input(&mut self.arenas[0], 1).copy_from_slice(seed);
            plan.run_backward(&mut self.arenas[0])?;
            return Ok(self.plans.handed_out(&self.arenas[0]));
        }
        let inputs = [input, seed, &self.baseline];
        plan.run(&mut self.arenas[0], &inputs[..2 + self.plans.has_baseline as usize])?;
        Ok(self.plans.handed_out(&self.arenas[0]))
    }

    fn gradients(&mut self, seed: &[f32], count: usize, make: Make, take: Take) -> Result<()> {
        self.check_seed(seed)?;
        self.is_prepared = false;
        let (plans, baseline) = (&*self.plans, &self.baseline);
        in_turns(&mut self.arenas, count, take, &|arena, turn| {
            let plan = &plans.gradient;
            make(turn.number, plan.input(arena, 0));
            plan.input(arena, 1).copy_from_slice(seed);
            if plans.has_baseline {
                plan.input(arena, 2).copy_from_slice(baseline);
            }
            turn.give(plan.run_loaded(arena).map(|()| plans.handed_out(arena)));
        })
    }

    fn forwards(&mut self, count: usize, make: Make, take: Take) -> Result<()> {
        self.is_prepared = false;
        let plan = &self.plans.forward;
        in_turns(&mut self.arenas, count, take, &|arena, turn| {
            make(turn.number, plan.point(arena));
            let ended = plan.run_point(arena, turn.first);
            turn.give(ended.map(|()| Gradient { logits: plan.output(arena, 0), input: &[] }));
        })
    }

    fn tap(&self, index: usize) -> Option<Tap<'_>> {
        let shape = self.plans.tap_shapes.get(index)?;
        let first = 1 + self.plans.input_gradient as usize + 2 * index;
        let output = |i: usize| self.plans.gradient.output(&self.arenas[0], i);
        Some(Tap { shape, value: output(first), gradient: output(first + 1) })
    }
}
