//! Which places of its input a kernel reads for which of its output, and how it is told to compute some of them alone: from a buffer
//! that holds some rows of its input into one that holds some of its output ([`Share`]), so that a kernel behind it can take them up
//! while they lie in the caches; or those that changed since the pass before.

use std::ops::Range;

use super::phase::{Epilogue, Phase};
use crate::simd::LANES;

/// The rows, or the columns, of a kernel's images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Axis {
    /// Of the input.
    pub input: usize,
    /// Of the output.
    pub output: usize,
    /// Of the input, per one of the grid.
    pub stride: usize,
    /// Of the output, per one of the grid.
    pub spread: usize,
    /// What the first and the last tap add to one of the input.
    pub taps: [isize; 2],
}

impl Axis {
    /// Where each is made of the one in the same place.
    pub fn same(extent: usize) -> Axis {
        Axis { input: extent, output: extent, stride: 1, spread: 1, taps: [0, 0] }
    }

    /// Those of the input that some of the output are made of.
    pub fn read(&self, output: &Range<usize>) -> Range<usize> {
        let inside = |place: isize| place.clamp(0, self.input as isize) as usize;
        let first = (output.start / self.spread * self.stride) as isize + self.taps[0];
        let last = ((output.end.div_ceil(self.spread).max(1) - 1) * self.stride) as isize + self.taps[1];
        let end = inside(last + 1);
        inside(first).min(end)..end
    }

    /// Those of the output that some of the input go into, and what else the same of the grid give.
    pub fn touched(&self, input: &Range<usize>) -> Range<usize> {
        if input.is_empty() {
            return 0..0;
        }
        let stride = self.stride as isize;
        let first = (input.start as isize - self.taps[1] + stride - 1).div_euclid(stride).max(0);
        let last = (input.end as isize - 1 - self.taps[0]).div_euclid(stride);
        let end = (((last + 1).max(first) as usize) * self.spread).min(self.output);
        (first as usize * self.spread).min(end)..end
    }

    /// All that the grid gives with some of the output.
    pub fn whole(&self, output: &Range<usize>) -> Range<usize> {
        let end = output.end.next_multiple_of(self.spread).min(self.output);
        output.start / self.spread * self.spread..end
    }

    /// How many of the input so many of the output are made of, far from the border.
    pub fn span(&self, output: usize) -> usize {
        (output.div_ceil(self.spread).max(1) - 1) * self.stride + (self.taps[1] - self.taps[0] + 1) as usize
    }
}

/// A part of an image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Area {
    /// Its rows.
    pub rows: Range<usize>,
    /// Its columns.
    pub columns: Range<usize>,
}

impl Area {
    /// Whether no place lies in it.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() || self.columns.is_empty()
    }

    /// How many places lie in it.
    pub fn places(&self) -> usize {
        self.rows.len() * self.columns.len()
    }

    /// Its places in an image of that width, row behind row, as ranges: a single one where it has whole rows.
    pub fn spans(&self, width: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let Area { rows, columns } = self.clone();
        let together = if columns.len() == width { rows.len().max(1) } else { 1 };
        rows.clone().step_by(together).map(move |first| {
            let last = rows.end.min(first + together) - 1;
            first * width + columns.start..last * width + columns.end
        })
    }
}

/// Runs the epilogue on some columns of rows of one block of an output of that width, which begin at its element `at`.
pub fn finish(epilogue: Epilogue, at: usize, rows: &mut [f32], width: usize, columns: &Range<usize>) {
    let area = Area { rows: 0..rows.len() / (width * LANES), columns: columns.clone() };
    for span in area.spans(width) {
        let part = span.start * LANES..span.end * LANES;
        epilogue(at + part.start, &mut rows[part]);
    }
}

/// Which places of its input a kernel reads.
#[derive(Clone, Copy, Debug)]
pub struct Reach {
    /// From top to bottom.
    pub rows: Axis,
    /// From left to right.
    pub columns: Axis,
    /// Whether rows are those of the input instead, and what each of them gives is added to the output as a whole, which is
    /// there when the last has come.
    pub adds: bool,
    /// Whether the buffers hold all rows of both images, whichever are computed.
    pub whole: bool,
}

impl Reach {
    /// That of phases, from an image to another; input and output rows and columns per row and column of the grid.
    pub fn of<W>(phases: &[Phase<W>], [input, output]: [[usize; 2]; 2], [stride, spread]: [[usize; 2]; 2]) -> Reach {
        let axis = |i: usize| {
            let shifts = || phases.iter().flat_map(|phase| &phase.taps).map(|tap| tap[i]);
            let taps = [shifts().min().unwrap_or(0), shifts().max().unwrap_or(0)];
            Axis { input: input[i], output: output[i], stride: stride[i], spread: spread[i], taps }
        };
        Reach { rows: axis(0), columns: axis(1), adds: false, whole: false }
    }

    /// Floats of a row of one block of the output.
    pub fn line(&self) -> usize {
        self.columns.output * LANES
    }

    /// The part of the input that a part of the output is made of.
    pub fn read(&self, output: &Area) -> Area {
        Area { rows: self.rows.read(&output.rows), columns: self.columns.read(&output.columns) }
    }

    /// The part of the output that a part of the input goes into, as wholes of the grid.
    pub fn touched(&self, input: &Area) -> Area {
        Area { rows: self.rows.touched(&input.rows), columns: self.columns.touched(&input.columns) }
    }

    /// All that the grid gives with a part of the output.
    pub fn whole(&self, output: &Area) -> Area {
        Area { rows: self.rows.whole(&output.rows), columns: self.columns.whole(&output.columns) }
    }

    /// All of the output.
    pub fn all(&self) -> Area {
        Area { rows: 0..self.rows.output, columns: 0..self.columns.output }
    }

    /// A part of the output, of images that are there as a whole.
    pub fn share(&self, area: Area) -> Share {
        Share { area, input: 0..self.rows.input, output: 0..self.rows.output }
    }

    /// Whether a share has room for what it reads and writes, and begins where the grid has a row and a column.
    pub fn fits(&self, share: &Share) -> bool {
        let (read, Area { rows, columns }) = (self.rows.read(&share.area.rows), &share.area);
        let lies_in = |part: &Range<usize>, held: &Range<usize>| held.start <= part.start && part.end <= held.end;
        (read.is_empty() || lies_in(&read, &share.input))
            && lies_in(rows, &share.output)
            && rows.end <= self.rows.output
            && columns.end <= self.columns.output
            && rows.start.is_multiple_of(self.rows.spread)
            && columns.start.is_multiple_of(self.columns.spread)
    }
}

/// A part of an output that is computed, and which rows of both images their buffers hold, `[block][row held][column][16]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// What is computed: from multiples of the kernel's spread on.
    pub area: Area,
    /// What the buffer of the input has room for; rows that are not read need not be there.
    pub input: Range<usize>,
    /// What the buffer of the output has room for.
    pub output: Range<usize>,
}
