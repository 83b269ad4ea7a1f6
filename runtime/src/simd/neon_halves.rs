//! Halves of 64-bit ARM, from version 8.2 on: sixteen lanes are two registers.

// What is always inlined into `run` is compiled for its features, and its instructions are inlined there.
#![allow(inline_always_mismatching_target_features)]

use std::arch::aarch64::*;

use half::f16;

use super::neon::Neon;
use super::{Half, HalfKernel};

#[derive(Clone, Copy)]
pub struct NeonHalves;

type H = [float16x8_t; 2];

/// Compiles a kernel for machines with halves and runs it.
///
/// # Safety
/// The machine has FEAT_FP16.
#[target_feature(enable = "neon,fp16")]
pub unsafe fn run<K: HalfKernel>(kernel: K) -> K::Output {
    unsafe { kernel.run::<NeonHalves>() }
}

// SAFETY: pointers are used as the trait says; the caller has FEAT_FP16.
unsafe impl Half for NeonHalves {
    type Single = Neon;
    type H = H;
    const TILE: usize = 4;

    #[inline(always)]
    unsafe fn zero() -> H {
        unsafe { [vreinterpretq_f16_u16(vdupq_n_u16(0)); 2] }
    }
    #[inline(always)]
    unsafe fn load(from: *const f16) -> H {
        let part = |i: usize| unsafe { vreinterpretq_f16_u16(vld1q_u16(from.cast::<u16>().add(8 * i))) };
        [part(0), part(1)]
    }
    #[inline(always)]
    unsafe fn splat(from: *const f16) -> H {
        unsafe { [vreinterpretq_f16_u16(vld1q_dup_u16(from.cast())); 2] }
    }
    #[inline(always)]
    unsafe fn fma(a: H, b: H, c: H) -> H {
        unsafe { [vfmaq_f16(c[0], a[0], b[0]), vfmaq_f16(c[1], a[1], b[1])] }
    }
    #[inline(always)]
    unsafe fn widen(v: H) -> [[float32x4_t; 2]; 2] {
        let part = |v: float16x8_t| unsafe { [vcvt_f32_f16(vget_low_f16(v)), vcvt_f32_f16(vget_high_f16(v))] };
        [part(v[0]), part(v[1])]
    }
}
