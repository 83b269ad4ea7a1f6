//! What kernels over images share: the places of an output that have the same taps, and parts of rows.

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
    /// The rows, or the columns, of the grid that give these of the output, which begin with one of the first phase.
    pub fn part(&self, axis: usize, output: &Range<usize>, spread: [usize; 2]) -> Range<usize> {
        output.start / spread[axis]..output.end.saturating_sub(self.offset[axis]).div_ceil(spread[axis])
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

/// Writes the bias, or zero where there is none, to every place of `[block][place][16]`.
pub fn fill(output: &mut [f32], plane: usize, bias: &[f32]) {
    for (block, part) in output.chunks_exact_mut(plane).enumerate() {
        let bias = bias.get(block * LANES..(block + 1) * LANES).unwrap_or(&[0.0; LANES]);
        part.as_chunks_mut::<LANES>().0.iter_mut().for_each(|v| v.copy_from_slice(bias));
    }
}
