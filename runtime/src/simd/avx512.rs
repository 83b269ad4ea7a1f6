//! AVX-512: sixteen lanes are one register, and there are twice as many of them.

use std::arch::x86_64::*;

use half::f16;

use super::avx2::Avx2;
use super::{Arithmetic, Kernel, LANES, Simd};

#[derive(Clone, Copy)]
pub struct Avx512;

/// Whether the machine has all that [`run`] wants.
pub fn is_here() -> bool {
    std::arch::is_x86_feature_detected!("avx512f")
        && std::arch::is_x86_feature_detected!("avx512dq")
        && std::arch::is_x86_feature_detected!("avx512vl")
}

/// Compiles a kernel for AVX-512 and runs it.
///
/// # Safety
/// [`is_here`] says so.
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx2,fma,f16c")]
pub unsafe fn run<K: Kernel>(kernel: K) -> K::Output {
    unsafe { kernel.run::<Avx512>() }
}

// SAFETY: pointers are used as the trait says; the caller has AVX-512.
unsafe impl Arithmetic for Avx512 {
    type V = __m512;
    const WIDTH: usize = LANES;

    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m512 {
        unsafe { _mm512_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, v: __m512) {
        unsafe { _mm512_storeu_ps(to, v) }
    }
    #[inline(always)]
    unsafe fn splat(v: f32) -> __m512 {
        unsafe { _mm512_set1_ps(v) }
    }
    #[inline(always)]
    unsafe fn add(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_add_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn sub(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_sub_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn mul(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_mul_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn div(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_div_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn max(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_max_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn min(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_min_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn sqrt(a: __m512) -> __m512 {
        unsafe { _mm512_sqrt_ps(a) }
    }
    #[inline(always)]
    unsafe fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    unsafe fn choose(a: __m512, b: __m512, yes: __m512, no: __m512) -> __m512 {
        unsafe { _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(a, b), no, yes) }
    }
    #[inline(always)]
    unsafe fn with_sign(size: __m512, sign: __m512) -> __m512 {
        unsafe { _mm512_or_ps(size, _mm512_and_ps(_mm512_set1_ps(-0.0), sign)) }
    }
    #[inline(always)]
    unsafe fn scale(v: __m512, n: __m512) -> __m512 {
        unsafe {
            let power = _mm512_slli_epi32::<23>(_mm512_castps_si512(n));
            _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(v), power))
        }
    }
    #[inline(always)]
    unsafe fn round(a: __m512) -> __m512 {
        unsafe { _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a) }
    }
    #[inline(always)]
    unsafe fn exp2i(a: __m512) -> __m512 {
        unsafe {
            let biased = _mm512_add_epi32(_mm512_cvtps_epi32(a), _mm512_set1_epi32(127));
            _mm512_castsi512_ps(_mm512_slli_epi32::<23>(biased))
        }
    }
}

/// Bits of the first lanes of sixteen.
#[inline(always)]
fn first(count: usize) -> u16 {
    ((1u32 << count) - 1) as u16
}

// SAFETY: as above.
unsafe impl Simd for Avx512 {
    type Few = Avx512;
    const TILE: usize = 12;
    const BLOCKS: usize = 2;

    #[inline(always)]
    unsafe fn turn(from: *const f32, from_row: usize, to: *mut f32, to_row: usize) {
        unsafe {
            // Four rows at a time, so that each register has one column in four of them, in each quarter another one.
            let mut fours = [_mm512_setzero_ps(); LANES];
            for four in (0..LANES).step_by(4) {
                let row = |i: usize| _mm512_loadu_ps(from.add((four + i) * from_row));
                let (low, high) = (_mm512_unpacklo_ps(row(0), row(2)), _mm512_unpackhi_ps(row(0), row(2)));
                let (odd_low, odd_high) = (_mm512_unpacklo_ps(row(1), row(3)), _mm512_unpackhi_ps(row(1), row(3)));
                fours[four] = _mm512_unpacklo_ps(low, odd_low);
                fours[four + 1] = _mm512_unpackhi_ps(low, odd_low);
                fours[four + 2] = _mm512_unpacklo_ps(high, odd_high);
                fours[four + 3] = _mm512_unpackhi_ps(high, odd_high);
            }
            // Quarters of the same column come together.
            for column in 0..4 {
                let [a, b, c, d] = [0, 4, 8, 12].map(|four| fours[four + column]);
                let (ab, cd) = (_mm512_shuffle_f32x4::<0x44>(a, b), _mm512_shuffle_f32x4::<0x44>(c, d));
                let (ab_high, cd_high) = (_mm512_shuffle_f32x4::<0xee>(a, b), _mm512_shuffle_f32x4::<0xee>(c, d));
                let store = |row: usize, v| _mm512_storeu_ps(to.add((row + column) * to_row), v);
                store(0, _mm512_shuffle_f32x4::<0x88>(ab, cd));
                store(4, _mm512_shuffle_f32x4::<0xdd>(ab, cd));
                store(8, _mm512_shuffle_f32x4::<0x88>(ab_high, cd_high));
                store(12, _mm512_shuffle_f32x4::<0xdd>(ab_high, cd_high));
            }
        }
    }
    #[inline(always)]
    unsafe fn load_some(from: *const f32, count: usize, fill: f32) -> __m512 {
        unsafe { _mm512_mask_loadu_ps(_mm512_set1_ps(fill), first(count), from) }
    }
    #[inline(always)]
    unsafe fn store_some(to: *mut f32, count: usize, v: __m512) {
        unsafe { _mm512_mask_storeu_ps(to, first(count), v) }
    }
    #[inline(always)]
    unsafe fn total(v: __m512) -> f32 {
        unsafe { Avx2::total([_mm512_castps512_ps256(v), _mm512_extractf32x8_ps::<1>(v)]) }
    }
    #[inline(always)]
    unsafe fn largest(v: __m512) -> f32 {
        unsafe { Avx2::largest([_mm512_castps512_ps256(v), _mm512_extractf32x8_ps::<1>(v)]) }
    }
    #[inline(always)]
    unsafe fn widen(from: *const f16) -> __m512 {
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.cast())) }
    }
    #[inline(always)]
    unsafe fn narrow(to: *mut f16, v: __m512) {
        unsafe { _mm256_storeu_si256(to.cast(), _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(v)) }
    }
    #[inline(always)]
    unsafe fn ahead(from: *const u8) {
        unsafe { Avx2::ahead(from) }
    }
    #[inline(always)]
    unsafe fn greater(a: __m512, b: __m512) -> u16 {
        unsafe { _mm512_cmp_ps_mask::<_CMP_GT_OQ>(a, b) }
    }
    #[inline(always)]
    unsafe fn keep(a: __m512, bits: u16) -> __m512 {
        unsafe { _mm512_maskz_mov_ps(bits, a) }
    }
}
