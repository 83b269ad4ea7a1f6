//! A strip of a convolution: some pixels of the output, all of whose channels are computed while what they are made of lies in
//! the second cache.

use std::ops::Range;

use half::f16;

use super::conv::{Conv, Source};
use super::left::Left;
use super::phase::Phase;
use super::product::{DEPTH, Packing, Product};
use super::reach::Share;
use super::stored::{Stored, to_halves};
use crate::simd::{Isa, Kernel, LANES, Simd};

/// The pixels `from..to` of a phase's grid, in one group.
pub struct Strip<'a> {
    pub conv: &'a Conv,
    pub phase: &'a Phase<Stored>,
    pub share: &'a Share,
    pub group: usize,
    /// What values are multiplied by on their way to halves.
    pub factor: f32,
    pub from: usize,
    pub to: usize,
}

impl Strip<'_> {
    /// Computes them; a block's part of the result is `finished` as soon as it is complete, if it stays where it is.
    pub fn run(
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
                    isa.run(PackPlanes { strip: self, image, from, to: &mut *strip });
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
        if step == 1 {
            // Nothing to divide, which would take longer than a short row is copied.
            let before = (-start).clamp(0, count as isize);
            let reach = (width - start).clamp(before, count as isize);
            return (before as usize, (reach - before) as usize, (start + before) as usize);
        }
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

/// Terms of planes from the one of number `from` on, for the pixels of a strip, which are rows or a part of one:
/// `[term][pixel]`.
struct PackPlanes<'a> {
    strip: &'a Strip<'a>,
    image: &'a [f32],
    from: usize,
    to: &'a mut [f32],
}

impl Kernel for PackPlanes<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let (strip, conv, taps) = (self.strip, self.strip.conv, &self.strip.phase.taps);
        let (pixels, width) = (strip.to - strip.from, strip.phase.grid[1]);
        let (top, first, count) = (strip.from / width, strip.from % width, width.min(pixels));
        let (line, step) = (conv.row(), conv.stride[1]);
        let plane = conv.input[0] * line;
        for (i, to) in self.to.chunks_exact_mut(pixels).enumerate() {
            let (channel, tap) = ((self.from + i) / taps.len(), taps[(self.from + i) % taps.len()]);
            let image = &self.image[channel * plane..][..plane];
            let (before, inside, x) = strip.inside(first, count, tap[1]);
            // Columns as `sort` leaves them; with a stride of one they are where they were.
            let column = if step == 1 { x } else { x % step * (line / step) + x / step };
            for (row, to) in to.chunks_exact_mut(count).enumerate() {
                let from = match strip.input_row(top + row, tap[0]) {
                    Some(y) if inside > 0 => &image[y * line + column..][..inside],
                    _ => &[],
                };
                // SAFETY: of the machine.
                unsafe { copy_between_zeros::<S>(from, before, to) };
            }
        }
    }
}

/// Copies a few dozen numbers to so many places behind the first, and writes zeros before and after them: a call for each would
/// take longer than that.
#[inline(always)]
unsafe fn copy_between_zeros<S: Simd>(from: &[f32], before: usize, to: &mut [f32]) {
    if to.len() < LANES || from.len() < LANES {
        to.fill(0.0);
        return to[before..before + from.len()].copy_from_slice(from);
    }
    let inner = before..before + from.len();
    let (last, end) = (from.len() - LANES, to.len() - LANES);
    // SAFETY: of the machine.
    unsafe {
        for at in (0..inner.start).step_by(LANES) {
            put::<S>(to, at.min(end), S::splat(0.0));
        }
        for at in (inner.end..to.len()).step_by(LANES) {
            put::<S>(to, at.min(end), S::splat(0.0));
        }
        for at in (0..last).step_by(LANES) {
            put::<S>(to, inner.start + at, S::load(from[at..at + LANES].as_ptr()));
        }
        put::<S>(to, inner.start + last, S::load(from[last..].as_ptr()));
    }
}

/// Stores a vector at a place of a slice.
#[inline(always)]
unsafe fn put<S: Simd>(to: &mut [f32], at: usize, v: S::V) {
    // SAFETY: a whole vector of it.
    unsafe { S::store(to[at..at + LANES].as_mut_ptr(), v) }
}
