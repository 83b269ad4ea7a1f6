//! Transcendental functions on vectors, to about two units in the last place. The coefficients are Chebyshev
//! fits of our own over the stated ranges.

use std::f32::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI, LOG2_E};

use crate::simd::Arithmetic;

/// `c[0] + c[1] x + c[2] x^2 + ...`, in two sums of every other term, which wait half as long for one another.
#[inline(always)]
unsafe fn polynomial<A: Arithmetic, const N: usize>(x: A::V, c: &[f32; N]) -> A::V {
    // SAFETY: arithmetic only.
    unsafe {
        let square = A::mul(x, x);
        let mut sums = [A::splat(c[N - 1]), A::splat(c[N - 2])];
        for k in (0..N - 2).rev() {
            let sum = &mut sums[(N - 1 - k) % 2];
            *sum = A::fma(*sum, square, A::splat(c[k]));
        }
        let [last, other] = if N % 2 == 1 { sums } else { [sums[1], sums[0]] };
        A::fma(other, x, last)
    }
}

/// `exp(r)` in `r`, up to half of `ln 2`.
const EXP: [f32; 7] = [1.0, 1.0, 0.5, 0.166_664_14, 0.041_666_22, 0.008_375_21, 0.001_394_87];

/// `x - n ln 2`. The logarithm comes in two parts, the first with few digits, so that `n` times it is exact.
#[inline(always)]
unsafe fn reduced<A: Arithmetic>(x: A::V, n: A::V) -> A::V {
    // SAFETY: arithmetic only.
    unsafe { A::fma(n, A::splat(2.121_944_4e-4), A::fma(n, A::splat(-0.693_359_4), x)) }
}

/// The exponential of what lies between -87 and 88.
#[inline(always)]
unsafe fn exp_inside<A: Arithmetic>(x: A::V) -> A::V {
    // SAFETY: arithmetic only.
    unsafe {
        // Adding this leaves an integer in the last bits.
        let shift = A::splat(12_582_912.0);
        let shifted = A::fma(x, A::splat(LOG2_E), shift);
        let r = reduced::<A>(x, A::sub(shifted, shift));
        A::scale(polynomial::<A, _>(r, &EXP), shifted)
    }
}

/// `exp(-x)` for `x` from zero on; never zero.
#[inline(always)]
unsafe fn exp_of_minus<A: Arithmetic>(x: A::V) -> A::V {
    // SAFETY: arithmetic only.
    unsafe { exp_inside::<A>(A::max(A::splat(-87.0), A::sub(A::splat(0.0), x))) }
}

/// The exponential, zero and infinity included.
#[inline(always)]
pub unsafe fn exp<A: Arithmetic>(x: A::V) -> A::V {
    // SAFETY: arithmetic only.
    unsafe {
        let x = A::max(A::splat(-104.0), A::min(A::splat(89.0), x));
        let n = A::round(A::mul(x, A::splat(LOG2_E)));
        let p = polynomial::<A, _>(reduced::<A>(x, n), &EXP);
        // In two factors: the power alone may lie outside what a float holds.
        let half = A::round(A::mul(n, A::splat(0.5)));
        A::mul(A::mul(p, A::exp2i(half)), A::exp2i(A::sub(n, half)))
    }
}

/// `1 / (1 + exp(-x))`
#[inline(always)]
pub unsafe fn sigmoid<A: Arithmetic>(x: A::V) -> A::V {
    // SAFETY: arithmetic only.
    unsafe {
        let one = A::splat(1.0);
        let x = A::max(A::splat(-88.0), A::min(A::splat(87.0), x));
        A::div(one, A::add(one, exp_inside::<A>(A::sub(A::splat(0.0), x))))
    }
}

/// The hyperbolic tangent.
#[inline(always)]
pub unsafe fn tanh<A: Arithmetic>(x: A::V) -> A::V {
    /// `(tanh(x) / x - 1) / x^2` in `x^2`, up to `x = 0.63`.
    const NEAR: [f32; 6] = [-0.333_333_33, 0.133_333_01, -0.053_958_64, 0.021_763_72, -0.008_326_63, 0.002_272_91];
    // SAFETY: arithmetic only.
    unsafe {
        let size = A::max(A::sub(A::splat(0.0), x), x);
        let square = A::mul(x, x);
        let near = A::fma(A::mul(x, square), polynomial::<A, _>(square, &NEAR), x);
        let one = A::splat(1.0);
        let shrunk = exp_of_minus::<A>(A::add(size, size));
        let far = A::div(A::sub(one, shrunk), A::add(one, shrunk));
        A::choose(size, A::splat(0.625), A::with_sign(far, x), near)
    }
}

/// `x sigmoid(x)`, and its slope.
#[inline(always)]
pub unsafe fn swish<A: Arithmetic>(x: A::V) -> (A::V, A::V) {
    // SAFETY: arithmetic only.
    unsafe {
        let gate = sigmoid::<A>(x);
        let value = A::mul(x, gate);
        (value, A::fma(value, A::sub(A::splat(1.0), gate), gate))
    }
}

/// `x` times the normal distribution's cumulative function, and its slope: that function plus `x` times the density.
#[inline(always)]
pub unsafe fn gelu<A: Arithmetic>(x: A::V) -> (A::V, A::V) {
    // SAFETY: arithmetic only.
    unsafe {
        let half = A::splat(0.5);
        let (erf, bell) = erf_and_bell::<A>(A::mul(x, A::splat(FRAC_1_SQRT_2)));
        let share = A::fma(erf, half, half);
        let density = A::mul(bell, A::splat(0.5 * FRAC_1_SQRT_2 * FRAC_2_SQRT_PI));
        (A::mul(x, share), A::fma(x, density, share))
    }
}

/// The error function.
#[inline(always)]
pub unsafe fn erf<A: Arithmetic>(x: A::V) -> A::V {
    // SAFETY: arithmetic only.
    unsafe { erf_and_bell::<A>(x).0 }
}

/// The error function, and `exp(-x^2)`.
#[inline(always)]
unsafe fn erf_and_bell<A: Arithmetic>(x: A::V) -> (A::V, A::V) {
    /// `erf(x) / x` in `x^2`, up to one.
    const NEAR: [f32; 7] =
        [FRAC_2_SQRT_PI, -0.376_126_27, 0.112_835_98, -0.026_854_33, 0.005_189_312, -0.000_801_885_5, 0.000_078_824_97];
    /// `exp(x^2) (1 - erf(x))` in `1 / (1 + x)`, from one on.
    const FAR: [f32; 6] = [-0.000_176_351_45, 0.568_942_8, 0.512_249_4, 0.576_961_2, -1.183_155_8, 0.545_707_06];
    // SAFETY: arithmetic only.
    unsafe {
        let size = A::max(A::sub(A::splat(0.0), x), x);
        let square = A::mul(x, x);
        let near = A::mul(x, polynomial::<A, _>(square, &NEAR));
        let one = A::splat(1.0);
        let tail = polynomial::<A, _>(A::div(one, A::add(one, size)), &FAR);
        let bell = exp_of_minus::<A>(square);
        let far = A::sub(one, A::mul(bell, tail));
        (A::choose(size, one, A::with_sign(far, x), near), bell)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{Isa, Kernel, LANES, Simd};

    #[derive(Clone, Copy, Debug)]
    enum Function {
        Exp,
        Sigmoid,
        Tanh,
        Erf,
        Swish,
        SwishSlope,
        Gelu,
        GeluSlope,
    }

    struct Apply<'a>(Function, &'a mut [f32]);

    impl Kernel for Apply<'_> {
        type Output = ();

        #[inline(always)]
        unsafe fn run<S: Simd>(self) {
            for part in self.1.as_chunks_mut::<LANES>().0 {
                // SAFETY: whole vectors.
                unsafe {
                    let x = S::load(part.as_ptr());
                    let y = match self.0 {
                        Function::Exp => exp::<S>(x),
                        Function::Sigmoid => sigmoid::<S>(x),
                        Function::Tanh => tanh::<S>(x),
                        Function::Erf => erf::<S>(x),
                        Function::Swish => swish::<S>(x).0,
                        Function::SwishSlope => swish::<S>(x).1,
                        Function::Gelu => gelu::<S>(x).0,
                        Function::GeluSlope => gelu::<S>(x).1,
                    };
                    S::store(part.as_mut_ptr(), y);
                }
            }
        }
    }

    fn apply(isa: Isa, function: Function, x: &[f32]) -> Vec<f32> {
        let mut values = x.to_vec();
        values.resize(x.len().next_multiple_of(LANES), 0.0);
        isa.run(Apply(function, &mut values));
        values[..x.len()].to_vec()
    }

    fn exact(function: Function, x: f64) -> f64 {
        match function {
            Function::Exp => x.exp(),
            Function::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            Function::Tanh => x.tanh(),
            Function::Erf => libm::erf(x),
            Function::Swish => x * exact(Function::Sigmoid, x),
            Function::SwishSlope => {
                let gate = exact(Function::Sigmoid, x);
                gate * (1.0 + x * (1.0 - gate))
            }
            Function::Gelu => 0.5 * x * libm::erfc(-x / 2f64.sqrt()),
            Function::GeluSlope => {
                0.5 * libm::erfc(-x / 2f64.sqrt()) + x * (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt()
            }
        }
    }

    const ALL: [Function; 4] = [Function::Exp, Function::Sigmoid, Function::Tanh, Function::Erf];

    #[test]
    fn functions_are_right_to_a_few_units_in_the_last_place() {
        let x: Vec<f32> = (-43_000..43_000).map(|i| i as f32 / 500.0).chain([1e-20, -3e-9, 1e-4]).collect();
        for &isa in Isa::here() {
            for function in ALL {
                for (x, y) in x.iter().zip(apply(isa, function, &x)) {
                    let right = exact(function, *x as f64);
                    let error = (y as f64 - right).abs() / right.abs().max(1e-37);
                    assert!(error < 4e-7 || y as f64 == right, "{function:?}({x}) is {right}, not {y}; {}", isa.name());
                }
            }
        }
    }

    #[test]
    fn activations_are_right_to_a_few_units_of_their_arguments() {
        let x: Vec<f32> = (-43_000..43_000).map(|i| i as f32 / 500.0).chain([1e-20, -3e-9, 1e-4]).collect();
        for &isa in Isa::here() {
            for function in [Function::Swish, Function::SwishSlope, Function::Gelu, Function::GeluSlope] {
                for (x, y) in x.iter().zip(apply(isa, function, &x)) {
                    let right = exact(function, *x as f64);
                    let error = (y as f64 - right).abs() / x.abs().max(1.0) as f64;
                    assert!(error < 3e-7, "{function:?}({x}) is {right}, not {y}; {}", isa.name());
                }
            }
        }
    }

    #[test]
    fn ends_and_nan_stay_what_they_are() {
        let x = [f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 1000.0, -1000.0];
        for &isa in Isa::here() {
            let ends = |function| apply(isa, function, &x);
            for function in ALL {
                assert!(ends(function)[2].is_nan(), "{function:?} of NaN; {}", isa.name());
            }
            let (e, s, t, f) = (ends(ALL[0]), ends(ALL[1]), ends(ALL[2]), ends(ALL[3]));
            assert!(e[0] == f32::INFINITY && e[3] == f32::INFINITY && e[1] == 0.0 && e[4] == 0.0, "{e:?}");
            assert!(s[0] == 1.0 && s[1] < 1e-37 && s[1] >= 0.0, "{s:?}");
            assert!(t[0] == 1.0 && t[1] == -1.0 && f[3] == 1.0 && f[4] == -1.0, "{t:?} {f:?}");
        }
    }
}
