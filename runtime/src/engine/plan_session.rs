//! A session on plans of our own kernels.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::operators::PlanOperators;
use super::plan::arena::{Arena, Spare};
use super::plan::{Even, Numbers, Packs, Plan, Slopes, StepReport};
use super::plan::{apart_from, fold_scales, hoist_slopes, make_plan, pair_folds, unpaired};
use super::precision::Precision;
use super::resources::{Memory, Resources};
use super::runner::Reweigh;
use super::session::{FIXED_WEIGHTS, Gradient, Make, NO_BASELINE, Session, Take, Tap};
use super::turns::in_turns;
use crate::error::{Error, Result};
use crate::gradient::GradientGraph;
use crate::onnx::{Graph, TypedGraph, WeightNoise, inline::inline_some, type_graph};
use crate::simd::Isa;
use crate::values::same;

/// How many steps with weights of a gradient pass do what in half precision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Halves {
    /// Steps that multiply halves.
    pub multiplied: usize,
    /// Steps that multiply floats, with weights kept as halves.
    pub kept: usize,
    /// Steps that do neither, by node: they are faster or more exact with floats, and their weights are few.
    pub floats: Vec<String>,
}

/// The forward and the gradient plan of a model. They hold the packed weights but no memory to work in, so that
/// threads share them.
pub struct Plans {
    shape: Vec<usize>,
    classes: usize,
    forward: Plan,
    gradient: Plan,
    tap_shapes: Vec<Vec<usize>>,
    input_gradient: bool,
    has_baseline: bool,
    precision: Precision,
}

impl Plans {
    /// Plans a gradient graph and the forward graph inside it, for the best instruction set of this machine.
    pub fn new(derived: &GradientGraph, precision: Precision) -> Result<Plans> {
        Self::sharing(derived, &mut Packs::new(precision, Isa::best()))
    }

    /// Plans that share packed weights with those made before.
    pub fn sharing(derived: &GradientGraph, packs: &mut Packs) -> Result<Plans> {
        let mut wanted = vec![derived.logits.clone()];
        wanted.extend(derived.input_gradient.clone());
        for tap in &derived.taps {
            wanted.extend([tap.value.clone(), tap.gradient.clone()]);
        }
        let mut graph = derived.graph.clone();
        graph.outputs = wanted.clone();
        graph.prune();
        let left = unpaired(&graph);
        inline_some(&mut graph, |node| left.contains(&node.name))?;
        pair_folds(&mut graph);
        fold_scales(&mut graph, &mut packs.folds);
        graph.prune();
        let slopes = hoist_slopes(&mut graph, &derived.seed, &derived.logits);
        let typed = type_graph(graph, &PlanOperators::default())?;
        let shape_of = |name: &str| match typed.facts.get(name) {
            Some(fact) => Ok(fact.shape.clone()),
            None => Err(Error::Plan { reason: format!("'{name}' is not typed") }),
        };
        let mut inputs = vec![derived.input.as_str(), derived.seed.as_str()];
        inputs.extend(derived.baseline.as_deref());
        // The maximum of a window that is all alike, as in a constant baseline, is then its first and not what rounding says.
        let pools = derived.baseline.is_some() && typed.graph.nodes.iter().any(|node| node.op == "MaxPool");
        let even = if pools { apart_from(&typed.graph, &derived.seed) } else { Even::new() };
        let gradient = make_plan(&typed, (slopes, &even), &inputs, &wanted, packs)?;
        let forward = forward_part(&typed, &wanted[..1]);
        let forward = make_plan(&forward, (Slopes::new(), &even), &inputs[..1], &wanted[..1], packs)?;
        Ok(Plans {
            shape: shape_of(&derived.input)?,
            classes: shape_of(&derived.seed)?.iter().product(),
            tap_shapes: derived.taps.iter().map(|t| shape_of(&t.gradient)).collect::<Result<_>>()?,
            input_gradient: derived.input_gradient.is_some(),
            has_baseline: derived.baseline.is_some(),
            forward,
            gradient,
            precision: packs.precision(),
        })
    }

    /// Where the weights and constants lie, and the bytes of each.
    pub fn weights(&self) -> BTreeMap<usize, usize> {
        self.forward.weights().chain(self.gradient.weights()).collect()
    }

    /// What a session needs.
    pub fn memory(&self) -> Memory {
        Memory {
            weights: self.weights().values().sum(),
            forward_arena: 4 * self.forward.arena_floats(),
            gradient_arena: self.arena_bytes(),
        }
    }

    fn arena_floats(&self) -> usize {
        self.gradient.arena_floats().max(self.forward.arena_floats())
    }

    /// Bytes of the arena that each thread needs.
    pub fn arena_bytes(&self) -> usize {
        4 * self.arena_floats()
    }

    /// Nodes that no kernel of ours covers: tract runs them, and they allocate.
    pub fn fallbacks(&self) -> Vec<String> {
        self.gradient.fallbacks().map(str::to_string).collect()
    }

    fn zero_baseline(&self) -> Vec<f32> {
        vec![0.0; if self.has_baseline { self.shape.iter().product() } else { 0 }]
    }

    /// What the gradient plan has left in an arena.
    fn handed_out<'a>(&'a self, arena: &'a Arena<'_>) -> Gradient<'a> {
        let output = |i: usize| self.gradient.output(arena, i);
        Gradient { logits: output(0), input: if self.input_gradient { output(1) } else { &[] } }
    }

    /// Multiplications and additions of the steps of a forward and of a gradient pass, padding included, in fewer
    /// where Winograd's algorithm serves.
    pub fn flops(&self) -> [u64; 2] {
        [self.forward.flops(), self.gradient.flops()]
    }

    /// What the steps do in half precision, if any: how many multiply halves, how many only keep their weights as
    /// halves, and which steps with weights do neither.
    pub fn halves(&self) -> Halves {
        let mut halves = Halves::default();
        for (node, numbers) in self.gradient.numbers() {
            match numbers {
                Numbers::Halves => halves.multiplied += 1,
                Numbers::HalfWeights => halves.kept += 1,
                Numbers::Floats => halves.floats.push(node.to_string()),
            }
        }
        halves
    }

    /// How numbers are kept and multiplied here.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Instruction set of the kernels.
    pub fn isa(&self) -> Isa {
        self.gradient.isa()
    }
}

/// Plans with arenas to run them in: its own, or in memory of the caller's that lives for `'m`.
pub struct PlanSession<'m> {
    plans: Arc<Plans>,
    /// One per thread; single passes use the first.
    arenas: Vec<Arena<'m>>,
    /// The input whose forward steps the first arena holds, while it does; empty where nothing may be allocated for it.
    at: Vec<f32>,
    is_prepared: bool,
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
        Ok(PlanSession::on(plans, arenas, at))
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
        PlanSession { plans, arenas, at, is_prepared: false, baseline, original: None, reweigh: None }
    }

    /// Leaves its arenas to others.
    pub fn leave(self, spare: &mut Spare) {
        spare.keep(self.arenas);
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
                let reason = format!("it has {} values, but the model wants {shape:?}", input.len());
                Err(Error::bad_input(reason))
            }
        }
    }

    fn check_seed(&self, seed: &[f32]) -> Result<()> {
        match seed.len() == self.plans.classes {
            true => Ok(()),
            false => {
                let wanted = self.plans.classes;
                let reason = format!("the cotangent has {} values, but the model wants {wanted}", seed.len());
                Err(Error::bad_input(reason))
            }
        }
    }
}

/// The part of a graph that gives `outputs`.
fn forward_part(typed: &TypedGraph, outputs: &[String]) -> TypedGraph {
    let nodes = typed.graph.nodes.clone();
    let mut graph = Graph { nodes, outputs: outputs.to_vec(), ..Graph::default() };
    graph.opset = typed.graph.opset;
    graph.constants = typed.graph.constants.clone();
    graph.prune();
    TypedGraph { graph, facts: typed.facts.clone() }
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
        let Some(noise) = noise else {
            self.plans = self.original.take().unwrap_or_else(|| self.plans.clone());
            return Ok(());
        };
        let reweigh = self.reweigh.as_ref().ok_or_else(|| Error::usage(FIXED_WEIGHTS))?;
        let plans = Arc::new(Plans::new(&reweigh(noise)?, self.plans.precision())?);
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
        plan.run_forward(arena)?;
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
            make(turn.number, plan.input(arena, 0));
            let ended = plan.run_loaded(arena);
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
