//! A plan, ready to run.

use std::time::Instant;

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
    /// Bytes of weights packed for this step.
    fn weight_bytes(&self) -> usize {
        0
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
#[derive(Clone, Debug)]
pub struct StepReport {
    /// The node whose value it gives.
    pub node: String,
    /// The kernel.
    pub kernel: String,
    /// Multiplications and additions of matrix products.
    pub flops: u64,
    /// Seconds.
    pub seconds: f64,
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

    /// Bytes of weights packed for its steps.
    pub fn weight_bytes(&self) -> usize {
        self.steps.iter().map(|s| s.work.weight_bytes()).sum()
    }

    /// Steps that tract runs, with their nodes: they allocate.
    pub fn fallbacks(&self) -> Vec<&str> {
        self.steps.iter().filter(|s| s.work.kernel().starts_with("tract")).map(|s| s.node.as_str()).collect()
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
                seconds: start.elapsed().as_secs_f64(),
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
    pub fn output<'a>(&'a self, arena: &'a mut Arena, i: usize) -> &'a [f32] {
        let (id, len) = self.outputs[i];
        &arena.read(&self.homes[id])[..len]
    }
}
