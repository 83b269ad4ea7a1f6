//! Whether the gradient is the derivative: against central differences along directions of two kinds.
//!
//! Along signs that mostly follow the gradient the target moves much, and a slope is known to a percent: what is off as a whole
//! shows. Signs drawn without it show what the gradient lacks: the mean square of what they are off by is that of the
//! difference's norm (Hutchinson's estimate), to which kinks add their share.
//!
//! A network of Relu and max pools has kinks, and single precision rounds: large steps cross kinks, small ones are lost in
//! rounding. Of several the smallest counts that rounding leaves to be seen, whatever the gradient says; where the next larger
//! one does not agree with it, nothing can be told of this direction. Where the gradient is off, so must be that of inputs close
//! by, which do not lie on the kink.

use serde_json::json;

use super::{Check, Finding, NOT_PLAIN, NUDGES, Scene, extent, largest, median, nudged, within};
use crate::engine::Session;
use crate::error::Result;
use crate::gradient::target::top_seed;
use crate::params::{Parameter, Params};
use crate::rng::Rng;
use crate::values::{first_infinite, norm};

pub(super) const CHECK: Check = Check {
    name: "derivative",
    passes_when: "central differences along random directions agree with the gradient",
    parameters: &[
        Parameter {
            name: "directions",
            default: "8",
            help: "of each input and kind: by the gradient's signs, and by others",
        },
        Parameter {
            name: "tolerance",
            default: "0.02",
            help: "of a direction by its signs, as a share of the derivative",
        },
        Parameter { name: "share", default: "0.1", help: "of those directions that may be further off: kinks" },
        Parameter {
            name: "part",
            default: "0.3",
            help: "of the gradient, in its norm, that may be off by other signs: kinks",
        },
        Parameter { name: "seed", default: "0", help: "of the directions" },
    ],
    run,
};

/// Steps to either side, as shares of the input's range.
const STEPS: [f64; 6] = [3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4];

fn run(params: &Params, scene: &Scene) -> Result<Finding> {
    let inputs: Vec<&[f32]> = scene.inputs.iter().map(|input| input.values.as_slice()).collect();
    let Some(derived) = scene.plain()? else { return Ok(Finding::skipped(NOT_PLAIN)) };
    let mut finding = check(&mut scene.session(&derived)?, &inputs, params)?;
    if let Some((node, op)) = derived.flat.first() {
        // Steps may stay on one of its flats, or cross so many that nothing can be told.
        let more =
            if derived.flat.len() > 1 { format!(" and of {} more", derived.flat.len() - 1) } else { String::new() };
        finding.summary += &format!("; the derivative of {node} ({op}){more} is zero");
    }
    Ok(finding)
}

/// The check, of any session.
pub fn check(session: &mut dyn Session, inputs: &[&[f32]], params: &Params) -> Result<Finding> {
    let directions = params.whole("directions", 1, 1_000)?;
    let (tolerance, share) = (params.size("tolerance")?, params.size("share")?);
    let (part, seed) = (params.size("part")?, params.seed("seed")?);
    let (mut errors, mut parts, mut unknown) = (vec![], vec![], 0);
    for (number, input) in inputs.iter().enumerate() {
        let scores = session.forward(input)?;
        // Of scores that overflow there are no differences.
        if first_infinite(scores).is_some() {
            errors.push(f64::INFINITY);
            continue;
        }
        let cotangent = top_seed(scores);
        for direction in 0..directions {
            let rng = Rng::new(seed, ((number as u64) << 32) + direction as u64);
            let mut look = |kind| best(session, input, &cotangent, (&rng, kind));
            match look(Kind::Uphill { share: tolerance })? {
                Some(seen) => errors.push(share_of(seen.off, seen.told)),
                None => unknown += 1,
            }
            // Half of what is allowed may be in doubt.
            match look(Kind::Any { share: 0.5 * part })? {
                Some(seen) => parts.push(share_of(seen.off, seen.norm)),
                None => unknown += 1,
            }
        }
    }
    let all = 2 * directions as usize * inputs.len();
    if errors.is_empty() && parts.is_empty() {
        return Ok(Finding::skipped(format!(
            "of {all} directions none has a slope that rounding and kinks leave to be seen"
        )));
    }
    let off = errors.iter().filter(|error| !within(**error, tolerance)).count();
    let squares: f64 = parts.iter().map(|part| part * part).sum();
    let missing = (!parts.is_empty()).then(|| (squares / parts.len() as f64).sqrt());
    let mut seen = vec![];
    if !errors.is_empty() {
        let (middle, most) = (median(&errors), largest(&errors));
        seen.push(format!("off by {middle:.1e} in the median and {most:.1e} at most, of {} directions", errors.len()));
    }
    seen.extend(missing.map(|missing| format!("by {missing:.2} of its norm, of {} others", parts.len())));
    seen.extend((unknown > 0).then(|| format!("{unknown} that can't be told")));
    let mut reasons = vec![];
    if off as f64 > share * errors.len() as f64 {
        reasons.push(format!("{off} of {} directions are off by more than {tolerance}", errors.len()));
    }
    if let Some(missing) = missing.filter(|missing| !within(*missing, part)) {
        reasons.push(format!("{missing:.2} of the gradient, in its norm, is missing or too much, more than {part}"));
    }
    let numbers = json!({
        "median": median(&errors),
        "largest": largest(&errors),
        "off": off,
        "errors": errors,
        "part": missing,
        "parts": parts,
        "unknown": unknown,
    });
    Ok(Finding::of(seen.join("; "), reasons, numbers))
}

/// Whose signs a direction has, and how well its slope must be known. Every element moves by as much.
#[derive(Clone, Copy)]
enum Kind {
    /// Three in four go the way in which the target grows, by what the gradient says, and one goes the other way. To a share of
    /// itself.
    Uphill { share: f64 },
    /// Any. To a share of the gradient's norm.
    Any { share: f64 },
}

impl Kind {
    fn sign(self, gradient: f32, bits: u64) -> f64 {
        let up = match self {
            Kind::Uphill { .. } => (gradient < 0.0) == (bits >> 62 == 0),
            Kind::Any { .. } => bits >> 63 == 0,
        };
        if up { 1.0 } else { -1.0 }
    }
}

/// A share, of which nothing is none of nothing.
fn share_of(part: f64, whole: f64) -> f64 {
    if part == 0.0 { 0.0 } else { part / whole.abs() }
}

/// What the gradient says of a direction, and how far that is from what the target does.
struct Seen {
    told: f64,
    off: f64,
    /// The gradient's.
    norm: f64,
    /// How far it may be.
    allowed: f64,
    /// The step that showed it.
    step: f64,
}

/// Steps that an input close by may be away, so that few of the kinks on which the input lies are crossed there; and of the
/// input's range at most.
const AWAY: f64 = 30.0;
const FAR: f64 = 0.1;

/// The look at a direction that agrees best with the gradient: from the input, or where it is off there from ones close by. None
/// where nothing can be told.
fn best(session: &mut dyn Session, input: &[f32], cotangent: &[f32], direction: (&Rng, Kind)) -> Result<Option<Seen>> {
    let scale = extent(input) as f64;
    let steps = STEPS.map(|share| share * scale);
    let Some(first) = look(session, input, cotangent, direction, &steps)? else { return Ok(None) };
    if first.off <= first.allowed {
        return Ok(Some(first));
    }
    let (reach, steps) = ((AWAY * first.step).min(FAR * scale), [3.0 * first.step, first.step]);
    let mut best: Option<Seen> = None;
    for nudge in 1..=NUDGES {
        let near = nudged(input, nudge, reach as f32);
        let other = look(session, &near, cotangent, direction, &steps)?;
        best = [best, other].into_iter().flatten().min_by(|a, b| a.off.total_cmp(&b.off));
        if best.as_ref().is_some_and(|best| best.off <= best.allowed) {
            break;
        }
    }
    Ok(best)
}

/// Units in the target's last place that rounding may take it off by: a few layers' worth.
const ROUNDED: f64 = 8.0;

fn look(
    session: &mut dyn Session,
    input: &[f32],
    cotangent: &[f32],
    (rng, kind): (&Rng, Kind),
    steps: &[f64],
) -> Result<Option<Seen>> {
    let gradient = session.gradient(input, cotangent)?.input.to_vec();
    let signs: Vec<f64> = gradient.iter().enumerate().map(|(i, g)| kind.sign(*g, rng.bits(i as u64))).collect();
    let told: f64 = signs.iter().zip(&gradient).map(|(sign, g)| sign * *g as f64).sum();
    let norm = norm(&gradient);
    if !told.is_finite() {
        return Ok(Some(Seen { told, off: f64::INFINITY, norm, allowed: 0.0, step: steps[0] }));
    }
    let (mut larger, mut seen): (Option<f64>, _) = (None, None);
    for &step in steps {
        let Central { slope, rounding } = central(session, input, cotangent, &signs, step)?;
        let allowed = match kind {
            Kind::Uphill { share } => share * told.abs().max(slope.abs()),
            Kind::Any { share } => share * norm,
        };
        if rounding > allowed {
            break;
        }
        let agrees = larger.is_some_and(|larger| (larger - slope).abs() <= allowed);
        seen = agrees.then(|| Seen { told, off: (slope - told).abs(), norm, allowed, step });
        larger = Some(slope);
    }
    Ok(seen)
}

/// A slope by a step to either side, and what rounding may add to it.
struct Central {
    slope: f64,
    rounding: f64,
}

fn central(session: &mut dyn Session, input: &[f32], cotangent: &[f32], signs: &[f64], step: f64) -> Result<Central> {
    let (mut rise, mut width, mut largest) = (0.0, 0.0, 0.0f64);
    for side in [1.0, -1.0] {
        // What the input holds in single precision is what counts.
        let moved = input.iter().zip(signs).map(|(x, sign)| (*x as f64 + side * step * sign) as f32);
        let moved: Vec<f32> = moved.collect();
        let target: f64 = session.forward(&moved)?.iter().zip(cotangent).map(|(l, s)| *l as f64 * *s as f64).sum();
        rise += side * target;
        largest = largest.max(target.abs());
        let along = moved.iter().zip(input).zip(signs).map(|((m, x), sign)| sign * (*m as f64 - *x as f64));
        width += side * along.sum::<f64>() / input.len() as f64;
    }
    Ok(Central { slope: rise / width, rounding: ROUNDED * f64::from(f32::EPSILON) * largest / width })
}
