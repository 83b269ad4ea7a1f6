//! Advanced SIMD of 64-bit ARM: sixteen lanes are four registers.

use std::arch::aarch64::*;
use std::arch::asm;

use half::f16;

use super::{Arithmetic, Simd, Twice};

/// One register.
#[derive(Clone, Copy)]
pub struct Four;

/// Sixteen lanes.
pub type Neon = Twice<Twice<Four>>;

type V = [[float32x4_t; 2]; 2];

// SAFETY: pointers are used as the trait says; every 64-bit ARM machine has these instructions.
unsafe impl Arithmetic for Four {
    type V = float32x4_t;
    const WIDTH: usize = 4;

    #[inline(always)]
    unsafe fn load(from: *const f32) -> float32x4_t {
        unsafe { vld1q_f32(from) }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, v: float32x4_t) {
        unsafe { vst1q_f32(to, v) }
    }
    #[inline(always)]
    unsafe fn splat(v: f32) -> float32x4_t {
        unsafe { vdupq_n_f32(v) }
    }
    #[inline(always)]
    unsafe fn add(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vaddq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn sub(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vsubq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn mul(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vmulq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn div(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vdivq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn max(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vmaxq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn min(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vminq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn sqrt(a: float32x4_t) -> float32x4_t {
        unsafe { vsqrtq_f32(a) }
    }
    #[inline(always)]
    unsafe fn fma(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        unsafe { vfmaq_f32(c, a, b) }
    }
    #[inline(always)]
    unsafe fn choose(a: float32x4_t, b: float32x4_t, yes: float32x4_t, no: float32x4_t) -> float32x4_t {
        unsafe { vbslq_f32(vcgtq_f32(a, b), yes, no) }
    }
    #[inline(always)]
    unsafe fn with_sign(size: float32x4_t, sign: float32x4_t) -> float32x4_t {
        unsafe { vbslq_f32(vdupq_n_u32(1 << 31), sign, size) }
    }
    #[inline(always)]
    unsafe fn scale(v: float32x4_t, n: float32x4_t) -> float32x4_t {
        unsafe {
            let power = vshlq_n_u32::<23>(vreinterpretq_u32_f32(n));
            vreinterpretq_f32_u32(vaddq_u32(vreinterpretq_u32_f32(v), power))
        }
    }
    #[inline(always)]
    unsafe fn round(a: float32x4_t) -> float32x4_t {
        unsafe { vrndnq_f32(a) }
    }
    #[inline(always)]
    unsafe fn exp2i(a: float32x4_t) -> float32x4_t {
        unsafe { vreinterpretq_f32_s32(vshlq_n_s32::<23>(vaddq_s32(vcvtq_s32_f32(a), vdupq_n_s32(127)))) }
    }
}

// SAFETY: as above.
unsafe impl Simd for Neon {
    type Few = Twice<Four>;
    const TILE: usize = 6;

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
        [[part(0), part(1)], [part(2), part(3)]]
    }
    #[inline(always)]
    unsafe fn narrow(to: *mut f16, v: V) {
        for (i, part) in v.into_iter().flatten().enumerate() {
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
                let on = vandq_u32(vcgtq_f32(a[i / 2][i % 2], b[i / 2][i % 2]), lanes);
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
            for (i, part) in out.iter_mut().flatten().enumerate() {
                let on = vtstq_u32(vdupq_n_u32((bits >> (4 * i)) as u32), lanes);
                *part = vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(*part), on));
            }
            out
        }
    }
}
