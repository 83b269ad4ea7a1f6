//! Steps that go through an image together, a few rows at a time, so that what lies between them is never there as a whole:
//! the expanded channels of an inverted residual block are the largest values of a network, and are read once.
//!
//! Between two steps of a group lies a band: a buffer for some rows, whose size is settled when the plan is made. Which rows of
//! which step come when, and what a band keeps of the rows before, follows from the part of the last value that is wanted.

use std::ops::Range;

use super::arena::BufferId;
use super::run::Step;
use crate::engine::kernels::reach::{Area, Reach, Share};
use crate::error::Result;

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
    /// What lies between each step and the next.
    pub bands: Vec<Band>,
    /// Which rows each step reads; nothing for a single step, which simply runs.
    reaches: Vec<Reach>,
    /// Rows of the last step at a time.
    rows: usize,
}

impl Group {
    /// Of a single step.
    pub fn single(step: usize) -> Group {
        Group { steps: step..step + 1, bands: vec![], reaches: vec![], rows: 0 }
    }

    /// Says, act by act, how the steps compute a part of the last one's result: as wholes of its grid.
    pub fn go(&self, area: &Area, act: &mut dyn FnMut(Act) -> Result<()>) -> Result<()> {
        let room = self.bands.iter().map(|band| band.rows).collect();
        let mut schedule = Schedule::new(&self.reaches, room, area, act);
        schedule.rows(area.rows.clone(), self.rows)?;
        // Rows that nobody reads have bits and slopes all the same.
        if *area == self.all() {
            schedule.rest()?;
        }
        Ok(())
    }

    /// Whether the bands have room for a part that begins anywhere: a grid of several rows, or rows that are passed over, would
    /// take more of it in some places than in others.
    pub fn has_room_for_parts(&self) -> bool {
        self.reaches.iter().all(|reach| reach.rows.spread == 1 && reach.rows.stride <= reach.rows.span(1))
    }

    /// All of the last step's result, of steps that go by rows.
    pub fn all(&self) -> Area {
        self.reaches.last().map(Reach::all).unwrap_or_default()
    }
}

/// A part of a group's work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// A step, by its number in the group, computes a part.
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
        let mut group = Group::single(first);
        let (mut reaches, mut between) = (vec![], vec![]);
        while group.steps.end < steps.len() && group.steps.end != backward && group.steps.len() < MOST_STEPS {
            let Some(joint) = joint(steps, &group.steps, &whole) else { break };
            let Some(all) = floats(joint.buffer).filter(|all| *all >= bands.large) else { break };
            if reaches.is_empty() {
                reaches.push(joint.before);
            }
            reaches.push(joint.behind);
            between.push((joint.buffer, all));
            let Some((rows, found)) = best(&reaches, &between, bands) else { break };
            let steps = group.steps.start..group.steps.end + 1;
            group = Group { steps, bands: found, reaches: reaches.clone(), rows };
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
    if before.adds
        || before.whole
        || behind.whole
        || before.rows.output != behind.rows.input
        || !goes_on_alone(steps, group.end - 1, &whole)
    {
        return None;
    }
    let others: Vec<_> = steps[group.clone()].iter().flat_map(|step| &step.writes).map(|&id| whole(id)).collect();
    let apart = next.reads.iter().filter(|&&id| id != buffer).all(|&id| !others.contains(&whole(id)));
    apart.then_some(Joint { buffer, before, behind })
}

/// Whether the value that a step gives is its alone, and is read by the next step alone, once and first. `whole` gives the buffer
/// that a buffer is part of.
pub fn goes_on_alone(steps: &[Step], step: usize, whole: impl Fn(BufferId) -> BufferId) -> bool {
    let (Some(&value), Some(next)) = (steps[step].writes.first(), steps.get(step + 1)) else { return false };
    let uses = |ids: fn(&Step) -> &[BufferId]| steps.iter().flat_map(ids).filter(|&&id| whole(id) == value).count();
    next.reads.first() == Some(&value) && uses(|step| &step.reads) == 1 && uses(|step| &step.writes) == 1
}

/// As many rows of the last step at a time as fit into the bands, if enough do, and these bands. `between` gives the values
/// between the steps, and the floats that each has as a whole.
fn best(reaches: &[Reach], between: &[(BufferId, usize)], bands: Bands) -> Option<(usize, Vec<Band>)> {
    let last = reaches.last()?;
    let rows = std::iter::successors(Some(bands.rows), |rows| Some(rows / 2)).take_while(|rows| *rows > 0);
    let enough = |rows: &usize| *rows >= last.rows.output || rows * last.columns.output >= bands.places;
    let found = rows.map(|rows| rows * last.rows.spread).take_while(enough);
    let mut found = found.map(|rows| (rows, bands_of(reaches, between, rows)));
    found.find(|(_, found)| found.iter().map(|band| band.floats).sum::<usize>() <= bands.most)
}

/// What lies between the steps where so many rows of the last come at a time, whichever they are.
fn bands_of(reaches: &[Reach], between: &[(BufferId, usize)], rows: usize) -> Vec<Band> {
    let (mut nothing, all) = (|_| Ok(()), reaches[reaches.len() - 1].all());
    let mut schedule = Schedule::new(reaches, heapless::Vec::new(), &all, &mut nothing);
    // Nothing is done, so nothing fails.
    let _ = schedule.rows(all.rows, rows).and_then(|()| schedule.rest());
    let mut most = schedule.most;
    let mut some = rows;
    for (step, most) in most.iter_mut().enumerate().rev() {
        // Rows that are computed alone may begin anywhere, and need those on both sides of them.
        let own = reaches[step].rows;
        some = (reaches[step + 1].rows.span(some) + own.spread - 1).next_multiple_of(own.spread).min(own.output);
        *most = some.max(*most);
    }
    let each = most.iter().zip(between).zip(reaches);
    let band = |((&rows, &(buffer, all)), reach): ((&usize, &(BufferId, usize)), &Reach)| Band {
        buffer,
        floats: all / reach.rows.output * rows,
        rows,
        line: reach.line(),
    };
    each.map(band).collect()
}

/// Steps that go by rows together, at most.
const MOST_STEPS: usize = 16;

/// A number for each step but the last.
type Each = heapless::Vec<usize, MOST_STEPS>;

/// The order in which the steps of a group compute their rows.
struct Schedule<'a, 'b> {
    reaches: &'a [Reach],
    /// The rows that each band has room for, once that is known.
    room: Each,
    /// The first row that each band holds, the end of those that it has computed, and the most that it has held.
    first: Each,
    done: Each,
    most: Each,
    /// The columns that each step computes.
    columns: heapless::Vec<Range<usize>, MOST_STEPS>,
    act: &'a mut (dyn FnMut(Act) -> Result<()> + 'b),
}

impl<'a, 'b> Schedule<'a, 'b> {
    /// Before the first row of a part of the last step.
    fn new(
        reaches: &'a [Reach],
        room: Each,
        area: &Area,
        act: &'a mut (dyn FnMut(Act) -> Result<()> + 'b),
    ) -> Schedule<'a, 'b> {
        let count = reaches.len() - 1;
        // With all of what comes last all of the others is wanted, read or not. No group has more steps than there is room for.
        let mut columns: heapless::Vec<_, MOST_STEPS> = reaches.iter().map(|reach| 0..reach.columns.output).collect();
        let mut first: Each = reaches[..count].iter().map(|_| 0).collect();
        let most = first.clone();
        if *area != reaches[count].all() {
            let mut row = area.rows.start;
            columns[count] = area.columns.clone();
            for step in (0..count).rev() {
                let (own, behind) = (reaches[step], reaches[step + 1]);
                row = own.rows.whole(&behind.rows.read(&(row..row + 1))).start;
                first[step] = row;
                columns[step] = own.columns.whole(&behind.columns.read(&columns[step + 1]));
            }
        }
        Schedule { reaches, room, done: first.clone(), first, most, columns, act }
    }

    /// Rows of the last step, so many at a time.
    fn rows(&mut self, rows: Range<usize>, each: usize) -> Result<()> {
        let mut parts = rows.clone().step_by(each);
        parts.try_for_each(|from| self.run(self.reaches.len() - 1, from..rows.end.min(from + each)))
    }

    /// What no row of the last step has asked for.
    fn rest(&mut self) -> Result<()> {
        (0..self.first.len()).rev().try_for_each(|step| {
            let end = self.reaches[step].rows.output;
            self.provide(step, end..end)
        })
    }

    /// A step computes some rows.
    fn run(&mut self, step: usize, rows: Range<usize>) -> Result<()> {
        if step > 0 {
            self.provide(step - 1, self.reaches[step].rows.read(&rows))?;
        }
        let held = |band: Option<usize>, all: usize| match band.and_then(|band| Some((band, *self.first.get(band)?))) {
            Some((band, first)) => first..first + self.room.get(band).copied().unwrap_or(0),
            None => 0..all,
        };
        let input = held(step.checked_sub(1), self.reaches[step].rows.input);
        let output = held(Some(step), self.reaches[step].rows.output);
        let area = Area { rows, columns: self.columns[step].clone() };
        (self.act)(Act::Run(step, Share { area, input, output }))
    }

    /// Has a step compute rows up to the last of these; those before the first are not wanted again.
    fn provide(&mut self, step: usize, rows: Range<usize>) -> Result<()> {
        let (done, first, own) = (self.done[step], self.first[step], self.reaches[step].rows);
        if rows.end <= done {
            return Ok(());
        }
        let kept = rows.start.clamp(first, done);
        if kept > first {
            (self.act)(Act::Keep(step, kept - first..done - first))?;
            self.first[step] = kept;
        }
        let end = rows.end.next_multiple_of(own.spread).min(own.output);
        self.most[step] = self.most[step].max(end - kept);
        self.run(step, done..end)?;
        self.done[step] = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::kernels::reach::Axis;
    use crate::rng::Rng;
    use crate::simd::LANES;

    /// A step like those of networks, behind so many rows and columns: a kernel with a stride, or an adjoint of one.
    fn random(rng: &Rng, at: u64, [rows, columns]: [usize; 2]) -> Reach {
        let pick = |i: u64, n: u64| (rng.bits(8 * at + i) % n) as usize;
        let (kernel, stride) = (1 + 2 * pick(0, 3), 1 + pick(1, 3));
        let taps = [-((kernel / 2) as isize), (kernel / 2) as isize];
        let axis = |input: usize| {
            let (output, stride, spread) = match pick(2, 4) {
                0 => (input * stride - pick(3, stride as u64), 1, stride),
                _ => (input.div_ceil(stride), stride, 1),
            };
            Axis { input, output, stride, spread, taps }
        };
        Reach { rows: axis(rows), columns: axis(columns), adds: false, whole: false }
    }

    /// Follows a schedule, with the number of a place in place of its values: every step computes each row once, one after the
    /// other, and finds the places that it reads in the band before it.
    fn follow(reaches: &[Reach], rows: usize, wanted: &Area) {
        let between: Vec<_> = reaches.iter().map(|reach| (0, 2 * reach.rows.output * reach.line())).collect();
        let bands = bands_of(reaches, &between[..reaches.len() - 1], rows);
        let group = Group { steps: 0..reaches.len(), bands, reaches: reaches.to_vec(), rows };
        if *wanted != group.all() && !group.has_room_for_parts() {
            return;
        }
        let mut held: Vec<Vec<f32>> = group.bands.iter().map(|band| vec![-1.0; band.floats]).collect();
        let mut done: Vec<Option<Range<usize>>> = vec![None; reaches.len()];
        let places = |area: &Area| {
            let columns = area.columns.clone();
            area.rows.clone().flat_map(move |row| columns.clone().map(move |column| (row, column)))
        };
        let number = |row: usize, column: usize| (1_000 * row + column) as f32;
        let act = &mut |act| {
            match act {
                Act::Keep(band, rows) => group.bands[band].keep(&mut held[band], &rows),
                Act::Run(step, share) => {
                    let (reach, rows) = (reaches[step], &share.area.rows);
                    let before = done[step].get_or_insert(rows.start..rows.start);
                    assert!(rows.start == before.end && reach.fits(&share), "{reaches:?}");
                    before.end = rows.end;
                    for (row, column) in places(&reach.read(&share.area)).filter(|_| step > 0) {
                        let line = reaches[step - 1].line();
                        for block in held[step - 1].chunks_exact(share.input.len() * line) {
                            let found = block[(row - share.input.start) * line + column * LANES];
                            assert_eq!(found, number(row, column), "{reaches:?}");
                        }
                    }
                    let blocks = held.get_mut(step).into_iter();
                    for block in blocks.flat_map(|held| held.chunks_exact_mut(share.output.len() * reach.line())) {
                        for (row, column) in places(&share.area) {
                            let at = (row - share.output.start) * reach.line() + column * LANES;
                            block[at..at + LANES].fill(number(row, column));
                        }
                    }
                    assert!(step + 1 < reaches.len() || share.area.columns == wanted.columns);
                }
            }
            Ok(())
        };
        group.go(wanted, act).unwrap();
        assert_eq!(done[reaches.len() - 1], Some(wanted.rows.clone()));
        if *wanted == group.all() {
            assert_eq!(done, reaches.iter().map(|reach| Some(0..reach.rows.output)).collect::<Vec<_>>());
        }
    }

    #[test]
    fn every_row_is_computed_once_and_there_when_it_is_read() {
        for draw in 0..1_000 {
            let rng = Rng::new(11, draw);
            let (mut input, mut reaches) = ([1_000, 1_001].map(|i| 1 + (rng.bits(i) % 20) as usize), vec![]);
            for step in 0..2 + rng.bits(1_002) % 3 {
                let reach = random(&rng, step, input);
                input = [reach.rows.output, reach.columns.output];
                reaches.push(reach);
            }
            let last = reaches[reaches.len() - 1];
            let part = |axis: Axis, i: u64| {
                let pick = |i: u64| (rng.bits(i) % axis.output as u64) as usize;
                let first = pick(i) / axis.spread * axis.spread;
                first..(first + 1).max(pick(i + 1))
            };
            let area = Area { rows: part(last.rows, 2_000), columns: part(last.columns, 2_002) };
            for rows in [1, 3, 32] {
                follow(&reaches, rows * last.rows.spread, &last.all());
                follow(&reaches, rows * last.rows.spread, &area);
            }
        }
    }

    #[test]
    fn as_many_rows_come_at_a_time_as_fit_and_none_where_too_few_do() {
        let axis = Axis { taps: [-1, 1], ..Axis::same(112) };
        let (bands, reach) = (Bands::default(), Reach { rows: axis, columns: axis, adds: false, whole: false });
        let reaches = [reach, reach];
        let rows = |blocks: usize| {
            let (_, found) = best(&reaches, &[(0, blocks * 112 * 112 * LANES)], bands)?;
            // Of a band of n rows two are kept for what comes.
            Some(found[0].rows - 2)
        };
        assert_eq!([1, 2, 4, 18, 19].map(rows), [Some(32), Some(16), Some(8), Some(1), None]);
        let narrow = [reach, Reach { columns: Axis::same(99), ..reach }];
        assert!(best(&narrow, &[(0, 18 * 112 * 112 * LANES)], bands).is_none(), "a row has too few places");
    }
}
