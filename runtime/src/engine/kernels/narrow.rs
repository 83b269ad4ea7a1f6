//! Transposed convolutions to a few planes: the last adjoint of a network, down to the colours of the image.
//!
//! Sixteen lanes of output channels would be mostly padding. Here the lanes are pixels: one product gives what
//! every tap adds for a row of the input, and whole vectors of that are added to the output's rows. With a
//! stride a row is held as one part per offset within the stride until all is added.

use super::conv::Source;
use super::left::Left;
use super::phase::{Reach, Share};
use super::product::{Packing, Product};
use super::stored::Weights;
use crate::simd::{Isa, Kernel, LANES, Lined, Simd};

/// A transposed convolution of one image, in one group.
#[derive(Clone, Debug)]
pub struct Narrow {
    /// Input rows and columns.
    pub input: [usize; 2],
    /// How the input's channels lie.
    pub source: Source,
    /// Output rows and columns.
    pub output: [usize; 2],
    /// Output channels.
    pub channels: usize,
    /// Output rows and columns per input row and column.
    pub stride: [usize; 2],
    /// Where each tap adds, relative to the stride times the input's place.
    pub taps: Vec<[isize; 2]>,
    /// `[input channel / 16][tap][output channel][16]`
    pub weights: Lined<f32>,
    /// Per output channel; empty for none.
    pub bias: Vec<f32>,
}

impl Narrow {
    /// Input channels, padded to blocks.
    fn depth(&self) -> usize {
        match self.source {
            Source::Blocked(blocks) => blocks * LANES,
            Source::Planes(channels) => channels.next_multiple_of(LANES),
        }
    }

    /// Products per input place.
    fn rows(&self) -> usize {
        self.taps.len() * self.channels
    }

    /// Input columns, padded to whole vectors.
    fn columns(&self) -> usize {
        self.input[1].next_multiple_of(LANES)
    }

    /// Floats of scratch memory.
    pub fn scratch(&self) -> usize {
        (self.depth() + self.rows()) * self.columns() + self.output[1]
    }

    /// Multiplications and additions, each counted.
    pub fn flops(&self) -> u64 {
        (2 * self.input[0] * self.columns() * self.rows() * self.depth()) as u64
    }

    /// Bytes of weights.
    pub fn weight_bytes(&self) -> usize {
        4 * (self.weights.len() + self.bias.len())
    }

    /// It goes by rows of its input, and adds what each gives to the whole output.
    pub fn reach(&self) -> Reach {
        let [rows, columns] = self.input;
        Reach { input: rows, output: rows, line: columns * LANES, adds: true, stride: 1, spread: 1, taps: [0, 0] }
    }

    /// Computes the planes of one image.
    pub fn run(&self, isa: Isa, input: &[f32], output: &mut [f32], scratch: &mut [f32]) {
        self.run_rows(isa, input, output, &Share::whole(self.input[0], self.input[0]), scratch);
    }

    /// Adds what some rows of the input give; the first and the last ones, which begin and end the output, come at their time.
    pub fn run_rows(&self, isa: Isa, input: &[f32], output: &mut [f32], share: &Share, scratch: &mut [f32]) {
        let plane = self.output[0] * self.output[1];
        if share.rows.start == 0 {
            for (channel, plane) in output.chunks_exact_mut(plane).enumerate() {
                plane.fill(self.bias.get(channel).copied().unwrap_or(0.0));
            }
        }
        let (packed, rest) = scratch.split_at_mut(self.depth() * self.columns());
        let (results, line) = rest.split_at_mut(self.rows() * self.columns());
        let order = Packing { depth: self.depth(), blocks: self.columns() / LANES };
        for row in share.rows.clone() {
            let (held, height) = (row - share.input.start, share.input.len());
            isa.run(Pack { conv: self, input, row: held, height, order, to: &mut *packed });
            Product {
                left: Left::Blocked(&self.weights, self.rows() * LANES),
                rows: self.rows(),
                depth: order.depth,
                weights: Weights::Single(packed),
                packed: order,
                from: 0,
                result: &mut *results,
                block_stride: self.rows() * LANES,
                row_stride: LANES,
                columns: 0..order.blocks,
                add: false,
                bias: &[],
                // The right side is the image.
                finite: false,
            }
            .run(isa);
            isa.run(Scatter { conv: self, row, results, output: &mut *output });
        }
        if self.stride[1] > 1 && share.rows.end == self.input[0] {
            for row in output.chunks_exact_mut(self.output[1]) {
                let line = &mut line[..row.len()];
                line.copy_from_slice(row);
                for phase in 0..self.stride[1].min(row.len()) {
                    let (start, _) = self.part(phase);
                    let places = row[phase..].iter_mut().step_by(self.stride[1]);
                    places.zip(&line[start..]).for_each(|(to, v)| *to = *v);
                }
            }
        }
    }

    /// Where the part of an output row for one offset within the stride begins, and how long it is.
    fn part(&self, phase: usize) -> (usize, usize) {
        let (width, stride) = (self.output[1], self.stride[1]);
        let len = |phase: usize| width.saturating_sub(phase).div_ceil(stride);
        ((0..phase).map(len).sum(), len(phase))
    }
}

/// One row of the input as the right side of a product: a term per channel, a column per pixel.
struct Pack<'a> {
    conv: &'a Narrow,
    input: &'a [f32],
    /// Which of the rows that there are.
    row: usize,
    height: usize,
    order: Packing,
    to: &'a mut [f32],
}

impl Kernel for Pack<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let (order, width) = (self.order, self.conv.input[1]);
        for block in 0..order.blocks {
            let first = block * LANES;
            let count = LANES.min(width - first);
            for k in (0..order.depth).step_by(LANES) {
                let at = order.at(k, block);
                let lanes = &mut self.to[at..at + LANES * LANES];
                match self.conv.source {
                    Source::Blocked(_) => {
                        let place = (k / LANES * self.height + self.row) * width + first;
                        let from = &self.input[place * LANES..][..count * LANES];
                        match count {
                            // SAFETY: sixteen rows of sixteen each.
                            LANES => unsafe { S::turn(from.as_ptr(), LANES, lanes.as_mut_ptr(), LANES) },
                            _ => turn_some(from, lanes),
                        }
                    }
                    Source::Planes(channels) => {
                        for (lane, channel) in lanes.chunks_exact_mut(LANES).zip(k..) {
                            lane.fill(0.0);
                            if channel < channels {
                                let from = (channel * self.height + self.row) * width + first;
                                lane[..count].copy_from_slice(&self.input[from..from + count]);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Fewer pixels than lanes: what lies beside them is zero.
fn turn_some(pixels: &[f32], lanes: &mut [f32]) {
    lanes.fill(0.0);
    for (pixel, channels) in pixels.chunks_exact(LANES).enumerate() {
        lanes.iter_mut().skip(pixel).step_by(LANES).zip(channels).for_each(|(lane, v)| *lane = *v);
    }
}

/// Adds what lies inside the line, which is at least a vector long, of sixteen values from `at` on.
#[inline(always)]
unsafe fn add_at_end<S: Simd>(line: &mut [f32], at: isize, from: &[f32]) {
    let (lanes, last) = (LANES as isize, (line.len() - LANES) as isize);
    let first = at.clamp(0, last);
    // Where the vector that starts at `first` begins among the values, with a vector of zeros on either side.
    let start = lanes + first - at;
    if !(0..=2 * lanes).contains(&start) {
        return;
    }
    let mut wide = [0.0; 3 * LANES];
    wide[LANES..2 * LANES].copy_from_slice(from);
    let to = line[first as usize..first as usize + LANES].as_mut_ptr();
    // SAFETY: sixteen floats each.
    unsafe { S::store(to, S::add(S::load(to), S::load(wide[start as usize..start as usize + LANES].as_ptr()))) };
}

/// The same for any line.
fn add_inside(line: &mut [f32], at: isize, from: &[f32]) {
    for (lane, v) in from.iter().enumerate() {
        if let Some(to) = usize::try_from(at + lane as isize).ok().and_then(|x| line.get_mut(x)) {
            *to += v;
        }
    }
}

/// Adds one input row's products to the output.
struct Scatter<'a> {
    conv: &'a Narrow,
    row: usize,
    results: &'a [f32],
    output: &'a mut [f32],
}

impl Kernel for Scatter<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let conv = self.conv;
        let ([height, width], step) = (conv.output, conv.stride[1] as isize);
        for (i, tap) in conv.taps.iter().enumerate() {
            let y = (self.row * conv.stride[0]) as isize + tap[0];
            if y < 0 || y >= height as isize {
                continue;
            }
            let (start, len) = conv.part(tap[1].rem_euclid(step) as usize);
            let shift = tap[1].div_euclid(step);
            for channel in 0..conv.channels {
                let line = (channel * height + y as usize) * width + start;
                let line = &mut self.output[line..line + len];
                let product = i * conv.channels + channel;
                for (block, results) in self.results.chunks_exact(conv.rows() * LANES).enumerate() {
                    let from = &results[product * LANES..(product + 1) * LANES];
                    let at = (block * LANES) as isize + shift;
                    if at >= 0 && at as usize + LANES <= len {
                        let to = line[at as usize..at as usize + LANES].as_mut_ptr();
                        // SAFETY: sixteen floats each.
                        unsafe { S::store(to, S::add(S::load(to), S::load(from.as_ptr()))) };
                    } else if len >= LANES {
                        // SAFETY: of the machine.
                        unsafe { add_at_end::<S>(line, at, from) };
                    } else {
                        add_inside(line, at, from);
                    }
                }
            }
        }
    }
}
