//! Steps that go through an image together, a few rows at a time, so that what lies between them is never there as a whole:
//! the expanded channels of an inverted residual block are the largest values of a network, and are read once.
//!
//! Between two steps of a group lies a band: a buffer for some rows. Which rows of which step come when, and what a band keeps
//! of the rows before, is settled when the plan is made.

use std::ops::Range;

use super::arena::BufferId;
use super::run::Step;
use crate::engine::kernels::phase::{Reach, Share};
use crate::simd::LANES;

/// When steps go by rows together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bands {
    /// Floats that a value between two steps has at least: what is smaller stays in the caches anyway.
    pub large: usize,
    /// Floats that the bands of a group have together at most.
    pub most: usize,
    /// Rows of the last step at a time, at most.
    pub rows: usize,
    /// Places of them, at least: with every few the weights are read anew.
    pub places: usize,
}

impl Default for Bands {
    fn default() -> Self {
        Bands { large: 250_000, most: 100_000, rows: 32, places: 100 }
    }
}

impl Bands {
    /// Never.
    pub const NONE: Bands = Bands { large: usize::MAX, most: 0, rows: 0, places: 0 };
}

/// Steps that run together.
pub struct Group {
    /// Which.
    pub steps: Range<usize>,
    /// What is done one after the other; nothing for a single step, which simply runs.
    pub acts: Vec<Act>,
    /// What lies between each step and the next.
    pub bands: Vec<Band>,
}

/// A part of a group's work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// A step, by its number in the group, computes some rows.
    Run(usize, Share),
    /// The band behind a step keeps these of the rows that it holds, by their places in it, and has room for others behind them.
    Keep(usize, Range<usize>),
}

/// A buffer for some rows of an image, `[block][row][column][16]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Band {
    /// Where it is.
    pub buffer: BufferId,
    /// Its floats.
    pub floats: usize,
    /// Rows that it has room for.
    rows: usize,
    /// Floats of a row of one block.
    line: usize,
}

impl Band {
    /// Moves rows to the front.
    pub fn keep(&self, values: &mut [f32], rows: &Range<usize>) {
        for block in values.chunks_exact_mut(self.rows * self.line) {
            block.copy_within(rows.start * self.line..rows.end * self.line, 0);
        }
    }
}

/// Finds the steps that go by rows together. `whole` gives the buffer that a buffer is part of, and `floats` how many one has
/// that may hold a band in their place: when it is no output, and part of nothing. No group has steps on both sides of the first
/// backward one.
pub fn find(
    steps: &[Step],
    backward: usize,
    bands: Bands,
    whole: impl Fn(BufferId) -> BufferId,
    floats: impl Fn(BufferId) -> Option<usize>,
) -> Vec<Group> {
    let (mut groups, mut first) = (vec![], 0);
    while first < steps.len() {
        let mut group = Group { steps: first..first + 1, acts: vec![], bands: vec![] };
        let (mut reaches, mut between) = (vec![], vec![]);
        while group.steps.end < steps.len() && group.steps.end != backward {
            let Some(joint) = joint(steps, &group.steps, &whole) else { break };
            let Some(all) = floats(joint.buffer).filter(|all| *all >= bands.large) else { break };
            if reaches.is_empty() {
                reaches.push(joint.before);
            }
            reaches.push(joint.behind);
            between.push((joint.buffer, all));
            let Some(schedule) = Schedule::best(&reaches, &between, bands) else { break };
            group.steps.end += 1;
            (group.acts, group.bands) = schedule.end(&between);
        }
        first = group.steps.end;
        groups.push(group);
    }
    groups
}

/// Where two steps meet: the value between them, and which rows they read.
struct Joint {
    buffer: BufferId,
    before: Reach,
    behind: Reach,
}

/// The joint between the last of these steps and the one behind it, where all rows that the first gives go there and nowhere
/// else, and that one reads nothing else of the group.
fn joint(steps: &[Step], group: &Range<usize>, whole: impl Fn(BufferId) -> BufferId) -> Option<Joint> {
    let (step, next) = (&steps[group.end - 1], &steps[group.end]);
    let (before, behind, buffer) = (step.work.reach()?, next.work.reach()?, *step.writes.first()?);
    if before.adds || before.output != behind.input || next.reads.first() != Some(&buffer) {
        return None;
    }
    let uses = |ids: fn(&Step) -> &[BufferId]| steps.iter().flat_map(ids).filter(|&&id| whole(id) == buffer).count();
    let once = uses(|step| &step.reads) == 1 && uses(|step| &step.writes) == 1;
    let others: Vec<_> = steps[group.clone()].iter().flat_map(|step| &step.writes).map(|&id| whole(id)).collect();
    let apart = next.reads.iter().filter(|&&id| id != buffer).all(|&id| !others.contains(&whole(id)));
    (once && apart).then_some(Joint { buffer, before, behind })
}

/// The order in which the steps of a group compute their rows.
struct Schedule<'a> {
    reaches: &'a [Reach],
    /// By step but the last: the first row that its band holds, the rows that it has computed, and the most that the band holds
    /// at a time.
    first: Vec<usize>,
    done: Vec<usize>,
    most: Vec<usize>,
    acts: Vec<Act>,
}

impl<'a> Schedule<'a> {
    /// With as many rows at a time as fit into the bands, if enough do. `between` gives the values between the steps, and the
    /// floats that each has as a whole.
    fn best(reaches: &'a [Reach], between: &[(BufferId, usize)], bands: Bands) -> Option<Schedule<'a>> {
        let last = reaches.last()?;
        let rows = std::iter::successors(Some(bands.rows), |rows| Some(rows / 2)).take_while(|rows| *rows > 0);
        let enough = |rows: &usize| *rows >= last.output || rows * last.line / LANES >= bands.places;
        let mut schedules =
            rows.map(|rows| rows * last.spread).take_while(enough).map(|rows| Schedule::of(reaches, rows));
        schedules.find(|schedule| schedule.bands(between).iter().map(|band| band.floats).sum::<usize>() <= bands.most)
    }

    /// So many rows of the last step at a time.
    fn of(reaches: &'a [Reach], rows: usize) -> Schedule<'a> {
        let count = reaches.len() - 1;
        let mut schedule =
            Schedule { reaches, first: vec![0; count], done: vec![0; count], most: vec![0; count], acts: vec![] };
        let all = reaches[count].output;
        for from in (0..all).step_by(rows) {
            schedule.run(count, from..all.min(from + rows));
        }
        // Rows that nobody reads have bits and slopes all the same.
        for step in (0..count).rev() {
            schedule.provide(step, reaches[step].output..reaches[step].output);
        }
        schedule
    }

    /// A step computes some rows. How many its bands hold is not known before the end: until then they hold none.
    fn run(&mut self, step: usize, rows: Range<usize>) {
        if step > 0 {
            self.provide(step - 1, self.reaches[step].read(&rows));
        }
        let held = |band: Option<usize>, all: usize| match band.and_then(|band| self.first.get(band)) {
            Some(&first) => first..first,
            None => 0..all,
        };
        let input = held(step.checked_sub(1), self.reaches[step].input);
        let output = held(Some(step), self.reaches[step].output);
        self.acts.push(Act::Run(step, Share { rows, input, output }));
    }

    /// Has a step compute rows up to the last of these; those before the first are not wanted again.
    fn provide(&mut self, step: usize, rows: Range<usize>) {
        let (done, first, reach) = (self.done[step], self.first[step], self.reaches[step]);
        if rows.end <= done {
            return;
        }
        let kept = rows.start.clamp(first, done);
        if kept > first {
            self.acts.push(Act::Keep(step, kept - first..done - first));
            self.first[step] = kept;
        }
        let end = rows.end.next_multiple_of(reach.spread).min(reach.output);
        self.most[step] = self.most[step].max(end - kept);
        self.run(step, done..end);
        self.done[step] = end;
    }

    /// What lies between the steps.
    fn bands(&self, between: &[(BufferId, usize)]) -> Vec<Band> {
        let each = self.most.iter().zip(between).zip(self.reaches);
        let band = |((&rows, &(buffer, all)), reach): ((&usize, &(BufferId, usize)), &Reach)| Band {
            buffer,
            floats: all / reach.output * rows,
            rows,
            line: reach.line,
        };
        each.map(band).collect()
    }

    /// The acts, now that it is known how many rows each band holds.
    fn end(mut self, between: &[(BufferId, usize)]) -> (Vec<Act>, Vec<Band>) {
        for act in &mut self.acts {
            if let Act::Run(step, share) = act {
                if *step > 0 {
                    share.input.end += self.most[*step - 1];
                }
                if *step < self.most.len() {
                    share.output.end += self.most[*step];
                }
            }
        }
        let bands = self.bands(between);
        (self.acts, bands)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    /// A step like those of networks, behind so many rows: a kernel with a stride, or an adjoint of one.
    fn random(rng: &Rng, at: u64, input: usize) -> Reach {
        let pick = |i: u64, n: u64| (rng.bits(8 * at + i) % n) as usize;
        let (kernel, stride, line) = (1 + 2 * pick(0, 3), 1 + pick(1, 3), 16);
        let taps = [-((kernel / 2) as isize), (kernel / 2) as isize];
        let (output, stride, spread) = match pick(2, 4) {
            0 => (input * stride - pick(3, stride as u64), 1, stride),
            _ => (input.div_ceil(stride), stride, 1),
        };
        Reach { input, output, line, adds: false, stride, spread, taps }
    }

    /// Follows a schedule, with the number of a row in place of its values: every step computes each row once, one after the
    /// other, and finds the rows that it reads in the band before it.
    fn follow(reaches: &[Reach], rows: usize) {
        let between: Vec<_> = reaches.iter().map(|reach| (0, 2 * reach.output * reach.line)).collect();
        let between = &between[..reaches.len() - 1];
        let (acts, bands) = Schedule::of(reaches, rows).end(between);
        let mut held: Vec<Vec<f32>> = bands.iter().map(|band| vec![-1.0; band.floats]).collect();
        let mut done = vec![0; reaches.len()];
        for act in acts {
            match act {
                Act::Keep(band, rows) => bands[band].keep(&mut held[band], &rows),
                Act::Run(step, share) => {
                    let reach = reaches[step];
                    assert!(share.rows.start == done[step] && reach.fits(&share), "{reaches:?}");
                    done[step] = share.rows.end;
                    for row in reach.read(&share.rows).filter(|_| step > 0) {
                        let line = reaches[step - 1].line;
                        for block in held[step - 1].chunks_exact(share.input.len() * line) {
                            assert_eq!(block[(row - share.input.start) * line], row as f32, "{reaches:?}");
                        }
                    }
                    let blocks = held.get_mut(step).into_iter();
                    for block in blocks.flat_map(|held| held.chunks_exact_mut(share.output.len() * reach.line)) {
                        for row in share.rows.clone() {
                            let at = (row - share.output.start) * reach.line;
                            block[at..at + reach.line].fill(row as f32);
                        }
                    }
                }
            }
        }
        assert_eq!(done, reaches.iter().map(|reach| reach.output).collect::<Vec<_>>());
    }

    #[test]
    fn every_row_is_computed_once_and_there_when_it_is_read() {
        for draw in 0..2_000 {
            let rng = Rng::new(11, draw);
            let (mut input, mut reaches) = (1 + (rng.bits(1_000) % 40) as usize, vec![]);
            for step in 0..2 + rng.bits(1_001) % 3 {
                reaches.push(random(&rng, step, input));
                input = reaches[reaches.len() - 1].output;
            }
            let spread = reaches[reaches.len() - 1].spread;
            for rows in [1, 3, 32] {
                follow(&reaches, rows * spread);
            }
        }
    }

    #[test]
    fn as_many_rows_come_at_a_time_as_fit_and_none_where_too_few_do() {
        let (line, taps, bands) = (112 * LANES, [-1, 1], Bands::default());
        let reach = Reach { input: 112, output: 112, line, adds: false, stride: 1, spread: 1, taps };
        let reaches = [reach, reach];
        let rows = |blocks: usize| {
            let schedule = Schedule::best(&reaches, &[(0, blocks * 112 * line)], bands)?;
            // Of a band of n rows two are kept for what comes.
            Some(schedule.most[0] - 2)
        };
        assert_eq!([1, 2, 4, 18, 19].map(rows), [Some(32), Some(16), Some(8), Some(1), None]);
        let narrow = [reach, Reach { line: 99 * LANES, ..reach }];
        assert!(Schedule::best(&narrow, &[(0, 18 * 112 * line)], bands).is_none(), "a row has too few places");
    }
}
