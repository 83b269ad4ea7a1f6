//! What passes at one input have in common whose models differ in their later layers alone: the values that the layers before
//! those leave. A pass that goes on from them gives what it would have given from its start, to the same bytes.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;

use super::arena::{Arena, BufferId, Home};
use super::run::{Plan, Step};
use crate::error::Result;
use crate::onnx::Graph;
use crate::onnx::graph::{inputs_of, outputs_of};
use crate::values::same;

/// How far the passes of a plan go before a step may read parameters of a layer: in groups of steps, by layer.
#[derive(Debug)]
pub struct Reads(Vec<usize>);

impl Reads {
    /// Of a plan of the gradient of `model`, whose layers have these parameters. A step that gives no value of the model itself
    /// may read any, for it may know them by another name.
    pub fn of(plan: &Plan, model: &Graph, layers: &[Vec<String>]) -> Reads {
        // Several steps may give a value, in one order of its elements and in another.
        let mut steps: HashMap<&str, usize> = HashMap::new();
        plan.steps.iter().enumerate().for_each(|(at, step)| _ = steps.entry(&step.node).or_insert(at));
        let own: HashSet<&str> = model.nodes.iter().flat_map(outputs_of).collect();
        // What tract runs goes by its node's name.
        let is_foreign = |step: &Step| step.is_on_tract() || !own.contains(step.node.as_str());
        let foreign = plan.steps.iter().position(is_foreign).unwrap_or(usize::MAX);
        // The first step that reads a value, or gives one that depends on it.
        let mut readers: HashMap<&str, usize> = HashMap::new();
        for node in model.nodes.iter().rev() {
            let given = outputs_of(node).filter_map(|name| steps.get(name).into_iter().chain(readers.get(name)).min());
            let first = given.copied().min().unwrap_or(usize::MAX);
            for name in inputs_of(node) {
                readers.entry(name).and_modify(|known| *known = first.min(*known)).or_insert(first);
            }
        }
        let first = |name: &String| readers.get(name.as_str()).copied().unwrap_or(0).min(foreign);
        let groups = |names: &Vec<String>| plan.groups_before(names.iter().map(first).min().unwrap_or(foreign));
        Reads(layers.iter().map(groups).collect())
    }

    /// Groups of steps before any that may read parameters of these layers.
    pub fn before(&self, layers: impl Iterator<Item = usize>) -> usize {
        layers.map(|layer| self.0.get(layer).copied().unwrap_or(0)).min().unwrap_or(0)
    }
}

/// The state of an arena between two groups of a forward pass at an input. It goes from a session to the next.
#[derive(Debug, Default)]
pub struct Trunk {
    input: Vec<f32>,
    baseline: Vec<f32>,
    /// Groups that have run; none where nothing is kept.
    groups: usize,
    /// What steps behind them read of the arena.
    parts: Vec<Range<usize>>,
    values: Vec<f32>,
    /// Behind how many groups the next pass leaves its state.
    wanted: usize,
    /// Whether it has.
    left: bool,
}

impl Trunk {
    /// For a session whose next pass is to leave its state behind so many groups, if any. `goes_on` says that those which are
    /// kept, if the last session has left any, are the same for both.
    pub fn pass_on(&mut self, goes_on: bool, wanted: usize) {
        if !(goes_on && self.left) {
            self.groups = 0;
        }
        (self.left, self.wanted) = (false, wanted);
    }

    /// Forgets all, where the session's own plan is about to be another.
    pub fn cut(&mut self) {
        self.pass_on(false, 0);
    }

    /// Its size.
    pub fn bytes(&self) -> usize {
        size_of::<f32>() * (self.input.capacity() + self.baseline.capacity() + self.values.capacity())
    }

    /// Runs a plan's forward steps from where it can, on inputs that lie in the arena.
    pub fn run(&mut self, plan: &Plan, arena: &mut Arena, input: &[f32], baseline: &[f32]) -> Result<()> {
        let (from, wanted) = (self.restore(arena, input, baseline), std::mem::take(&mut self.wanted));
        if wanted > from {
            plan.run_groups(arena, from..wanted)?;
            self.keep(plan, arena, wanted, input, baseline);
        }
        self.left |= wanted > 0 && wanted >= from;
        plan.run_groups(arena, from.max(wanted)..plan.forward_groups().len())
    }

    fn keep(&mut self, plan: &Plan, arena: &Arena, groups: usize, input: &[f32], baseline: &[f32]) {
        self.groups = groups;
        for (own, values) in [(&mut self.input, input), (&mut self.baseline, baseline)] {
            own.clear();
            own.extend_from_slice(values);
        }
        self.parts = plan.read_behind(groups);
        self.values.clear();
        self.parts.iter().for_each(|part| self.values.extend_from_slice(arena.part(part)));
    }

    /// Puts the state into an arena, and says how many groups have run by that: none where it is of another input.
    fn restore(&self, arena: &mut Arena, input: &[f32], baseline: &[f32]) -> usize {
        if self.groups == 0 || !same(&self.input, input) || !same(&self.baseline, baseline) {
            return 0;
        }
        let mut values = &self.values[..];
        for part in &self.parts {
            let (own, behind) = values.split_at(part.len());
            arena.part_mut(part).copy_from_slice(own);
            values = behind;
        }
        self.groups
    }
}

impl Plan {
    /// A number that plans of other steps or places than its own hardly have.
    pub fn outline(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for step in &self.steps {
            (&step.node, step.work.kernel(), &step.reads, &step.writes).hash(&mut hasher);
        }
        self.groups.iter().for_each(|group| group.steps.hash(&mut hasher));
        for home in &self.homes {
            match home {
                Home::Constant(values) => values.len().hash(&mut hasher),
                home => home.place().hash(&mut hasher),
            }
        }
        hasher.finish()
    }

    /// Groups of the forward part that end before a step.
    fn groups_before(&self, step: usize) -> usize {
        self.forward_groups().iter().take_while(|group| group.steps.end <= step).count()
    }

    /// What steps behind the first groups read of what lies in the arena then, in order and apart.
    fn read_behind(&self, groups: usize) -> Vec<Range<usize>> {
        let place = |id: &BufferId| self.homes[*id].place();
        let (mut written, mut read): (Vec<Range<usize>>, Vec<Range<usize>>) = Default::default();
        let is_new = |part: &Range<usize>, written: &[Range<usize>]| {
            !written.iter().any(|w| w.start <= part.start && part.end <= w.end)
        };
        // What several steps write, each a part of it, is not there as a whole once one of them has run.
        let mut writers: HashMap<BufferId, usize> = HashMap::new();
        self.steps.iter().flat_map(|step| &step.writes).for_each(|&id| *writers.entry(id).or_default() += 1);
        let holds = |id: &BufferId, part: &BufferId| {
            let (whole, part) = (place(id), place(part));
            whole.start < part.end && part.start < whole.end
        };
        let fills = |id: &&BufferId| writers[*id] == 1 && !self.parts.iter().any(|part| part != *id && holds(id, part));
        let done = self.groups[..groups].last().map_or(0, |group| group.steps.end);
        for step in &self.steps[done..] {
            let over = step.writes.first().filter(|_| step.in_place);
            read.extend(step.reads.iter().chain(over).map(place).filter(|part| is_new(part, &written)));
            written.extend(step.writes.iter().filter(fills).map(place));
        }
        read.extend(self.ends.outputs.iter().map(|(id, _)| place(id)).filter(|part| is_new(part, &written)));
        read.retain(|part| !part.is_empty());
        read.sort_unstable_by_key(|part| part.start);
        read.into_iter().fold(vec![], |mut apart: Vec<Range<usize>>, part| {
            match apart.last_mut().filter(|last| part.start <= last.end) {
                Some(last) => last.end = last.end.max(part.end),
                None => apart.push(part),
            }
            apart
        })
    }
}
