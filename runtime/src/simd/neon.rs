//! Advanced SIMD of 64-bit ARM: sixteen lanes are four registers.

use std::arch::aarch64::*;
use std::arch::asm;

use half::f16;

use super::{Arithmetic, Simd};

#[derive(Clone, Copy)]
pub struct Neon;

type V = [float32x4_t; 4];

#[inline(always)]
unsafe fn map2(a: V, b: V, f: unsafe fn(float32x4_t, float32x4_t) -> float32x4_t) -> V {
    unsafe { [f(a[0], b[0]), f(a[1], b[1]), f(a[2], b[2]), f(a[3], b[3])] }
}

// SAFETY: pointers are used as the trait says; every 64-bit ARM machine has these instructions.
unsafe impl Arithmetic for Neon {
    type V = V;
    #[inline(always)]
    unsafe fn splat(v: f32) -> V {
        unsafe { [vdupq_n_f32(v); 4] }
    }
    #[inline(always)]
    unsafe fn add(a: V, b: V) -> V {
        unsafe { map2(a, b, |a, b| vaddq_f32(a, b)) }
    }
    #[inline(always)]
    unsafe fn sub(a: V, b: V) -> V {
        unsafe { map2(a, b, |a, b| vsubq_f32(a, b)) }
    }
    #[inline(always)]
    unsafe fn mul(a: V, b: V) -> V {
        unsafe { map2(a, b, |a, b| vmulq_f32(a, b)) }
    }
    #[inline(always)]
    unsafe fn div(a: V, b: V) -> V {
        unsafe { map2(a, b, |a, b| vdivq_f32(a, b)) }
    }
    #[inline(always)]
    unsafe fn max(a: V, b: V) -> V {
        unsafe { map2(a, b, |a, b| vmaxq_f32(a, b)) }
    }
    #[inline(always)]
    unsafe fn min(a: V, b: V) -> V {
        unsafe { map2(a, b, |a, b| vminq_f32(a, b)) }
    }
    #[inline(always)]
    unsafe fn sqrt(a: V) -> V {
        unsafe { map2(a, a, |a, _| vsqrtq_f32(a)) }
    }
    #[inline(always)]
    unsafe fn fma(a: V, b: V, c: V) -> V {
        unsafe {
            [
                vfmaq_f32(c[0], a[0], b[0]),
                vfmaq_f32(c[1], a[1], b[1]),
                vfmaq_f32(c[2], a[2], b[2]),
                vfmaq_f32(c[3], a[3], b[3]),
            ]
        }
    }
    #[inline(always)]
    unsafe fn choose(a: V, b: V, yes: V, no: V) -> V {
        unsafe {
            let part = |i: usize| vbslq_f32(vcgtq_f32(a[i], b[i]), yes[i], no[i]);
            [part(0), part(1), part(2), part(3)]
        }
    }
    #[inline(always)]
    unsafe fn with_sign(size: V, sign: V) -> V {
        unsafe { map2(size, sign, |size, sign| vbslq_f32(vdupq_n_u32(1 << 31), sign, size)) }
    }
    #[inline(always)]
    unsafe fn scale(v: V, n: V) -> V {
        unsafe {
            map2(v, n, |v, n| {
                let power = vshlq_n_u32::<23>(vreinterpretq_u32_f32(n));
                vreinterpretq_f32_u32(vaddq_u32(vreinterpretq_u32_f32(v), power))
            })
        }
    }
    #[inline(always)]
    unsafe fn round(a: V) -> V {
        unsafe { map2(a, a, |a, _| vrndnq_f32(a)) }
    }
    #[inline(always)]
    unsafe fn exp2i(a: V) -> V {
        unsafe {
            map2(a, a, |a, _| vreinterpretq_f32_s32(vshlq_n_s32::<23>(vaddq_s32(vcvtq_s32_f32(a), vdupq_n_s32(127)))))
        }
    }
}

// SAFETY: as above.
unsafe impl Simd for Neon {
    type Eight = [float32x4_t; 2];
    const TILE: usize = 6;

    #[inline(always)]
    unsafe fn load(from: *const f32) -> V {
        unsafe { [vld1q_f32(from), vld1q_f32(from.add(4)), vld1q_f32(from.add(8)), vld1q_f32(from.add(12))] }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, v: V) {
        for (i, part) in v.into_iter().enumerate() {
            unsafe { vst1q_f32(to.add(4 * i), part) }
        }
    }
    #[inline(always)]
    unsafe fn load8(from: *const f32) -> [float32x4_t; 2] {
        unsafe { [vld1q_f32(from), vld1q_f32(from.add(4))] }
    }
    #[inline(always)]
    unsafe fn store8(to: *mut f32, v: [float32x4_t; 2]) {
        unsafe {
            vst1q_f32(to, v[0]);
            vst1q_f32(to.add(4), v[1]);
        }
    }
    #[inline(always)]
    unsafe fn fma8(a: [float32x4_t; 2], b: [float32x4_t; 2], c: [float32x4_t; 2]) -> [float32x4_t; 2] {
        unsafe { [vfmaq_f32(c[0], a[0], b[0]), vfmaq_f32(c[1], a[1], b[1])] }
    }
    #[inline(always)]
    unsafe fn turn_four(from: *const f32, from_row: usize, to: *mut f32, to_row: usize) {
        unsafe {
            let row = |i: usize| vld1q_f32(from.add(i * from_row));
            let (low, high) = (vzip1q_f32(row(0), row(2)), vzip2q_f32(row(0), row(2)));
            let (odd_low, odd_high) = (vzip1q_f32(row(1), row(3)), vzip2q_f32(row(1), row(3)));
            vst1q_f32(to, vzip1q_f32(low, odd_low));
            vst1q_f32(to.add(to_row), vzip2q_f32(low, odd_low));
            vst1q_f32(to.add(2 * to_row), vzip1q_f32(high, odd_high));
            vst1q_f32(to.add(3 * to_row), vzip2q_f32(high, odd_high));
        }
    }
    #[inline(always)]
    unsafe fn widen(from: *const f16) -> V {
        let part = |i: usize| unsafe { vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(from.cast::<u16>().add(4 * i)))) };
        [part(0), part(1), part(2), part(3)]
    }
    #[inline(always)]
    unsafe fn narrow(to: *mut f16, v: V) {
        for (i, part) in v.into_iter().enumerate() {
            unsafe { vst1_u16(to.cast::<u16>().add(4 * i), vreinterpret_u16_f16(vcvt_f16_f32(part))) }
        }
    }
    #[inline(always)]
    unsafe fn ahead(from: *const u8) {
        unsafe { asm!("prfm pldl1keep, [{}]", in(reg) from, options(nostack, preserves_flags, readonly)) }
    }
    #[inline(always)]
    unsafe fn greater(a: V, b: V) -> u16 {
        unsafe {
            let lanes = [1u32, 2, 4, 8];
            let lanes = vld1q_u32(lanes.as_ptr());
            (0..4).fold(0, |bits, i| {
                let on = vandq_u32(vcgtq_f32(a[i], b[i]), lanes);
                bits | (vaddvq_u32(on) as u16) << (4 * i)
            })
        }
    }
    #[inline(always)]
    unsafe fn keep(a: V, bits: u16) -> V {
        unsafe {
            let lanes = [1u32, 2, 4, 8];
            let lanes = vld1q_u32(lanes.as_ptr());
            let mut out = a;
            for (i, part) in out.iter_mut().enumerate() {
                let on = vtstq_u32(vdupq_n_u32((bits >> (4 * i)) as u32), lanes);
                *part = vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(*part), on));
            }
            out
        }
    }
}
