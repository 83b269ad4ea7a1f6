//! Random numbers indexed by (seed, draw, element): the same on every machine, for any order of asking.

/// A stream of random numbers: element `i` of a draw is a pure function of seed, draw and `i`.
#[derive(Clone, Copy, Debug)]
pub struct Rng {
    key: u64,
}

/// The finaliser of SplitMix64: every input bit reaches every output bit.
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
    pub fn bits(&self, element: u64) -> u64 {
        mix(self.key.wrapping_add(element.wrapping_add(1).wrapping_mul(GOLDEN)))
    }

    /// Uniform in [0, 1).
    pub fn uniform(&self, element: u64) -> f32 {
        (self.bits(element) >> 40) as f32 * (1.0 / (1u32 << 24) as f32)
    }

    /// Standard normal.
    pub fn normal(&self, element: u64) -> f32 {
        quantile(self.share(element)) as f32
    }

    /// The normal numbers of elements from the first on. Most are near the middle, where many take as long as one; the others
    /// follow one by one.
    pub fn normals(&self, to: &mut [f32]) {
        for (part, to) in to.chunks_mut(PART).enumerate() {
            let mut shares = [0.5; PART];
            let first = (part * PART) as u64;
            shares.iter_mut().zip(first..).for_each(|(share, element)| *share = self.share(element));
            to.iter_mut().zip(&shares).for_each(|(to, share)| *to = middle(share - 0.5) as f32);
            for (to, share) in to.iter_mut().zip(shares).filter(|(_, share)| !is_middle(share - 0.5)) {
                *to = quantile(share) as f32;
            }
        }
    }

    /// Uniform between 0 and 1, neither included.
    fn share(&self, element: u64) -> f64 {
        ((self.bits(element) >> 12) as f64 + 0.5) / (1u64 << 52) as f64
    }
}

/// Numbers that are made together.
const PART: usize = 64;

/// Whether a quantile, of one half and this, is a quotient of two polynomials.
fn is_middle(away: f64) -> bool {
    away.abs() <= 0.425
}

fn middle(away: f64) -> f64 {
    let r = 0.180625 - away * away;
    let above = ((59.109374720 * r + 159.29113202) * r + 50.434271938) * r + 3.3871327179;
    away * above / (((67.187563600 * r + 78.757757664) * r + 17.895169469) * r + 1.0)
}

/// The normal distribution's quantile, to seven digits (Wichura 1988, algorithm AS 241). Most numbers take a quotient of two
/// polynomials; what else there is comes from libm and not from the platform: the same bytes on ARM and x86.
fn quantile(p: f64) -> f64 {
    let away = p - 0.5;
    if is_middle(away) {
        return middle(away);
    }
    let r = libm::sqrt(-libm::log(p.min(1.0 - p)));
    let size = match r <= 5.0 {
        true => {
            let r = r - 1.6;
            (((0.17023821103 * r + 1.3067284816) * r + 2.7568153900) * r + 1.4234372777)
                / ((0.12021132975 * r + 0.73700164250) * r + 1.0)
        }
        false => {
            let r = r - 5.0;
            (((0.017337203997 * r + 0.42868294337) * r + 3.0812263860) * r + 6.6579051150)
                / ((0.012258202635 * r + 0.24197894225) * r + 1.0)
        }
    };
    size.copysign(away)
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
    fn draws_and_seeds_are_independent() {
        assert_ne!(Rng::new(1, 0).bits(5), Rng::new(1, 1).bits(5));
        assert_ne!(Rng::new(1, 0).bits(5), Rng::new(2, 0).bits(5));
        assert_eq!(Rng::new(1, 4).bits(5), Rng::new(1, 4).bits(5));
    }
}
