//! Sixteen lanes in an array: for machines without an instruction set of their own here, and as the slow twin
//! that the others are tested against.

use half::f16;

use super::{Arithmetic, LANES, Simd};

#[derive(Clone, Copy)]
pub struct Portable;

type V = [f32; LANES];

#[inline(always)]
fn map2(a: V, b: V, f: impl Fn(f32, f32) -> f32) -> V {
    let mut out = [0.0; LANES];
    for i in 0..LANES {
        out[i] = f(a[i], b[i]);
    }
    out
}

// SAFETY: plain Rust; pointers are used as the trait says.
unsafe impl Arithmetic for Portable {
    type V = V;
    #[inline(always)]
    unsafe fn splat(v: f32) -> V {
        [v; LANES]
    }
    #[inline(always)]
    unsafe fn add(a: V, b: V) -> V {
        map2(a, b, |a, b| a + b)
    }
    #[inline(always)]
    unsafe fn sub(a: V, b: V) -> V {
        map2(a, b, |a, b| a - b)
    }
    #[inline(always)]
    unsafe fn mul(a: V, b: V) -> V {
        map2(a, b, |a, b| a * b)
    }
    #[inline(always)]
    unsafe fn div(a: V, b: V) -> V {
        map2(a, b, |a, b| a / b)
    }
    #[inline(always)]
    unsafe fn max(a: V, b: V) -> V {
        map2(a, b, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    unsafe fn min(a: V, b: V) -> V {
        map2(a, b, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    unsafe fn sqrt(a: V) -> V {
        map2(a, a, |a, _| a.sqrt())
    }
    #[inline(always)]
    unsafe fn fma(a: V, b: V, c: V) -> V {
        let mut out = c;
        for i in 0..LANES {
            out[i] += a[i] * b[i];
        }
        out
    }
    #[inline(always)]
    unsafe fn choose(a: V, b: V, yes: V, no: V) -> V {
        let mut out = no;
        for i in 0..LANES {
            if a[i] > b[i] {
                out[i] = yes[i];
            }
        }
        out
    }
    #[inline(always)]
    unsafe fn with_sign(size: V, sign: V) -> V {
        map2(size, sign, libm::copysignf)
    }
    #[inline(always)]
    unsafe fn scale(v: V, n: V) -> V {
        map2(v, n, |v, n| f32::from_bits(v.to_bits().wrapping_add(n.to_bits() << 23)))
    }
    #[inline(always)]
    unsafe fn round(a: V) -> V {
        map2(a, a, |a, _| libm::rintf(a))
    }
    #[inline(always)]
    unsafe fn exp2i(a: V) -> V {
        map2(a, a, |a, _| f32::from_bits(((a as i32 + 127) << 23) as u32))
    }
}

// SAFETY: as above.
unsafe impl Simd for Portable {
    type Eight = [f32; 8];
    const TILE: usize = 4;

    #[inline(always)]
    unsafe fn load(from: *const f32) -> V {
        unsafe { from.cast::<V>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, v: V) {
        unsafe { to.cast::<V>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn load8(from: *const f32) -> [f32; 8] {
        unsafe { from.cast::<[f32; 8]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store8(to: *mut f32, v: [f32; 8]) {
        unsafe { to.cast::<[f32; 8]>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn fma8(a: [f32; 8], b: [f32; 8], c: [f32; 8]) -> [f32; 8] {
        let mut out = c;
        for i in 0..8 {
            out[i] += a[i] * b[i];
        }
        out
    }
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
