//! One piece of memory for everything that a plan computes, and where in it each buffer lies.
#![allow(unsafe_code)]

use std::ops::{Deref, DerefMut, Range};
use std::sync::Arc;

use bytemuck::Zeroable;

use super::trunk::Trunk;
use crate::error::{Error, Result};
use crate::simd::{LANES, Line};

/// A buffer of a plan, by number.
pub type BufferId = usize;

/// What a step may read, at most.
pub const MAX_READS: usize = 16;
/// What a step may write, at most.
pub const MAX_WRITES: usize = 6;

/// Floats behind every buffer that nobody may write; only where debug assertions are on, as in tests.
pub const GUARD: usize = if cfg!(debug_assertions) { LANES } else { 0 };
/// What they hold: a number that no kernel computes.
const UNTOUCHED: u32 = 0x7fa5_5a5a;

/// Where a buffer's floats are.
#[derive(Clone, Debug)]
pub enum Home {
    /// Outside the arena, fixed when the plan was made.
    Constant(Arc<[f32]>),
    /// In the arena.
    Arena {
        /// First float.
        offset: usize,
        /// Floats.
        len: usize,
    },
}

impl Home {
    /// Its floats in the arena; none for a constant.
    pub fn place(&self) -> Range<usize> {
        match self {
            Home::Constant(_) => 0..0,
            Home::Arena { offset, len } => *offset..offset + len,
        }
    }
}

/// The time during which a buffer is needed, in steps, both ends included.
#[derive(Clone, Copy, Debug)]
pub struct Life {
    /// Floats.
    pub len: usize,
    /// The first step.
    pub from: usize,
    /// The last step.
    pub to: usize,
}

/// Gives every buffer a place so that buffers that live at one time lie apart: the largest first, each at the
/// smallest gap that takes it. Returns the offsets and the size of the whole.
pub fn place(lives: &[Life]) -> (Vec<usize>, usize) {
    let mut order: Vec<usize> = (0..lives.len()).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(lives[i].len), lives[i].from, i));
    let mut offsets = vec![0; lives.len()];
    let mut placed: Vec<usize> = vec![];
    let mut size = 0;
    for i in order {
        let life = lives[i];
        let len = life.len.next_multiple_of(LANES) + GUARD;
        let mut taken: Vec<(usize, usize)> = placed
            .iter()
            .filter(|&&j| lives[j].from <= life.to && life.from <= lives[j].to)
            .map(|&j| (offsets[j], offsets[j] + lives[j].len.next_multiple_of(LANES) + GUARD))
            .collect();
        taken.sort_unstable();
        let (mut best, mut end) = (None, 0);
        for (from, to) in taken {
            if from > end && from - end >= len && best.is_none_or(|(gap, _)| from - end < gap) {
                best = Some((from - end, end));
            }
            end = end.max(to);
        }
        offsets[i] = best.map_or(end, |(_, at)| at);
        size = size.max(offsets[i] + len);
        placed.push(i);
    }
    (offsets, size)
}

/// The memory: our own, or somebody's who has lent it.
pub struct Arena<'m> {
    lines: Lines<'m>,
}

enum Lines<'m> {
    Own(Vec<Line>),
    Lent(&'m mut [Line]),
}

impl Deref for Lines<'_> {
    type Target = [Line];

    fn deref(&self) -> &[Line] {
        match self {
            Lines::Own(lines) => lines,
            Lines::Lent(lines) => lines,
        }
    }
}

impl DerefMut for Lines<'_> {
    fn deref_mut(&mut self) -> &mut [Line] {
        match self {
            Lines::Own(lines) => lines,
            Lines::Lent(lines) => lines,
        }
    }
}

/// Memory of arenas that nobody works in any more, for others to come: what lies in the caches is used again.
#[derive(Default)]
pub struct Spare {
    arenas: Vec<Vec<Line>>,
    /// What the next session may go on from.
    pub trunk: Trunk,
}

impl Spare {
    /// Room for this many floats, whatever they hold.
    pub fn arena<'m>(&mut self, floats: usize) -> Result<Arena<'m>> {
        match self.arenas.iter().position(|lines| lines.len() >= floats.div_ceil(LANES)) {
            Some(at) => Ok(Arena { lines: Lines::Own(self.arenas.swap_remove(at)) }),
            None => Arena::new(floats),
        }
    }

    /// Takes what is an arena's own.
    pub fn keep(&mut self, arenas: Vec<Arena>) {
        self.arenas.extend(arenas.into_iter().filter_map(Arena::into_own));
    }

    /// Its size.
    pub fn bytes(&self) -> usize {
        let arenas = self.arenas.iter().map(|lines| size_of_val(lines.as_slice()));
        arenas.sum::<usize>() + self.trunk.bytes()
    }
}

/// What a step works on.
pub struct Io<'a> {
    /// In the order of the step's reads.
    pub read: heapless::Vec<&'a [f32], MAX_READS>,
    /// In the order of the step's writes.
    pub write: heapless::Vec<&'a mut [f32], MAX_WRITES>,
    /// Of the size that the step asked for.
    pub scratch: &'a mut [f32],
}

impl<'m> Arena<'m> {
    /// Room for this many floats each, in memory that is lent; as many as fit, up to `most`.
    pub fn within(memory: &'m mut [u8], floats: usize, most: usize) -> Vec<Arena<'m>> {
        let (_, lines, _) = bytemuck::pod_align_to_mut::<u8, Line>(memory);
        let each = floats.div_ceil(LANES).max(1);
        lines.chunks_exact_mut(each).take(most).map(|lines| Arena { lines: Lines::Lent(lines) }).collect()
    }

    /// Room for this many floats, all zero; an error where the machine has not that much memory to give.
    pub fn new(floats: usize) -> Result<Arena<'m>> {
        let count = floats.div_ceil(LANES);
        let mut lines = vec![];
        if lines.try_reserve_exact(count).is_err() {
            let reason = format!("the machine gives no arena of {} bytes; explain a smaller input", 4 * floats);
            return Err(Error::Budget { reason });
        }
        lines.resize(count, Line::zeroed());
        Ok(Arena { lines: Lines::Own(lines) })
    }

    /// Its memory, where it is its own.
    fn into_own(self) -> Option<Vec<Line>> {
        match self.lines {
            Lines::Own(lines) => Some(lines),
            Lines::Lent(_) => None,
        }
    }

    fn floats(&mut self) -> &mut [f32] {
        bytemuck::cast_slice_mut(&mut self.lines)
    }

    /// A buffer's contents.
    pub fn read<'a>(&'a self, home: &'a Home) -> &'a [f32] {
        match home {
            Home::Constant(values) => values,
            Home::Arena { offset, len } => &bytemuck::cast_slice(&self.lines)[*offset..offset + len],
        }
    }

    /// A buffer's contents, to be written; empty for a constant.
    pub fn write(&mut self, home: &Home) -> &mut [f32] {
        match home {
            Home::Constant(_) => &mut [],
            Home::Arena { offset, len } => &mut self.floats()[*offset..offset + len],
        }
    }

    /// Some floats, whatever lies there.
    pub fn part(&self, part: &Range<usize>) -> &[f32] {
        &bytemuck::cast_slice(&self.lines)[part.clone()]
    }

    /// The same, to be written.
    pub fn part_mut(&mut self, part: &Range<usize>) -> &mut [f32] {
        &mut self.floats()[part.clone()]
    }

    /// Copies a part of a buffer to the same place of another, which is as long.
    pub fn copy(&mut self, from: &Home, to: &Home, part: Range<usize>) {
        if let (Home::Arena { offset: from, .. }, Home::Arena { offset: to, .. }) = (from, to) {
            self.floats().copy_within(from + part.start..from + part.end, to + part.start);
        }
    }

    /// The floats behind a buffer, up to the end of its guard.
    fn guard(&mut self, home: &Home) -> &mut [f32] {
        match home {
            Home::Constant(_) => &mut [],
            Home::Arena { offset, len } => {
                &mut self.floats()[offset + len..offset + len.next_multiple_of(LANES) + GUARD]
            }
        }
    }

    /// Marks what lies behind a buffer.
    pub fn arm(&mut self, home: &Home) {
        self.guard(home).fill(f32::from_bits(UNTOUCHED));
    }

    /// Whether what lies behind a buffer is still as it was marked.
    pub fn is_untouched(&mut self, home: &Home) -> bool {
        self.guard(home).iter().all(|v| v.to_bits() == UNTOUCHED)
    }

    /// Lends a step its buffers. `homes` has passed [`lie_apart`] for this step.
    pub fn lend<'a>(
        &'a mut self,
        homes: &'a [Home],
        reads: &[BufferId],
        writes: &[BufferId],
        scratch: &Home,
    ) -> Io<'a> {
        let whole = self.floats();
        let (base, size) = (whole.as_mut_ptr(), whole.len());
        let inside = |offset: usize, len: usize| {
            assert!(offset + len <= size, "a buffer lies outside the arena");
            offset
        };
        let read = |home: &'a Home| match home {
            Home::Constant(values) => &values[..],
            // SAFETY: inside the arena; nothing that is written overlaps it (`lie_apart`). What is read may, and is all shared.
            Home::Arena { offset, len } => unsafe { std::slice::from_raw_parts(base.add(inside(*offset, *len)), *len) },
        };
        let write = |home: &Home| match home {
            Home::Constant(_) => &mut [],
            // SAFETY: inside the arena; what is written overlaps nothing else that is lent (`lie_apart`).
            Home::Arena { offset, len } => unsafe {
                std::slice::from_raw_parts_mut(base.add(inside(*offset, *len)), *len)
            },
        };
        Io {
            read: reads.iter().map(|&id| read(&homes[id])).collect(),
            write: writes.iter().map(|&id| write(&homes[id])).collect(),
            scratch: write(scratch),
        }
    }
}

/// Whether what a step writes overlaps neither what else it writes nor what it reads.
pub fn lie_apart(node: &str, homes: &[Home], reads: &[BufferId], writes: &[BufferId], scratch: &Home) -> Result<()> {
    let written: Vec<_> = writes.iter().map(|&id| homes[id].place()).chain([scratch.place()]).collect();
    let read = reads.iter().map(|&id| homes[id].place());
    let all: Vec<_> = written.iter().cloned().chain(read).collect();
    for (i, a) in written.iter().enumerate() {
        let meets = |(j, b): (usize, &Range<usize>)| j != i && a.start < b.end && b.start < a.end;
        if all.iter().enumerate().any(meets) {
            return Err(Error::Plan { reason: format!("two buffers of the step for '{node}' overlap") });
        }
    }
    if reads.len() > MAX_READS || writes.len() > MAX_WRITES {
        return Err(Error::Plan { reason: format!("the step for '{node}' has too many operands") });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_that_live_at_one_time_lie_apart_and_others_share() {
        let life = |len, from, to| Life { len, from, to };
        let lives = [life(32, 0, 1), life(16, 1, 2), life(30, 2, 3), life(8, 0, 3)];
        let (offsets, size) = place(&lives);
        for i in 0..lives.len() {
            for j in 0..i {
                let (a, b) = (lives[i], lives[j]);
                let together = a.from <= b.to && b.from <= a.to;
                let apart = offsets[i] + a.len <= offsets[j] || offsets[j] + b.len <= offsets[i];
                assert!(apart || !together, "{i} and {j}: {offsets:?}");
            }
        }
        assert_eq!(size, 64 + 3 * GUARD);
    }
}
