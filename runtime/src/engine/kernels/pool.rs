//! Max pools with their adjoints, for channel-blocked images.

use std::ops::Range;

use super::phase::{Epilogue, Phase, covered, row_parts};
use super::reach::{Area, Axis, Reach, finish};
use crate::simd::{Isa, Kernel, LANES, Simd};

/// A max pool. Which tap won is kept as a bit per tap and element, `[block][place][tap]` sixteens of bits.
#[derive(Clone, Debug)]
pub struct MaxPool {
    /// Input rows and columns.
    pub input: [usize; 2],
    /// Output rows and columns.
    pub output: [usize; 2],
    /// Input rows and columns per output row and column.
    pub stride: [usize; 2],
    /// What each tap adds to the input row and column, in the order in which equal ones win.
    pub taps: Vec<[isize; 2]>,
    /// The input's places by their offset within the stride: the windows that each lies in, and as which tap.
    pub phases: Vec<Phase<Vec<usize>>>,
}

impl MaxPool {
    fn plane(extents: [usize; 2]) -> usize {
        extents[0] * extents[1] * LANES
    }

    /// Sixteens of bits that remember the winners of `blocks` blocks.
    pub fn winners(&self, blocks: usize) -> usize {
        blocks * self.output[0] * self.output[1] * self.taps.len()
    }

    /// Whether all that lies between two taps is inside the input for the window at this row and column of the input.
    #[inline(always)]
    fn is_inside(&self, place: [usize; 2], reach: [[isize; 2]; 2]) -> bool {
        let inside = |i: usize, shift: isize| place[i].wrapping_add_signed(shift) < self.input[i];
        (0..2).all(|i| inside(i, reach[0][i]) && inside(i, reach[1][i]))
    }

    /// Which places of the input go into which of the output.
    pub fn reach(&self) -> Reach {
        let [low, high] = self.bounds();
        let axis = |i: usize| {
            let (input, output, stride) = (self.input[i], self.output[i], self.stride[i]);
            Axis { input, output, stride, spread: 1, taps: [low[i], high[i]] }
        };
        Reach { rows: axis(0), columns: axis(1), adds: false, whole: true }
    }

    /// The least and the most that taps add to the input row and column.
    fn bounds(&self) -> [[isize; 2]; 2] {
        let first = self.taps.first().copied().unwrap_or_default();
        let wider = |[low, high]: [[isize; 2]; 2], tap: &[isize; 2]| {
            [[low[0].min(tap[0]), low[1].min(tap[1])], [high[0].max(tap[0]), high[1].max(tap[1])]]
        };
        self.taps.iter().fold([first, first], wider)
    }

    /// Pools to a part of the output, and notes the winners where `winners` is not empty.
    pub fn forward(
        &self,
        isa: Isa,
        input: &[f32],
        output: &mut [f32],
        area: &Area,
        winners: &mut [u16],
        epilogue: Epilogue,
    ) {
        let reach = self.reach();
        assert!(reach.fits(&reach.share(area.clone())), "a pool reaches outside its buffers");
        let (from, to) = (Self::plane(self.input), Self::plane(self.output));
        let noted = to / LANES * self.taps.len();
        for (block, (input, output)) in input.chunks_exact(from).zip(output.chunks_exact_mut(to)).enumerate() {
            let winners: &mut [u16] = if winners.is_empty() { &mut [] } else { &mut winners[block * noted..][..noted] };
            let width = self.output[1] * LANES;
            for rows in row_parts(area.rows.clone(), self.output[1], 1) {
                let (part, columns) = (rows.start * width..rows.end * width, area.columns.clone());
                isa.run(Forward { pool: self, input, output: &mut *output, winners: &mut *winners, rows, columns });
                let at = block * to + part.start;
                finish(&mut *epilogue, at, &mut output[part], self.output[1], &area.columns);
            }
        }
    }

    /// Gives each cotangent to the place that won.
    pub fn backward(&self, isa: Isa, cotangent: &[f32], winners: &[u16], output: &mut [f32], epilogue: Epilogue) {
        let (from, to) = (Self::plane(self.output), Self::plane(self.input));
        let noted = from / LANES * self.taps.len();
        let parts = cotangent.chunks_exact(from).zip(winners.chunks_exact(noted));
        for (block, ((cotangent, winners), output)) in parts.zip(output.chunks_exact_mut(to)).enumerate() {
            if covered(&self.phases) < self.input[0] * self.input[1] {
                output.fill(0.0);
            }
            for part in row_parts(0..self.input[0], self.input[1], self.stride[0]) {
                for phase in &self.phases {
                    let rows = phase.part(0, &part, self.stride);
                    isa.run(Backward { pool: self, phase, cotangent, winners, output: &mut *output, rows });
                }
                let width = self.input[1] * LANES;
                epilogue(block * to + part.start * width, &mut output[part.start * width..part.end * width]);
            }
        }
    }
}

/// A part of an output block.
struct Forward<'a> {
    pool: &'a MaxPool,
    input: &'a [f32],
    output: &'a mut [f32],
    winners: &'a mut [u16],
    rows: Range<usize>,
    columns: Range<usize>,
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: the caller's.
        unsafe {
            match self.pool.taps.len() {
                4 => self.rows::<S, 4>(),
                9 => self.rows::<S, 9>(),
                _ => self.rows::<S, 0>(),
            }
        }
    }
}

impl Forward<'_> {
    /// All rows, of windows of `TAPS`; of any number where that is zero.
    #[inline(always)]
    unsafe fn rows<S: Simd, const TAPS: usize>(mut self) {
        let (pool, width) = (self.pool, self.pool.input[1] as isize);
        let reach = pool.bounds();
        let mut shifts = [0; TAPS];
        for (shift, [dy, dx]) in shifts.iter_mut().zip(&pool.taps) {
            *shift = (dy * width + dx) * LANES as isize;
        }
        for row in self.rows.clone() {
            for column in self.columns.clone() {
                let [top, left] = [row * pool.stride[0], column * pool.stride[1]];
                let place = row * pool.output[1] + column;
                // SAFETY: whole vectors of places inside the input.
                unsafe {
                    match TAPS > 0 && pool.is_inside([top, left], reach) {
                        true => self.inner::<S, TAPS>(place, (top * width as usize + left) * LANES, &shifts),
                        false => self.any::<S>(place, [top, left], reach),
                    }
                }
            }
        }
    }

    /// A window whose taps, so much after its first place, all lie inside the input.
    #[inline(always)]
    unsafe fn inner<S: Simd, const TAPS: usize>(&mut self, place: usize, first: usize, shifts: &[isize; TAPS]) {
        // SAFETY: the caller's; whole vectors of the output.
        unsafe {
            let (first, mut read) = (self.input.as_ptr().wrapping_add(first), [S::splat(0.0); TAPS]);
            let mut most = S::splat(f32::NEG_INFINITY);
            for (read, &shift) in read.iter_mut().zip(shifts) {
                *read = S::load(first.wrapping_offset(shift));
                most = S::max(*read, most);
            }
            S::store(self.output[place * LANES..][..LANES].as_mut_ptr(), most);
            if self.winners.is_empty() {
                return;
            }
            let mut open = u16::MAX;
            for (winner, read) in self.winners[place * TAPS..][..TAPS].iter_mut().zip(read) {
                *winner = open & !S::greater(most, read);
                open &= !*winner;
            }
        }
    }

    /// Any window, without the taps that lie beside the input.
    #[inline(always)]
    unsafe fn any<S: Simd>(&mut self, place: usize, [top, left]: [usize; 2], reach: [[isize; 2]; 2]) {
        let (pool, taps, width) = (self.pool, self.pool.taps.len(), self.pool.input[1]);
        let first = self.input.as_ptr().wrapping_add((top * width + left) * LANES);
        let read = |[dy, dx]: [isize; 2]| first.wrapping_offset((dy * width as isize + dx) * LANES as isize);
        let inside = pool.is_inside([top, left], reach);
        let reads = |tap: [isize; 2]| inside || pool.is_inside([top, left], [tap, tap]);
        // SAFETY: whole vectors of places inside the input and the output.
        unsafe {
            let mut most = S::splat(f32::NEG_INFINITY);
            for &tap in &pool.taps {
                if reads(tap) {
                    most = S::max(S::load(read(tap)), most);
                }
            }
            S::store(self.output[place * LANES..][..LANES].as_mut_ptr(), most);
            if self.winners.is_empty() {
                return;
            }
            let mut open = u16::MAX;
            for (winner, &tap) in self.winners[place * taps..][..taps].iter_mut().zip(&pool.taps) {
                let won = if reads(tap) { open & !S::greater(most, S::load(read(tap))) } else { 0 };
                open &= !won;
                *winner = won;
            }
        }
    }
}

/// Some rows of a phase: the windows that such places lie in.
struct Backward<'a> {
    pool: &'a MaxPool,
    phase: &'a Phase<Vec<usize>>,
    cotangent: &'a [f32],
    winners: &'a [u16],
    output: &'a mut [f32],
    rows: Range<usize>,
}

impl Kernel for Backward<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let (pool, phase, taps) = (self.pool, self.phase, self.pool.taps.len());
        let [height, width] = pool.output;
        for row in self.rows {
            let first = (row * pool.stride[0] + phase.offset[0]) * pool.input[1] + phase.offset[1];
            let mut line = Line {
                places: &mut self.output.as_chunks_mut::<LANES>().0[first..],
                step: pool.stride[1],
                begun: false,
            };
            for (&[dy, dx], &tap) in phase.taps.iter().zip(&phase.weights) {
                let y = row.wrapping_add_signed(dy);
                if y < height {
                    let cotangent = &self.cotangent[y * width * LANES..][..width * LANES];
                    let winners = &self.winners[y * width * taps..][..width * taps];
                    // SAFETY: the caller's.
                    unsafe { line.add::<S>(phase.grid[1], dx, cotangent, &winners[tap..], taps) };
                }
            }
            if !line.begun {
                line.clear(0..phase.grid[1]);
            }
        }
    }
}

/// The places of a row, `step` apart, that lie in the same windows.
struct Line<'a> {
    places: &'a mut [[f32; LANES]],
    step: usize,
    /// Whether there are sums.
    begun: bool,
}

impl Line<'_> {
    fn clear(&mut self, columns: Range<usize>) {
        columns.for_each(|column| self.places[column * self.step] = [0.0; LANES]);
    }

    /// Adds the cotangents of the windows so many columns to the right, where this tap won.
    #[inline(always)]
    unsafe fn add<S: Simd>(&mut self, columns: usize, by: isize, cotangent: &[f32], winners: &[u16], taps: usize) {
        let cotangent = cotangent.as_chunks::<LANES>().0;
        let last = columns.min(cotangent.len().saturating_add_signed(-by));
        let first = by.min(0).unsigned_abs().min(last);
        if !self.begun {
            self.clear(0..first);
            self.clear(last..columns);
        }
        for column in first..last {
            let window = column.wrapping_add_signed(by);
            let place = self.places[column * self.step].as_mut_ptr();
            // SAFETY: whole vectors.
            unsafe {
                let sum = if self.begun { S::load(place) } else { S::splat(0.0) };
                let own = S::keep(S::load(cotangent[window].as_ptr()), winners[window * taps]);
                S::store(place, S::add(sum, own));
            }
        }
        self.begun = true;
    }
}
