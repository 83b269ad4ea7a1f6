//! From one order of an image's elements to the other.

use crate::simd::{Isa, Kernel, LANES, Simd};

/// `[channel][place]` to `[channel / 16][place][16]`; lanes beyond the channels are zero.
pub fn to_blocked(isa: Isa, planes: &[f32], channels: usize, blocked: &mut [f32]) {
    let places = planes.len() / channels.max(1);
    for (block, output) in blocked.chunks_exact_mut(places * LANES).enumerate() {
        let first = block * LANES;
        let count = LANES.min(channels - first);
        let part = &planes[first * places..(first + count) * places];
        let tiles = if count == LANES { places / LANES } else { 0 };
        isa.run(Turn {
            tiles,
            from: part,
            from_row: places,
            from_tile: LANES,
            to: output,
            to_row: LANES,
            to_tile: TILE,
        });
        let rest = output.as_chunks_mut::<LANES>().0.iter_mut().enumerate().skip(tiles * LANES);
        for (place, lanes) in rest {
            for (lane, v) in lanes.iter_mut().enumerate() {
                *v = if lane < count { part[lane * places + place] } else { 0.0 };
            }
        }
    }
}

/// `[channel / 16][place][16]` to `[channel][place]`.
pub fn to_planes(isa: Isa, blocked: &[f32], channels: usize, planes: &mut [f32]) {
    let places = planes.len() / channels.max(1);
    let blocks = blocked.chunks_exact(places * LANES).zip(planes.chunks_mut(places * LANES));
    for (input, output) in blocks {
        let tiles = if output.len() == input.len() { places / LANES } else { 0 };
        isa.run(Turn {
            tiles,
            from: input,
            from_row: LANES,
            from_tile: TILE,
            to: output,
            to_row: places,
            to_tile: LANES,
        });
        for (lane, plane) in output.chunks_exact_mut(places).enumerate() {
            let rest = plane.iter_mut().zip(input.as_chunks::<LANES>().0).skip(tiles * LANES);
            rest.for_each(|(v, lanes)| *v = lanes[lane]);
        }
    }
}

/// Numbers of a tile.
const TILE: usize = LANES * LANES;

/// Tiles of sixteen by sixteen numbers whose rows become columns; how far it is from row to row and from tile to tile, there
/// and here.
pub struct Turn<'a> {
    pub tiles: usize,
    pub from: &'a [f32],
    pub from_row: usize,
    pub from_tile: usize,
    pub to: &'a mut [f32],
    pub to_row: usize,
    pub to_tile: usize,
}

impl Kernel for Turn<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        if self.tiles == 0 {
            return;
        }
        let furthest = |row: usize, tile: usize| (LANES - 1) * row + (self.tiles - 1) * tile + LANES;
        assert!(furthest(self.from_row, self.from_tile) <= self.from.len(), "a tile is read outside its image");
        assert!(furthest(self.to_row, self.to_tile) <= self.to.len(), "a tile is written outside its image");
        for tile in 0..self.tiles {
            // SAFETY: the last row of the last tile lies inside.
            unsafe {
                let from = self.from.as_ptr().add(tile * self.from_tile);
                S::turn(from, self.from_row, self.to.as_mut_ptr().add(tile * self.to_tile), self.to_row);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_each_others_inverse() {
        for &isa in Isa::here() {
            for (channels, places) in [(1usize, 1), (16, 16), (16, 50), (37, 33), (48, 15)] {
                let planes: Vec<f32> = (0..channels * places).map(|i| i as f32 + 1.0).collect();
                let mut blocked = vec![-1.0; channels.next_multiple_of(LANES) * places];
                to_blocked(isa, &planes, channels, &mut blocked);
                for (i, v) in blocked.iter().enumerate() {
                    let (channel, place) = (i / (places * LANES) * LANES + i % LANES, i / LANES % places);
                    let expected = if channel < channels { planes[channel * places + place] } else { 0.0 };
                    assert_eq!(*v, expected, "{channels} channels of {places} places, {}", isa.name());
                }
                let mut back = vec![-1.0; planes.len()];
                to_planes(isa, &blocked, channels, &mut back);
                assert_eq!(back, planes, "{channels} channels of {places} places, {}", isa.name());
            }
        }
    }
}
