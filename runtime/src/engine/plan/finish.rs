//! The last part of planning: which steps go by rows together, how long every buffer is needed, and where it lies.

use super::arena::{BufferId, Home, Life, place};
use super::planner::Planner;
use super::run::{Ends, Plan, Step};
use super::{bands, in_place};
use crate::error::Result;

impl Planner<'_> {
    /// The plan of the steps that were emitted, with the buffers of its inputs, and of its outputs with their floats.
    pub(super) fn finish(self, inputs: Vec<BufferId>, outputs: Vec<(BufferId, usize)>) -> Result<Plan> {
        let Planner { isa, packs, mut buffers, parts, mut steps, .. } = self;
        let whole = |id: BufferId| parts.whole(id).0;
        let backward = first_backward(&steps, inputs.get(1).copied(), whole);
        let groups = bands::find(&steps, backward, packs.bands, whole, |id| {
            let own = whole(id) == id && !parts.has_parts(id) && !outputs.iter().any(|output| whole(output.0) == id);
            own.then_some(buffers[id].floats)
        });
        groups.iter().flat_map(|group| &group.bands).for_each(|band| buffers[band.buffer].floats = band.floats);
        let mut lives: Vec<Option<Life>> = vec![None; buffers.len()];
        let mut live = |id: BufferId, at: usize| {
            let id = parts.whole(id).0;
            let life = lives[id].get_or_insert(Life { len: buffers[id].floats, from: at, to: at });
            life.from = life.from.min(at);
            life.to = life.to.max(at);
        };
        inputs.iter().for_each(|&id| live(id, 0));
        for group in &groups {
            let used = steps[group.steps.clone()].iter().flat_map(|step| step.reads.iter().chain(&step.writes));
            used.for_each(|&id| [group.steps.start, group.steps.end - 1].into_iter().for_each(|at| live(id, at)));
        }
        outputs.iter().for_each(|&(id, _)| live(id, steps.len()));
        // What the backward steps read of the forward ones stays to the end, for further cotangents.
        for id in steps[backward..].iter().flat_map(|step| &step.reads) {
            let life = lives[whole(*id)].as_mut().filter(|life| life.from < backward && Some(id) != inputs.get(1));
            life.into_iter().for_each(|life| life.to = steps.len());
        }
        let merged = in_place::work_in_place(&mut steps, &mut lives, |id| {
            buffers[id].constant.is_none() && !parts.has_parts(id)
        });
        let placed: Vec<BufferId> =
            (0..buffers.len()).filter(|&id| buffers[id].constant.is_none() && lives[id].is_some()).collect();
        let (offsets, floats) = place(&placed.iter().filter_map(|&id| lives[id]).collect::<Vec<_>>());
        let mut homes: Vec<Home> = buffers
            .iter()
            .map(|b| match &b.constant {
                Some(values) => Home::Constant(values.clone()),
                None => Home::Arena { offset: 0, len: 0 },
            })
            .collect();
        for (&id, offset) in placed.iter().zip(offsets) {
            homes[id] = Home::Arena { offset, len: buffers[id].floats };
        }
        for (from, to) in merged {
            homes[from] = homes[to].clone();
        }
        for id in parts.all() {
            let (whole, from) = parts.whole(id);
            if let Home::Arena { offset, .. } = homes[whole] {
                homes[id] = Home::Arena { offset: offset + from, len: buffers[id].floats };
            }
        }
        Plan::new(isa, (steps, groups), homes, parts.all().collect(), floats, Ends { inputs, outputs, backward })
    }
}

/// The first step that depends on a cotangent; none does where there is no cotangent.
fn first_backward(steps: &[Step], cotangent: Option<BufferId>, whole: impl Fn(BufferId) -> BufferId) -> usize {
    let reads = |step: &Step| step.reads.iter().any(|&id| Some(whole(id)) == cotangent);
    steps.iter().position(reads).unwrap_or(steps.len())
}
