//! What kernels over images share: the places of an output that have the same taps, and parts of rows.
//!
//! A kernel can compute some rows of its output alone, from a buffer that holds some rows of its input into one that holds
//! some of its output ([`Share`]), so that a kernel behind it can take them up while they lie in the caches.

use std::ops::Range;

use crate::simd::LANES;

/// Called with every finished part of an output: its first element's place, and the part.
pub type Epilogue<'a> = &'a mut dyn FnMut(usize, &mut [f32]);

/// Floats of output after which the epilogue is run on them: what still lies in the first caches.
const PART: usize = 8192;

/// The places of the output that one set of taps computes, with weights `W`.
#[derive(Clone, Debug)]
pub struct Phase<W> {
    /// Rows and columns computed.
    pub grid: [usize; 2],
    /// The first output row and column.
    pub offset: [usize; 2],
    /// What each tap adds to the input row and column.
    pub taps: Vec<[isize; 2]>,
    /// What belongs to the taps.
    pub weights: W,
}

impl<W> Phase<W> {
    /// The rows of the grid that give these rows of the output, which begin with one of the first phase.
    pub fn rows(&self, output: &Range<usize>, spread: usize) -> Range<usize> {
        output.start / spread..output.end.saturating_sub(self.offset[0]).div_ceil(spread)
    }
}

/// Places of the output that some phase computes.
pub fn covered<W>(phases: &[Phase<W>]) -> usize {
    phases.iter().map(|p| p.grid[0] * p.grid[1]).sum()
}

/// Some rows of one block of an output of that width, a few at a time.
pub fn row_parts(rows: Range<usize>, width: usize, spread: usize) -> impl Iterator<Item = Range<usize>> {
    let each = (PART / (width * LANES * spread)).max(1) * spread;
    rows.clone().step_by(each).map(move |first| first..rows.end.min(first + each))
}

/// Rows of an output that are computed, and which rows of both images their buffers hold, `[block][row held][column][16]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// What is computed: from a multiple of the kernel's spread on.
    pub rows: Range<usize>,
    /// What the buffer of the input has room for; rows that are not read need not be there.
    pub input: Range<usize>,
    /// What the buffer of the output has room for.
    pub output: Range<usize>,
}

impl Share {
    /// All of images with so many rows.
    pub fn whole(input: usize, output: usize) -> Share {
        Share { rows: 0..output, input: 0..input, output: 0..output }
    }
}

/// Which rows of its input a kernel reads.
#[derive(Clone, Copy, Debug)]
pub struct Reach {
    /// Rows of the input.
    pub input: usize,
    /// Rows of the output.
    pub output: usize,
    /// Floats of a row of one block of the output.
    pub line: usize,
    /// Whether rows are those of the input instead, and what each of them gives is added to the output as a whole, which is
    /// there when the last has come.
    pub adds: bool,
    /// Whether the buffers hold all rows of both images, whichever are computed.
    pub whole: bool,
    /// Input rows per row of the grid.
    pub stride: usize,
    /// Output rows per row of the grid.
    pub spread: usize,
    /// What the first and the last tap add to an input row.
    pub taps: [isize; 2],
}

impl Reach {
    /// That of phases, from an image with so many rows to another; input and output rows per row of the grid.
    pub fn of<W>(phases: &[Phase<W>], input: usize, output: [usize; 2], [stride, spread]: [usize; 2]) -> Reach {
        let rows = || phases.iter().flat_map(|phase| &phase.taps).map(|tap| tap[0]);
        let taps = [rows().min().unwrap_or(0), rows().max().unwrap_or(0)];
        Reach { input, output: output[0], line: output[1] * LANES, adds: false, whole: false, stride, spread, taps }
    }

    /// The input rows that some output rows are made of.
    pub fn read(&self, rows: &Range<usize>) -> Range<usize> {
        let inside = |row: isize| row.clamp(0, self.input as isize) as usize;
        let first = (rows.start / self.spread * self.stride) as isize + self.taps[0];
        let last = ((rows.end.div_ceil(self.spread).max(1) - 1) * self.stride) as isize + self.taps[1];
        let end = inside(last + 1);
        inside(first).min(end)..end
    }

    /// The output rows that some input rows go into, and what else their rows of the grid give.
    pub fn touched(&self, rows: &Range<usize>) -> Range<usize> {
        if rows.is_empty() {
            return 0..0;
        }
        let stride = self.stride as isize;
        let first = (rows.start as isize - self.taps[1] + stride - 1).div_euclid(stride).max(0);
        let last = (rows.end as isize - 1 - self.taps[0]).div_euclid(stride);
        let end = (((last + 1).max(first) as usize) * self.spread).min(self.output);
        (first as usize * self.spread).min(end)..end
    }

    /// The rows of the grid that some output rows belong to, as rows of the output.
    pub fn whole_rows(&self, rows: &Range<usize>) -> Range<usize> {
        let end = rows.end.next_multiple_of(self.spread).min(self.output);
        rows.start / self.spread * self.spread..end
    }

    /// How many input rows so many output rows are made of, far from the border.
    pub fn span(&self, rows: usize) -> usize {
        (rows.div_ceil(self.spread).max(1) - 1) * self.stride + (self.taps[1] - self.taps[0] + 1) as usize
    }

    /// Whether a share has room for what it reads and writes, and begins where a row of the grid does.
    pub fn fits(&self, share: &Share) -> bool {
        let (read, rows) = (self.read(&share.rows), &share.rows);
        let lies_in = |part: &Range<usize>, held: &Range<usize>| held.start <= part.start && part.end <= held.end;
        (read.is_empty() || lies_in(&read, &share.input))
            && lies_in(rows, &share.output)
            && rows.end <= self.output
            && rows.start.is_multiple_of(self.spread)
    }
}

/// Writes the bias, or zero where there is none, to every place of `[block][place][16]`.
pub fn fill(output: &mut [f32], plane: usize, bias: &[f32]) {
    for (block, part) in output.chunks_exact_mut(plane).enumerate() {
        let bias = bias.get(block * LANES..(block + 1) * LANES).unwrap_or(&[0.0; LANES]);
        part.as_chunks_mut::<LANES>().0.iter_mut().for_each(|v| v.copy_from_slice(bias));
    }
}
