//! Channel-blocked images whose rows and columns are sums of others, a few each: Resize, borders, and their adjoints.

use super::phase::{Epilogue, row_parts};
use crate::simd::{Isa, Kernel, LANES, Simd};

/// What each place of an axis is made of.
#[derive(Clone, Debug)]
pub struct Axis {
    /// Places that there are to be made of.
    pub input: usize,
    /// By place of the output: places of the input, with their weights.
    pub places: Vec<Vec<(usize, f32)>>,
}

impl Axis {
    /// Where nothing changes.
    pub fn same(extent: usize) -> Axis {
        Axis { input: extent, places: (0..extent).map(|place| vec![(place, 1.0)]).collect() }
    }

    /// Sums, counted over all places.
    fn terms(&self) -> usize {
        self.places.iter().map(Vec::len).sum()
    }

    fn fits(&self) -> bool {
        self.places.iter().flatten().all(|&(place, _)| place < self.input)
    }
}

/// Along both axes.
#[derive(Clone, Debug)]
pub struct Resample {
    /// From top to bottom.
    pub rows: Axis,
    /// From left to right.
    pub columns: Axis,
}

impl Resample {
    /// Floats of scratch memory: a row of one block, made of others.
    pub fn scratch(&self) -> usize {
        self.columns.input * LANES
    }

    /// Multiplications and additions, each counted, for so many floats of output.
    pub fn flops(&self, floats: usize) -> u64 {
        let (height, width) = (self.rows.places.len(), self.columns.places.len());
        let each = self.rows.terms() * self.columns.input + height * self.columns.terms();
        2 * (floats / (height * width).max(1) * each) as u64
    }

    /// Makes an image of another; runs the epilogue on some rows of a block at a time.
    pub fn run(&self, isa: Isa, input: &[f32], output: &mut [f32], scratch: &mut [f32], epilogue: Epilogue) {
        assert!(self.rows.fits() && self.columns.fits(), "a place is made of others that are not there");
        let (height, width) = (self.rows.places.len(), self.columns.places.len());
        let from = self.rows.input * self.columns.input * LANES;
        let (line, plane) = (width * LANES, height * width * LANES);
        let blocks = input.chunks_exact(from).zip(output.chunks_exact_mut(plane));
        for (block, (input, output)) in blocks.enumerate() {
            for rows in row_parts(0..height, width, 1) {
                let part = rows.start * line..rows.end * line;
                let (first, to) = (rows.start, &mut output[part.clone()]);
                isa.run(Lines { resample: self, input, first, scratch: &mut *scratch, to });
                epilogue(block * plane + part.start, &mut output[part]);
            }
        }
    }
}

/// Some rows of a block.
struct Lines<'a> {
    resample: &'a Resample,
    input: &'a [f32],
    /// The first row of the output.
    first: usize,
    scratch: &'a mut [f32],
    to: &'a mut [f32],
}

impl Kernel for Lines<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Resample { rows, columns } = self.resample;
        let (from, to) = (columns.input * LANES, columns.places.len() * LANES);
        let line = |row: usize| &self.input[row * from..][..from];
        for (row, to) in rows.places[self.first..].iter().zip(self.to.chunks_exact_mut(to)) {
            // SAFETY: the caller's.
            unsafe {
                let read = match row[..] {
                    // As it is.
                    [(only, 1.0)] => line(only),
                    _ => {
                        let sum = &mut self.scratch[..from];
                        sum.fill(0.0);
                        for &(row, weight) in row {
                            add::<S>(line(row), weight, sum);
                        }
                        &*sum
                    }
                };
                across::<S>(read.as_chunks().0, &columns.places, to.as_chunks_mut().0);
            }
        }
    }
}

/// Adds a row times a weight.
#[inline(always)]
unsafe fn add<S: Simd>(row: &[f32], weight: f32, to: &mut [f32]) {
    // SAFETY: the caller's; whole vectors.
    unsafe {
        let weight = S::splat(weight);
        for (from, to) in row.as_chunks::<LANES>().0.iter().zip(to.as_chunks_mut::<LANES>().0) {
            let to = to.as_mut_ptr();
            S::store(to, S::fma(S::load(from.as_ptr()), weight, S::load(to)));
        }
    }
}

/// A row whose places are made of those of another.
#[inline(always)]
unsafe fn across<S: Simd>(row: &[[f32; LANES]], places: &[Vec<(usize, f32)>], to: &mut [[f32; LANES]]) {
    for (place, to) in places.iter().zip(to) {
        // SAFETY: the caller's; whole vectors.
        unsafe {
            let mut sum = S::splat(0.0);
            for &(from, weight) in place {
                sum = S::fma(S::load(row[from].as_ptr()), S::splat(weight), sum);
            }
            S::store(to.as_mut_ptr(), sum);
        }
    }
}
