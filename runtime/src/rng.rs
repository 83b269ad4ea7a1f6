//! Random numbers indexed by (seed, draw, element): the same on every machine, for any order of asking.

use crate::simd::{Isa, Loops};

/// A stream of random numbers: element `i` of a draw is a pure function of seed, draw and `i`.
#[derive(Clone, Copy, Debug)]
pub struct Rng {
    key: u64,
}

/// The finaliser of SplitMix64: every input bit reaches every output bit.
#[inline(always)]
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

impl Rng {
    /// The stream of one draw.
    pub fn new(seed: u64, draw: u64) -> Rng {
        Rng { key: mix(mix(seed.wrapping_add(GOLDEN)).wrapping_add(draw.wrapping_mul(GOLDEN))) }
    }

    /// 64 random bits.
    #[inline(always)]
    pub fn bits(&self, element: u64) -> u64 {
        mix(self.key.wrapping_add(element.wrapping_add(1).wrapping_mul(GOLDEN)))
    }

    /// Uniform in [0, 1).
    #[inline(always)]
    pub fn uniform(&self, element: u64) -> f32 {
        // Twenty-four bits, signed, of which every machine makes floats many at a time.
        (self.bits(element) >> 40) as i32 as f32 * (1.0 / (1u32 << 24) as f32)
    }

    /// The uniform numbers of elements from the first on.
    pub fn uniforms(&self, to: &mut [f32]) {
        Isa::best().run_loops(Uniforms(*self, to));
    }

    /// Puts values in a random order (Fisher and Yates); what rounding favours is less than one part in 2^32.
    pub fn shuffle<T>(&self, values: &mut [T]) {
        for last in (1..values.len()).rev() {
            values.swap(last, ((self.bits(last as u64) as u128 * (last as u128 + 1)) >> 64) as usize);
        }
    }

    /// Standard normal.
    pub fn normal(&self, element: u64) -> f32 {
        quantile(self.share(element)) as f32
    }

    /// The normal numbers of elements from the first on.
    pub fn normals(&self, to: &mut [f32]) {
        Isa::best().run_loops(Normals(*self, to));
    }

    /// Uniform between 0 and 1, neither included.
    #[inline(always)]
    fn share(&self, element: u64) -> f64 {
        // Behind these bits of the exponent, the others are an integer's.
        let whole = f64::from_bits((self.bits(element) >> 12) | TWO_TO_52.to_bits()) - TWO_TO_52;
        (whole + 0.5) / TWO_TO_52
    }
}

const TWO_TO_52: f64 = (1u64 << 52) as f64;

/// Numbers that are made together.
const PART: usize = 256;

struct Uniforms<'a>(Rng, &'a mut [f32]);

impl Loops for Uniforms<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Uniforms(rng, to) = self;
        for (element, to) in to.iter_mut().enumerate() {
            *to = rng.uniform(element as u64);
        }
    }
}

struct Normals<'a>(Rng, &'a mut [f32]);

impl Loops for Normals<'_> {
    type Output = ();

    /// Most numbers are near the middle and the others far from it: both kinds are made many at a time.
    #[inline(always)]
    fn run(self) {
        let Normals(rng, to) = self;
        for (part, to) in to.chunks_mut(PART).enumerate() {
            let mut shares = [0.5; PART];
            for (element, share) in shares.iter_mut().enumerate() {
                *share = rng.share((part * PART + element) as u64);
            }
            for (to, share) in to.iter_mut().zip(&shares) {
                *to = middle(share - 0.5) as f32;
            }
            let (mut places, mut count) = ([0u8; PART], 0);
            for (place, share) in shares[..to.len()].iter().enumerate() {
                places[count] = place as u8;
                count += usize::from(!is_middle(share - 0.5));
            }
            let mut far = [0.25; PART];
            for (far, place) in far.iter_mut().zip(&places[..count]) {
                *far = shares[*place as usize];
            }
            let mut made = [0.0; PART];
            for (made, far) in made[..count.next_multiple_of(8)].iter_mut().zip(&far) {
                *made = tail(*far);
            }
            for (place, made) in places[..count].iter().zip(made) {
                to[*place as usize] = made as f32;
            }
        }
    }
}

/// Whether a quantile, of one half and this, is a quotient of two polynomials.
#[inline(always)]
fn is_middle(away: f64) -> bool {
    away.abs() <= 0.425
}

#[inline(always)]
fn middle(away: f64) -> f64 {
    let r = 0.180625 - away * away;
    let above = ((59.109374720 * r + 159.29113202) * r + 50.434271938) * r + 3.3871327179;
    away * above / (((67.187563600 * r + 78.757757664) * r + 17.895169469) * r + 1.0)
}

/// The same farther from the middle.
#[inline(always)]
fn tail(p: f64) -> f64 {
    let r = (-ln(p.min(1.0 - p))).sqrt();
    let (near, far) = (r - 1.6, r - 5.0);
    let (above, below) = match r <= 5.0 {
        true => (
            ((0.17023821103 * near + 1.3067284816) * near + 2.7568153900) * near + 1.4234372777,
            (0.12021132975 * near + 0.73700164250) * near + 1.0,
        ),
        false => (
            ((0.017337203997 * far + 0.42868294337) * far + 3.0812263860) * far + 6.6579051150,
            (0.012258202635 * far + 0.24197894225) * far + 1.0,
        ),
    };
    (above / below).copysign(p - 0.5)
}

/// The logarithm of an ordinary positive number, to eleven digits, without a call, so that many can be made at a time: of the
/// power of two by its exponent, of the rest by the series of the inverse hyperbolic tangent.
#[inline(always)]
fn ln(v: f64) -> f64 {
    // The exponent counts from where the rest is between sqrt(1/2) and sqrt(2).
    let above = v.to_bits().wrapping_sub(std::f64::consts::FRAC_1_SQRT_2.to_bits());
    let exponent = (above as i64 >> 52) as i32;
    let rest = f64::from_bits(v.to_bits().wrapping_sub(above & 0xfff0_0000_0000_0000));
    let s = (rest - 1.0) / (rest + 1.0);
    let q = s * s;
    let series = ((((q / 13.0 + 1.0 / 11.0) * q + 1.0 / 9.0) * q + 1.0 / 7.0) * q + 0.2) * q + 1.0 / 3.0;
    exponent as f64 * std::f64::consts::LN_2 + 2.0 * s * (series * q + 1.0)
}

/// The normal distribution's quantile, to seven digits (Wichura 1988, algorithm AS 241), from additions, multiplications,
/// divisions and roots alone: the same bytes on ARM and x86.
fn quantile(p: f64) -> f64 {
    match is_middle(p - 0.5) {
        true => middle(p - 0.5),
        false => tail(p),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_has_unit_moments() {
        let rng = Rng::new(7, 3);
        let n = 200_000;
        let (mut sum, mut square) = (0.0f64, 0.0f64);
        for i in 0..n {
            let v = rng.normal(i) as f64;
            sum += v;
            square += v * v;
        }
        assert!((sum / n as f64).abs() < 0.01, "{}", sum / n as f64);
        assert!((square / n as f64 - 1.0).abs() < 0.02, "{}", square / n as f64);
    }

    #[test]
    fn many_are_the_same_as_one_by_one() {
        let rng = Rng::new(3, 9);
        for len in [0, 1, PART, 5 * PART + 7] {
            let mut many = vec![0.0; len];
            rng.normals(&mut many);
            assert_eq!(many, (0..len as u64).map(|i| rng.normal(i)).collect::<Vec<_>>());
            rng.uniforms(&mut many);
            assert_eq!(many, (0..len as u64).map(|i| rng.uniform(i)).collect::<Vec<_>>());
            rng.normals(&mut many);
            for isa in Isa::here() {
                let mut others = vec![0.0; len];
                isa.run_loops(Normals(rng, &mut others));
                assert_eq!(many, others, "{}", isa.name());
            }
        }
    }

    #[test]
    fn quantiles_are_those_of_the_normal_distribution() {
        let below = |x: f64| 0.5 * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2);
        for p in [1e-15, 1e-12, 1e-8, 1e-4, 0.01, 0.07, 0.0751, 0.2, 0.4999, 0.5, 0.7, 0.924, 0.926, 0.999, 1.0 - 1e-9]
        {
            let found = below(quantile(p));
            // As good as a float32 of the quantile is, where the distribution falls steeply.
            assert!((found - p).abs() < 1e-5 * p.min(1.0 - p) + 1e-16, "{found} for {p}");
        }
        assert_eq!(quantile(0.5), 0.0);
    }

    #[test]
    fn logarithms_are_exact_to_eleven_digits() {
        for i in 0..100_000 {
            let v = Rng::new(5, 5).share(i) * 2f64.powi(-(i as i32 % 50));
            assert!((ln(v) - libm::log(v)).abs() <= 1e-11 * libm::log(v).abs() + 1e-11, "{v}");
        }
    }

    #[test]
    fn draws_and_seeds_are_independent() {
        assert_ne!(Rng::new(1, 0).bits(5), Rng::new(1, 1).bits(5));
        assert_ne!(Rng::new(1, 0).bits(5), Rng::new(2, 0).bits(5));
        assert_eq!(Rng::new(1, 4).bits(5), Rng::new(1, 4).bits(5));
    }
}
