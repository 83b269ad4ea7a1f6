//! Convolutions of each channel by itself, average pools, and the adjoints of both, for channel-blocked images.

use super::conv::{Epilogue, Phase, fill};
use crate::engine::simd::{Isa, Kernel, LANES, Simd};

/// Floats of output after which the epilogue is run on them: what still lies in the first caches.
const PART: usize = 8192;

/// A convolution of each channel by itself. The weights of a phase are `[block][tap][16]`.
#[derive(Clone, Debug)]
pub struct Depthwise {
    /// Input rows and columns.
    pub input: [usize; 2],
    /// Output rows and columns.
    pub output: [usize; 2],
    /// Blocks of channels.
    pub blocks: usize,
    /// Input rows and columns per row and column of the grid.
    pub stride: [usize; 2],
    /// Output rows and columns per row and column of the grid.
    pub spread: [usize; 2],
    /// One, or one per offset of the output. What none of them writes gets the bias.
    pub phases: Vec<Phase<Vec<f32>>>,
    /// Per channel, padded to blocks; empty for none.
    pub bias: Vec<f32>,
}

impl Depthwise {
    /// Multiplications and additions, each counted.
    pub fn flops(&self) -> u64 {
        let phase = |p: &Phase<Vec<f32>>| p.grid.iter().product::<usize>() * p.taps.len();
        (2 * self.phases.iter().map(phase).sum::<usize>() * self.blocks * LANES) as u64
    }

    /// Bytes of weights.
    pub fn weight_bytes(&self) -> usize {
        4 * (self.phases.iter().map(|p| p.weights.len()).sum::<usize>() + self.bias.len())
    }

    /// Convolves one image.
    pub fn run(&self, isa: Isa, input: &[f32], output: &mut [f32], epilogue: Epilogue) {
        let (from, to) = (self.input[0] * self.input[1] * LANES, self.output[0] * self.output[1] * LANES);
        let whole = self.phases.len() == 1 && self.phases[0].grid == self.output;
        let covered: usize = self.phases.iter().map(|p| p.grid[0] * p.grid[1]).sum();
        if covered < self.output[0] * self.output[1] {
            fill(output, to, &self.bias);
        }
        for (block, (input, output)) in input.chunks_exact(from).zip(output.chunks_exact_mut(to)).enumerate() {
            let width = self.output[1] * LANES;
            let rows = if whole { (PART / width).clamp(1, self.output[0]) } else { self.output[0] };
            for first in (0..self.output[0]).step_by(rows) {
                let last = self.output[0].min(first + rows);
                for phase in &self.phases {
                    let rows = if whole { first..last } else { 0..phase.grid[0] };
                    isa.run(Plane { conv: self, phase, block, input, output: &mut *output, rows });
                }
                epilogue(block * to + first * width, &mut output[first * width..last * width]);
            }
        }
    }
}

/// Some rows of one phase in one block of channels.
struct Plane<'a> {
    conv: &'a Depthwise,
    phase: &'a Phase<Vec<f32>>,
    block: usize,
    input: &'a [f32],
    output: &'a mut [f32],
    rows: std::ops::Range<usize>,
}

impl Kernel for Plane<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(mut self) {
        let columns = self.phase.grid[1];
        let (low, high) = self.interior();
        for row in self.rows.clone() {
            let mut column = 0;
            while column < columns {
                let inside = column >= low && column < high;
                // SAFETY: `tile` checks the rows, and columns where they are not inside.
                unsafe {
                    match high.saturating_sub(column) {
                        4.. if inside => {
                            self.tile::<S, 4, true>(row, column);
                            column += 4;
                        }
                        2.. if inside => {
                            self.tile::<S, 2, true>(row, column);
                            column += 2;
                        }
                        _ => {
                            self.tile::<S, 1, false>(row, column);
                            column += 1;
                        }
                    }
                }
            }
        }
    }
}

impl Plane<'_> {
    /// The columns of the grid for which every tap reads inside the input.
    fn interior(&self) -> (usize, usize) {
        let (step, width) = (self.conv.stride[1] as isize, self.conv.input[1] as isize);
        let shifts = || self.phase.taps.iter().map(|t| t[1]);
        let (least, most) = (shifts().min().unwrap_or(0), shifts().max().unwrap_or(0));
        let low = (-least).max(0).div_ceil_by(step);
        let high = (width - most).max(0).div_ceil_by(step);
        ((low as usize).min(self.phase.grid[1]), (high as usize).min(self.phase.grid[1]))
    }

    /// `M` neighbouring places of a row. Without `INSIDE`, taps outside the input are left out.
    #[inline(always)]
    unsafe fn tile<S: Simd, const M: usize, const INSIDE: bool>(&mut self, row: usize, column: usize) {
        let conv = self.conv;
        let [height, width] = conv.input;
        let step = conv.stride[1] * LANES;
        // SAFETY: rows and columns are checked against the input's; the weights and the bias are padded to blocks.
        unsafe {
            let mut sums = [S::splat(0.0); M];
            let weights = self.phase.weights[self.block * self.phase.taps.len() * LANES..].as_ptr();
            for (i, tap) in self.phase.taps.iter().enumerate() {
                let y = (row * conv.stride[0]) as isize + tap[0];
                let x = (column * conv.stride[1]) as isize + tap[1];
                if y < 0 || y >= height as isize || (!INSIDE && (x < 0 || x >= width as isize)) {
                    continue;
                }
                let weight = S::load(weights.add(i * LANES));
                let from = self.input.as_ptr().add((y as usize * width + x as usize) * LANES);
                for (m, sum) in sums.iter_mut().enumerate() {
                    *sum = S::fma(S::load(from.add(m * step)), weight, *sum);
                }
            }
            let ([sy, sx], [oy, ox]) = (conv.spread, self.phase.offset);
            let place = ((row * sy + oy) * conv.output[1] + column * sx + ox) * LANES;
            let to = self.output[place..place + ((M - 1) * sx + 1) * LANES].as_mut_ptr();
            let bias = match conv.bias.is_empty() {
                true => S::splat(0.0),
                false => S::load(conv.bias[self.block * LANES..(self.block + 1) * LANES].as_ptr()),
            };
            for (m, sum) in sums.into_iter().enumerate() {
                let sum = S::add(sum, bias);
                S::store(to.add(m * sx * LANES), sum);
            }
        }
    }
}

trait DivCeil {
    fn div_ceil_by(self, by: isize) -> isize;
}

impl DivCeil for isize {
    /// Rounded up, for what is not negative.
    fn div_ceil_by(self, by: isize) -> isize {
        (self + by - 1) / by
    }
}
