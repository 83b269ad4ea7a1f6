//! Passes at points that differ from the one before in a part, as while an image is occluded patch by patch: only what is made
//! of that part is computed again, to the same bytes (Nakandala et al., "Incremental and approximate inference for faster
//! occlusion-based deep CNN explanations", 2019).
//!
//! The values of the leading groups of steps stay where they are from one pass to the next, as long as every step goes by rows.
//! Behind them, where each value is made of the whole image, steps run as they always do.

use std::collections::HashMap;
use std::ops::Range;

use super::arena::{Arena, BufferId, Home};
use super::bands::Group;
use super::run::Step;
use super::values::Image;
use crate::engine::kernels::reach::{Area, Reach};

/// Values that are kept, at most.
const MOST_KEPT: usize = 128;

/// The rows and columns of an image of which a change takes one, it is thought.
const CHANGING: usize = 8;

/// Areas that are computed by themselves, at most.
const MOST_AREAS: usize = 4;

/// Groups that give one value, at most.
const MOST_JOINED: usize = 4;

/// Rows and columns between two areas up to which they are computed with what lies between: weights are read anew for each.
const NEAR: usize = 4;

/// Some parts of an image, no two of them near each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Areas(heapless::Vec<Area, { MOST_AREAS + 1 }>);

impl Areas {
    /// This one too. Those near each other become one, and those that then have the least between them where there would be too
    /// many.
    pub fn join(&mut self, area: Area) {
        if area.is_empty() {
            return;
        }
        let mut joined = area;
        while let Some(near) = self.0.iter().position(|other| are_near(other, &joined)) {
            joined = hull(&joined, &self.0.swap_remove(near));
        }
        // There is always room for one more.
        let _ = self.0.push(joined);
        if !self.0.is_full() {
            return;
        }
        let pairs = (1..self.0.len()).flat_map(|b| (0..b).map(move |a| (a, b)));
        let between = |&(a, b): &(usize, usize)| {
            let (a, b) = (&self.0[a], &self.0[b]);
            hull(a, b).places().saturating_sub(a.places() + b.places())
        };
        if let Some((a, b)) = pairs.min_by_key(between) {
            // The later one first: the other stays where it is.
            let (b, a) = (self.0.swap_remove(b), self.0.swap_remove(a));
            self.join(hull(&a, &b));
        }
    }

    /// One by one.
    pub fn each(&self) -> impl Iterator<Item = &Area> {
        self.0.iter()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What has both in it.
fn hull(a: &Area, b: &Area) -> Area {
    let hull = |a: &Range<usize>, b: &Range<usize>| a.start.min(b.start)..a.end.max(b.end);
    Area { rows: hull(&a.rows, &b.rows), columns: hull(&a.columns, &b.columns) }
}

fn are_near(a: &Area, b: &Area) -> bool {
    let near = |a: &Range<usize>, b: &Range<usize>| a.start <= b.end + NEAR && b.start <= a.end + NEAR;
    near(&a.rows, &b.rows) && near(&a.columns, &b.columns)
}

/// The parts of each value that is kept that have changed.
pub type Changes = heapless::Vec<Areas, MOST_KEPT>;

fn none_changed() -> Changes {
    let mut changes = Changes::new();
    // There is room for as many.
    let _ = changes.resize_default(MOST_KEPT);
    changes
}

/// Leading groups that give one value that is kept; what lies between them is computed anew, as far as it is read.
pub struct Lead {
    /// By group and step.
    groups: Vec<Vec<Reading>>,
    to: usize,
    /// Where the value is.
    pub buffer: BufferId,
}

/// What a step reads of the values that are kept, by their numbers.
struct Reading {
    reach: Reach,
    /// What its reach is about, unless that is what the step before it gives.
    image: Option<usize>,
    /// What goes along with its result place by place.
    beside: Vec<usize>,
}

impl Lead {
    /// How many groups.
    pub fn len(&self) -> usize {
        self.groups.len()
    }

    /// Which parts of its value have changed, as wholes of its grid; notes them.
    pub fn follow(&self, changes: &mut Changes) -> Areas {
        let mut areas = Areas::default();
        for Reading { reach, image, beside } in self.groups.iter().flatten() {
            let before = std::mem::take(&mut areas);
            let read = image.iter().flat_map(|&kept| changes[kept].each()).chain(before.each());
            read.for_each(|read| areas.join(reach.touched(read)));
            let along = beside.iter().flat_map(|&kept| changes[kept].each());
            along.for_each(|along| areas.join(reach.whole(along)));
        }
        areas.each().for_each(|area| changes[self.to].join(area.clone()));
        areas
    }

    /// The part that each group computes, the first one's first, for a part of the value; with how it reads its image.
    pub fn wanted(&self, area: &Area) -> impl Iterator<Item = (Area, &Reach)> {
        let (mut area, mut wanted) = (area.clone(), heapless::Vec::<_, MOST_JOINED>::new());
        for group in self.groups.iter().rev() {
            let mut own = None;
            for Reading { reach, .. } in group.iter().rev() {
                area = generous(reach.whole(&area), reach);
                own.get_or_insert_with(|| area.clone());
                area = reach.read(&area);
            }
            // No more are joined, and none without steps.
            let _ = own.map(|own| wanted.push((own, &group[0].reach)));
        }
        wanted.into_iter().rev()
    }
}

/// With all columns, where it has most: whole rows are computed together.
fn generous(area: Area, reach: &Reach) -> Area {
    match 4 * area.columns.len() > 3 * reach.columns.output {
        true => Area { columns: 0..reach.columns.output, ..area },
        false => area,
    }
}

/// What a plan keeps for the next pass.
pub struct Incremental {
    /// The input, and where the next point lies until it is compared with it.
    pub input: BufferId,
    pub point: BufferId,
    pub image: Image,
    /// In the groups' order.
    pub leads: Vec<Lead>,
}

impl Incremental {
    /// Moves the point to the input; says where they differ. A number that is none differs from others, a zero from another's
    /// sign.
    pub fn moved(&self, arena: &mut Arena, homes: &[Home]) -> Changes {
        let (input, point) = (&homes[self.input], &homes[self.point]);
        let [height, width] = self.image.extents;
        let lines = |row: usize| (0..self.image.channels).map(move |channel| (channel * height + row) * width);
        let (old, new) = (bits(arena.read(input)), bits(arena.read(point)));
        let mut changes = none_changed();
        for row in 0..height {
            for at in lines(row).filter(|&at| old[at..at + width] != new[at..at + width]) {
                let mut differ = (0..width).filter(|column| old[at + column] != new[at + column]);
                let first = differ.next().unwrap_or_default();
                let end = 1 + differ.next_back().unwrap_or(first);
                changes[0].join(Area { rows: row..row + 1, columns: first..end });
            }
        }
        for area in changes[0].each() {
            for at in area.rows.clone().flat_map(lines) {
                arena.copy(point, input, at + area.columns.start..at + area.columns.end);
            }
        }
        changes
    }
}

fn bits(values: &[f32]) -> &[u32] {
    bytemuck::cast_slice(values)
}

/// The leading groups that go by rows, from an input of one image on. `whole` gives the buffer that a buffer is part of, `floats` how
/// many one has unless it is constant, and `is_between` says whether its only reader is the step behind its only writer.
pub fn leads(
    steps: &[Step],
    groups: &[Group],
    (input, image): (BufferId, Image),
    whole: impl Fn(BufferId) -> BufferId,
    floats: impl Fn(BufferId) -> Option<usize>,
    is_between: impl Fn(BufferId) -> bool,
) -> Vec<Lead> {
    if image.batch != 1 {
        return vec![];
    }
    // The number of each value, and its extents.
    let mut kept = HashMap::from([(whole(input), (0, image.extents))]);
    let (mut leads, mut changes) = (vec![], none_changed());
    let [rows, columns] = image.extents.map(|extent| extent / 2..extent / 2 + extent.div_ceil(CHANGING));
    changes[0].join(Area { rows, columns });
    for group in groups {
        let of_group = || {
            let mut readings = vec![];
            for at in group.steps.clone() {
                let band = at.checked_sub(1).filter(|before| group.steps.contains(before));
                readings.push(reading(&steps[at], band.map(|before| steps[before].writes[0]), |id, extents| {
                    let known = kept.get(&whole(id)).filter(|known| known.1 == extents);
                    known.map(|known| Some(known.0)).or_else(|| floats(id).is_none().then_some(None))
                })?);
            }
            Some(readings)
        };
        let Some(readings) = of_group().filter(|_| group.has_room_for_parts()) else { break };
        let (Some(last), next) = (readings.last(), kept.len()) else { break };
        let extents = [last.reach.rows.output, last.reach.columns.output];
        let buffer = whole(steps[group.steps.end - 1].writes[0]);
        let &mut (to, known) = kept.entry(buffer).or_insert((next, extents));
        if known != extents || to >= MOST_KEPT {
            break;
        }
        let lead = Lead { groups: vec![readings], to, buffer };
        // A value that changes nearly everywhere is not worth its memory.
        let changed: usize = lead.follow(&mut changes).each().map(Area::places).sum();
        if 4 * changed > 3 * extents[0] * extents[1] {
            break;
        }
        leads.push(lead);
    }
    joined(leads, input, |id| floats(id).unwrap_or(0), is_between)
}

/// Joins groups between two values with those between them that are more than twice as large: rather than to keep these, the few
/// rows more that others are made of are computed.
fn joined(
    leads: Vec<Lead>,
    input: BufferId,
    floats: impl Fn(BufferId) -> usize,
    is_between: impl Fn(BufferId) -> bool,
) -> Vec<Lead> {
    let sizes: HashMap<usize, usize> =
        leads.iter().map(|lead| (lead.to, floats(lead.buffer))).chain([(0, floats(input))]).collect();
    let (mut all, mut joined): (Vec<Lead>, Vec<Lead>) = (leads, vec![]);
    while !all.is_empty() {
        let from = all[0].groups[0][0].image.map_or(0, |kept| sizes[&kept]);
        let joins = |count: &usize| {
            let (between, last) = (&all[..count - 1], floats(all[count - 1].buffer));
            let large = |lead: &Lead| floats(lead.buffer) > 2 * last.max(from) && is_between(lead.buffer);
            between.iter().all(large)
        };
        let count = (2..=MOST_JOINED.min(all.len())).find(joins).unwrap_or(1);
        let rest = all.split_off(count);
        let (mut groups, mut last) = (vec![], (0, 0));
        for (at, lead) in std::mem::replace(&mut all, rest).into_iter().enumerate() {
            last = (lead.to, lead.buffer);
            groups.extend(lead.groups);
            if at > 0
                && let Some(first) = groups[at].first_mut()
            {
                first.image = None;
            }
        }
        joined.push(Lead { groups, to: last.0, buffer: last.1 });
    }
    joined
}

/// What a step reads, if it goes by rows and all it reads is kept, or constant, or the band before it. `kept` gives the number of
/// a value of these extents that is kept, and none for a constant.
fn reading(
    step: &Step,
    band: Option<BufferId>,
    kept: impl Fn(BufferId, [usize; 2]) -> Option<Option<usize>>,
) -> Option<Reading> {
    let reach = step.work.reach()?;
    if reach.adds || step.writes.len() != 1 {
        return None;
    }
    let [input, output] = [[reach.rows.input, reach.columns.input], [reach.rows.output, reach.columns.output]];
    let mut reads = step.reads.iter();
    let image = match reads.next() {
        first if first.copied() == band && band.is_some() => None,
        Some(&first) => kept(first, input)?,
        None => None,
    };
    let beside = reads.map(|&id| kept(id, output)).collect::<Option<Vec<_>>>()?;
    Some(Reading { reach, image, beside: beside.into_iter().flatten().collect() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn areas_hold_what_was_joined_and_lie_apart() {
        for draw in 0..500 {
            let rng = Rng::new(5, draw);
            let (mut areas, mut joined) = (Areas::default(), vec![]);
            for i in 0..rng.bits(100) % 12 {
                let range = |at: u64| {
                    let start = (rng.bits(8 * i + at) % 90) as usize;
                    start..start + (rng.bits(8 * i + at + 1) % 9) as usize
                };
                let area = Area { rows: range(0), columns: range(2) };
                areas.join(area.clone());
                joined.push(area);
            }
            let lie_in = |a: &Range<usize>, b: &Range<usize>| b.start <= a.start && a.end <= b.end;
            for area in joined.iter().filter(|area| !area.is_empty()) {
                let held = |other: &Area| lie_in(&area.rows, &other.rows) && lie_in(&area.columns, &other.columns);
                assert!(areas.each().any(held), "{area:?} of {areas:?}");
            }
            let all: Vec<_> = areas.each().collect();
            assert!(all.len() <= MOST_AREAS, "{areas:?}");
            for (i, a) in all.iter().enumerate() {
                assert!(all[..i].iter().all(|b| !are_near(a, b)), "{areas:?}");
            }
        }
        let (mut areas, square) = (Areas::default(), |at: usize| Area { rows: at..at + 2, columns: at..at + 2 });
        [0, 100, 50, 20, 90].map(square).into_iter().for_each(|area| areas.join(area));
        let mut all: Vec<_> = areas.each().map(|area| area.rows.clone()).collect();
        all.sort_by_key(|rows| rows.start);
        assert_eq!(all, [0..2, 20..22, 50..52, 90..102]);
    }
}
