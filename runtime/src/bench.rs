//! How long passes take here.

use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;

use crate::engine::{Memory, PlanSession, Plans, Precision, Resources, Session, StepReport, peak_flops};
use crate::error::Result;
use crate::explain::{Loaded, Wanted};
use crate::flops::{flops, gradient_flops};
use crate::gradient::target::top_seed;
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

/// Passes of one kind.
#[derive(Clone, Debug, Serialize)]
pub struct PassReport {
    /// Their times.
    #[serde(flatten)]
    pub times: Percentiles,
    /// Billions of floating-point operations per second that the model asks for, at the median.
    pub gflops: f64,
    /// What the kernels multiply and add, which is less where Winograd's algorithm serves, as a share of what this machine
    /// can do at most.
    pub peak_share: f64,
    /// Each pass's time in milliseconds, in the order in which they ran.
    pub samples_ms: Vec<f64>,
}

/// The time of each step, in the order in which they run.
#[derive(Clone, Debug, Serialize)]
pub struct Steps {
    /// Of a forward pass.
    pub forward: Vec<StepReport>,
    /// Of a gradient pass.
    pub gradient: Vec<StepReport>,
}

/// What `whyline bench` measures.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Instruction set of the kernels.
    pub isa: &'static str,
    /// How numbers are kept and multiplied here.
    pub precision: Precision,
    /// Deriving the gradient and preparing both graphs.
    pub prepare_ms: f64,
    /// Billions of floating-point operations per second of a multiply-add loop in registers.
    pub peak_gflops: f64,
    /// Bytes.
    pub memory: Memory,
    /// One forward pass.
    pub forward: PassReport,
    /// One gradient pass, its forward part included.
    pub gradient: PassReport,
    /// Medians per step, where they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<Steps>,
}

/// Times passes on a standard normal input, the gradient that of its top class, the two kinds in turn, after one of each
/// that is not counted.
pub fn bench(loaded: &Loaded, precision: Precision, runs: u32, steps: bool) -> Result<Report> {
    let start = Instant::now();
    let derived = loaded.derive(&Wanted::default())?;
    let plans = Arc::new(Plans::new(&derived, precision)?);
    let mut session = PlanSession::of(plans, Resources::default())?;
    let prepare_ms = start.elapsed().as_secs_f64() * 1e3;
    let rng = Rng::new(0, 0);
    let len: usize = session.input_shape().iter().product();
    let input: Vec<f32> = (0..len as u64).map(|i| rng.normal(i)).collect();
    let seed = top_seed(session.forward(&input)?);
    session.gradient(&input, &seed)?;
    let (mut forward, mut gradient) = (vec![], vec![]);
    for _ in 0..runs {
        forward.push(timed(|| session.forward(&input).map(drop))?);
        gradient.push(timed(|| session.gradient(&input, &seed).map(drop))?);
    }
    let isa = session.plans().isa();
    let peak = peak_flops(isa);
    let report = |samples_ms: Vec<f64>, asked: u64, left: u64| {
        let times = percentiles(samples_ms.clone());
        let per_second = |flops: u64| flops as f64 / (times.p50_ms * 1e-3);
        PassReport { times, gflops: per_second(asked) * 1e-9, peak_share: per_second(left) / peak, samples_ms }
    };
    let [one_left, both_left] = session.plans().flops();
    let steps = match steps {
        true => Some(Steps {
            forward: medians(|| session.profile_forward(&input))?,
            gradient: medians(|| session.profile_gradient(&input, &seed))?,
        }),
        false => None,
    };
    // The file may be a gradient graph: what its scores do not depend on is no part of a forward pass.
    let typed = &loaded.typed;
    let one = match loaded.ready_made {
        None => flops(&typed.graph, &typed.facts),
        Some(_) => {
            let mut scored = typed.graph.clone();
            scored.outputs = vec![derived.logits.clone()];
            scored.prune();
            flops(&scored, &typed.facts)
        }
    };
    let both = gradient_flops(&derived)?;
    Ok(Report {
        isa: isa.name(),
        precision: session.plans().precision(),
        prepare_ms,
        peak_gflops: peak * 1e-9,
        memory: session.plans().memory(),
        forward: report(forward, one, one_left),
        gradient: report(gradient, both, both_left),
        steps,
    })
}

/// Each step's median over a few runs.
fn medians(mut run: impl FnMut() -> Result<Vec<StepReport>>) -> Result<Vec<StepReport>> {
    let runs: Vec<Vec<StepReport>> = (0..9).map(|_| run()).collect::<Result<_>>()?;
    let mut steps = runs[0].clone();
    for (i, step) in steps.iter_mut().enumerate() {
        step.ms = percentiles(runs.iter().map(|run| run[i].ms).collect()).p50_ms;
    }
    Ok(steps)
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
