//! 3x3 convolutions of stride one by Winograd's minimal filtering: F(4x4, 3x3) makes sixteen outputs with 36 products
//! and F(2x2, 3x3) four with sixteen, where the plain sum takes 144 and 36 (Lavin and Gray, "Fast algorithms for
//! convolutional neural networks", 2016). The small tile has smaller weights, and suits small images.
//!
//! A tile of the input and the weights are both taken to the values of polynomials at a few points; there the
//! convolution is a product, one matrix product over the channels per point. The small tile has the points 0, 1, -1
//! and infinity. The usual ones of the large tile (1 and 2) round off badly; 0, a, -a, b, -b and infinity with a = 2/3
//! and b = 3/2 give half the error, which is 3.4 times that of the plain sum (the small tile's is 1.4 times), and
//! since a b = 1 fewer constants.

// An iterator over columns would be a closure, which is not compiled for the instruction set.
#![allow(clippy::needless_range_loop)]

use super::conv::Epilogue;
use super::product::{Left, Product, Weights};
use crate::engine::simd::{Isa, Kernel, LANES, Simd};

/// The large tile's points besides zero and infinity, both signs of each.
const A: f32 = 2.0 / 3.0;
const B: f32 = 1.5;
/// Floats of transformed tiles that are worked on together: about what the second cache holds.
const STRIP: usize = 300_000;

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
    /// [`transform_weights`] of every pair of channels, packed as for a product, point by point.
    pub weights: Vec<f32>,
    /// Per output channel, padded to blocks; empty for none.
    pub bias: Vec<f32>,
}

/// How the weights of one point lie.
pub fn packed(from: usize, to: usize) -> Weights {
    Weights { depth: from * LANES, blocks: to }
}

/// Products per tile.
pub fn points(tile: usize) -> usize {
    (tile + 2) * (tile + 2)
}

/// The values of a 3x3 kernel at the points of a tile, row by row, computed in double precision; as many as there are
/// [`points`].
pub fn transform_weights(tile: usize, kernel: [[f32; 3]; 3]) -> [f32; 36] {
    let (a, b) = (A as f64, B as f64);
    let near = 2.0 * a * a * (a * a - b * b);
    let far = 2.0 * b * b * (b * b - a * a);
    let line = |g: [f64; 3]| -> [f64; 6] {
        let at = |x: f64| g[0] + x * g[1] + x * x * g[2];
        match tile {
            2 => [g[0], at(1.0) / 2.0, at(-1.0) / 2.0, g[2], 0.0, 0.0],
            _ => [g[0] / (a * a * b * b), at(a) / near, at(-a) / near, at(b) / far, at(-b) / far, g[2]],
        }
    };
    let rows = kernel.map(|row| line(row.map(f64::from)));
    let mut values = [0.0; 36];
    for column in 0..tile + 2 {
        let points = line([rows[0][column], rows[1][column], rows[2][column]]);
        for row in 0..tile + 2 {
            values[row * (tile + 2) + column] = points[row] as f32;
        }
    }
    values
}

impl Winograd {
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

    /// Floats of scratch memory.
    pub fn scratch(&self) -> usize {
        points(self.tile) * (self.from + self.to) * LANES * self.strip() * self.tiles()[1]
    }

    /// Multiplications and additions of the products, each counted.
    pub fn flops(&self) -> u64 {
        let [rows, columns] = self.tiles();
        (2 * points(self.tile) * rows * columns * self.from * self.to * LANES * LANES) as u64
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
            let points = points(self.tile);
            let (values, products) = scratch.split_at_mut(points * self.from * tiles * LANES);
            let products = &mut products[..points * self.to * tiles * LANES];
            match self.tile {
                2 => isa.run(Inward::<4> { conv: self, input, first, tiles, values }),
                _ => isa.run(Inward::<6> { conv: self, input, first, tiles, values }),
            }
            for point in 0..points {
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
            match self.tile {
                2 => isa.run(Outward::<4, 2> { conv: self, products, first, tiles, output: &mut *output }),
                _ => isa.run(Outward::<6, 4> { conv: self, products, first, tiles, output: &mut *output }),
            }
            let (start, end) = (first * self.tile * width, ((first + strip) * self.tile).min(height) * width);
            for block in 0..self.to {
                let at = block * height * width;
                epilogue((at + start) * LANES, &mut output[(at + start) * LANES..(at + end) * LANES]);
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
        let step = conv.from * self.tiles * LANES;
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
        let step = conv.to * self.tiles * LANES;
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

/// One column of a tile.
#[inline(always)]
fn column_of<V: Copy, const ROWS: usize, const COLUMNS: usize>(rows: &[[V; COLUMNS]; ROWS], j: usize) -> [V; ROWS] {
    let mut column = [rows[0][j]; ROWS];
    for i in 1..ROWS {
        column[i] = rows[i][j];
    }
    column
}

/// The values of a line at the points, in the order of [`transform_weights`].
#[inline(always)]
unsafe fn inward<S: Simd, const FROM: usize>(d: [S::V; FROM]) -> [S::V; FROM] {
    let mut values = d;
    // SAFETY: arithmetic only.
    unsafe {
        if FROM == 4 {
            values[0] = S::sub(d[0], d[2]);
            values[1] = S::add(d[2], d[1]);
            values[2] = S::sub(d[2], d[1]);
            values[3] = S::sub(d[3], d[1]);
            return values;
        }
        let (a, b, sum) = (S::splat(A), S::splat(B), S::splat(-(A * A + B * B)));
        let even_near = S::fma(S::splat(-(B * B)), d[2], d[4]);
        let odd_near = S::sub(S::mul(a, d[3]), S::mul(b, d[1]));
        let even_far = S::fma(S::splat(-(A * A)), d[2], d[4]);
        let odd_far = S::sub(S::mul(b, d[3]), S::mul(a, d[1]));
        values[0] = S::add(S::fma(sum, d[2], d[4]), d[0]);
        values[1] = S::add(even_near, odd_near);
        values[2] = S::sub(even_near, odd_near);
        values[3] = S::add(even_far, odd_far);
        values[4] = S::sub(even_far, odd_far);
        values[5] = S::add(S::fma(sum, d[3], d[5]), d[1]);
        values
    }
}

/// The products of a line, one per point, to places of the output.
#[inline(always)]
unsafe fn outward<S: Simd, const FROM: usize, const TO: usize>(m: [S::V; FROM]) -> [S::V; TO] {
    let mut places = [m[0]; TO];
    // SAFETY: arithmetic only.
    unsafe {
        let (even_near, odd_near) = (S::add(m[1], m[2]), S::sub(m[1], m[2]));
        if TO == 2 {
            places[0] = S::add(m[0], even_near);
            places[1] = S::add(m[3], odd_near);
            return places;
        }
        let (even_far, odd_far) = (S::add(m[3], m[4]), S::sub(m[3], m[4]));
        places[0] = S::add(m[0], S::add(even_near, even_far));
        places[1] = S::fma(S::splat(A), odd_near, S::mul(S::splat(B), odd_far));
        places[2] = S::fma(S::splat(A * A), even_near, S::mul(S::splat(B * B), even_far));
        places[3] = S::add(m[5], S::fma(S::splat(A * A * A), odd_near, S::mul(S::splat(B * B * B), odd_far)));
        places
    }
}
