//! Sixteen float lanes at once, in whatever registers this machine has.
//!
//! A kernel is written once over [`Simd`] and compiled for every instruction set; [`Isa::run`] picks at run
//! time. Channels lie in blocks of [`LANES`], so that nearly everything is a loop over whole vectors.
#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod halves;
mod lines;
#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(target_arch = "aarch64")]
mod neon_halves;
mod portable;
mod twice;

use half::f16;

pub use halves::{Half, HalfKernel};
pub use lines::{Line, Lined};
pub use twice::Twice;

/// Lanes of a vector, on every machine.
pub const LANES: usize = 16;

/// Arithmetic on vectors.
///
/// # Safety
/// Every function needs the instruction set that the implementation stands for, which [`Isa::run`] has checked.
pub unsafe trait Arithmetic: Copy {
    /// A vector.
    type V: Copy;
    /// Its lanes.
    const WIDTH: usize;

    /// Reads `WIDTH` floats, at any alignment.
    unsafe fn load(from: *const f32) -> Self::V;
    /// Writes them.
    unsafe fn store(to: *mut f32, v: Self::V);
    unsafe fn splat(v: f32) -> Self::V;
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn div(a: Self::V, b: Self::V) -> Self::V;
    /// The larger; NaN where `b` is.
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
    /// The smaller; as above.
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn sqrt(a: Self::V) -> Self::V;
    /// `a * b + c`, rounded once where the machine can.
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `yes` in the lanes where `a > b`, `no` in the others.
    unsafe fn choose(a: Self::V, b: Self::V, yes: Self::V, no: Self::V) -> Self::V;
    /// `size`, which is not negative, with the sign of `sign`.
    unsafe fn with_sign(size: Self::V, sign: Self::V) -> Self::V;
    /// `v` times two to the power of `n - 1.5 * 2^23`, where `n` is an integer and the result has an ordinary
    /// exponent: the last bits of such an `n` are the power.
    unsafe fn scale(v: Self::V, n: Self::V) -> Self::V;
    /// Rounded to the nearest integer.
    unsafe fn round(a: Self::V) -> Self::V;
    /// Two to the power of `a`, which is an integer from -126 to 127.
    unsafe fn exp2i(a: Self::V) -> Self::V;
}

/// Vectors of [`LANES`] floats.
///
/// # Safety
/// As for [`Arithmetic`], whose `WIDTH` is `LANES`, and that of `Few` a part of it; functions that take a pointer read or write
/// `LANES` numbers there, at any alignment.
pub unsafe trait Simd: Arithmetic {
    /// As many lanes as a dozen vectors may have that stay in registers.
    type Few: Arithmetic;
    /// Rows of [`LANES`] accumulators that fit the registers beside what a matrix product needs else.
    const TILE: usize;
    /// Blocks of columns, one or two, that a matrix product works on at a time.
    const BLOCKS: usize = 1;

    /// Sixteen rows of sixteen floats as sixteen columns; from one row to the next there and here.
    #[inline(always)]
    unsafe fn turn(from: *const f32, from_row: usize, to: *mut f32, to_row: usize) {
        for row in (0..LANES).step_by(4) {
            for lane in (0..LANES).step_by(4) {
                // SAFETY: four rows and four columns of the sixteen.
                unsafe {
                    Self::turn_four(from.add(row * from_row + lane), from_row, to.add(lane * to_row + row), to_row)
                };
            }
        }
    }
    /// Four rows of four floats as four columns.
    #[inline(always)]
    unsafe fn turn_four(from: *const f32, from_row: usize, to: *mut f32, to_row: usize) {
        for row in 0..4 {
            for lane in 0..4 {
                // SAFETY: the caller's.
                unsafe { *to.add(lane * to_row + row) = *from.add(row * from_row + lane) };
            }
        }
    }
    /// The first `count` floats there, of up to [`LANES`], and `fill` in the lanes behind them.
    #[inline(always)]
    unsafe fn load_some(from: *const f32, count: usize, fill: f32) -> Self::V {
        let mut lanes = [fill; LANES];
        // SAFETY: the caller's.
        unsafe {
            std::ptr::copy_nonoverlapping(from, lanes.as_mut_ptr(), count);
            Self::load(lanes.as_ptr())
        }
    }
    /// Stores the first `count` lanes.
    #[inline(always)]
    unsafe fn store_some(to: *mut f32, count: usize, v: Self::V) {
        let mut lanes = [0.0; LANES];
        // SAFETY: the caller's.
        unsafe {
            Self::store(lanes.as_mut_ptr(), v);
            std::ptr::copy_nonoverlapping(lanes.as_ptr(), to, count);
        }
    }
    /// The sum of all lanes: pairwise, which is more exact than one after the other.
    #[inline(always)]
    unsafe fn total(v: Self::V) -> f32 {
        // SAFETY: the caller's.
        unsafe { halved::<Self>(v, |low, high| low + high) }
    }
    /// The largest lane, where all are numbers.
    #[inline(always)]
    unsafe fn largest(v: Self::V) -> f32 {
        // SAFETY: the caller's.
        unsafe { halved::<Self>(v, |low, high| if high > low { high } else { low }) }
    }
    /// Halves, made floats.
    unsafe fn widen(from: *const f16) -> Self::V;
    /// Rounded to the nearest halves, ties to even.
    unsafe fn narrow(to: *mut f16, v: Self::V);
    /// Asks for what will soon be read, which may lie anywhere; does nothing where the machine has no such hint.
    unsafe fn ahead(_from: *const u8) {}
    /// A bit per lane where `a > b`.
    unsafe fn greater(a: Self::V, b: Self::V) -> u16;
    /// `a` in the lanes whose bit is set, zero in the others.
    unsafe fn keep(a: Self::V, bits: u16) -> Self::V;
}

/// Of each half of the lanes and the other one, until one is left.
#[inline(always)]
unsafe fn halved<S: Simd>(v: S::V, both: fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0; LANES];
    // SAFETY: the caller's; sixteen floats.
    unsafe { S::store(lanes.as_mut_ptr(), v) };
    for half in [8, 4, 2, 1] {
        for i in 0..half {
            lanes[i] = both(lanes[i], lanes[i + half]);
        }
    }
    lanes[0]
}

/// Refuses to compile with an instruction set of other widths.
const fn has_widths<S: Simd>() {
    assert!(S::WIDTH == LANES && LANES.is_multiple_of(<S::Few as Arithmetic>::WIDTH));
}
const _: () = has_widths::<portable::Portable>();
#[cfg(target_arch = "x86_64")]
const _: () = (has_widths::<avx2::Avx2>(), has_widths::<avx512::Avx512>()).0;
#[cfg(target_arch = "aarch64")]
const _: () = has_widths::<neon::Neon>();

/// A kernel with its arguments.
pub trait Kernel {
    /// What it gives back.
    type Output;
    /// Does the work; marked `#[inline(always)]`, so that it is compiled for the instruction set of `S`.
    ///
    /// # Safety
    /// The machine has that instruction set.
    unsafe fn run<S: Simd>(self) -> Self::Output;
}

/// Plain Rust whose loops gain from wide registers. Compiled for every instruction set, it gives the same bits with each, but for
/// the sign of a zero that is the least or largest of several: the compiler neither fuses nor reorders arithmetic on floats.
pub trait Loops {
    /// What it gives back.
    type Output;
    /// Does the work; marked `#[inline(always)]`, like what it calls.
    fn run(self) -> Self::Output;
}

/// Loops as a kernel that asks for no vectors by itself.
struct Plain<L>(L);

impl<L: Loops> Kernel for Plain<L> {
    type Output = L::Output;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> L::Output {
        self.0.run()
    }
}

/// An instruction set. Those that not every machine has nobody outside can name: [`Isa::here`] gives them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// Plain Rust, anywhere.
    Portable,
    /// AVX2 with fused multiply-add and conversions from and to halves.
    #[cfg(target_arch = "x86_64")]
    #[non_exhaustive]
    Avx2,
    /// AVX-512 with the above.
    #[cfg(target_arch = "x86_64")]
    #[non_exhaustive]
    Avx512,
    /// Advanced SIMD of 64-bit ARM.
    #[cfg(target_arch = "aarch64")]
    Neon,
}

impl Isa {
    /// All that this machine has, the best last.
    pub fn here() -> &'static [Isa] {
        #[cfg(target_arch = "x86_64")]
        {
            let has_avx2 = std::arch::is_x86_feature_detected!("avx2")
                && std::arch::is_x86_feature_detected!("fma")
                && std::arch::is_x86_feature_detected!("f16c");
            match (has_avx2, avx512::is_here()) {
                (true, true) => &[Isa::Portable, Isa::Avx2, Isa::Avx512],
                (true, false) => &[Isa::Portable, Isa::Avx2],
                _ => &[Isa::Portable],
            }
        }
        #[cfg(target_arch = "aarch64")]
        {
            &[Isa::Portable, Isa::Neon]
        }
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        {
            &[Isa::Portable]
        }
    }

    /// The best that this machine has.
    pub fn best() -> Isa {
        Isa::here().last().copied().unwrap_or(Isa::Portable)
    }

    /// Its name in records.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => "avx512",
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => "neon",
        }
    }

    /// Rows of a tile of the matrix product, and its blocks of columns.
    pub fn tile(self) -> [usize; 2] {
        struct Tile;
        impl Kernel for Tile {
            type Output = [usize; 2];
            #[inline(always)]
            unsafe fn run<S: Simd>(self) -> [usize; 2] {
                [S::TILE, S::BLOCKS]
            }
        }
        self.run(Tile)
    }

    /// Runs a kernel compiled for this instruction set.
    pub fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self {
            // SAFETY: plain Rust runs anywhere.
            Isa::Portable => unsafe { kernel.run::<portable::Portable>() },
            // SAFETY: `here` gives this out only where the machine has it.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => unsafe { avx2::run(kernel) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => unsafe { avx512::run(kernel) },
            // SAFETY: every 64-bit ARM machine has it.
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => unsafe { kernel.run::<neon::Neon>() },
        }
    }

    /// Runs loops compiled for this instruction set.
    pub fn run_loops<L: Loops>(self, loops: L) -> L::Output {
        self.run(Plain(loops))
    }

    /// Whether the machine has arithmetic on halves of its own.
    pub fn has_halves(self) -> bool {
        match self {
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => std::arch::is_aarch64_feature_detected!("fp16"),
            _ => false,
        }
    }

    /// Runs a kernel on halves: with the machine's own arithmetic, or with floats that are rounded likewise.
    pub fn run_halves<K: HalfKernel>(self, kernel: K) -> K::Output {
        match self {
            // SAFETY: `has_halves` has asked the machine.
            #[cfg(target_arch = "aarch64")]
            Isa::Neon if self.has_halves() => unsafe { neon_halves::run(kernel) },
            other => other.run(halves::Emulate(kernel)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first `count` of these and ones behind them: twice what that is, in front of zeros; its sum and its largest lane.
    struct First<'a>(&'a [f32], usize);

    impl Kernel for First<'_> {
        type Output = ([f32; LANES], [f32; 2]);

        #[inline(always)]
        unsafe fn run<S: Simd>(self) -> Self::Output {
            let mut to = [0.0; LANES];
            // SAFETY: sixteen floats, of which no more are written.
            unsafe {
                let v = S::load_some(self.0.as_ptr(), self.1, 1.0);
                S::store_some(to.as_mut_ptr(), self.1, S::add(v, v));
                (to, [S::total(v), S::largest(v)])
            }
        }
    }

    #[test]
    fn some_lanes_are_those_of_every_machine() {
        let values: Vec<f32> = (0..LANES).map(|i| ((i * 7 + 3) % LANES) as f32 * 0.3 - 2.0).collect();
        for count in 0..=LANES {
            // Nothing lies behind those that are read.
            let own = values[..count].to_vec();
            let mut lanes = own.clone();
            lanes.resize(LANES, 1.0);
            let twice: Vec<f32> = (0..LANES).map(|i| if i < count { 2.0 * lanes[i] } else { 0.0 }).collect();
            let largest = lanes.iter().fold(f32::NEG_INFINITY, |most, &v| most.max(v));
            let mut sums = lanes;
            for half in [8, 4, 2, 1] {
                sums = (0..half).map(|i| sums[i] + sums[i + half]).collect();
            }
            for isa in Isa::here() {
                let (stored, [total, most]) = isa.run(First(&own, count));
                assert_eq!(stored[..], twice, "{count} lanes, {}", isa.name());
                assert_eq!([total, most].map(f32::to_bits), [sums[0], largest].map(f32::to_bits), "{}", isa.name());
            }
        }
    }
}
