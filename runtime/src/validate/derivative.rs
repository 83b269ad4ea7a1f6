//! Whether the gradient is the derivative: against central differences along random directions.
//!
//! A network of Relu and max pools has kinks, and single precision rounds: large steps cross kinks, small ones are lost in
//! rounding. Several are taken, and the best counts; where all are off, also of inputs close by, which do not lie on the kink.

use serde_json::json;

use super::{Check, Finding, NOT_PLAIN, NUDGES, Scene, largest, median, nudged, seed_of, within};
use crate::engine::Session;
use crate::error::Result;
use crate::params::{Parameter, Params};
use crate::rng::Rng;
use crate::values::range;

pub(super) const CHECK: Check = Check {
    name: "derivative",
    passes_when: "central differences along random directions agree with the gradient",
    parameters: &[
        Parameter { name: "directions", default: "8", help: "of each input" },
        Parameter { name: "tolerance", default: "0.02", help: "of a direction, as a share of the derivative" },
        Parameter { name: "share", default: "0.1", help: "of the directions that may be further off: kinks" },
        Parameter { name: "seed", default: "0", help: "of the directions" },
    ],
    run,
};

/// Steps to either side, as shares of the input's range.
const STEPS: [f64; 6] = [3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4];

fn run(params: &Params, scene: &Scene) -> Result<Finding> {
    let inputs: Vec<&[f32]> = scene.inputs.iter().map(|input| input.values.as_slice()).collect();
    match scene.plain()? {
        Some(derived) => check(&mut scene.session(&derived)?, &inputs, params),
        None => Ok(Finding::skipped(NOT_PLAIN)),
    }
}

/// The check, of any session.
pub fn check(session: &mut dyn Session, inputs: &[&[f32]], params: &Params) -> Result<Finding> {
    let directions = params.whole("directions", 1, 1_000)?;
    let (tolerance, share, seed) = (params.size("tolerance")?, params.size("share")?, params.seed("seed")?);
    let mut errors = vec![];
    for (number, input) in inputs.iter().enumerate() {
        let cotangent = seed_of(session, input)?;
        for direction in 0..directions {
            let rng = Rng::new(seed, ((number as u64) << 32) + direction as u64);
            let mut best = f64::INFINITY;
            for nudge in 0..=NUDGES {
                best = best.min(error_along(session, &nudged(input, nudge), &cotangent, &rng)?);
                if best <= tolerance {
                    break;
                }
            }
            errors.push(best);
        }
    }
    let off = errors.iter().filter(|error| !within(**error, tolerance)).count();
    let summary = format!(
        "off by {:.1e} in the median and {:.1e} at most, of {} directions",
        median(&errors),
        largest(&errors),
        errors.len()
    );
    let mut reasons = vec![];
    if off as f64 > share * errors.len() as f64 {
        reasons.push(format!("{off} of {} directions are off by more than {tolerance}", errors.len()));
    }
    let numbers = json!({ "median": median(&errors), "largest": largest(&errors), "off": off, "errors": errors });
    Ok(Finding::of(summary, reasons, numbers))
}

/// How far the slope along a random direction is from what the gradient says, at the best of all steps, as a share of it.
///
/// Every element moves by as much. Three in four go the way in which the target grows, by what the gradient says, and one goes
/// the other way: along signs that know nothing of the gradient the target hardly moves, and kinks and rounding are all that
/// one sees.
fn error_along(session: &mut dyn Session, input: &[f32], cotangent: &[f32], rng: &Rng) -> Result<f64> {
    let (low, high) = range(input);
    let scale = if high > low { (high - low) as f64 } else { 1.0 };
    let gradient = session.gradient(input, cotangent)?.input.to_vec();
    let sign = |i: usize| {
        let uphill = if gradient[i] < 0.0 { -1.0 } else { 1.0 };
        if rng.bits(i as u64) >> 62 == 0 { -uphill } else { uphill }
    };
    let signs: Vec<f64> = (0..input.len()).map(sign).collect();
    let told: f64 = signs.iter().zip(&gradient).map(|(sign, g)| sign * *g as f64).sum();
    let mut best = f64::INFINITY;
    for step in STEPS.map(|share| share * scale) {
        // What the input holds in single precision is what counts.
        let (mut slope, mut width) = (0.0, 0.0);
        for side in [1.0, -1.0] {
            let moved = input.iter().zip(&signs).map(|(x, sign)| (*x as f64 + side * step * sign) as f32);
            let moved: Vec<f32> = moved.collect();
            let target: f64 = session.forward(&moved)?.iter().zip(cotangent).map(|(l, s)| *l as f64 * *s as f64).sum();
            slope += side * target;
            let along = moved.iter().zip(input).zip(&signs).map(|((m, x), sign)| sign * (*m as f64 - *x as f64));
            width += side * along.sum::<f64>() / input.len() as f64;
        }
        let apart = (slope / width - told).abs();
        best = best.min(if apart == 0.0 { 0.0 } else { apart / told.abs() });
    }
    Ok(best)
}
