//! Arithmetic on sixteen halves at once.

use std::marker::PhantomData;

use half::f16;

use super::{Arithmetic, Kernel, LANES, Simd};

/// Arithmetic on vectors of [`LANES`] halves.
///
/// # Safety
/// As of [`Simd`].
pub unsafe trait Half: Copy {
    /// Floats, for long sums.
    type Single: Simd;
    /// A vector.
    type H: Copy;
    /// Rows of [`LANES`] halves and as many floats that fit the registers beside what a matrix product needs else.
    const TILE: usize;

    unsafe fn zero() -> Self::H;
    unsafe fn load(from: *const f16) -> Self::H;
    /// One half in every lane.
    unsafe fn splat(from: *const f16) -> Self::H;
    /// `a * b + c`, rounded once.
    unsafe fn fma(a: Self::H, b: Self::H, c: Self::H) -> Self::H;
    /// As floats.
    unsafe fn widen(v: Self::H) -> <Self::Single as Arithmetic>::V;
}

/// A kernel on halves, with its arguments.
pub trait HalfKernel {
    /// What it gives back.
    type Output;
    /// Does the work; marked `#[inline(always)]`, so that it is compiled for the instruction set of `H`.
    ///
    /// # Safety
    /// The machine has that instruction set.
    unsafe fn run<H: Half>(self) -> Self::Output;
}

/// Halves kept as floats, and rounded after each operation as a machine with halves rounds them. (A product of halves
/// is exact in a float. A sum may be rounded twice, which differs from once for one in some thousands, by the last bit
/// of a half.)
#[derive(Clone, Copy)]
pub struct Emulated<S>(PhantomData<S>);

// SAFETY: as `S` is.
unsafe impl<S: Simd> Half for Emulated<S> {
    type Single = S;
    type H = S::V;
    const TILE: usize = 4;

    #[inline(always)]
    unsafe fn zero() -> S::V {
        unsafe { S::splat(0.0) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f16) -> S::V {
        unsafe { S::widen(from) }
    }
    #[inline(always)]
    unsafe fn splat(from: *const f16) -> S::V {
        unsafe { S::splat((*from).to_f32()) }
    }
    #[inline(always)]
    unsafe fn fma(a: S::V, b: S::V, c: S::V) -> S::V {
        let mut rounded = [f16::ZERO; LANES];
        unsafe {
            S::narrow(rounded.as_mut_ptr(), S::fma(a, b, c));
            S::widen(rounded.as_ptr())
        }
    }
    #[inline(always)]
    unsafe fn widen(v: S::V) -> S::V {
        v
    }
}

/// A kernel on halves where the machine has floats only.
pub struct Emulate<K>(pub K);

impl<K: HalfKernel> Kernel for Emulate<K> {
    type Output = K::Output;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> K::Output {
        // SAFETY: the caller's.
        unsafe { self.0.run::<Emulated<S>>() }
    }
}
