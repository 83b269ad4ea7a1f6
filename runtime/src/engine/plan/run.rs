//! A plan, ready to run.

use std::collections::HashSet;
use std::ops::Range;
use std::time::Instant;

use serde::Serialize;

use super::arena::{Arena, BufferId, GUARD, Home, Io, lie_apart};
use super::bands::{Act, Group};
use super::incremental::{Incremental, Lead};
use crate::engine::kernels::reach::{Area, Reach, Share};
use crate::error::{Error, Result};
use crate::simd::{Isa, LANES};

/// What a step with weights multiplies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbers {
    /// Floats.
    Floats,
    /// Floats, with weights that are kept as halves.
    HalfWeights,
    /// Halves.
    Halves,
}

impl Numbers {
    /// What a kernel multiplies whose weights are kept as halves, or not, and which multiplies halves, or not.
    pub fn of(kept: bool, multiplied: bool) -> Numbers {
        match (kept, multiplied) {
            (true, true) => Numbers::Halves,
            (true, false) => Numbers::HalfWeights,
            _ => Numbers::Floats,
        }
    }
}

/// What a step does.
pub trait Work: Send + Sync {
    /// The kernel's name.
    fn kernel(&self) -> &str;
    /// Multiplications and additions of matrix products, each counted.
    fn flops(&self) -> u64 {
        0
    }
    /// Floats of scratch memory.
    fn scratch(&self) -> usize {
        0
    }
    /// The weights packed for this step: where they are, which tells shared ones, and their bytes.
    fn weights(&self) -> Option<(usize, usize)> {
        None
    }
    /// What it multiplies by its weights, if it has any.
    fn numbers(&self) -> Option<Numbers> {
        None
    }
    /// The reads in whose place the result may be written, element for element.
    fn may_overwrite(&self) -> Vec<usize> {
        vec![]
    }
    /// Writes the result in place of this read, which is lent no more.
    fn overwrite(&mut self, _read: usize) {}
    /// Does it.
    fn run(&self, isa: Isa, io: Io<'_>) -> Result<()>;
    /// Which places of its first read, an image, go into which of its first write; for work that goes by rows, with no other image
    /// of its own.
    fn reach(&self) -> Option<Reach> {
        None
    }
    /// Computes a part of the first write, and of what else it writes, from a first read that holds some rows.
    fn run_part(&self, _isa: Isa, _io: Io<'_>, _share: &Share) -> Result<()> {
        Err(not_by_rows(self.kernel()))
    }
}

/// What a kernel says that computes its result as a whole.
pub fn not_by_rows(kernel: &str) -> Error {
    Error::Plan { reason: format!("a {kernel} does not go by rows") }
}

/// One step of a plan.
pub struct Step {
    /// The node whose value it gives.
    pub node: String,
    /// What it does.
    pub work: Box<dyn Work>,
    /// Buffers that it reads.
    pub reads: Vec<BufferId>,
    /// Buffers that it writes.
    pub writes: Vec<BufferId>,
    /// Whether it reads the first of them, too, and writes over what it has read.
    pub in_place: bool,
}

impl Step {
    /// Whether tract runs it: it goes by its node's name, and allocates.
    pub fn is_on_tract(&self) -> bool {
        self.work.kernel().starts_with("tract")
    }
}

/// How long a step took.
#[derive(Clone, Debug, Serialize)]
pub struct StepReport {
    /// The node whose value it gives.
    pub node: String,
    /// The kernel.
    pub kernel: String,
    /// Multiplications and additions of its matrix products, padding included.
    pub flops: u64,
    /// Milliseconds.
    pub ms: f64,
}

/// A flat list of steps over an arena.
pub struct Plan {
    isa: Isa,
    pub(super) steps: Vec<Step>,
    /// All steps in their order, those that go by rows together.
    pub(super) groups: Vec<Group>,
    pub(super) homes: Vec<Home>,
    /// What lies beside others in one buffer, without a guard.
    pub(super) parts: HashSet<BufferId>,
    scratch: Home,
    floats: usize,
    pub(super) ends: Ends,
}

/// Where a plan's values come from and go.
pub(super) struct Ends {
    pub inputs: Vec<BufferId>,
    /// With their floats.
    pub outputs: Vec<(BufferId, usize)>,
    /// The first step that may depend on the cotangent.
    pub backward: usize,
    /// What passes leave for the next one.
    pub incremental: Option<Incremental>,
}

/// Floats of scratch memory that the steps share.
fn scratch_of(steps: &[Step]) -> usize {
    steps.iter().map(|step| step.work.scratch()).max().unwrap_or(0)
}

/// Floats of an arena of so many for buffers, with the steps' scratch memory and its guard.
pub(super) fn with_scratch(floats: usize, steps: &[Step]) -> usize {
    floats + scratch_of(steps).next_multiple_of(LANES) + GUARD
}

impl Plan {
    /// Checks the steps' operands; nothing is allocated yet.
    pub(super) fn new(
        isa: Isa,
        (steps, groups): (Vec<Step>, Vec<Group>),
        homes: Vec<Home>,
        parts: HashSet<BufferId>,
        floats: usize,
        ends: Ends,
    ) -> Result<Plan> {
        let scratch = Home::Arena { offset: floats, len: scratch_of(&steps) };
        for step in &steps {
            lie_apart(&step.node, &homes, &step.reads, &step.writes, &scratch)?;
        }
        let floats = with_scratch(floats, &steps);
        Ok(Plan { isa, steps, groups, homes, parts, scratch, floats, ends })
    }

    /// Floats that an arena for this plan holds.
    pub fn arena_floats(&self) -> usize {
        self.floats
    }

    /// Multiplications and additions of its steps' products.
    pub fn flops(&self) -> u64 {
        self.steps.iter().map(|s| s.work.flops()).sum()
    }

    /// What its steps hold in packed weights and constants: where, and how many bytes. Shared ones come repeatedly.
    pub fn weights(&self) -> impl Iterator<Item = (usize, usize)> {
        let constant = |home: &Home| match home {
            Home::Constant(values) => Some((values.as_ptr() as usize, 4 * values.len())),
            Home::Arena { .. } => None,
        };
        self.steps.iter().filter_map(|s| s.work.weights()).chain(self.homes.iter().filter_map(constant))
    }

    /// Its steps with weights: their nodes, and what they multiply.
    pub fn numbers(&self) -> impl Iterator<Item = (&str, Numbers)> {
        self.steps.iter().filter_map(|s| Some((s.node.as_str(), s.work.numbers()?)))
    }

    /// How many of its steps [`Plan::run_point`] runs for what has changed alone.
    pub fn incremental_steps(&self) -> usize {
        let leads = self.ends.incremental.iter().flat_map(|incremental| &incremental.leads);
        let leading = leads.map(Lead::len).sum();
        self.groups[..leading].iter().map(|group| group.steps.len()).sum()
    }

    /// Instruction set of its kernels.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Steps that tract runs, with their nodes: they allocate.
    pub fn fallbacks(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().filter(|step| step.is_on_tract()).map(|s| s.node.as_str())
    }

    /// Runs every step. `inputs` are in the order that the plan was made with.
    pub fn run(&self, arena: &mut Arena, inputs: &[&[f32]]) -> Result<()> {
        self.load(arena, inputs);
        self.run_loaded(arena)
    }

    /// Runs every step on inputs that are there already.
    pub fn run_loaded(&self, arena: &mut Arena) -> Result<()> {
        self.groups.iter().try_for_each(|group| self.run_group(arena, group))
    }

    /// Runs some groups of the forward part, where inputs are there already and the groups before have run. What they leave stays
    /// as it is until they are run again, so that any number of [`Plan::run_backward`] may follow.
    pub fn run_groups(&self, arena: &mut Arena, which: Range<usize>) -> Result<()> {
        self.forward_groups()[which].iter().try_for_each(|group| self.run_group(arena, group))
    }

    /// The steps that no cotangent is needed for, which come first.
    pub fn forward_groups(&self) -> &[Group] {
        &self.groups[..self.groups.partition_point(|group| group.steps.start < self.ends.backward)]
    }

    /// Runs the other steps, on a cotangent that is there already.
    pub fn run_backward(&self, arena: &mut Arena) -> Result<()> {
        self.groups[self.forward_groups().len()..].iter().try_for_each(|group| self.run_group(arena, group))
    }

    /// Whether the i-th output is there once no more than the forward steps have run.
    pub fn is_forward(&self, output: usize) -> bool {
        let id = self.ends.outputs[output].0;
        !self.steps[self.ends.backward..].iter().any(|step| step.writes.contains(&id))
    }

    /// Runs every step on the point that is there already ([`Plan::point`]); unless it is the `first` one in this arena, to which
    /// nothing else was done since, only as far as it differs from the one before.
    pub fn run_point(&self, arena: &mut Arena, first: bool) -> Result<()> {
        let Some(incremental) = &self.ends.incremental else { return self.run_loaded(arena) };
        if first {
            let (input, point) = (&self.homes[incremental.input], &self.homes[incremental.point]);
            arena.copy(point, input, 0..incremental.image.channels * incremental.image.places());
            return self.run_loaded(arena);
        }
        let mut changes = incremental.moved(arena, &self.homes);
        if changes[0].is_empty() {
            return Ok(());
        }
        let mut groups = &self.groups[..];
        for lead in &incremental.leads {
            let (own, behind) = groups.split_at(lead.len());
            groups = behind;
            for area in lead.follow(&mut changes).each() {
                let mut each = own.iter().zip(lead.wanted(area));
                each.try_for_each(|(group, (area, reach))| self.run_part(arena, group, area, reach))?;
            }
        }
        groups.iter().try_for_each(|group| self.run_group(arena, group))
    }

    /// Runs the steps of a group: one, or several a few rows at a time.
    fn run_group(&self, arena: &mut Arena, group: &Group) -> Result<()> {
        match &self.steps[group.steps.clone()] {
            [step] => self.guarded(arena, step, |io| step.work.run(self.isa, io)),
            steps => self.run_acts(arena, group, steps, &group.all()),
        }
    }

    /// Computes a part of what a group gives; a single step, by its reach.
    fn run_part(&self, arena: &mut Arena, group: &Group, area: Area, reach: &Reach) -> Result<()> {
        match &self.steps[group.steps.clone()] {
            [step] => {
                let share = reach.share(area);
                self.guarded(arena, step, |io| step.work.run_part(self.isa, io, &share))
            }
            steps => self.run_acts(arena, group, steps, &area),
        }
    }

    fn run_acts(&self, arena: &mut Arena, group: &Group, steps: &[Step], area: &Area) -> Result<()> {
        group.go(area, &mut |act| match act {
            Act::Run(number, share) => {
                let step = &steps[number];
                self.guarded(arena, step, |io| step.work.run_part(self.isa, io, &share))
            }
            Act::Keep(step, rows) => {
                let band = &group.bands[step];
                band.keep(arena.write(&self.homes[band.buffer]), &rows);
                Ok(())
            }
        })
    }

    /// Lends a step its buffers; where debug assertions are on, a kernel that writes outside them is an error.
    fn guarded(&self, arena: &mut Arena, step: &Step, work: impl FnOnce(Io<'_>) -> Result<()>) -> Result<()> {
        let guarded = step.writes.iter().filter(|id| !self.parts.contains(id));
        let written = || guarded.clone().map(|&id| &self.homes[id]).chain([&self.scratch]);
        if GUARD > 0 {
            written().for_each(|home| arena.arm(home));
        }
        work(arena.lend(&self.homes, &step.reads, &step.writes, &self.scratch))?;
        match GUARD == 0 || written().all(|home| arena.is_untouched(home)) {
            true => Ok(()),
            false => {
                let reason =
                    format!("the step for '{}' ({}) writes outside its buffers", step.node, step.work.kernel());
                Err(Error::Plan { reason })
            }
        }
    }

    /// Runs every step and times each; those that go by rows together are one.
    pub fn profile(&self, arena: &mut Arena, inputs: &[&[f32]]) -> Result<Vec<StepReport>> {
        self.load(arena, inputs);
        let mut reports = vec![];
        for group in &self.groups {
            let start = Instant::now();
            self.run_group(arena, group)?;
            let ms = start.elapsed().as_secs_f64() * 1e3;
            let steps = &self.steps[group.steps.clone()];
            let kernels: Vec<&str> = steps.iter().map(|step| step.work.kernel()).collect();
            reports.push(StepReport {
                node: steps.last().map(|step| step.node.clone()).unwrap_or_default(),
                kernel: kernels.join(", "),
                flops: steps.iter().map(|step| step.work.flops()).sum(),
                ms,
            });
        }
        Ok(reports)
    }

    fn load(&self, arena: &mut Arena, inputs: &[&[f32]]) {
        for (i, values) in inputs.iter().enumerate() {
            self.input(arena, i).copy_from_slice(values);
        }
    }

    /// Where the i-th input goes; every pass wants it anew.
    pub fn input<'a>(&self, arena: &'a mut Arena, i: usize) -> &'a mut [f32] {
        arena.write(&self.homes[self.ends.inputs[i]])
    }

    /// Where the next point goes for [`Plan::run_point`].
    pub fn point<'a>(&self, arena: &'a mut Arena) -> &'a mut [f32] {
        match &self.ends.incremental {
            Some(incremental) => arena.write(&self.homes[incremental.point]),
            None => self.input(arena, 0),
        }
    }

    /// The i-th output, after a run.
    pub fn output<'a>(&'a self, arena: &'a Arena<'_>, i: usize) -> &'a [f32] {
        let (id, len) = self.ends.outputs[i];
        &arena.read(&self.homes[id])[..len]
    }
}

#[cfg(test)]
#[allow(unsafe_code)]
mod tests {
    use super::*;

    /// Writes its buffer, and so many floats behind it.
    struct Writes(usize);

    impl Work for Writes {
        fn kernel(&self) -> &str {
            "writes"
        }

        fn run(&self, _: Isa, mut io: Io<'_>) -> Result<()> {
            let to = &mut *io.write[0];
            for i in 0..to.len() + self.0 {
                // SAFETY: not inside the buffer, which is the point, but inside the arena: its guard follows.
                unsafe { to.as_mut_ptr().add(i).write(1.0) };
            }
            Ok(())
        }
    }

    #[test]
    #[cfg_attr(not(debug_assertions), ignore = "guards are there where debug assertions are on")]
    fn a_kernel_that_writes_outside_is_caught() {
        for (outside, ends_well) in [(0, true), (1, false), (6, false)] {
            let homes = vec![Home::Arena { offset: 0, len: 10 }];
            let step = Step {
                node: "y".into(),
                work: Box::new(Writes(outside)),
                reads: vec![],
                writes: vec![0],
                in_place: false,
            };
            let ends = Ends { inputs: vec![], outputs: vec![(0, 10)], backward: 0, incremental: None };
            let steps = (vec![step], vec![Group::single(0)]);
            let plan = Plan::new(Isa::Portable, steps, homes, HashSet::new(), LANES + GUARD, ends).unwrap();
            let mut arena = Arena::new(plan.arena_floats()).unwrap();
            assert_eq!(plan.run(&mut arena, &[]).is_ok(), ends_well, "{outside} floats outside");
        }
    }
}
