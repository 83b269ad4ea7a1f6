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

    /// Standard normal, by Box and Muller's transform of two 32-bit halves.
    pub fn normal(&self, element: u64) -> f32 {
        let bits = self.bits(element);
        // In (0, 1], so that the logarithm is finite.
        let radius = ((bits >> 32) as f64 + 1.0) / 4_294_967_296.0;
        let angle = (bits as u32) as f64 / 4_294_967_296.0 * std::f64::consts::TAU;
        // libm, not the platform's: the same bytes on ARM and x86.
        (libm::sqrt(-2.0 * libm::log(radius)) * libm::cos(angle)) as f32
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
    fn draws_and_seeds_are_independent() {
        assert_ne!(Rng::new(1, 0).bits(5), Rng::new(1, 1).bits(5));
        assert_ne!(Rng::new(1, 0).bits(5), Rng::new(2, 0).bits(5));
        assert_eq!(Rng::new(1, 4).bits(5), Rng::new(1, 4).bits(5));
    }
}
