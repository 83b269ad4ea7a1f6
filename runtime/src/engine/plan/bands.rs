//! Steps that go through an image together, a few rows at a time, so that what lies between them is never there as a whole:
//! the expanded channels of an inverted residual block are the largest values of a network, and are read once.
//!
//! Between two steps of a group lies a window: a buffer for some rows. Which rows of which step come when, and what a window
//! keeps of the rows before, is settled when the plan is made.

use std::ops::Range;

use super::arena::BufferId;
use super::run::Step;
use crate::engine::kernels::phase::{Reach, Share};

/// Floats that a value between two steps has at least for them to go by rows: what is smaller stays in the caches anyway.
const LARGE: usize = 250_000;
/// Floats that the windows of a group have together at most, unless single rows take more.
const WINDOWS: usize = 100_000;

/// Rows of the last step of a group that are tried, the most first.
const ROWS: [usize; 6] = [32, 16, 8, 4, 2, 1];

/// Steps that run together.
pub struct Group {
    /// Which.
    pub steps: Range<usize>,
    /// What is done one after the other; nothing for a single step, which simply runs.
    pub acts: Vec<Act>,
}

/// A part of a group's work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// A step, by its number in the group, computes some rows.
    Run(usize, Share),
    /// A window keeps these of the rows that it holds, by their places in it, and has room for others behind them.
    Keep(Window, Range<usize>),
}

/// A buffer for some rows of an image, `[block][row][column][16]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Where it is.
    pub buffer: BufferId,
    /// Rows that it has room for.
    pub rows: usize,
    /// Floats of a row of one block.
    pub line: usize,
}

impl Window {
    /// Moves rows to the front.
    pub fn keep(&self, values: &mut [f32], rows: &Range<usize>) {
        for block in values.chunks_exact_mut(self.rows * self.line) {
            block.copy_within(rows.start * self.line..rows.end * self.line, 0);
        }
    }
}

/// A buffer that becomes a window, and its floats.
pub type Room = (BufferId, usize);

/// Finds the steps that go by rows together, and what becomes of the buffers between them. `floats` gives how many a buffer
/// has as a whole where it may become a window: when it is no output, and part of nothing. No group has steps on both sides
/// of the first backward one.
pub fn find(steps: &[Step], backward: usize, floats: impl Fn(BufferId) -> Option<usize>) -> (Vec<Group>, Vec<Room>) {
    let (mut groups, mut rooms, mut first) = (vec![], vec![], 0);
    while first < steps.len() {
        let (mut last, mut joints) = (first, vec![]);
        while last + 1 < steps.len() && last + 1 != backward {
            let joint = joint(steps, first..last + 1).and_then(|id| Some((id, floats(id)?)));
            let Some(joint) = joint.filter(|(_, floats)| *floats >= LARGE) else { break };
            joints.push(joint);
            last += 1;
        }
        let mut group = Group { steps: first..last + 1, acts: vec![] };
        if !joints.is_empty() {
            let reaches: Vec<Reach> = steps[group.steps.clone()].iter().filter_map(|step| step.work.reach()).collect();
            let schedule = Schedule::best(&reaches, &joints);
            group.acts = schedule.acts(&joints);
            rooms.extend(joints.iter().zip(schedule.sizes(&joints)).map(|(joint, floats)| (joint.0, floats)));
        }
        groups.push(group);
        first = last + 1;
    }
    (groups, rooms)
}

/// The value that goes from the last of these steps to the one behind it and nowhere else, where both go by rows and that one
/// reads nothing else of the group.
fn joint(steps: &[Step], group: Range<usize>) -> Option<BufferId> {
    let (step, next) = (&steps[group.end - 1], &steps[group.end]);
    let id = *step.writes.first()?;
    let reads = steps.iter().flat_map(|step| &step.reads).filter(|&&read| read == id).count();
    let writes = steps.iter().flat_map(|step| &step.writes).filter(|&&write| write == id).count();
    let by_rows = step.work.reach().is_some() && next.work.reach().is_some();
    let mut others = steps[group].iter().flat_map(|step| &step.writes).filter(|&&write| write != id);
    let apart = reads == 1 && writes == 1 && !others.any(|write| next.reads.contains(write));
    (by_rows && apart && next.reads.first() == Some(&id)).then_some(id)
}

/// The order in which the steps of a group compute their rows.
struct Schedule<'a> {
    reaches: &'a [Reach],
    /// By step but the last: the first row that its window holds, the rows that it has computed, and the most that it holds
    /// at a time.
    first: Vec<usize>,
    done: Vec<usize>,
    most: Vec<usize>,
    acts: Vec<Planned>,
}

/// An act before it is known how many rows the windows have.
enum Planned {
    /// A step, its rows, and the first rows that the windows before and behind it hold.
    Run(usize, Range<usize>, usize, usize),
    Keep(usize, Range<usize>),
}

/// A buffer between two steps, and its floats as a whole.
type Joint = (BufferId, usize);

impl<'a> Schedule<'a> {
    /// With as many rows at a time as the windows may have.
    fn best(reaches: &'a [Reach], joints: &[Joint]) -> Schedule<'a> {
        let spread = reaches.last().map_or(1, |reach| reach.spread);
        let mut schedules = ROWS.iter().map(|rows| Schedule::of(reaches, rows * spread));
        let fits = |schedule: &Schedule| schedule.sizes(joints).iter().sum::<usize>() <= WINDOWS;
        schedules.find(fits).unwrap_or_else(|| Schedule::of(reaches, spread))
    }

    /// Floats of each window.
    fn sizes(&self, joints: &[Joint]) -> Vec<usize> {
        let each = self.most.iter().zip(joints).zip(self.reaches);
        each.map(|((most, (_, whole)), reach)| whole / reach.output * most).collect()
    }

    /// So many rows of the last step at a time.
    fn of(reaches: &'a [Reach], rows: usize) -> Schedule<'a> {
        let windows = reaches.len() - 1;
        let (first, done, most) = (vec![0; windows], vec![0; windows], vec![0; windows]);
        let mut schedule = Schedule { reaches, first, done, most, acts: vec![] };
        let all = reaches[windows].output;
        for from in (0..all).step_by(rows) {
            schedule.run(windows, from..all.min(from + rows));
        }
        // Rows that nobody reads have bits and slopes all the same.
        for step in (0..windows).rev() {
            schedule.provide(step, reaches[step].output..reaches[step].output);
        }
        schedule
    }

    fn run(&mut self, step: usize, rows: Range<usize>) {
        if step > 0 {
            self.provide(step - 1, self.reaches[step].read(&rows));
        }
        let input = if step > 0 { self.first[step - 1] } else { 0 };
        let output = self.first.get(step).copied().unwrap_or(0);
        self.acts.push(Planned::Run(step, rows, input, output));
    }

    /// Has a step compute rows up to the last of these; those before the first are not wanted again.
    fn provide(&mut self, step: usize, rows: Range<usize>) {
        let (done, first, reach) = (self.done[step], self.first[step], self.reaches[step]);
        if rows.end <= done {
            return;
        }
        let kept = rows.start.clamp(first, done);
        if kept > first {
            self.acts.push(Planned::Keep(step, kept - first..done - first));
            self.first[step] = kept;
        }
        let end = rows.end.next_multiple_of(reach.spread).min(reach.output);
        self.most[step] = self.most[step].max(end - kept);
        self.run(step, done..end);
        self.done[step] = end;
    }

    fn acts(&self, joints: &[Joint]) -> Vec<Act> {
        let window = |step: usize, first: usize| first..first + self.most[step];
        let act = |planned: &Planned| match planned {
            Planned::Run(step, rows, input, output) => {
                let reach = &self.reaches[*step];
                let input = step.checked_sub(1).map_or(0..reach.input, |before| window(before, *input));
                let output = if *step == self.most.len() { 0..reach.output } else { window(*step, *output) };
                Act::Run(*step, Share { rows: rows.clone(), input, output })
            }
            Planned::Keep(step, rows) => {
                let (buffer, line) = (joints[*step].0, self.reaches[*step].line);
                Act::Keep(Window { buffer, rows: self.most[*step], line }, rows.clone())
            }
        };
        self.acts.iter().map(act).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use crate::simd::LANES;

    /// A step like those of networks, behind so many rows: a kernel with a stride, or an adjoint of one.
    fn random(rng: &Rng, at: u64, input: usize) -> Reach {
        let pick = |i: u64, n: u64| (rng.bits(8 * at + i) % n) as usize;
        let (kernel, stride, line) = (1 + 2 * pick(0, 3), 1 + pick(1, 3), 16);
        let taps = [-((kernel / 2) as isize), (kernel / 2) as isize];
        match pick(2, 4) {
            0 => {
                Reach { input, output: input * stride - pick(3, stride as u64), line, stride: 1, spread: stride, taps }
            }
            _ => Reach { input, output: input.div_ceil(stride), line, stride, spread: 1, taps },
        }
    }

    /// Follows a schedule, with the number of a row in place of its values: every step computes each row once, one after the
    /// other, and finds the rows that it reads in its window.
    fn follow(reaches: &[Reach], rows: usize) {
        let joints: Vec<Joint> =
            reaches.iter().enumerate().map(|(i, reach)| (i, 2 * reach.output * reach.line)).collect();
        let joints = &joints[..reaches.len() - 1];
        let schedule = Schedule::of(reaches, rows);
        let mut windows: Vec<Vec<f32>> = schedule.sizes(joints).into_iter().map(|floats| vec![-1.0; floats]).collect();
        let mut done = vec![0; reaches.len()];
        for act in schedule.acts(joints) {
            match act {
                Act::Keep(window, rows) => window.keep(&mut windows[window.buffer], &rows),
                Act::Run(step, share) => {
                    let reach = reaches[step];
                    assert_eq!(share.rows.start, done[step], "{reaches:?}");
                    assert!(share.rows.start.is_multiple_of(reach.spread));
                    done[step] = share.rows.end;
                    for row in reach.read(&share.rows) {
                        if step > 0 {
                            let (window, line) = (&windows[step - 1], reaches[step - 1].line);
                            for block in window.chunks_exact(share.input.len() * line) {
                                assert_eq!(block[(row - share.input.start) * line], row as f32, "{reaches:?}");
                            }
                        }
                    }
                    if let Some(window) = windows.get_mut(step) {
                        for block in window.chunks_exact_mut(share.output.len() * reach.line) {
                            for row in share.rows.clone() {
                                let at = (row - share.output.start) * reach.line;
                                block[at..at + reach.line].fill(row as f32);
                            }
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
    fn as_many_rows_come_at_a_time_as_the_windows_may_have() {
        let reach = Reach { input: 112, output: 112, line: 112 * LANES, stride: 1, spread: 1, taps: [-1, 1] };
        for blocks in [1, 4, 100] {
            let joints = [(0, blocks * 112 * reach.line), (1, 0)];
            let sizes = Schedule::best(&[reach, reach], &joints[..1]).sizes(&joints[..1]);
            let rows = sizes[0] / (blocks * reach.line);
            // Of a window of n rows two are kept for what comes.
            assert!(rows >= 3 && (sizes[0] <= WINDOWS || rows == 3), "{rows} rows of {blocks} blocks");
            assert!(rows == 34 || 2 * sizes[0] > WINDOWS, "{rows} rows of {blocks} blocks");
        }
    }
}
