//! Convolutions of each channel by itself, average pools, and the adjoints of both, for channel-blocked images.
//!
//! Neighbouring places share most of what they read. A tile holds the sums of seven of them, for as many channels as the
//! registers take, and the weights of one row of the kernel; each input is loaded once per row and added to every sum that
//! it belongs to.
// Loops over registers are written with numbers, so that they are unrolled.
#![allow(clippy::needless_range_loop)]

use std::ops::Range;

use super::phase::{Epilogue, Phase, covered, fill, row_parts};
use super::reach::{Reach, Share, finish};
use crate::simd::{Arithmetic, Isa, Kernel, LANES, Lined, Simd};

/// A convolution of each channel by itself. The weights of a phase are `[block][tap][16]`, and its taps go from left to
/// right and from top to bottom.
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
    pub phases: Vec<Phase<Lined<f32>>>,
    /// Per channel, padded to blocks; empty for none.
    pub bias: Vec<f32>,
}

impl Depthwise {
    /// Multiplications and additions, each counted.
    pub fn flops(&self) -> u64 {
        let phase = |p: &Phase<Lined<f32>>| p.grid.iter().product::<usize>() * p.taps.len();
        (2 * self.phases.iter().map(phase).sum::<usize>() * self.blocks * LANES) as u64
    }

    /// Bytes of weights.
    pub fn weight_bytes(&self) -> usize {
        4 * (self.phases.iter().map(|p| p.weights.len()).sum::<usize>() + self.bias.len())
    }

    fn reading(&self) -> Reach {
        Reach::of(&self.phases, [self.input, self.output], [self.stride, self.spread])
    }

    /// Which places it reads, where it can be run by parts: every place of the output has its phase.
    pub fn reach(&self) -> Option<Reach> {
        (covered(&self.phases) == self.output[0] * self.output[1]).then(|| self.reading())
    }

    /// Convolves one image.
    pub fn run(&self, isa: Isa, input: &[f32], output: &mut [f32], epilogue: Epilogue) {
        if covered(&self.phases) < self.output[0] * self.output[1] {
            fill(output, self.output[0] * self.output[1] * LANES, &self.bias);
        }
        let reach = self.reading();
        self.run_part(isa, input, output, &reach.share(reach.all()), epilogue);
    }

    /// Computes a part of the convolution of one image, the epilogue's with it.
    pub fn run_part(&self, isa: Isa, input: &[f32], output: &mut [f32], share: &Share, epilogue: Epilogue) {
        let width = self.output[1] * LANES;
        let (from, to) = (share.input.len() * self.input[1] * LANES, share.output.len() * width);
        let is_padded = |phase: &Phase<Lined<f32>>| phase.weights.len() == self.blocks * phase.taps.len() * LANES;
        let holds =
            input.len() == self.blocks * from && output.len() == self.blocks * to && self.phases.iter().all(is_padded);
        assert!(holds && self.reading().fits(share), "a depthwise convolution reaches outside its buffers");
        for (block, (input, output)) in input.chunks_exact(from).zip(output.chunks_exact_mut(to)).enumerate() {
            for part in row_parts(share.area.rows.clone(), self.output[1], self.spread[0]) {
                for phase in &self.phases {
                    let rows = phase.part(0, &part, self.spread);
                    let columns = phase.part(1, &share.area.columns, self.spread);
                    isa.run(Plane { conv: self, phase, block, input, output: &mut *output, rows, columns, share });
                }
                let held = part.start - share.output.start..part.end - share.output.start;
                let at = (block * self.output[0] + part.start) * width;
                let rows = &mut output[held.start * width..held.end * width];
                finish(&mut *epilogue, at, rows, self.output[1], &share.area.columns);
            }
        }
    }
}

/// Taps that lie side by side and are taken together: as many as the tiles are made for. All of a phase are runs of so
/// many.
fn run_length(taps: &[[isize; 2]], stride: usize) -> usize {
    let side_by_side = |n: usize| {
        taps.len().is_multiple_of(n)
            && taps.chunks_exact(n).all(|run| run.windows(2).all(|t| t[1] == [t[0][0], t[0][1] + 1]))
    };
    let lengths: &[usize] = match stride {
        1 => &[7, 5, 4, 3, 2],
        _ => &[7, 5, 3],
    };
    lengths.iter().copied().find(|&n| side_by_side(n)).unwrap_or(1)
}

/// Some rows of one phase in one block of channels.
struct Plane<'a> {
    conv: &'a Depthwise,
    phase: &'a Phase<Lined<f32>>,
    block: usize,
    input: &'a [f32],
    output: &'a mut [f32],
    rows: Range<usize>,
    columns: Range<usize>,
    share: &'a Share,
}

impl Kernel for Plane<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let stride = self.conv.stride[1];
        // SAFETY: the caller's.
        unsafe {
            match (run_length(&self.phase.taps, stride), stride) {
                (2, 1) => self.rows::<S, 2, true>(),
                (3, 1) => self.rows::<S, 3, true>(),
                (4, 1) => self.rows::<S, 4, true>(),
                (5, 1) => self.rows::<S, 5, true>(),
                (7, 1) => self.rows::<S, 7, true>(),
                (3, _) => self.rows::<S, 3, false>(),
                (5, _) => self.rows::<S, 5, false>(),
                (7, _) => self.rows::<S, 7, false>(),
                _ => self.rows::<S, 1, false>(),
            }
        }
    }
}

/// One row of the grid: the taps that read inside the input, their weights, and where column zero reads and writes.
struct Row<'a> {
    taps: &'a [[isize; 2]],
    weights: *const f32,
    bias: *const f32,
    from: *const f32,
    to: *mut f32,
    /// Floats from one row of the input to the next.
    line: isize,
    /// Floats from what one column reads, and writes, to the next.
    step: usize,
    spread: usize,
}

impl Plane<'_> {
    /// All rows, with runs of `RUN` taps. With a stride of one neighbours share what they read.
    #[inline(always)]
    unsafe fn rows<S: Simd, const RUN: usize, const SHARED: bool>(mut self) {
        let (conv, columns, part) = (self.conv, self.phase.grid[1], self.columns.clone());
        let (mut low, mut high) = self.interior();
        low = low.clamp(part.start, part.end);
        high = high.clamp(low, part.end);
        // The usual padding has tiles of its own at both ends, which leave out what they would read beside the input.
        let middle = RUN as isize / 2;
        let padded = SHARED && RUN % 2 == 1 && columns == conv.input[1] && part.len() == columns;
        let padded = padded && self.phase.taps.chunks_exact(RUN).all(|run| run[0][1] == -middle);
        let (alone, padded) = (padded && (4..=7).contains(&columns), padded && columns >= 7 + RUN / 2);
        if padded {
            (low, high) = (7, columns - 7);
        }
        for row in self.rows.clone() {
            let row = self.row::<RUN>(row);
            // SAFETY: `row` gives pointers into this block, and the buffers hold the rows that it reads and writes (`run_part`);
            // every tap of the columns from `low` to `high` reads inside the input, and so do those of the first and the last
            // columns that the tiles there do not leave out.
            unsafe {
                if !padded && !alone {
                    for column in (part.start..low).chain(high..part.end) {
                        row.edge::<S, RUN>(column, conv);
                    }
                }
                for lane in (0..LANES).step_by(S::Few::WIDTH) {
                    if alone {
                        match columns {
                            7 => row.tile::<S::Few, RUN, SHARED, 7, true, true>(0, lane),
                            6 => row.tile::<S::Few, RUN, SHARED, 6, true, true>(0, lane),
                            5 => row.tile::<S::Few, RUN, SHARED, 5, true, true>(0, lane),
                            _ => row.tile::<S::Few, RUN, SHARED, 4, true, true>(0, lane),
                        };
                        continue;
                    }
                    if padded {
                        row.tile::<S::Few, RUN, SHARED, 7, true, false>(0, lane);
                        row.tile::<S::Few, RUN, SHARED, 7, false, true>(high, lane);
                    }
                    let mut column = low;
                    while column < high {
                        column += match high - column {
                            7.. => row.tile::<S::Few, RUN, SHARED, 7, false, false>(column, lane),
                            4.. => row.tile::<S::Few, RUN, SHARED, 4, false, false>(column, lane),
                            2.. => row.tile::<S::Few, RUN, SHARED, 2, false, false>(column, lane),
                            _ => row.tile::<S::Few, RUN, SHARED, 1, false, false>(column, lane),
                        };
                    }
                }
            }
        }
    }

    /// The columns of the grid for which every tap reads inside the input.
    fn interior(&self) -> (usize, usize) {
        let (step, width) = (self.conv.stride[1] as isize, self.conv.input[1] as isize);
        let shifts = || self.phase.taps.iter().map(|t| t[1]);
        let (least, most) = (shifts().min().unwrap_or(0), shifts().max().unwrap_or(0));
        let low = ((-least).max(0) as usize).div_ceil(step as usize).min(self.phase.grid[1]);
        let high = ((width - most).max(0) as usize).div_ceil(step as usize).min(self.phase.grid[1]);
        (low, high.max(low))
    }

    #[inline(always)]
    fn row<const RUN: usize>(&mut self, row: usize) -> Row<'_> {
        let (conv, phase) = (self.conv, self.phase);
        let top = (row * conv.stride[0]) as isize;
        let (mut first, mut last) = (0, phase.taps.len());
        while first < last && top + phase.taps[first][0] < 0 {
            first += RUN;
        }
        while first < last && top + phase.taps[last - 1][0] >= conv.input[0] as isize {
            last -= RUN;
        }
        let line = (conv.input[1] * LANES) as isize;
        let ([sy, sx], [oy, ox]) = (conv.spread, phase.offset);
        let bias = if conv.bias.is_empty() { &[0.0; LANES][..] } else { &conv.bias[self.block * LANES..][..LANES] };
        Row {
            taps: &phase.taps[first..last],
            weights: phase.weights[(self.block * phase.taps.len() + first) * LANES..].as_ptr(),
            bias: bias.as_ptr(),
            // Row and column zero may lie before what there is of the input where their taps do not.
            from: self.input.as_ptr().wrapping_offset((top - self.share.input.start as isize) * line),
            to: self.output[((row * sy + oy - self.share.output.start) * conv.output[1] + ox) * LANES..].as_mut_ptr(),
            line,
            step: conv.stride[1] * LANES,
            spread: sx * LANES,
        }
    }
}

impl Row<'_> {
    /// Where a tap reads for a column.
    #[inline(always)]
    fn read(&self, tap: [isize; 2], column: usize) -> *const f32 {
        self.from.wrapping_offset(tap[0] * self.line + tap[1] * LANES as isize).wrapping_add(column * self.step)
    }

    /// `M` neighbouring places, the channels from `lane` on; at the `LEFT` or the `RIGHT` end without what lies beside the input.
    #[inline(always)]
    unsafe fn tile<
        A: Arithmetic,
        const RUN: usize,
        const SHARED: bool,
        const M: usize,
        const LEFT: bool,
        const RIGHT: bool,
    >(
        &self,
        column: usize,
        lane: usize,
    ) -> usize {
        // SAFETY: the caller's; weights and bias are padded to blocks.
        unsafe {
            let mut sums = [A::load(self.bias.add(lane)); M];
            let mut weights = self.weights.add(lane);
            for run in self.taps.chunks_exact(RUN) {
                let from = self.read(run[0], column).wrapping_add(lane);
                let mut row = [sums[0]; RUN];
                for (k, w) in row.iter_mut().enumerate() {
                    *w = A::load(weights.add(k * LANES));
                }
                // Plain ranges, so that the compiler unrolls them and the sums stay in registers.
                if SHARED {
                    let first = if LEFT { RUN / 2 } else { 0 };
                    let last = if RIGHT { M + RUN / 2 } else { M + RUN - 1 };
                    for j in first..last {
                        let v = A::load(from.wrapping_add(j * LANES));
                        for k in 0..RUN {
                            if j >= k && j - k < M {
                                sums[j - k] = A::fma(v, row[k], sums[j - k]);
                            }
                        }
                    }
                } else {
                    for m in 0..M {
                        let from = from.add(m * self.step);
                        for k in 0..RUN {
                            sums[m] = A::fma(A::load(from.add(k * LANES)), row[k], sums[m]);
                        }
                    }
                }
                weights = weights.add(RUN * LANES);
            }
            let to = self.to.add(column * self.spread + lane);
            for m in 0..M {
                A::store(to.add(m * self.spread), sums[m]);
            }
        }
        M
    }

    /// One place, without the taps that read beside the input.
    #[inline(always)]
    unsafe fn edge<S: Simd, const RUN: usize>(&self, column: usize, conv: &Depthwise) {
        // SAFETY: rows are inside, columns are checked; weights and bias are padded to blocks.
        unsafe {
            let mut sum = S::load(self.bias);
            let mut weights = self.weights;
            for run in self.taps.chunks_exact(RUN) {
                let x = (column * conv.stride[1]) as isize + run[0][1];
                let from = self.read(run[0], column);
                let last = (conv.input[1] as isize - x).clamp(0, RUN as isize) as usize;
                let first = (-x).max(0) as usize;
                for k in 0..RUN {
                    if first <= k && k < last {
                        sum = S::fma(S::load(from.wrapping_add(k * LANES)), S::load(weights.add(k * LANES)), sum);
                    }
                }
                weights = weights.add(RUN * LANES);
            }
            S::store(self.to.add(column * self.spread), sum);
        }
    }
}
