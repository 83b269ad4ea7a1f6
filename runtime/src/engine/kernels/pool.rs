//! Max pools with their adjoints, and means over whole channels, for channel-blocked images.

use super::conv::Epilogue;
use crate::engine::simd::{Isa, Kernel, LANES, Simd};

/// A max pool. Which tap won is kept as a bit per tap and element, `[block][place][tap]` sixteens of bits.
#[derive(Clone, Debug)]
pub struct MaxPool {
    /// Input rows and columns.
    pub input: [usize; 2],
    /// Output rows and columns.
    pub output: [usize; 2],
    /// Input rows and columns per output row and column.
    pub stride: [usize; 2],
    /// What each tap adds to the input row and column, in the order in which equal ones win.
    pub taps: Vec<[isize; 2]>,
}

impl MaxPool {
    fn plane(extents: [usize; 2]) -> usize {
        extents[0] * extents[1] * LANES
    }

    /// Sixteens of bits that remember the winners of `blocks` blocks.
    pub fn winners(&self, blocks: usize) -> usize {
        blocks * self.output[0] * self.output[1] * self.taps.len()
    }

    /// Whether every tap reads inside the input for an output place.
    #[inline(always)]
    fn is_inside(&self, row: usize, column: usize, reach: [[isize; 2]; 2]) -> bool {
        let place = [(row * self.stride[0]) as isize, (column * self.stride[1]) as isize];
        (0..2).all(|i| place[i] + reach[0][i] >= 0 && place[i] + reach[1][i] < self.input[i] as isize)
    }

    /// The least and the most that taps add to the input row and column.
    fn reach(&self) -> [[isize; 2]; 2] {
        let first = self.taps.first().copied().unwrap_or_default();
        let wider = |[low, high]: [[isize; 2]; 2], tap: &[isize; 2]| {
            [[low[0].min(tap[0]), low[1].min(tap[1])], [high[0].max(tap[0]), high[1].max(tap[1])]]
        };
        self.taps.iter().fold([first, first], wider)
    }

    /// Where a tap reads for an output place, if that lies inside the input, which may be known for all taps.
    #[inline(always)]
    fn read(&self, inside: bool, row: usize, column: usize, tap: [isize; 2]) -> Option<usize> {
        let y = (row * self.stride[0]) as isize + tap[0];
        let x = (column * self.stride[1]) as isize + tap[1];
        let [height, width] = self.input.map(|d| d as isize);
        let inside = inside || (y >= 0 && y < height && x >= 0 && x < width);
        inside.then(|| (y * width + x) as usize * LANES)
    }

    /// Pools, and notes the winners where `winners` is not empty.
    pub fn forward(&self, isa: Isa, input: &[f32], output: &mut [f32], winners: &mut [u16], epilogue: Epilogue) {
        let (from, to) = (Self::plane(self.input), Self::plane(self.output));
        let noted = to / LANES * self.taps.len();
        for (block, (input, output)) in input.chunks_exact(from).zip(output.chunks_exact_mut(to)).enumerate() {
            let winners = if winners.is_empty() { &mut [] } else { &mut winners[block * noted..][..noted] };
            isa.run(Forward { pool: self, input, output: &mut *output, winners });
            epilogue(block * to, output);
        }
    }

    /// Gives each cotangent to the place that won.
    pub fn backward(&self, isa: Isa, cotangent: &[f32], winners: &[u16], output: &mut [f32], epilogue: Epilogue) {
        let (from, to) = (Self::plane(self.output), Self::plane(self.input));
        let noted = from / LANES * self.taps.len();
        let parts = cotangent.chunks_exact(from).zip(winners.chunks_exact(noted));
        for (block, ((cotangent, winners), output)) in parts.zip(output.chunks_exact_mut(to)).enumerate() {
            output.fill(0.0);
            isa.run(Backward { pool: self, cotangent, winners, output: &mut *output });
            epilogue(block * to, output);
        }
    }
}

struct Forward<'a> {
    pool: &'a MaxPool,
    input: &'a [f32],
    output: &'a mut [f32],
    winners: &'a mut [u16],
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let pool = self.pool;
        let reach = pool.reach();
        for (place, output) in self.output.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
            let (row, column) = (place / pool.output[1], place % pool.output[1]);
            let inside = pool.is_inside(row, column, reach);
            // SAFETY: `read` gives places of whole vectors inside the input.
            unsafe {
                let mut most = S::splat(f32::NEG_INFINITY);
                for &tap in &pool.taps {
                    if let Some(at) = pool.read(inside, row, column, tap) {
                        most = S::max(S::load(self.input.as_ptr().add(at)), most);
                    }
                }
                S::store(output.as_mut_ptr(), most);
                if self.winners.is_empty() {
                    continue;
                }
                let winners = &mut self.winners[place * pool.taps.len()..][..pool.taps.len()];
                let mut open = u16::MAX;
                for (winner, &tap) in winners.iter_mut().zip(&pool.taps) {
                    *winner = 0;
                    if let Some(at) = pool.read(inside, row, column, tap) {
                        let v = S::load(self.input.as_ptr().add(at));
                        *winner = open & !S::greater(most, v);
                        open &= !*winner;
                    }
                }
            }
        }
    }
}

struct Backward<'a> {
    pool: &'a MaxPool,
    cotangent: &'a [f32],
    winners: &'a [u16],
    output: &'a mut [f32],
}

impl Kernel for Backward<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let pool = self.pool;
        let reach = pool.reach();
        for (place, cotangent) in self.cotangent.as_chunks::<LANES>().0.iter().enumerate() {
            let (row, column) = (place / pool.output[1], place % pool.output[1]);
            let inside = pool.is_inside(row, column, reach);
            let winners = &self.winners[place * pool.taps.len()..][..pool.taps.len()];
            // SAFETY: `read` gives places of whole vectors inside the output.
            unsafe {
                let cotangent = S::load(cotangent.as_ptr());
                for (&bits, &tap) in winners.iter().zip(&pool.taps) {
                    if bits == 0 {
                        continue;
                    }
                    if let Some(at) = pool.read(inside, row, column, tap) {
                        let to = self.output.as_mut_ptr().add(at);
                        S::store(to, S::add(S::load(to), S::keep(cotangent, bits)));
                    }
                }
            }
        }
    }
}

/// The sum of each channel, times `scale`: `planes` of `[place][16]` give `[16]` each.
pub fn sum_channels(isa: Isa, input: &[f32], scale: f32, output: &mut [f32]) {
    isa.run(Sums { input, scale, output });
}

struct Sums<'a> {
    input: &'a [f32],
    scale: f32,
    output: &'a mut [f32],
}

impl Kernel for Sums<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let plane = self.input.len() / (self.output.len() / LANES);
        let planes = self.input.chunks_exact(plane);
        for (output, plane) in self.output.as_chunks_mut::<LANES>().0.iter_mut().zip(planes) {
            // SAFETY: whole vectors.
            unsafe {
                // Four sums that run beside each other are faster, and add up more exactly.
                let mut sums = [S::splat(0.0); 4];
                for (i, v) in plane.as_chunks::<LANES>().0.iter().enumerate() {
                    sums[i % 4] = S::add(sums[i % 4], S::load(v.as_ptr()));
                }
                let sum = S::add(S::add(sums[0], sums[1]), S::add(sums[2], sums[3]));
                S::store(output.as_mut_ptr(), S::mul(sum, S::splat(self.scale)));
            }
        }
    }
}
