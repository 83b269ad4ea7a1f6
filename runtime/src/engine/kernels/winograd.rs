//! 3x3 convolutions of stride one by Winograd's minimal filtering, F(4x4, 3x3): 36 products make sixteen outputs,
//! where the plain sum takes 144 (Lavin and Gray, "Fast algorithms for convolutional neural networks", 2016).
//!
//! A tile of six by six inputs and the weights are both taken to the values of polynomials at the points 0, a,
//! -a, b, -b and infinity; there the convolution is a product, one matrix product over the channels per point.
//! The usual points (1 and 2) round off badly; a = 2/3 and b = 3/2 give half the error, which is 3.4 times that of
//! the plain sum, and since a b = 1 fewer constants.

// An iterator over columns would be a closure, which is not compiled for the instruction set.
#![allow(clippy::needless_range_loop)]

use super::conv::Epilogue;
use super::product::{Left, Product, Weights};
use crate::engine::simd::{Isa, Kernel, LANES, Simd};

/// The points besides zero and infinity, both signs of each.
const A: f32 = 2.0 / 3.0;
const B: f32 = 1.5;
/// Extents of an input tile, of the values it is taken to, and of an output tile.
const FROM: usize = 6;
const TO: usize = 4;
/// Products per tile.
const POINTS: usize = FROM * FROM;
/// Floats of transformed tiles that are worked on together: about what the second cache holds.
const STRIP: usize = 300_000;

/// A 3x3 convolution of one image, all channels in blocks.
#[derive(Clone, Debug)]
pub struct Winograd {
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
    /// [`transform_weights`] of every pair of channels, packed as for a product, point by point.
    pub weights: Vec<f32>,
    /// Per output channel, padded to blocks; empty for none.
    pub bias: Vec<f32>,
}

/// How the weights of one point lie.
pub fn packed(from: usize, to: usize) -> Weights {
    Weights { depth: from * LANES, blocks: to }
}

/// The values of a 3x3 kernel at the points, row by row, computed in double precision.
pub fn transform_weights(kernel: [[f32; 3]; 3]) -> [f32; POINTS] {
    let (a, b) = (A as f64, B as f64);
    let near = 2.0 * a * a * (a * a - b * b);
    let far = 2.0 * b * b * (b * b - a * a);
    let line = |g: [f64; 3]| -> [f64; FROM] {
        let at = |x: f64| g[0] + x * g[1] + x * x * g[2];
        [g[0] / (a * a * b * b), at(a) / near, at(-a) / near, at(b) / far, at(-b) / far, g[2]]
    };
    let rows = kernel.map(|row| line(row.map(f64::from)));
    let mut values = [0.0; POINTS];
    for column in 0..FROM {
        let values_of_column = line([rows[0][column], rows[1][column], rows[2][column]]);
        for (row, v) in values_of_column.into_iter().enumerate() {
            values[row * FROM + column] = v as f32;
        }
    }
    values
}

impl Winograd {
    /// Rows and columns of tiles.
    fn tiles(&self) -> [usize; 2] {
        self.output.map(|extent| extent.div_ceil(TO))
    }

    /// Rows of tiles that are worked on together.
    fn strip(&self) -> usize {
        let [rows, columns] = self.tiles();
        let most = (STRIP / (POINTS * (self.from + self.to) * LANES * columns)).clamp(1, rows);
        rows.div_ceil(rows.div_ceil(most))
    }

    /// Floats of scratch memory.
    pub fn scratch(&self) -> usize {
        POINTS * (self.from + self.to) * LANES * self.strip() * self.tiles()[1]
    }

    /// Multiplications and additions of the products, each counted.
    pub fn flops(&self) -> u64 {
        let [rows, columns] = self.tiles();
        (2 * POINTS * rows * columns * self.from * self.to * LANES * LANES) as u64
    }

    /// Bytes of weights.
    pub fn weight_bytes(&self) -> usize {
        4 * (self.weights.len() + self.bias.len())
    }

    /// Convolves one image.
    pub fn run(&self, isa: Isa, input: &[f32], output: &mut [f32], scratch: &mut [f32], epilogue: Epilogue) {
        let [rows, columns] = self.tiles();
        let [height, width] = self.output;
        let order = packed(self.from, self.to);
        for first in (0..rows).step_by(self.strip()) {
            let strip = self.strip().min(rows - first);
            let tiles = strip * columns;
            let (values, products) = scratch.split_at_mut(POINTS * self.from * tiles * LANES);
            let products = &mut products[..POINTS * self.to * tiles * LANES];
            isa.run(Inward { conv: self, input, first, tiles, values });
            for point in 0..POINTS {
                Product {
                    left: &values[point * self.from * tiles * LANES..][..self.from * tiles * LANES],
                    order: Left::Blocked(tiles * LANES),
                    rows: tiles,
                    depth: order.depth,
                    weights: &self.weights[point * order.len()..][..order.len()],
                    packed: order,
                    from: 0,
                    result: &mut products[point * self.to * tiles * LANES..][..self.to * tiles * LANES],
                    block_stride: tiles * LANES,
                    row_stride: LANES,
                    columns: 0..order.blocks,
                    add: false,
                    bias: &[],
                }
                .run(isa);
            }
            isa.run(Outward { conv: self, products, first, tiles, output: &mut *output });
            let (start, end) = (first * TO * width, ((first + strip) * TO).min(height) * width);
            for block in 0..self.to {
                let at = block * height * width;
                epilogue((at + start) * LANES, &mut output[(at + start) * LANES..(at + end) * LANES]);
            }
        }
    }
}

/// Takes tiles of the input to their values at the points: `[point][block][tile][16]`.
struct Inward<'a> {
    conv: &'a Winograd,
    input: &'a [f32],
    first: usize,
    tiles: usize,
    values: &'a mut [f32],
}

impl Kernel for Inward<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let conv = self.conv;
        let [height, width] = conv.input;
        let columns = conv.tiles()[1];
        let step = conv.from * self.tiles * LANES;
        for block in 0..conv.from {
            let plane = &self.input[block * height * width * LANES..][..height * width * LANES];
            for tile in 0..self.tiles {
                let top = ((self.first + tile / columns) * TO) as isize + conv.shift[0];
                let left = ((tile % columns) * TO) as isize + conv.shift[1];
                let values = &mut self.values[(block * self.tiles + tile) * LANES..][..(POINTS - 1) * step + LANES];
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
                        *row = inward::<S>(taken);
                    }
                    for j in 0..FROM {
                        let column =
                            inward::<S>([rows[0][j], rows[1][j], rows[2][j], rows[3][j], rows[4][j], rows[5][j]]);
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
struct Outward<'a> {
    conv: &'a Winograd,
    products: &'a [f32],
    first: usize,
    tiles: usize,
    output: &'a mut [f32],
}

impl Kernel for Outward<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let conv = self.conv;
        let [height, width] = conv.output;
        let columns = conv.tiles()[1];
        let step = conv.to * self.tiles * LANES;
        for block in 0..conv.to {
            let plane = &mut self.output[block * height * width * LANES..][..height * width * LANES];
            for tile in 0..self.tiles {
                let (top, left) = ((self.first + tile / columns) * TO, tile % columns * TO);
                let products = &self.products[(block * self.tiles + tile) * LANES..][..(POINTS - 1) * step + LANES];
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
                        *row = outward::<S>(taken);
                    }
                    for j in 0..TO.min(width - left) {
                        let column =
                            outward::<S>([rows[0][j], rows[1][j], rows[2][j], rows[3][j], rows[4][j], rows[5][j]]);
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

/// Six values of a line to the points, in the order of [`transform_weights`].
#[inline(always)]
unsafe fn inward<S: Simd>(d: [S::V; FROM]) -> [S::V; FROM] {
    // SAFETY: arithmetic only.
    unsafe {
        let (a, b, sum) = (S::splat(A), S::splat(B), S::splat(-(A * A + B * B)));
        let even_near = S::fma(S::splat(-(B * B)), d[2], d[4]);
        let odd_near = S::sub(S::mul(a, d[3]), S::mul(b, d[1]));
        let even_far = S::fma(S::splat(-(A * A)), d[2], d[4]);
        let odd_far = S::sub(S::mul(b, d[3]), S::mul(a, d[1]));
        [
            S::add(S::fma(sum, d[2], d[4]), d[0]),
            S::add(even_near, odd_near),
            S::sub(even_near, odd_near),
            S::add(even_far, odd_far),
            S::sub(even_far, odd_far),
            S::add(S::fma(sum, d[3], d[5]), d[1]),
        ]
    }
}

/// Six products of a line to four places.
#[inline(always)]
unsafe fn outward<S: Simd>(m: [S::V; FROM]) -> [S::V; TO] {
    // SAFETY: arithmetic only.
    unsafe {
        let (even_near, odd_near) = (S::add(m[1], m[2]), S::sub(m[1], m[2]));
        let (even_far, odd_far) = (S::add(m[3], m[4]), S::sub(m[3], m[4]));
        [
            S::add(m[0], S::add(even_near, even_far)),
            S::fma(S::splat(A), odd_near, S::mul(S::splat(B), odd_far)),
            S::fma(S::splat(A * A), even_near, S::mul(S::splat(B * B), even_far)),
            S::add(m[5], S::fma(S::splat(A * A * A), odd_near, S::mul(S::splat(B * B * B), odd_far))),
        ]
    }
}
