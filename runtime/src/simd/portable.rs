//! Sixteen lanes in an array: for machines without an instruction set of their own here, and as the slow twin
//! that the others are tested against.

use half::f16;

use super::{Arithmetic, LANES, Simd};

/// So many lanes.
#[derive(Clone, Copy)]
pub struct Floats<const N: usize>;

/// Sixteen.
pub type Portable = Floats<LANES>;

type V = [f32; LANES];

#[inline(always)]
fn map2<const N: usize>(a: [f32; N], b: [f32; N], f: impl Fn(f32, f32) -> f32) -> [f32; N] {
    let mut out = [0.0; N];
    for i in 0..N {
        out[i] = f(a[i], b[i]);
    }
    out
}

// SAFETY: plain Rust; pointers are used as the trait says.
unsafe impl<const N: usize> Arithmetic for Floats<N> {
    type V = [f32; N];
    const WIDTH: usize = N;

    #[inline(always)]
    unsafe fn load(from: *const f32) -> [f32; N] {
        unsafe { from.cast::<[f32; N]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, v: [f32; N]) {
        unsafe { to.cast::<[f32; N]>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn splat(v: f32) -> [f32; N] {
        [v; N]
    }
    #[inline(always)]
    unsafe fn add(a: [f32; N], b: [f32; N]) -> [f32; N] {
        map2(a, b, |a, b| a + b)
    }
    #[inline(always)]
    unsafe fn sub(a: [f32; N], b: [f32; N]) -> [f32; N] {
        map2(a, b, |a, b| a - b)
    }
    #[inline(always)]
    unsafe fn mul(a: [f32; N], b: [f32; N]) -> [f32; N] {
        map2(a, b, |a, b| a * b)
    }
    #[inline(always)]
    unsafe fn div(a: [f32; N], b: [f32; N]) -> [f32; N] {
        map2(a, b, |a, b| a / b)
    }
    #[inline(always)]
    unsafe fn max(a: [f32; N], b: [f32; N]) -> [f32; N] {
        map2(a, b, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    unsafe fn min(a: [f32; N], b: [f32; N]) -> [f32; N] {
        map2(a, b, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    unsafe fn sqrt(a: [f32; N]) -> [f32; N] {
        map2(a, a, |a, _| a.sqrt())
    }
    #[inline(always)]
    unsafe fn fma(a: [f32; N], b: [f32; N], c: [f32; N]) -> [f32; N] {
        let mut out = c;
        for i in 0..N {
            out[i] += a[i] * b[i];
        }
        out
    }
    #[inline(always)]
    unsafe fn choose(a: [f32; N], b: [f32; N], yes: [f32; N], no: [f32; N]) -> [f32; N] {
        let mut out = no;
        for i in 0..N {
            if a[i] > b[i] {
                out[i] = yes[i];
            }
        }
        out
    }
    #[inline(always)]
    unsafe fn with_sign(size: [f32; N], sign: [f32; N]) -> [f32; N] {
        map2(size, sign, libm::copysignf)
    }
    #[inline(always)]
    unsafe fn scale(v: [f32; N], n: [f32; N]) -> [f32; N] {
        map2(v, n, |v, n| f32::from_bits(v.to_bits().wrapping_add(n.to_bits() << 23)))
    }
    #[inline(always)]
    unsafe fn round(a: [f32; N]) -> [f32; N] {
        map2(a, a, |a, _| libm::rintf(a))
    }
    #[inline(always)]
    unsafe fn exp2i(a: [f32; N]) -> [f32; N] {
        map2(a, a, |a, _| f32::from_bits(((a as i32 + 127) << 23) as u32))
    }
}

// SAFETY: as above.
unsafe impl Simd for Portable {
    type Few = Floats<8>;
    const TILE: usize = 4;

    #[inline(always)]
    unsafe fn widen(from: *const f16) -> V {
        unsafe { from.cast::<[f16; LANES]>().read_unaligned() }.map(f16::to_f32)
    }
    #[inline(always)]
    unsafe fn narrow(to: *mut f16, v: V) {
        unsafe { to.cast::<[f16; LANES]>().write_unaligned(v.map(f16::from_f32)) }
    }
    #[inline(always)]
    unsafe fn greater(a: V, b: V) -> u16 {
        (0..LANES).fold(0, |bits, i| bits | (u16::from(a[i] > b[i]) << i))
    }
    #[inline(always)]
    unsafe fn keep(a: V, bits: u16) -> V {
        let mut out = a;
        for (i, v) in out.iter_mut().enumerate() {
            if bits >> i & 1 == 0 {
                *v = 0.0;
            }
        }
        out
    }
}
