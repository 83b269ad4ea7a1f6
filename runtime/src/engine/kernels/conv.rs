//! Convolutions as matrix products over shifted pixels, for channel-blocked images.
//!
//! A convolution is a list of taps: where each weight reads, relative to the place it writes for. Adjoints of
//! strided convolutions are the same with several phases, one per offset of the output within the stride, so
//! that nothing is scattered.

use std::ops::Range;

use super::phase::{Epilogue, Phase, covered, fill};
use super::product::DEPTH;
use super::reach::{Area, Reach, Share};
use super::stored::{Stored, values_factor};
use super::strip::Strip;
use crate::simd::{Isa, LANES};

/// Pixels that are packed and multiplied together, at most: what fits the second cache beside the weights.
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
    pub(super) fn row(&self) -> usize {
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

    /// Pixels of a grid so wide that make a strip from this one on: of planes whole rows, or a part of one.
    fn strip(&self, width: usize, from: usize) -> usize {
        match self.source {
            Source::Blocked(_) => STRIP,
            Source::Planes(_) if width <= STRIP => STRIP / width * width,
            // Evenly, for a strip of one pixel takes nearly as long as one of a dozen.
            Source::Planes(_) => width.div_ceil(width.div_ceil(STRIP)).min(width - from % width),
        }
    }

    /// Terms of each output's sum.
    pub(super) fn depth(&self, phase: &Phase<Stored>) -> usize {
        phase.taps.len()
            * match self.source {
                Source::Blocked(blocks) => blocks * LANES,
                Source::Planes(channels) => channels,
            }
    }

    pub(super) fn reads_in_place(&self, phase: &Phase<Stored>) -> bool {
        matches!(self.source, Source::Blocked(_))
            && phase.taps == [[0, 0]]
            && self.stride == [1, 1]
            && phase.grid == self.input
    }

    pub(super) fn writes_in_place(&self, phase: &Phase<Stored>) -> bool {
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

    /// Which places it reads, where it can be run by parts: it writes its results where they stay, and multiplies floats (what halves
    /// are multiplied by depends on the whole input).
    pub fn reach(&self) -> Option<Reach> {
        (self.finishes_strips() && !self.halves).then(|| self.reading())
    }

    fn reading(&self) -> Reach {
        Reach::of(&self.phases, [self.input, self.output], [self.stride, self.spread])
    }

    /// Whether a strip's results stay where they are written, and can be finished while they lie in the first cache.
    fn finishes_strips(&self) -> bool {
        matches!(&self.phases[..], [phase] if self.writes_in_place(phase))
    }

    /// Convolves one image.
    pub fn run(&self, isa: Isa, input: &[f32], output: &mut [f32], scratch: &mut [f32], epilogue: Epilogue) {
        let reach = self.reading();
        let whole = reach.share(reach.all());
        if self.finishes_strips() {
            return self.run_part(isa, input, output, &whole, scratch, epilogue);
        }
        let plane = self.output[0] * self.output[1] * LANES;
        if covered(&self.phases) < self.output[0] * self.output[1] {
            fill(output, plane, &self.bias);
        }
        let factor = self.factor(isa, input);
        for phase in &self.phases {
            let [rows, columns] = phase.grid.map(|extent| 0..extent);
            let share = Share { area: Area { rows, columns }, ..whole.clone() };
            self.run_phase(isa, input, output, (phase, &share, factor), scratch, &mut |_, _| {});
        }
        for (block, part) in output.chunks_exact_mut(plane).enumerate() {
            epilogue(block * plane, part);
        }
    }

    /// Computes a part of the convolution of one image that finishes its strips; all of them, unless it has a
    /// [`Conv::reach`].
    pub fn run_part(
        &self,
        isa: Isa,
        input: &[f32],
        output: &mut [f32],
        share: &Share,
        scratch: &mut [f32],
        epilogue: Epilogue,
    ) {
        let (sorted, scratch) = scratch.split_at_mut(self.sorted());
        let reach = self.reading();
        assert!(self.finishes_strips() && reach.fits(share), "a convolution reaches outside its buffers");
        let planes = matches!(self.source, Source::Planes(_));
        assert!(!planes || share.input.len() == self.input[0], "planes are there as a whole");
        let factor = self.factor(isa, input);
        let input = match sorted.is_empty() {
            true => input,
            false => {
                self.sort(input, reach.rows.read(&share.area.rows), sorted);
                &*sorted
            }
        };
        self.run_phase(isa, input, output, (&self.phases[0], share, factor), scratch, epilogue);
    }

    /// What values are multiplied by on their way to halves.
    fn factor(&self, isa: Isa, input: &[f32]) -> f32 {
        if self.halves { values_factor(isa, input) } else { 1.0 }
    }

    /// Computes a part of a phase's grid; values become halves by the factor.
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
        let width = phase.grid[1];
        for group in 0..self.groups {
            let image = &input[group * in_group..][..in_group];
            let output = &mut output[group * out_group..][..out_group];
            for pixels in share.area.spans(width) {
                let mut end = pixels.start;
                while end < pixels.end {
                    let from = end;
                    end = pixels.end.min(from + self.strip(width, from));
                    let strip = Strip { conv: self, phase, share, group, factor, from, to: end };
                    strip.run(isa, image, output, scratch, |at, part| epilogue(group * all + at, part));
                }
            }
        }
    }
}
