//! Passes at points that differ from the one before in some rows, as while an image is occluded patch by patch: only what is
//! made of these rows is computed again, to the same bytes (Nakandala et al., "Incremental and approximate inference for faster
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
use crate::engine::kernels::phase::Reach;

/// Values that are kept, at most.
const MOST_KEPT: usize = 128;

/// Of the rows of the image one in so many is thought to change.
const CHANGING: usize = 8;

/// Ranges of rows that are computed by themselves, at most.
const MOST_RANGES: usize = 4;

/// Groups that give one value, at most.
const MOST_JOINED: usize = 4;

/// Rows between two ranges up to which they are computed with them: weights are read anew for each range.
const NEAR: usize = 4;

/// Some rows of an image: ranges from top to bottom, no two of them near each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows(heapless::Vec<Range<usize>, { MOST_RANGES + 1 }>);

impl Rows {
    /// These too. Where there would be too many ranges, the two next to each other become one.
    pub fn join(&mut self, rows: Range<usize>) {
        if rows.is_empty() {
            return;
        }
        let hull = |a: &Range<usize>, b: &Range<usize>| a.start.min(b.start)..a.end.max(b.end);
        let mut joined = rows;
        self.0.retain(|other| {
            let near = other.start <= joined.end + NEAR && joined.start <= other.end + NEAR;
            if near {
                joined = hull(other, &joined);
            }
            !near
        });
        let at = self.0.iter().position(|other| other.start > joined.start).unwrap_or(self.0.len());
        // There is always room for one more.
        let _ = self.0.insert(at, joined);
        if self.0.is_full() {
            let gap = |i: &usize| self.0[i + 1].start - self.0[*i].end;
            if let Some(least) = (0..MOST_RANGES).min_by_key(gap) {
                let behind = self.0.remove(least + 1);
                self.0[least].end = behind.end;
            }
        }
    }

    /// From top to bottom.
    pub fn ranges(&self) -> impl Iterator<Item = &Range<usize>> {
        self.0.iter()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The rows of each value that is kept that have changed.
pub type Changes = heapless::Vec<Rows, MOST_KEPT>;

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
    /// What goes along with its result row by row.
    beside: Vec<usize>,
}

impl Lead {
    /// How many groups.
    pub fn len(&self) -> usize {
        self.groups.len()
    }

    /// Which rows of its value have changed, as whole rows of its grid; notes them.
    pub fn follow(&self, changes: &mut Changes) -> Rows {
        let mut rows = Rows::default();
        for Reading { reach, image, beside } in self.groups.iter().flatten() {
            let before = std::mem::take(&mut rows);
            let read = image.iter().flat_map(|&kept| changes[kept].ranges()).chain(before.ranges());
            read.for_each(|read| rows.join(reach.touched(read)));
            let along = beside.iter().flat_map(|&kept| changes[kept].ranges());
            along.for_each(|along| rows.join(reach.whole_rows(along)));
        }
        rows.ranges().for_each(|range| changes[self.to].join(range.clone()));
        rows
    }

    /// The rows that each group computes, the first one's first, for some rows of the value; with how it reads its image.
    pub fn wanted(&self, rows: &Range<usize>) -> impl Iterator<Item = (Range<usize>, &Reach)> {
        let (mut rows, mut wanted) = (rows.clone(), heapless::Vec::<_, MOST_JOINED>::new());
        for group in self.groups.iter().rev() {
            let mut own = rows.clone();
            for (at, Reading { reach, .. }) in group.iter().enumerate().rev() {
                rows = reach.whole_rows(&rows);
                if at + 1 == group.len() {
                    own = rows.clone();
                }
                rows = reach.read(&rows);
            }
            // No more are joined.
            let _ = wanted.push((own, &group[0].reach));
        }
        wanted.into_iter().rev()
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
        let places = |row: usize| (0..self.image.channels).map(move |c| (c * height + row) * width);
        let (old, new) = (bits(arena.read(input)), bits(arena.read(point)));
        let mut rows = Rows::default();
        let differs = |row: &usize| places(*row).any(|at| old[at..at + width] != new[at..at + width]);
        (0..height).filter(differs).for_each(|row| rows.join(row..row + 1));
        for at in rows.ranges().cloned().flatten().flat_map(places) {
            arena.copy(point, input, at..at + width);
        }
        let mut changes = none_changed();
        changes[0] = rows;
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
    // The number of each value, and its rows.
    let mut kept = HashMap::from([(whole(input), (0, image.extents[0]))]);
    let (mut leads, mut changes) = (vec![], none_changed());
    let middle = image.extents[0] / 2;
    changes[0].join(middle..middle + image.extents[0].div_ceil(CHANGING));
    for group in groups {
        let of_group = || {
            let mut readings = vec![];
            for at in group.steps.clone() {
                let band = at.checked_sub(1).filter(|before| group.steps.contains(before));
                readings.push(reading(&steps[at], band.map(|before| steps[before].writes[0]), |id, rows| {
                    let known = kept.get(&whole(id)).filter(|known| known.1 == rows);
                    known.map(|known| Some(known.0)).or_else(|| floats(id).is_none().then_some(None))
                })?);
            }
            Some(readings)
        };
        let Some(readings) = of_group() else { break };
        let (Some(last), next) = (readings.last(), kept.len()) else { break };
        let (rows, buffer) = (last.reach.output, whole(steps[group.steps.end - 1].writes[0]));
        let &mut (to, known) = kept.entry(buffer).or_insert((next, rows));
        if known != rows || to >= MOST_KEPT {
            break;
        }
        let lead = Lead { groups: vec![readings], to, buffer };
        // A value that changes nearly everywhere is not worth its memory.
        let changed: usize = lead.follow(&mut changes).ranges().map(|range| range.len()).sum();
        if 4 * changed > 3 * rows {
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
/// a value of so many rows that is kept, and none for a constant.
fn reading(
    step: &Step,
    band: Option<BufferId>,
    kept: impl Fn(BufferId, usize) -> Option<Option<usize>>,
) -> Option<Reading> {
    let reach = step.work.reach()?;
    if reach.adds || step.writes.len() != 1 {
        return None;
    }
    let mut reads = step.reads.iter();
    let image = match reads.next() {
        first if first.copied() == band && band.is_some() => None,
        Some(&first) => kept(first, reach.input)?,
        None => None,
    };
    let beside = reads.map(|&id| kept(id, reach.output)).collect::<Option<Vec<_>>>()?;
    Some(Reading { reach, image, beside: beside.into_iter().flatten().collect() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn rows_hold_what_was_joined_and_little_more() {
        for draw in 0..500 {
            let rng = Rng::new(5, draw);
            let (mut rows, mut joined) = (Rows::default(), vec![false; 300]);
            for i in 0..rng.bits(100) % 9 {
                let start = (rng.bits(2 * i) % 280) as usize;
                let range = start..start + (rng.bits(2 * i + 1) % 20) as usize;
                joined[range.clone()].fill(true);
                rows.join(range);
            }
            let ranges: Vec<_> = rows.ranges().cloned().collect();
            assert!(
                ranges.len() <= MOST_RANGES && ranges.windows(2).all(|w| w[0].end + NEAR < w[1].start),
                "{ranges:?}"
            );
            for (row, wanted) in joined.iter().enumerate() {
                assert!(!wanted || ranges.iter().any(|range| range.contains(&row)), "{row} of {ranges:?}");
            }
            assert!(ranges.iter().all(|range| joined[range.start] && joined[range.end - 1]), "{ranges:?}");
        }
        let mut rows = Rows::default();
        [0..2, 100..102, 50..51, 20..21, 90..91].into_iter().for_each(|range| rows.join(range));
        assert_eq!(rows.ranges().cloned().collect::<Vec<_>>(), [0..2, 20..21, 50..51, 90..102]);
    }
}
