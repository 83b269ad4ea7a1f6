//! 3x3 convolutions of stride one by Winograd's minimal filtering: F(4x4, 3x3) makes sixteen outputs with 36 products
//! and F(2x2, 3x3) four with sixteen, where the plain sum takes 144 and 36 (Lavin and Gray, "Fast algorithms for
//! convolutional neural networks", 2016). The small tile has smaller weights, and suits small images.
//!
//! A tile of the input and the weights are both taken to the values of polynomials at a few points; there the
//! convolution is a product, one matrix product over the channels per point. The small tile has the points 0, 1, -1
//! and infinity. The usual ones of the large tile (1 and 2) round off badly; 0, a, -a, b, -b and infinity with a = 2/3
//! and b = 3/2 give half the error, which is 3.4 times that of the plain sum (the small tile's is 1.4 times), and
//! since a b = 1 fewer constants.
//!
//! Weights at the points are four times as many as there are, or not quite twice. They are made once and kept; weights
//! in half precision, which are to save memory, are kept as they are and taken to the points in each pass, a few blocks
//! of channels at a time, which takes a fifth longer where channels are many.

use std::ops::Range;

use super::left::Left;
use super::phase::{Epilogue, row_parts};
use super::product::{Packing, Product};
use super::reach::{Area, Axis, Reach, finish};
use super::stored::{Stored, Weights};
use super::transforms::{Inward, Outward, Weigh};
use crate::simd::{Isa, Kernel, LANES, Lined, Simd};

/// Floats of transformed tiles that are worked on together: about what the second cache holds.
const STRIP: usize = 300_000;
/// Floats of transformed weights that are worked on together.
const GROUP: usize = 160_000;
/// Taps of a kernel.
pub(super) const TAPS: usize = 9;

/// The weights of all pairs of channels.
#[derive(Clone, Debug)]
pub enum Kernels {
    /// As they are: `[output block][input channel][kernel row][kernel column][16]`.
    Plain(Stored),
    /// At the points: `[point]`, each packed as for a product, and a little apart.
    AtPoints(Lined<f32>),
}

/// A 3x3 convolution of one image, all channels in blocks.
#[derive(Clone, Debug)]
pub struct Winograd {
    /// Extents of an output tile: 2 or 4.
    pub tile: usize,
    /// Input rows and columns.
    pub input: [usize; 2],
    /// Output rows and columns.
    pub output: [usize; 2],
    /// What the first tap adds to an output row and column: minus the padding.
    pub shift: [isize; 2],
    /// Input blocks.
    pub from: usize,
    /// Output blocks.
    pub to: usize,
    /// See there.
    pub weights: Kernels,
    /// Per output channel, padded to blocks; empty for none.
    pub bias: Vec<f32>,
}

/// A distance from one point to the next that is not a power of two, which would put all points into the same few lines
/// of the first cache.
pub(super) fn apart(floats: usize) -> usize {
    floats + LANES
}

/// Floats from the tiles of one point to those of the next.
pub(super) fn tile_step(blocks: usize, tiles: usize) -> usize {
    apart(blocks * tiles * LANES)
}

/// Products per tile.
pub fn points(tile: usize) -> usize {
    (tile + 2) * (tile + 2)
}

impl Winograd {
    /// Takes the weights to the points once and for all.
    pub fn prepare(&mut self, isa: Isa) {
        let mut values = Lined::zeros(points(self.tile) * self.step(self.to));
        self.weigh(isa, 0..self.to, &mut values);
        self.weights = Kernels::AtPoints(values);
    }

    /// Whether the weights are kept in half precision.
    pub fn keeps_halves(&self) -> bool {
        matches!(&self.weights, Kernels::Plain(stored) if stored.is_half())
    }

    fn weigh(&self, isa: Isa, blocks: Range<usize>, values: &mut [f32]) {
        if let Kernels::Plain(kernels) = &self.weights {
            match self.tile {
                2 => isa.run(Weigh::<4> { conv: self, kernels, blocks, values }),
                _ => isa.run(Weigh::<6> { conv: self, kernels, blocks, values }),
            }
        }
    }

    /// Rows and columns of tiles.
    pub(super) fn tiles(&self) -> [usize; 2] {
        self.output.map(|extent| extent.div_ceil(self.tile))
    }

    /// Rows of tiles that are worked on together.
    fn strip(&self) -> usize {
        let [rows, columns] = self.tiles();
        let most = (STRIP / (points(self.tile) * (self.from + self.to) * LANES * columns)).clamp(1, rows);
        rows.div_ceil(rows.div_ceil(most))
    }

    /// Output blocks whose weights are worked on together.
    fn group(&self) -> usize {
        if matches!(self.weights, Kernels::AtPoints(_)) {
            return self.to;
        }
        let most = (GROUP / (points(self.tile) * self.from * LANES * LANES)).clamp(1, self.to);
        self.to.div_ceil(self.to.div_ceil(most))
    }

    /// How the weights of one point lie for some output blocks.
    pub(super) fn packed(&self, blocks: usize) -> Packing {
        Packing { depth: self.from * LANES, blocks }
    }

    /// Floats from the weights of one point to those of the next.
    pub(super) fn step(&self, blocks: usize) -> usize {
        apart(self.packed(blocks).len())
    }

    /// Floats of scratch memory.
    pub fn scratch(&self) -> usize {
        let tiles = self.strip() * self.tiles()[1];
        points(self.tile) * (tile_step(self.from, tiles) + tile_step(self.to, tiles)) + self.own_weights()
    }

    /// Multiplications and additions of the products, each counted.
    pub fn flops(&self) -> u64 {
        let [rows, columns] = self.tiles();
        (2 * points(self.tile) * rows * columns * self.from * self.to * LANES * LANES) as u64
    }

    /// Bytes of weights.
    pub fn weight_bytes(&self) -> usize {
        let kernels = match &self.weights {
            Kernels::Plain(stored) => stored.bytes(),
            Kernels::AtPoints(values) => size_of_val::<[_]>(values),
        };
        kernels + size_of_val(self.bias.as_slice())
    }

    /// Floats of scratch memory for weights at the points.
    fn own_weights(&self) -> usize {
        match self.weights {
            Kernels::Plain(_) => points(self.tile) * self.step(self.group()),
            Kernels::AtPoints(_) => 0,
        }
    }

    /// Which places go into which: a row of the grid is one of tiles.
    pub fn reach(&self) -> Reach {
        let axis = |i: usize| {
            let (input, output, tile, first) = (self.input[i], self.output[i], self.tile, self.shift[i]);
            Axis { input, output, stride: tile, spread: tile, taps: [first, first + tile as isize + 1] }
        };
        Reach { rows: axis(0), columns: axis(1), adds: false, whole: true }
    }

    /// Computes a part of the convolution of one image, from multiples of the tile on.
    pub fn run(
        &self,
        isa: Isa,
        input: &[f32],
        output: &mut [f32],
        area: &Area,
        scratch: &mut [f32],
        epilogue: Epilogue,
    ) {
        let reach = self.reach();
        assert!(reach.fits(&reach.share(area.clone())), "a convolution reaches outside its buffers");
        let of_tiles = |part: &Range<usize>| part.start / self.tile..part.end.div_ceil(self.tile);
        let (rows, columns, points) = (of_tiles(&area.rows), of_tiles(&area.columns), points(self.tile));
        let (own, scratch) = scratch.split_at_mut(self.own_weights());
        let together = self.strip() * self.tiles()[1] / columns.len().max(1);
        for first in rows.clone().step_by(together) {
            let strip = together.min(rows.end - first);
            let tiles = strip * columns.len();
            let (values, products) = scratch.split_at_mut(points * tile_step(self.from, tiles));
            let products = &mut products[..points * tile_step(self.to, tiles)];
            match self.tile {
                2 => isa.run(Inward::<4> { conv: self, input, first, columns: columns.clone(), tiles, values }),
                _ => isa.run(Inward::<6> { conv: self, input, first, columns: columns.clone(), tiles, values }),
            }
            for block in (0..self.to).step_by(self.group()) {
                let blocks = block..self.to.min(block + self.group());
                // All in one group stay for the next strip.
                if first == rows.start || self.group() < self.to {
                    self.weigh(isa, blocks.clone(), own);
                }
                let weights = match &self.weights {
                    Kernels::Plain(_) => &*own,
                    Kernels::AtPoints(values) => values,
                };
                isa.run(Multiply { conv: self, blocks, tiles, values, weights, products: &mut *products });
            }
            let ([height, width], last) = (self.output, (first + strip) * self.tile);
            for block in 0..self.to {
                let plane = block * height * width;
                for rows in row_parts(first * self.tile..last.min(height), width, self.tile) {
                    let part = (plane + rows.start * width) * LANES..(plane + rows.end * width) * LANES;
                    let (at, output) = (part.start, &mut output[part]);
                    let skipped = (rows.start / self.tile - first) * columns.len();
                    let products = &products[(block * tiles + skipped) * LANES..];
                    let (columns, to) = (columns.clone(), &mut *output);
                    match self.tile {
                        2 => isa.run(Outward::<4, 2> { conv: self, block, products, tiles, columns, output: to }),
                        _ => isa.run(Outward::<6, 4> { conv: self, block, products, tiles, columns, output: to }),
                    }
                    finish(&mut *epilogue, at, output, width, &area.columns);
                }
            }
        }
    }
}

/// The products of some output blocks at every point, `[point][block][tile][16]` like the values: in one go, for those of
/// one point are few.
struct Multiply<'a> {
    conv: &'a Winograd,
    blocks: Range<usize>,
    tiles: usize,
    values: &'a [f32],
    /// Of these blocks.
    weights: &'a [f32],
    products: &'a mut [f32],
}

impl Kernel for Multiply<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let (order, plane) = (self.conv.packed(self.blocks.len()), self.tiles * LANES);
        let (from, to) = (tile_step(self.conv.from, self.tiles), tile_step(self.conv.to, self.tiles));
        for point in 0..points(self.conv.tile) {
            let left = &self.values[point * from..][..self.conv.from * plane];
            let weights = &self.weights[point * self.conv.step(self.blocks.len())..][..order.len()];
            let products = &mut self.products[point * to + self.blocks.start * plane..][..order.blocks * plane];
            let product = Product {
                left: Left::Blocked(left, plane),
                rows: self.tiles,
                depth: order.depth,
                weights: Weights::Single(weights),
                packed: order,
                from: 0,
                columns: 0..order.blocks,
                result: products,
                block_stride: plane,
                row_stride: LANES,
                add: false,
                bias: &[],
                finite: false,
            };
            debug_assert!(product.fits());
            // SAFETY: the slices hold all tiles of all blocks.
            unsafe { Kernel::run::<S>(product) };
        }
    }
}
