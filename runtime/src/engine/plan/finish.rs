//! The last part of planning: which steps go by rows together, how long every buffer is needed, and where it lies.

use super::arena::{BufferId, Home, Life, place};
use super::bands::Group;
use super::incremental::Incremental;
use super::parts::Parts;
use super::planner::{Buffer, Planner};
use super::run::{Ends, Plan, Step, with_scratch};
use super::values::Image;
use super::{bands, in_place, incremental};
use crate::error::Result;

impl Planner<'_> {
    /// The plan of the steps that were emitted, with the buffers of its inputs, and of its outputs with their floats. Values stay
    /// for the next pass ([`incremental`]) where the arena then has no more than `room` floats; `image` is what the first input is,
    /// if it is one.
    pub(super) fn finish(
        self,
        inputs: Vec<BufferId>,
        outputs: Vec<(BufferId, usize)>,
        image: Option<Image>,
        room: usize,
    ) -> Result<Plan> {
        let Planner { isa, packs, mut buffers, parts, mut steps, .. } = self;
        let whole = |id: BufferId| parts.whole(id).0;
        let backward = first_backward(&steps, inputs.get(1).copied(), whole);
        let is_inner = |id: BufferId| {
            whole(id) == id && !parts.has_parts(id) && !outputs.iter().any(|output| whole(output.0) == id)
        };
        let floats = |id: BufferId| is_inner(id).then_some(buffers[id].floats);
        let groups = bands::find(&steps, backward, packs.bands, whole, floats);
        groups.iter().flat_map(|group| &group.bands).for_each(|band| buffers[band.buffer].floats = band.floats);
        let used = Used { steps: &steps, groups: &groups, inputs: &inputs, outputs: &outputs, backward };
        let mut leads = match image.filter(|_| room > 0) {
            Some(image) => {
                let floats = |id: BufferId| buffers[id].constant.is_none().then_some(buffers[id].floats);
                let is_between = |id: BufferId| {
                    let writer = steps.iter().position(|step| step.writes.contains(&id));
                    is_inner(id) && writer.is_some_and(|at| bands::goes_on_alone(&steps, at, whole))
                };
                incremental::leads(&steps, &groups, (inputs[0], image), whole, floats, is_between)
            }
            None => vec![],
        };
        let point = buffers.len();
        if !leads.is_empty() {
            buffers.push(Buffer { floats: buffers[inputs[0]].floats, constant: None });
        }
        let mut lives;
        loop {
            lives = used.lives(&buffers, whole);
            if !leads.is_empty() {
                let mut live = |id: BufferId, to| lives[id] = Some(Life { len: buffers[id].floats, from: 0, to });
                live(point, 0);
                // The outputs, too: where nothing changes they stay what they are.
                let outputs = outputs.iter().map(|output| output.0);
                let kept = leads.iter().map(|lead| lead.buffer).chain([inputs[0]]).chain(outputs);
                kept.for_each(|id| live(whole(id), steps.len()));
            }
            // About that much: some will work in place.
            if leads.is_empty() || with_scratch(placed(&buffers, &lives).1, &steps) <= room {
                break;
            }
            leads.pop();
        }
        let merged = in_place::work_in_place(&mut steps, &mut lives, |id| {
            buffers[id].constant.is_none() && !parts.has_parts(id)
        });
        let (places, floats) = placed(&buffers, &lives);
        let homes = homes(&buffers, places, merged, &parts);
        let kept = image.filter(|_| !leads.is_empty());
        let incremental = kept.map(|image| Incremental { input: inputs[0], point, image, leads });
        let ends = Ends { inputs, outputs, backward, incremental };
        Plan::new(isa, (steps, groups), homes, parts.all().collect(), floats, ends)
    }
}

/// Where every buffer lies, of which some have places in the arena, some share the places of others, and some are parts of others.
fn homes(
    buffers: &[Buffer],
    places: Vec<(BufferId, usize)>,
    merged: Vec<(BufferId, BufferId)>,
    parts: &Parts,
) -> Vec<Home> {
    let unplaced = |buffer: &Buffer| match &buffer.constant {
        Some(values) => Home::Constant(values.clone()),
        None => Home::Arena { offset: 0, len: 0 },
    };
    let mut homes: Vec<Home> = buffers.iter().map(unplaced).collect();
    for (id, offset) in places {
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
    homes
}

/// What uses buffers, and when.
struct Used<'a> {
    steps: &'a [Step],
    groups: &'a [Group],
    inputs: &'a [BufferId],
    outputs: &'a [(BufferId, usize)],
    backward: usize,
}

impl Used<'_> {
    /// How long each buffer that is no part of another is needed.
    fn lives(&self, buffers: &[Buffer], whole: impl Fn(BufferId) -> BufferId) -> Vec<Option<Life>> {
        let Used { steps, groups, inputs, outputs, backward } = *self;
        let mut lives: Vec<Option<Life>> = vec![None; buffers.len()];
        let mut live = |id: BufferId, at: usize| {
            let id = whole(id);
            let life = lives[id].get_or_insert(Life { len: buffers[id].floats, from: at, to: at });
            life.from = life.from.min(at);
            life.to = life.to.max(at);
        };
        inputs.iter().for_each(|&id| live(id, 0));
        for group in groups {
            let used = steps[group.steps.clone()].iter().flat_map(|step| step.reads.iter().chain(&step.writes));
            used.for_each(|&id| [group.steps.start, group.steps.end - 1].into_iter().for_each(|at| live(id, at)));
        }
        outputs.iter().for_each(|&(id, _)| live(id, steps.len()));
        // What the backward steps read of the forward ones stays to the end, for further cotangents.
        for id in steps[backward..].iter().flat_map(|step| &step.reads) {
            let life = lives[whole(*id)].as_mut().filter(|life| life.from < backward && Some(id) != inputs.get(1));
            life.into_iter().for_each(|life| life.to = steps.len());
        }
        lives
    }
}

/// Where each buffer begins that lies in the arena by itself, and the floats of all.
fn placed(buffers: &[Buffer], lives: &[Option<Life>]) -> (Vec<(BufferId, usize)>, usize) {
    let in_arena =
        |(id, life): (usize, &Option<Life>)| life.filter(|_| buffers[id].constant.is_none()).map(|life| (id, life));
    let (ids, lives): (Vec<_>, Vec<_>) = lives.iter().enumerate().filter_map(in_arena).unzip();
    let (offsets, floats) = place(&lives);
    (ids.into_iter().zip(offsets).collect(), floats)
}

/// The first step that depends on a cotangent; none does where there is no cotangent.
fn first_backward(steps: &[Step], cotangent: Option<BufferId>, whole: impl Fn(BufferId) -> BufferId) -> usize {
    let reads = |step: &Step| step.reads.iter().any(|&id| Some(whole(id)) == cotangent);
    steps.iter().position(reads).unwrap_or(steps.len())
}
