//! Moves elements from one strided arrangement to another.

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
    /// Does it.
    pub fn run(&self, from: &[f32], to: &mut [f32]) {
        self.along(0, self.from, self.to, from, to);
    }

    fn along(&self, axis: usize, at: usize, place: usize, from: &[f32], to: &mut [f32]) {
        let rest = self.extents.len() - axis;
        if rest == 0 {
            to[place] = from[at];
            return;
        }
        if let Some(len) = self.whole(axis) {
            to[place..place + len].copy_from_slice(&from[at..at + len]);
            return;
        }
        let (extent, read, write) = (self.extents[axis], self.reads[axis], self.writes[axis]);
        if rest == 1 {
            for i in 0..extent {
                to[place + i * write] = from[at + i * read];
            }
            return;
        }
        for i in 0..extent {
            self.along(axis + 1, at + i * read, place + i * write, from, to);
        }
    }

    /// Elements from this axis on, where both sides are contiguous.
    fn whole(&self, axis: usize) -> Option<usize> {
        let mut len = 1;
        for i in (axis..self.extents.len()).rev() {
            if self.extents[i] != 1 && (self.reads[i] != len || self.writes[i] != len) {
                return None;
            }
            len *= self.extents[i];
        }
        Some(len)
    }
}
