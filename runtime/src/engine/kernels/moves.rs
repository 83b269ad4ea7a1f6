//! Moves elements from one strided arrangement to another.

use super::layout::Turn;
use crate::simd::{Isa, LANES};

/// `to[to + sum i * writes] = from[from + sum i * reads]` for every index within the extents.
#[derive(Clone, Debug)]
pub struct Move {
    /// The first element read.
    pub from: usize,
    /// The first element written.
    pub to: usize,
    /// How many along each axis.
    pub extents: Vec<usize>,
    /// From one to the next, where it is read.
    pub reads: Vec<usize>,
    /// From one to the next, where it is written.
    pub writes: Vec<usize>,
}

impl Move {
    /// The same move along fewer axes: those of extent one are left out, and those that lie side by side on both
    /// ends are one.
    pub fn simplified(mut self) -> Move {
        let mut axis = 0;
        while axis < self.extents.len() {
            let inner = axis + 1;
            let joins = inner < self.extents.len()
                && self.reads[axis] == self.reads[inner] * self.extents[inner]
                && self.writes[axis] == self.writes[inner] * self.extents[inner];
            if joins {
                self.extents[inner] *= self.extents[axis];
            }
            if joins || self.extents[axis] == 1 {
                self.extents.remove(axis);
                self.reads.remove(axis);
                self.writes.remove(axis);
                // The one before may join what is here now.
                axis = axis.saturating_sub(1);
            } else {
                axis += 1;
            }
        }
        self
    }

    /// Does it.
    pub fn run(&self, isa: Isa, from: &[f32], to: &mut [f32]) {
        self.along(isa, 0, self.from, self.to, from, to);
    }

    fn along(&self, isa: Isa, axis: usize, at: usize, place: usize, from: &[f32], to: &mut [f32]) {
        match self.extents.len() - axis {
            0 => to[place] = from[at],
            1 => self.line(axis, self.extents[axis], at, place, from, to),
            2 if self.reads[axis] < self.reads[axis + 1] => self.turned(isa, axis, at, place, from, to),
            _ => {
                for i in 0..self.extents[axis] {
                    self.along(isa, axis + 1, at + i * self.reads[axis], place + i * self.writes[axis], from, to);
                }
            }
        }
    }

    /// The first `count` along the last axis.
    #[inline(always)]
    fn line(&self, axis: usize, count: usize, at: usize, place: usize, from: &[f32], to: &mut [f32]) {
        match (self.reads[axis], self.writes[axis]) {
            (1, 1) => to[place..place + count].copy_from_slice(&from[at..at + count]),
            (0, 1) => to[place..place + count].fill(from[at]),
            (read, 1) => {
                let from = from[at..].iter().step_by(read);
                to[place..place + count].iter_mut().zip(from).for_each(|(to, v)| *to = *v);
            }
            (read, write) => (0..count).for_each(|i| to[place + i * write] = from[at + i * read]),
        }
    }

    /// The last two axes where what lies side by side is not the last: in pieces of which both sides lie in the first cache.
    fn turned(&self, isa: Isa, axis: usize, at: usize, place: usize, from: &[f32], to: &mut [f32]) {
        let (rows, columns) = (self.extents[axis], self.extents[axis + 1]);
        let side_by_side = self.reads[axis] == 1 && self.writes[axis + 1] == 1;
        for first in (0..columns).step_by(LANES) {
            let count = LANES.min(columns - first);
            let tiles = if side_by_side && count == LANES { rows / LANES } else { 0 };
            let (from_row, to_row) = (self.reads[axis + 1], self.writes[axis]);
            if tiles > 0 {
                let (from, to) = (&from[at + first * from_row..], &mut to[place + first..]);
                isa.run(Turn { tiles, from, from_row, from_tile: LANES, to, to_row, to_tile: LANES * to_row });
            }
            for row in tiles * LANES..rows {
                let at = at + row * self.reads[axis] + first * self.reads[axis + 1];
                let place = place + row * self.writes[axis] + first * self.writes[axis + 1];
                self.line(axis + 1, count, at, place, from, to);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_simpler_move_does_the_same() {
        let strides = |e: &[usize]| (0..e.len()).map(|i| e[i + 1..].iter().product()).collect::<Vec<usize>>();
        let cases = [
            (
                vec![3, 1, 20, 2, 5],
                vec![[0, 1, 2, 3, 4], [2, 0, 1, 3, 4], [4, 3, 2, 1, 0], [0, 2, 1, 4, 3], [1, 0, 3, 4, 2]],
            ),
            // Whole tiles, and what is left over beside and below them.
            (vec![2, 1, 1, 35, 50], vec![[0, 1, 2, 4, 3], [4, 0, 3, 1, 2]]),
        ];
        for (extents, orders) in cases {
            let (own, count) = (strides(&extents), extents.iter().product());
            let from: Vec<f32> = (0..count).map(|i| i as f32).collect();
            for order in orders {
                let to = order.map(|axis| extents[axis]);
                let moved = Move {
                    from: 0,
                    to: 0,
                    reads: order.map(|a| own[a]).to_vec(),
                    writes: strides(&to),
                    extents: to.to_vec(),
                };
                let mut plain = vec![-1.0; count];
                for (i, v) in plain.iter_mut().enumerate() {
                    let at = (0..5).map(|a| i / moved.writes[a] % moved.extents[a] * moved.reads[a]).sum::<usize>();
                    *v = from[at];
                }
                for &isa in Isa::here() {
                    let mut simple = vec![-1.0; count];
                    moved.clone().simplified().run(isa, &from, &mut simple);
                    assert_eq!(simple, plain, "{order:?}, {}", isa.name());
                }
            }
        }
    }
}
