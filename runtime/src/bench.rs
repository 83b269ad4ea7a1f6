//! How long passes take here.

use std::time::Instant;

use serde::Serialize;

use crate::engine::{PlanSession, Session};
use crate::error::Result;
use crate::explain::Loaded;
use crate::gradient::composite::GRADIENT;
use crate::rng::Rng;

/// Percentiles of many runs, in milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
#[allow(missing_docs)]
pub struct Percentiles {
    pub p50_ms: f64,
    pub p90_ms: f64,
    pub p99_ms: f64,
    pub max_ms: f64,
}

/// What `whyline bench` measures.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Report {
    /// Deriving the gradient and preparing both graphs.
    pub prepare_ms: f64,
    /// One forward pass.
    pub forward: Percentiles,
    /// One gradient pass, its forward part included.
    pub gradient: Percentiles,
}

/// Times passes on a standard normal input, the two kinds in turn, after one of each that is not counted.
pub fn bench(loaded: &Loaded, runs: u32) -> Result<Report> {
    let start = Instant::now();
    let derived = loaded.derive(&GRADIENT, None)?;
    let mut session = PlanSession::new(&derived)?;
    let prepare_ms = start.elapsed().as_secs_f64() * 1e3;
    let rng = Rng::new(0, 0);
    let len: usize = session.input_shape().iter().product();
    let input: Vec<f32> = (0..len as u64).map(|i| rng.normal(i)).collect();
    let classes = session.forward(&input)?.len();
    let mut seed = vec![0.0; classes];
    seed[0] = 1.0;
    session.gradient(&input, &seed)?;
    let (mut forward, mut gradient) = (vec![], vec![]);
    for _ in 0..runs {
        forward.push(timed(|| session.forward(&input).map(drop))?);
        gradient.push(timed(|| session.gradient(&input, &seed).map(drop))?);
    }
    Ok(Report { prepare_ms, forward: percentiles(forward), gradient: percentiles(gradient) })
}

fn timed(run: impl FnOnce() -> Result<()>) -> Result<f64> {
    let start = Instant::now();
    run()?;
    Ok(start.elapsed().as_secs_f64() * 1e3)
}

/// Nearest-rank percentiles of at least one time.
fn percentiles(mut times: Vec<f64>) -> Percentiles {
    times.sort_by(f64::total_cmp);
    let rank = |part: f64| times[((times.len() as f64 * part).ceil() as usize).clamp(1, times.len()) - 1];
    Percentiles { p50_ms: rank(0.5), p90_ms: rank(0.9), p99_ms: rank(0.99), max_ms: rank(1.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let p = percentiles((1..=100).map(f64::from).collect());
        assert_eq!((p.p50_ms, p.p90_ms, p.p99_ms, p.max_ms), (50.0, 90.0, 99.0, 100.0));
        assert_eq!(percentiles(vec![3.0]).p50_ms, 3.0);
    }
}
