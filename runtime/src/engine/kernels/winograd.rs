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

// An iterator over columns would be a closure, which is not compiled for the instruction set.
#![allow(clippy::needless_range_loop)]

use std::ops::Range;

use super::left::Left;
use super::phase::Epilogue;
use super::polynomials::{column_of, inward, outward, weigh};
use super::product::{Packing, Product};
use super::stored::{Stored, Weights};
use crate::simd::{Isa, Kernel, LANES, Lined, Simd};

/// Floats of transformed tiles that are worked on together: about what the second cache holds.
const STRIP: usize = 300_000;
/// Floats of transformed weights that are worked on together.
const GROUP: usize = 160_000;
/// Taps of a kernel.
const TAPS: usize = 9;

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
fn apart(floats: usize) -> usize {
    floats + LANES
}

/// Floats from the tiles of one point to those of the next.
fn tile_step(blocks: usize, tiles: usize) -> usize {
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
    fn tiles(&self) -> [usize; 2] {
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
    fn packed(&self, blocks: usize) -> Packing {
        Packing { depth: self.from * LANES, blocks }
    }

    /// Floats from the weights of one point to those of the next.
    fn step(&self, blocks: usize) -> usize {
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

    /// Convolves one image.
    pub fn run(&self, isa: Isa, input: &[f32], output: &mut [f32], scratch: &mut [f32], epilogue: Epilogue) {
        let ([rows, columns], points) = (self.tiles(), points(self.tile));
        let (own, scratch) = scratch.split_at_mut(self.own_weights());
        for first in (0..rows).step_by(self.strip()) {
            let strip = self.strip().min(rows - first);
            let tiles = strip * columns;
            let (values, products) = scratch.split_at_mut(points * tile_step(self.from, tiles));
            let products = &mut products[..points * tile_step(self.to, tiles)];
            match self.tile {
                2 => isa.run(Inward::<4> { conv: self, input, first, tiles, values }),
                _ => isa.run(Inward::<6> { conv: self, input, first, tiles, values }),
            }
            for block in (0..self.to).step_by(self.group()) {
                let blocks = block..self.to.min(block + self.group());
                // All in one group stay for the next strip.
                if first == 0 || self.group() < self.to {
                    self.weigh(isa, blocks.clone(), own);
                }
                let weights = match &self.weights {
                    Kernels::Plain(_) => &*own,
                    Kernels::AtPoints(values) => values,
                };
                self.multiply(isa, blocks, tiles, values, weights, products);
            }
            match self.tile {
                2 => isa.run(Outward::<4, 2> { conv: self, products, first, tiles, output: &mut *output }),
                _ => isa.run(Outward::<6, 4> { conv: self, products, first, tiles, output: &mut *output }),
            }
            let width = self.output[1];
            let (start, end) = (first * self.tile * width, ((first + strip) * self.tile).min(self.output[0]) * width);
            for block in 0..self.to {
                let at = block * self.output[0] * width;
                epilogue((at + start) * LANES, &mut output[(at + start) * LANES..(at + end) * LANES]);
            }
        }
    }

    /// The products of some output blocks at every point, `[point][block][tile][16]` like the values.
    fn multiply(
        &self,
        isa: Isa,
        blocks: Range<usize>,
        tiles: usize,
        values: &[f32],
        weights: &[f32],
        products: &mut [f32],
    ) {
        let order = self.packed(blocks.len());
        for point in 0..points(self.tile) {
            Product {
                left: Left::Blocked(&values[point * tile_step(self.from, tiles)..], tiles * LANES),
                rows: tiles,
                depth: order.depth,
                weights: Weights::Single(&weights[point * self.step(blocks.len())..][..order.len()]),
                packed: order,
                from: 0,
                result: &mut products[point * tile_step(self.to, tiles) + blocks.start * tiles * LANES..],
                block_stride: tiles * LANES,
                row_stride: LANES,
                columns: 0..order.blocks,
                add: false,
                bias: &[],
                // Channels of zeros are rare, and looking for them takes time at every point.
                finite: false,
            }
            .run(isa);
        }
    }
}

/// Takes the weights of some output blocks to their values at the points: point by point, packed as for a product.
struct Weigh<'a, const FROM: usize> {
    conv: &'a Winograd,
    kernels: &'a Stored,
    blocks: Range<usize>,
    values: &'a mut [f32],
}

impl<const FROM: usize> Kernel for Weigh<'_, FROM> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let order = self.conv.packed(self.blocks.len());
        let step = self.conv.step(self.blocks.len());
        for (i, block) in self.blocks.enumerate() {
            let each = order.depth * TAPS * LANES;
            let kernels = self.kernels.part(block * each..(block + 1) * each);
            for k in 0..order.depth {
                let values = &mut self.values[order.at(k, i)..][..(FROM * FROM - 1) * step + LANES];
                // SAFETY: what is read lies inside the kernels, what is written inside `values`.
                unsafe {
                    let mut rows = [[S::splat(0.0); FROM]; 3];
                    for (i, row) in rows.iter_mut().enumerate() {
                        let mut taps = [S::splat(0.0); 3];
                        for (j, tap) in taps.iter_mut().enumerate() {
                            let at = (k * TAPS + 3 * i + j) * LANES;
                            *tap = match kernels {
                                Weights::Single(kernels) => S::load(kernels.as_ptr().add(at)),
                                Weights::Half(kernels, factor) => {
                                    S::mul(S::splat(factor), S::widen(kernels.as_ptr().add(at)))
                                }
                            };
                        }
                        *row = weigh::<S, FROM>(taps);
                    }
                    for j in 0..FROM {
                        let column = weigh::<S, FROM>(column_of(&rows, j));
                        for (i, v) in column.into_iter().enumerate() {
                            S::store(values.as_mut_ptr().add((i * FROM + j) * step), v);
                        }
                    }
                }
            }
        }
    }
}

/// Takes tiles of the input to their values at the points: `[point][block][tile][16]`.
struct Inward<'a, const FROM: usize> {
    conv: &'a Winograd,
    input: &'a [f32],
    first: usize,
    tiles: usize,
    values: &'a mut [f32],
}

impl<const FROM: usize> Kernel for Inward<'_, FROM> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let conv = self.conv;
        let [height, width] = conv.input;
        let columns = conv.tiles()[1];
        let step = tile_step(conv.from, self.tiles);
        for block in 0..conv.from {
            let plane = &self.input[block * height * width * LANES..][..height * width * LANES];
            for tile in 0..self.tiles {
                let top = ((self.first + tile / columns) * conv.tile) as isize + conv.shift[0];
                let left = ((tile % columns) * conv.tile) as isize + conv.shift[1];
                let values =
                    &mut self.values[(block * self.tiles + tile) * LANES..][..(FROM * FROM - 1) * step + LANES];
                // SAFETY: what is read lies inside the plane, what is written inside `values`.
                unsafe {
                    let mut rows = [[S::splat(0.0); FROM]; FROM];
                    for (i, row) in rows.iter_mut().enumerate() {
                        let y = top + i as isize;
                        if y < 0 || y >= height as isize {
                            continue;
                        }
                        let line = plane.as_ptr().add(y as usize * width * LANES);
                        let mut taken = [S::splat(0.0); FROM];
                        if left >= 0 && left as usize + FROM <= width {
                            for (j, v) in taken.iter_mut().enumerate() {
                                *v = S::load(line.add((left as usize + j) * LANES));
                            }
                        } else {
                            for (j, v) in taken.iter_mut().enumerate() {
                                let x = left + j as isize;
                                if x >= 0 && x < width as isize {
                                    *v = S::load(line.add(x as usize * LANES));
                                }
                            }
                        }
                        *row = inward::<S, FROM>(taken);
                    }
                    for j in 0..FROM {
                        let column = inward::<S, FROM>(column_of(&rows, j));
                        for (i, v) in column.into_iter().enumerate() {
                            S::store(values.as_mut_ptr().add((i * FROM + j) * step), v);
                        }
                    }
                }
            }
        }
    }
}

/// Takes products back to places of the output, and adds the bias.
struct Outward<'a, const FROM: usize, const TO: usize> {
    conv: &'a Winograd,
    products: &'a [f32],
    first: usize,
    tiles: usize,
    output: &'a mut [f32],
}

impl<const FROM: usize, const TO: usize> Kernel for Outward<'_, FROM, TO> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let conv = self.conv;
        let [height, width] = conv.output;
        let columns = conv.tiles()[1];
        let step = tile_step(conv.to, self.tiles);
        for block in 0..conv.to {
            let plane = &mut self.output[block * height * width * LANES..][..height * width * LANES];
            for tile in 0..self.tiles {
                let (top, left) = ((self.first + tile / columns) * TO, tile % columns * TO);
                let products =
                    &self.products[(block * self.tiles + tile) * LANES..][..(FROM * FROM - 1) * step + LANES];
                // SAFETY: what is read lies inside `products`, what is written inside the plane.
                unsafe {
                    let bias = match conv.bias.is_empty() {
                        true => S::splat(0.0),
                        false => S::load(conv.bias[block * LANES..(block + 1) * LANES].as_ptr()),
                    };
                    let mut rows = [[S::splat(0.0); TO]; FROM];
                    for (i, row) in rows.iter_mut().enumerate() {
                        let mut taken = [S::splat(0.0); FROM];
                        for (j, v) in taken.iter_mut().enumerate() {
                            *v = S::load(products.as_ptr().add((i * FROM + j) * step));
                        }
                        *row = outward::<S, FROM, TO>(taken);
                    }
                    for j in 0..TO.min(width - left) {
                        let column = outward::<S, FROM, TO>(column_of(&rows, j));
                        for (i, v) in column.into_iter().enumerate().take(height - top) {
                            let at = ((top + i) * width + left + j) * LANES;
                            S::store(plane.as_mut_ptr().add(at), S::add(v, bias));
                        }
                    }
                }
            }
        }
    }
}
