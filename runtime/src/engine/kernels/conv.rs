//! Convolutions as matrix products over shifted pixels, for channel-blocked images.
//!
//! A convolution is a list of taps: where each weight reads, relative to the place it writes for. Adjoints of
//! strided convolutions are the same with several phases, one per offset of the output within the stride, so
//! that nothing is scattered.

use std::ops::Range;

use half::f16;

use super::left::Left;
use super::phase::{Epilogue, Phase, Reach, Share, covered, fill};
use super::product::{DEPTH, Packing, Product};
use super::stored::{Stored, to_halves, values_factor};
use crate::simd::{Isa, LANES};

/// Pixels that are packed and multiplied together: what fits the second cache beside the weights.
const STRIP: usize = 252;

/// Where the input's channels lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// `[channel / 16][h][w][16]`, with this many blocks per group.
    Blocked(usize),
    /// `[channel][h][w]`, with this many channels; one group.
    Planes(usize),
}

/// A convolution of one image.
#[derive(Clone, Debug)]
pub struct Conv {
    /// Input rows and columns.
    pub input: [usize; 2],
    /// Output rows and columns.
    pub output: [usize; 2],
    /// Input channels.
    pub source: Source,
    /// Output blocks per group.
    pub blocks: usize,
    /// Groups, each a convolution of its own.
    pub groups: usize,
    /// Input rows and columns per row and column of the grid.
    pub stride: [usize; 2],
    /// Output rows and columns per row and column of the grid.
    pub spread: [usize; 2],
    /// One, or one per offset of the output. Weights are per group packed as for a product, whose terms are
    /// `[tap][channel]`; for planes `[channel][tap]`.
    pub phases: Vec<Phase<Stored>>,
    /// Per output channel, padded to blocks; empty for none.
    pub bias: Vec<f32>,
    /// Whether halves are multiplied; wants blocked input and weights in half precision.
    pub halves: bool,
}

impl Conv {
    /// Floats of scratch memory that a run needs.
    pub fn scratch(&self) -> usize {
        self.phases.iter().map(|phase| self.phase_scratch(phase)).max().unwrap_or(0) + self.sorted()
    }

    fn phase_scratch(&self, phase: &Phase<Stored>) -> usize {
        let strip = STRIP.min(phase.grid[0] * phase.grid[1]);
        let depth = self.depth(phase).min(DEPTH);
        let packed = match (self.halves, self.reads_in_place(phase)) {
            // A block of floats, and the strip as halves.
            (true, _) => strip * (LANES + depth / 2),
            (false, true) => 0,
            (false, false) => strip * depth,
        };
        let result = if self.writes_in_place(phase) { 0 } else { strip * self.blocks * LANES };
        packed + result
    }

    /// Floats of an image of planes whose columns are sorted by their offset within the stride, so that what a tap reads
    /// of a row lies side by side; zero where it does so anyway.
    fn sorted(&self) -> usize {
        match self.source {
            Source::Planes(channels) if self.stride[1] > 1 => channels * self.input[0] * self.row(),
            _ => 0,
        }
    }

    /// Floats of a row of planes.
    fn row(&self) -> usize {
        self.input[1].next_multiple_of(self.stride[1])
    }

    /// Sorts the columns of some rows of planes.
    fn sort(&self, image: &[f32], rows: Range<usize>, to: &mut [f32]) {
        let ([height, width], step) = (self.input, self.stride[1]);
        let planes = image.chunks_exact(height * width).zip(to.chunks_exact_mut(height * self.row()));
        for (from, to) in planes {
            for row in rows.clone() {
                let (from, to) = (&from[row * width..][..width], &mut to[row * self.row()..][..self.row()]);
                for (offset, to) in to.chunks_exact_mut(self.row() / step).enumerate() {
                    to.iter_mut().zip(from.iter().skip(offset).step_by(step)).for_each(|(to, from)| *to = *from);
                }
            }
        }
    }

    /// Terms of each output's sum.
    fn depth(&self, phase: &Phase<Stored>) -> usize {
        phase.taps.len()
            * match self.source {
                Source::Blocked(blocks) => blocks * LANES,
                Source::Planes(channels) => channels,
            }
    }

    fn reads_in_place(&self, phase: &Phase<Stored>) -> bool {
        matches!(self.source, Source::Blocked(_))
            && phase.taps == [[0, 0]]
            && self.stride == [1, 1]
            && phase.grid == self.input
    }

    fn writes_in_place(&self, phase: &Phase<Stored>) -> bool {
        self.spread == [1, 1] && phase.grid == self.output
    }

    /// Multiplications and additions, each counted.
    pub fn flops(&self) -> u64 {
        let phase = |p: &Phase<Stored>| {
            2 * p.grid.iter().product::<usize>() * self.depth(p) * self.blocks * LANES * self.groups
        };
        self.phases.iter().map(phase).sum::<usize>() as u64
    }

    /// Bytes of weights.
    pub fn weight_bytes(&self) -> usize {
        self.phases.iter().map(|p| p.weights.bytes()).sum::<usize>() + size_of_val(self.bias.as_slice())
    }

    /// Which rows it reads, where it can be run by rows: it writes its results where they stay, and multiplies floats (what halves
    /// are multiplied by depends on the whole input).
    pub fn reach(&self) -> Option<Reach> {
        let reach = Reach::of(&self.phases, self.input[0], self.output, [self.stride[0], 1]);
        (self.finishes_strips() && !self.halves).then_some(reach)
    }

    /// Whether a strip's results stay where they are written, and can be finished while they lie in the first cache.
    fn finishes_strips(&self) -> bool {
        matches!(&self.phases[..], [phase] if self.writes_in_place(phase))
    }

    /// Convolves one image.
    pub fn run(&self, isa: Isa, input: &[f32], output: &mut [f32], scratch: &mut [f32], epilogue: Epilogue) {
        let whole = Share::whole(self.input[0], self.output[0]);
        if self.finishes_strips() {
            return self.run_rows(isa, input, output, &whole, scratch, epilogue);
        }
        let plane = self.output[0] * self.output[1] * LANES;
        if covered(&self.phases) < self.output[0] * self.output[1] {
            fill(output, plane, &self.bias);
        }
        let factor = self.factor(isa, input);
        for phase in &self.phases {
            let share = Share { rows: 0..phase.grid[0], ..whole.clone() };
            self.run_phase(isa, input, output, (phase, &share, factor), scratch, &mut |_, _| {});
        }
        for (block, part) in output.chunks_exact_mut(plane).enumerate() {
            epilogue(block * plane, part);
        }
    }

    /// Computes some rows of the convolution of one image that finishes its strips; all of them, unless it has a
    /// [`Conv::reach`].
    pub fn run_rows(
        &self,
        isa: Isa,
        input: &[f32],
        output: &mut [f32],
        share: &Share,
        scratch: &mut [f32],
        epilogue: Epilogue,
    ) {
        let (sorted, scratch) = scratch.split_at_mut(self.sorted());
        let reach = Reach::of(&self.phases, self.input[0], self.output, [self.stride[0], 1]);
        assert!(self.finishes_strips() && reach.fits(share), "a convolution reaches outside its buffers");
        let planes = matches!(self.source, Source::Planes(_));
        assert!(!planes || share.input.len() == self.input[0], "planes are there as a whole");
        let factor = self.factor(isa, input);
        let input = match sorted.is_empty() {
            true => input,
            false => {
                self.sort(input, reach.read(&share.rows), sorted);
                &*sorted
            }
        };
        self.run_phase(isa, input, output, (&self.phases[0], share, factor), scratch, epilogue);
    }

    /// What values are multiplied by on their way to halves.
    fn factor(&self, isa: Isa, input: &[f32]) -> f32 {
        if self.halves { values_factor(isa, input) } else { 1.0 }
    }

    /// Computes rows of a phase's grid; values become halves by the factor.
    fn run_phase(
        &self,
        isa: Isa,
        input: &[f32],
        output: &mut [f32],
        (phase, share, factor): (&Phase<Stored>, &Share, f32),
        scratch: &mut [f32],
        epilogue: Epilogue,
    ) {
        let (in_group, out_group) = (input.len() / self.groups, output.len() / self.groups);
        let all = self.blocks * self.output[0] * self.output[1] * LANES;
        let pixels = share.rows.start * phase.grid[1]..share.rows.end * phase.grid[1];
        for group in 0..self.groups {
            let image = &input[group * in_group..][..in_group];
            let output = &mut output[group * out_group..][..out_group];
            for from in pixels.clone().step_by(STRIP) {
                let strip = Strip { conv: self, phase, share, group, factor, from, to: pixels.end.min(from + STRIP) };
                strip.run(isa, image, output, scratch, |at, part| epilogue(group * all + at, part));
            }
        }
    }
}

/// The pixels `from..to` of a phase's grid, in one group.
struct Strip<'a> {
    conv: &'a Conv,
    phase: &'a Phase<Stored>,
    share: &'a Share,
    group: usize,
    /// What values are multiplied by on their way to halves.
    factor: f32,
    from: usize,
    to: usize,
}

impl Strip<'_> {
    fn run(
        &self,
        isa: Isa,
        image: &[f32],
        output: &mut [f32],
        scratch: &mut [f32],
        mut finished: impl FnMut(usize, &mut [f32]),
    ) {
        let (conv, phase) = (self.conv, self.phase);
        let rows = self.to - self.from;
        let depth = conv.depth(phase);
        let plane = self.share.output.len() * conv.output[1] * LANES;
        let place = (self.from - self.share.output.start * conv.output[1]) * LANES;
        let packed = Packing { depth, blocks: conv.blocks };
        let weights = phase.weights.part(self.group * packed.len()..(self.group + 1) * packed.len());
        let bias = match conv.bias.is_empty() {
            true => &[],
            false => &conv.bias[self.group * conv.blocks * LANES..],
        };
        let in_place = conv.writes_in_place(phase);
        let (apart, strip) = scratch.split_at_mut(if in_place { 0 } else { rows * conv.blocks * LANES });
        let mut product = |left: Left, from: usize, terms: usize, columns: Range<usize>| {
            let (first, blocks) = (columns.start, columns.clone());
            let (result, block_stride) = match in_place {
                true => (&mut output[first * plane + place..], plane),
                false => (&mut apart[first * rows * LANES..], rows * LANES),
            };
            let bias = if from + terms == depth { bias } else { &[] };
            let add = from > 0;
            let (row_stride, rows) = (LANES, rows);
            Product {
                left,
                rows,
                depth: terms,
                weights,
                packed,
                from,
                columns,
                result,
                block_stride,
                row_stride,
                add,
                bias,
                finite: true,
            }
            .run(isa);
            if from + terms == depth && in_place {
                for block in blocks {
                    let at = (block * conv.output[0] * conv.output[1] + self.from) * LANES;
                    finished(at, &mut output[block * plane + place..][..rows * LANES]);
                }
            }
        };
        // The last terms tile by tile, so that each block is finished while it is at hand.
        let [_, blocks] = isa.tile();
        let mut products = |left: Left, from: usize, terms: usize| match from + terms == depth {
            true => (0..conv.blocks)
                .step_by(blocks)
                .for_each(|block| product(left, from, terms, block..conv.blocks.min(block + blocks))),
            false => product(left, from, terms, 0..conv.blocks),
        };
        for from in (0..depth).step_by(DEPTH) {
            let terms = DEPTH.min(depth - from);
            if conv.halves {
                let (block, halves) = strip.split_at_mut(rows * LANES);
                let halves = &mut bytemuck::cast_slice_mut::<f32, f16>(halves)[..terms * rows];
                self.pack_halves(isa, image, from / LANES, block, halves);
                products(Left::Halves(halves, rows * LANES, 1.0 / self.factor), from, terms);
                continue;
            }
            if conv.reads_in_place(phase) {
                let stride = self.share.input.len() * conv.input[1] * LANES;
                let first = (self.from - self.share.input.start * conv.input[1]) * LANES;
                let left = &image[from / LANES * stride + first..];
                products(Left::Blocked(left, stride), from, terms);
                continue;
            }
            let strip = &mut strip[..terms * rows];
            match conv.source {
                Source::Blocked(blocks) => {
                    for (i, place) in strip.chunks_exact_mut(rows * LANES).enumerate() {
                        let at = from / LANES + i;
                        self.pack_block(image, at % blocks, phase.taps[at / blocks], place);
                    }
                    products(Left::Blocked(strip, rows * LANES), from, terms);
                }
                Source::Planes(_) => {
                    for (i, place) in strip.chunks_exact_mut(rows).enumerate() {
                        let at = from + i;
                        self.pack_plane(image, at / phase.taps.len(), phase.taps[at % phase.taps.len()], place);
                    }
                    products(Left::Rows(strip, rows), from, terms);
                }
            }
        }
        if !in_place {
            self.spread(apart, output);
        }
    }

    /// The parts of grid rows in this strip: row, first column, columns, first pixel within the strip.
    fn segments(&self) -> impl Iterator<Item = (usize, usize, usize, usize)> {
        let (width, from, to) = (self.phase.grid[1], self.from, self.to);
        (from / width..to.div_ceil(width)).map(move |row| {
            let first = from.max(row * width);
            let last = to.min((row + 1) * width);
            (row, first - row * width, last - first, first - from)
        })
    }

    /// Of the columns `first..first + count`, those that a tap reads inside the input: how many lie before,
    /// how many inside, and the input column of the first of these.
    fn inside(&self, first: usize, count: usize, shift: isize) -> (usize, usize, usize) {
        let (step, width) = (self.conv.stride[1] as isize, self.conv.input[1] as isize);
        let start = first as isize * step + shift;
        let before = if start < 0 { ((-start + step - 1) / step).min(count as isize) } else { 0 };
        let reach = (width - start + step - 1).div_euclid(step).clamp(before, count as isize);
        (before as usize, (reach - before) as usize, (start + before * step).max(0) as usize)
    }

    /// The input row that a tap reads for a grid row, if there is one.
    fn input_row(&self, row: usize, shift: isize) -> Option<usize> {
        usize::try_from((row * self.conv.stride[0]) as isize + shift).ok().filter(|&y| y < self.conv.input[0])
    }

    /// Blocks of terms from the `first` on, as halves; `room` holds one block of floats.
    fn pack_halves(&self, isa: Isa, image: &[f32], first: usize, room: &mut [f32], halves: &mut [f16]) {
        let blocks = self.conv.depth(self.phase) / self.phase.taps.len() / LANES;
        for (i, place) in halves.chunks_exact_mut(room.len()).enumerate() {
            let at = first + i;
            self.pack_block(image, at % blocks, self.phase.taps[at / blocks], room);
            to_halves(isa, room, self.factor, place);
        }
    }

    fn pack_block(&self, image: &[f32], block: usize, tap: [isize; 2], to: &mut [f32]) {
        let (held, width) = (&self.share.input, self.conv.input[1]);
        let plane = &image[block * held.len() * width * LANES..][..held.len() * width * LANES];
        for (row, first, count, at) in self.segments() {
            let to = &mut to[at * LANES..(at + count) * LANES];
            let Some(y) = self.input_row(row, tap[0]) else {
                to.fill(0.0);
                continue;
            };
            let (before, inside, x) = self.inside(first, count, tap[1]);
            to[..before * LANES].fill(0.0);
            to[(before + inside) * LANES..].fill(0.0);
            let to = &mut to[before * LANES..(before + inside) * LANES];
            let from = &plane[((y - held.start) * width + x.min(width - 1)) * LANES..];
            if self.conv.stride[1] == 1 {
                to.copy_from_slice(&from[..to.len()]);
            } else {
                let from = from.chunks(self.conv.stride[1] * LANES);
                to.chunks_exact_mut(LANES).zip(from).for_each(|(to, from)| to.copy_from_slice(&from[..LANES]));
            }
        }
    }

    fn pack_plane(&self, image: &[f32], channel: usize, tap: [isize; 2], to: &mut [f32]) {
        let (line, step) = (self.conv.row(), self.conv.stride[1]);
        let plane = &image[channel * self.conv.input[0] * line..][..self.conv.input[0] * line];
        for (row, first, count, at) in self.segments() {
            let to = &mut to[at..at + count];
            let Some(y) = self.input_row(row, tap[0]) else {
                to.fill(0.0);
                continue;
            };
            let (before, inside, x) = self.inside(first, count, tap[1]);
            to[..before].fill(0.0);
            to[before + inside..].fill(0.0);
            if inside == 0 {
                continue;
            }
            let to = &mut to[before..before + inside];
            // Columns as `sort` leaves them; with a stride of one they are where they were.
            let at = y * line + x % step * (line / step) + x / step;
            to.copy_from_slice(&plane[at..at + to.len()]);
        }
    }

    /// Moves a strip's results, `[block][pixel][16]`, to their places.
    fn spread(&self, results: &[f32], output: &mut [f32]) {
        let ([height, width], [sy, sx], [oy, ox]) = (self.conv.output, self.conv.spread, self.phase.offset);
        let rows = self.to - self.from;
        for (block, results) in results.chunks_exact(rows * LANES).enumerate() {
            let plane = &mut output[block * height * width * LANES..][..height * width * LANES];
            for (row, first, count, at) in self.segments() {
                let place = ((row * sy + oy) * width + first * sx + ox) * LANES;
                let from = results[at * LANES..(at + count) * LANES].chunks_exact(LANES);
                let to = plane[place..].chunks_mut(sx * LANES);
                to.zip(from).for_each(|(to, from)| to[..LANES].copy_from_slice(from));
            }
        }
    }
}
