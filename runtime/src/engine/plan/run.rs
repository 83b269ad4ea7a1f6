//! A plan, ready to run.

use std::time::Instant;

use serde::Serialize;

use super::arena::{Arena, BufferId, Home, Io, lie_apart};
use crate::engine::simd::Isa;
use crate::error::{Error, Result};

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
    /// The reads in whose place the result may be written, element for element.
    fn may_overwrite(&self) -> Vec<usize> {
        vec![]
    }
    /// Writes the result in place of this read, which is lent no more.
    fn overwrite(&mut self, _read: usize) {}
    /// Does it.
    fn run(&self, isa: Isa, io: Io<'_>) -> Result<()>;
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
    steps: Vec<Step>,
    homes: Vec<Home>,
    scratch: Home,
    floats: usize,
    inputs: Vec<BufferId>,
    outputs: Vec<(BufferId, usize)>,
}

impl Plan {
    /// Checks the steps' operands; nothing is allocated yet.
    pub(super) fn new(
        isa: Isa,
        steps: Vec<Step>,
        homes: Vec<Home>,
        floats: usize,
        inputs: Vec<BufferId>,
        outputs: Vec<(BufferId, usize)>,
    ) -> Result<Plan> {
        let scratch = Home::Arena { offset: floats, len: steps.iter().map(|s| s.work.scratch()).max().unwrap_or(0) };
        let Home::Arena { offset, len } = scratch else { return Err(Error::Plan { reason: "no scratch".into() }) };
        for step in &steps {
            lie_apart(&step.node, &homes, &step.reads, &step.writes, &scratch)?;
        }
        Ok(Plan { isa, steps, homes, scratch, floats: offset + len, inputs, outputs })
    }

    /// Floats that an arena for this plan holds.
    pub fn arena_floats(&self) -> usize {
        self.floats
    }

    /// What its steps hold in packed weights and constants: where, and how many bytes. Shared ones come repeatedly.
    pub fn weights(&self) -> impl Iterator<Item = (usize, usize)> {
        let constant = |home: &Home| match home {
            Home::Constant(values) => Some((values.as_ptr() as usize, 4 * values.len())),
            Home::Arena { .. } => None,
        };
        self.steps.iter().filter_map(|s| s.work.weights()).chain(self.homes.iter().filter_map(constant))
    }

    /// Instruction set of its kernels.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Steps that tract runs, with their nodes: they allocate.
    pub fn fallbacks(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().filter(|s| s.work.kernel().starts_with("tract")).map(|s| s.node.as_str())
    }

    /// Runs every step. `inputs` are in the order that the plan was made with.
    pub fn run(&self, arena: &mut Arena, inputs: &[&[f32]]) -> Result<()> {
        self.load(arena, inputs);
        for step in &self.steps {
            let io = arena.lend(&self.homes, &step.reads, &step.writes, &self.scratch);
            step.work.run(self.isa, io)?;
        }
        Ok(())
    }

    /// Runs every step and times each.
    pub fn profile(&self, arena: &mut Arena, inputs: &[&[f32]]) -> Result<Vec<StepReport>> {
        self.load(arena, inputs);
        let mut reports = vec![];
        for step in &self.steps {
            let io = arena.lend(&self.homes, &step.reads, &step.writes, &self.scratch);
            let start = Instant::now();
            step.work.run(self.isa, io)?;
            reports.push(StepReport {
                node: step.node.clone(),
                kernel: step.work.kernel().to_string(),
                flops: step.work.flops(),
                ms: start.elapsed().as_secs_f64() * 1e3,
            });
        }
        Ok(reports)
    }

    fn load(&self, arena: &mut Arena, inputs: &[&[f32]]) {
        for (&id, values) in self.inputs.iter().zip(inputs) {
            let to = arena.write(&self.homes[id]);
            to[..values.len()].copy_from_slice(values);
        }
    }

    /// The i-th output, after a run.
    pub fn output<'a>(&'a self, arena: &'a Arena, i: usize) -> &'a [f32] {
        let (id, len) = self.outputs[i];
        &arena.read(&self.homes[id])[..len]
    }
}
