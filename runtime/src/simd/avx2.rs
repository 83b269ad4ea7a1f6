//! AVX2 with fused multiply-add and conversions of halves: sixteen lanes are two registers.

use std::arch::x86_64::*;

use half::f16;

use super::{Arithmetic, Kernel, Simd, Twice};

/// One register.
#[derive(Clone, Copy)]
pub struct Eight;

/// Sixteen lanes.
pub type Avx2 = Twice<Eight>;

type V = [__m256; 2];

/// Compiles a kernel for AVX2 and runs it.
///
/// # Safety
/// The machine has AVX2, FMA and F16C.
#[target_feature(enable = "avx2,fma,f16c")]
pub unsafe fn run<K: Kernel>(kernel: K) -> K::Output {
    unsafe { kernel.run::<Avx2>() }
}

// SAFETY: pointers are used as the trait says; the caller has AVX2.
unsafe impl Arithmetic for Eight {
    type V = __m256;
    const WIDTH: usize = 8;

    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m256 {
        unsafe { _mm256_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, v: __m256) {
        unsafe { _mm256_storeu_ps(to, v) }
    }
    #[inline(always)]
    unsafe fn splat(v: f32) -> __m256 {
        unsafe { _mm256_set1_ps(v) }
    }
    #[inline(always)]
    unsafe fn add(a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_add_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn sub(a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_sub_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn mul(a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_mul_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn div(a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_div_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn max(a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_max_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn min(a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_min_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn sqrt(a: __m256) -> __m256 {
        unsafe { _mm256_sqrt_ps(a) }
    }
    #[inline(always)]
    unsafe fn fma(a: __m256, b: __m256, c: __m256) -> __m256 {
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    unsafe fn choose(a: __m256, b: __m256, yes: __m256, no: __m256) -> __m256 {
        unsafe { _mm256_blendv_ps(no, yes, _mm256_cmp_ps::<_CMP_GT_OQ>(a, b)) }
    }
    #[inline(always)]
    unsafe fn with_sign(size: __m256, sign: __m256) -> __m256 {
        unsafe { _mm256_or_ps(size, _mm256_and_ps(_mm256_set1_ps(-0.0), sign)) }
    }
    #[inline(always)]
    unsafe fn scale(v: __m256, n: __m256) -> __m256 {
        unsafe {
            let power = _mm256_slli_epi32::<23>(_mm256_castps_si256(n));
            _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(v), power))
        }
    }
    #[inline(always)]
    unsafe fn round(a: __m256) -> __m256 {
        unsafe { _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a) }
    }
    #[inline(always)]
    unsafe fn exp2i(a: __m256) -> __m256 {
        unsafe {
            let biased = _mm256_add_epi32(_mm256_cvtps_epi32(a), _mm256_set1_epi32(127));
            _mm256_castsi256_ps(_mm256_slli_epi32::<23>(biased))
        }
    }
}

/// Ones in the first lanes of sixteen.
#[inline(always)]
unsafe fn first(count: usize) -> [__m256i; 2] {
    unsafe {
        let (count, lanes) = (_mm256_set1_epi32(count as i32), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
        let others = _mm256_add_epi32(lanes, _mm256_set1_epi32(8));
        [_mm256_cmpgt_epi32(count, lanes), _mm256_cmpgt_epi32(count, others)]
    }
}

// SAFETY: as above.
unsafe impl Simd for Avx2 {
    type Few = Eight;
    const TILE: usize = 6;

    #[inline(always)]
    unsafe fn turn_four(from: *const f32, from_row: usize, to: *mut f32, to_row: usize) {
        unsafe {
            let row = |i: usize| _mm_loadu_ps(from.add(i * from_row));
            let (low, high) = (_mm_unpacklo_ps(row(0), row(2)), _mm_unpackhi_ps(row(0), row(2)));
            let (odd_low, odd_high) = (_mm_unpacklo_ps(row(1), row(3)), _mm_unpackhi_ps(row(1), row(3)));
            _mm_storeu_ps(to, _mm_unpacklo_ps(low, odd_low));
            _mm_storeu_ps(to.add(to_row), _mm_unpackhi_ps(low, odd_low));
            _mm_storeu_ps(to.add(2 * to_row), _mm_unpacklo_ps(high, odd_high));
            _mm_storeu_ps(to.add(3 * to_row), _mm_unpackhi_ps(high, odd_high));
        }
    }
    #[inline(always)]
    unsafe fn load_some(from: *const f32, count: usize, fill: f32) -> V {
        unsafe {
            let (on, fill) = (first(count), _mm256_set1_ps(fill));
            // Nothing is read where a lane is off.
            let own =
                |from: *const f32, on| _mm256_blendv_ps(fill, _mm256_maskload_ps(from, on), _mm256_castsi256_ps(on));
            [own(from, on[0]), own(from.wrapping_add(8), on[1])]
        }
    }
    #[inline(always)]
    unsafe fn store_some(to: *mut f32, count: usize, v: V) {
        unsafe {
            let on = first(count);
            _mm256_maskstore_ps(to, on[0], v[0]);
            _mm256_maskstore_ps(to.wrapping_add(8), on[1], v[1]);
        }
    }
    #[inline(always)]
    unsafe fn total(v: V) -> f32 {
        unsafe {
            let eight = _mm256_add_ps(v[0], v[1]);
            let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
        }
    }
    #[inline(always)]
    unsafe fn largest(v: V) -> f32 {
        unsafe {
            let eight = _mm256_max_ps(v[1], v[0]);
            let four = _mm_max_ps(_mm256_extractf128_ps::<1>(eight), _mm256_castps256_ps128(eight));
            let two = _mm_max_ps(_mm_movehl_ps(four, four), four);
            _mm_cvtss_f32(_mm_max_ss(_mm_movehdup_ps(two), two))
        }
    }
    #[inline(always)]
    unsafe fn widen(from: *const f16) -> V {
        unsafe {
            let from = from.cast::<__m128i>();
            [_mm256_cvtph_ps(_mm_loadu_si128(from)), _mm256_cvtph_ps(_mm_loadu_si128(from.add(1)))]
        }
    }
    #[inline(always)]
    unsafe fn narrow(to: *mut f16, v: V) {
        unsafe {
            let to = to.cast::<__m128i>();
            _mm_storeu_si128(to, _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(v[0]));
            _mm_storeu_si128(to.add(1), _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(v[1]));
        }
    }
    #[inline(always)]
    unsafe fn ahead(from: *const u8) {
        unsafe { _mm_prefetch::<_MM_HINT_T0>(from.cast()) }
    }
    #[inline(always)]
    unsafe fn greater(a: V, b: V) -> u16 {
        unsafe {
            let low = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(a[0], b[0]));
            let high = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(a[1], b[1]));
            (low | high << 8) as u16
        }
    }
    #[inline(always)]
    unsafe fn keep(a: V, bits: u16) -> V {
        unsafe {
            let bits = _mm256_set1_epi32(bits as i32);
            let low = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
            let high = _mm256_slli_epi32::<8>(low);
            let on = |lanes| _mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_and_si256(bits, lanes), lanes));
            [_mm256_and_ps(a[0], on(low)), _mm256_and_ps(a[1], on(high))]
        }
    }
}
