//! Transposed convolutions to a few planes: the last adjoint of a network, down to the colours of the image.
//!
//! Sixteen lanes of output channels would be mostly padding. Here the lanes are pixels: one product gives what
//! every tap adds for a row of the input, between zeros, and whole vectors of that are added to the output's rows. With
//! a stride a row is held as one part per offset within the stride until all is added.

use super::conv::Source;
use super::left::Left;
use super::lines::{moved, turned};
use super::product::{Packing, Product};
use super::reach::{Axis, Reach, Share};
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

    /// The part of an output row, by its offset within the stride, and the column of it that a tap adds the first pixel to.
    fn places(&self, tap: [isize; 2]) -> (usize, isize) {
        match self.stride[1] as isize {
            // Nothing to divide, which takes as long as a dozen sums.
            1 => (0, tap[1]),
            step => (tap[1].rem_euclid(step) as usize, tap[1].div_euclid(step)),
        }
    }

    /// Floats from one row of products to the next, between a vector of zeros on either side.
    fn line(&self) -> usize {
        LANES + self.columns() + LANES
    }

    /// Floats of scratch memory.
    pub fn scratch(&self) -> usize {
        self.depth() * self.columns() + self.rows() * self.line() + self.output[1]
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
        let [rows, columns] = self.input.map(Axis::same);
        Reach { rows, columns, adds: true, whole: false }
    }

    /// Computes the planes of one image.
    pub fn run(&self, isa: Isa, input: &[f32], output: &mut [f32], scratch: &mut [f32]) {
        let reach = self.reach();
        self.run_part(isa, input, output, &reach.share(reach.all()), scratch);
    }

    /// Adds what some rows of the input give; the first and the last ones, which begin and end the output, come at their time.
    pub fn run_part(&self, isa: Isa, input: &[f32], output: &mut [f32], share: &Share, scratch: &mut [f32]) {
        let plane = self.output[0] * self.output[1];
        if share.area.rows.start == 0 {
            for (channel, plane) in output.chunks_exact_mut(plane).enumerate() {
                plane.fill(self.bias.get(channel).copied().unwrap_or(0.0));
            }
        }
        let (packed, rest) = scratch.split_at_mut(self.depth() * self.columns());
        let (results, line) = rest.split_at_mut(self.rows() * self.line());
        results.fill(0.0);
        let order = Packing { depth: self.depth(), blocks: self.columns() / LANES };
        for row in share.area.rows.clone() {
            let (held, height) = (row - share.input.start, share.input.len());
            isa.run(Pack { conv: self, input, row: held, height, order, to: &mut *packed });
            Product {
                left: Left::Blocked(&self.weights, self.rows() * LANES),
                rows: self.rows(),
                depth: order.depth,
                weights: Weights::Single(packed),
                packed: order,
                from: 0,
                result: &mut results[LANES..],
                block_stride: LANES,
                row_stride: self.line(),
                columns: 0..order.blocks,
                add: false,
                bias: &[],
                // The right side is the image.
                finite: false,
            }
            .run(isa);
            isa.run(Scatter { conv: self, row, results, output: &mut *output });
        }
        if self.stride[1] > 1 && share.area.rows.end == self.input[0] {
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
                // SAFETY: of the machine.
                unsafe {
                    match self.conv.source {
                        Source::Blocked(_) => {
                            let place = (k / LANES * self.height + self.row) * width + first;
                            turned::<S>(&self.input[place * LANES..], LANES, 0, [count, LANES], lanes);
                        }
                        Source::Planes(channels) => {
                            let from = &self.input[(k * self.height + self.row) * width..];
                            moved::<S>(from, self.height * width, first, [LANES.min(channels - k), count], lanes);
                        }
                    }
                }
            }
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
        let (conv, [height, width]) = (self.conv, self.conv.output);
        for (i, &tap) in conv.taps.iter().enumerate() {
            let y = (self.row * conv.stride[0]) as isize + tap[0];
            if y < 0 || y >= height as isize {
                continue;
            }
            let (phase, shift) = conv.places(tap);
            let (start, len) = conv.part(phase);
            for channel in 0..conv.channels {
                let line = (channel * height + y as usize) * width + start;
                let line = &mut self.output[line..line + len];
                let products = &self.results[(i * conv.channels + channel) * conv.line()..][..conv.line()];
                // Of the vectors that the line is cut into, those that products come to lie in.
                let end = len.min((conv.columns() as isize + shift).max(0) as usize);
                for at in (shift.max(0) as usize / LANES * LANES..end).step_by(LANES) {
                    let from = &products[(LANES + at).wrapping_add_signed(-shift)..][..LANES];
                    match line[at..].first_chunk_mut::<LANES>() {
                        // SAFETY: sixteen floats each.
                        Some(to) => unsafe {
                            S::store(to.as_mut_ptr(), S::add(S::load(to.as_ptr()), S::load(from.as_ptr())));
                        },
                        None => line[at..].iter_mut().zip(from).for_each(|(to, from)| *to += from),
                    }
                }
            }
        }
    }
}
