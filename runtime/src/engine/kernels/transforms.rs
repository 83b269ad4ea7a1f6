//! Winograd's transforms of whole tiles: of weights and of the input to the points, and of products back.
//! [`polynomials`](super::polynomials) has those of a line.

// An iterator over columns would be a closure, which is not compiled for the instruction set.
#![allow(clippy::needless_range_loop)]

use std::mem::MaybeUninit;
use std::ops::Range;

use super::polynomials::{column_of, inward, outward, weigh};
use super::stored::{Stored, Weights};
use super::winograd::{TAPS, Winograd, tile_step};
use crate::simd::{Kernel, LANES, Simd};

/// How many tiles before it is written a place is asked for: the points lie so far apart that the processor foresees none.
const AHEAD: usize = 2;

/// Takes the weights of some output blocks to their values at the points: point by point, packed as for a product.
pub struct Weigh<'a, const FROM: usize> {
    pub conv: &'a Winograd,
    pub kernels: &'a Stored,
    pub blocks: Range<usize>,
    pub values: &'a mut [f32],
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
pub struct Inward<'a, const FROM: usize> {
    pub conv: &'a Winograd,
    pub input: &'a [f32],
    /// The first row of tiles, and which columns of them.
    pub first: usize,
    pub columns: Range<usize>,
    pub tiles: usize,
    pub values: &'a mut [f32],
}

impl<const FROM: usize> Kernel for Inward<'_, FROM> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let conv = self.conv;
        let [height, width] = conv.input;
        let columns = self.columns.len();
        let step = tile_step(conv.from, self.tiles);
        let inside = |at: isize, extent: usize| (0..extent as isize).contains(&at);
        for block in 0..conv.from {
            let plane = &self.input[block * height * width * LANES..][..height * width * LANES];
            for tile in 0..self.tiles {
                let top = ((self.first + tile / columns) * conv.tile) as isize + conv.shift[0];
                let left = ((self.columns.start + tile % columns) * conv.tile) as isize + conv.shift[1];
                let mut rows = [false; FROM];
                for i in 0..FROM {
                    rows[i] = inside(top + i as isize, height);
                }
                let first = plane.as_ptr().wrapping_offset((top * width as isize + left) * LANES as isize);
                let values =
                    &mut self.values[(block * self.tiles + tile) * LANES..][..(FROM * FROM - 1) * step + LANES];
                // SAFETY: what is read lies inside the plane, what is written inside `values`.
                unsafe {
                    // Every column is written; zeros before that would take as long as a column's sums.
                    let mut taken = MaybeUninit::<[[S::V; FROM]; FROM]>::uninit();
                    for j in 0..FROM {
                        let mut column = [S::splat(0.0); FROM];
                        if inside(left + j as isize, width) {
                            let mut from = first.wrapping_add(j * LANES);
                            for (v, there) in column.iter_mut().zip(rows) {
                                if there {
                                    *v = S::load(from);
                                }
                                from = from.wrapping_add(width * LANES);
                            }
                            column = inward::<S, FROM>(column);
                        }
                        taken.as_mut_ptr().cast::<[S::V; FROM]>().add(j).write(column);
                    }
                    let taken = taken.assume_init_ref();
                    let mut to = values.as_mut_ptr();
                    for i in 0..FROM {
                        for v in inward::<S, FROM>(column_of(taken, i)) {
                            S::ahead(to.wrapping_add(AHEAD * LANES).cast());
                            S::store(to, v);
                            to = to.wrapping_add(step);
                        }
                    }
                }
            }
        }
    }
}

/// Takes products back to some columns of tiles in some rows of one block of the output, and adds the bias.
pub struct Outward<'a, const FROM: usize, const TO: usize> {
    pub conv: &'a Winograd,
    pub block: usize,
    /// Those of the first tile, at the first point, first.
    pub products: &'a [f32],
    /// Tiles of a block whose products lie together.
    pub tiles: usize,
    pub columns: Range<usize>,
    pub output: &'a mut [f32],
}

impl<const FROM: usize, const TO: usize> Kernel for Outward<'_, FROM, TO> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let (conv, width) = (self.conv, self.conv.output[1]);
        let (height, columns) = (self.output.len() / (width * LANES), self.columns.len());
        let step = tile_step(conv.to, self.tiles);
        for tile in 0..height.div_ceil(TO) * columns {
            let (top, left) = (tile / columns * TO, (self.columns.start + tile % columns) * TO);
            let products = &self.products[tile * LANES..][..(FROM * FROM - 1) * step + LANES];
            // SAFETY: what is read lies inside `products` and the bias, what is written inside the output.
            unsafe {
                let bias = match conv.bias.is_empty() {
                    true => S::splat(0.0),
                    false => S::load(conv.bias[self.block * LANES..][..LANES].as_ptr()),
                };
                let mut rows = MaybeUninit::<[[S::V; TO]; FROM]>::uninit();
                for i in 0..FROM {
                    let mut taken = [S::splat(0.0); FROM];
                    for (j, v) in taken.iter_mut().enumerate() {
                        *v = S::load(products.as_ptr().add((i * FROM + j) * step));
                    }
                    rows.as_mut_ptr().cast::<[S::V; TO]>().add(i).write(outward::<S, FROM, TO>(taken));
                }
                let rows = rows.assume_init_ref();
                for j in 0..TO.min(width - left) {
                    let column = outward::<S, FROM, TO>(column_of(rows, j));
                    for (i, v) in column.into_iter().enumerate().take(height - top) {
                        let at = ((top + i) * width + left + j) * LANES;
                        S::store(self.output.as_mut_ptr().add(at), S::add(v, bias));
                    }
                }
            }
        }
    }
}
