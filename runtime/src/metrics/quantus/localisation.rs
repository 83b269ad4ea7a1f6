//! Where the map is: shares of the map or of its largest values on the object. Signs are kept but for attribution localisation.

use super::{COMPAT, Refusing, entry, normalised, refused};
use crate::error::Result;
use crate::metrics::{Better, Entry, Family, Metric, Observer, Sample, Score, Undefined, Wants, roc_auc};
use crate::params::Parameter;

const fn on_object(
    name: &'static str,
    parameters: &'static [Parameter],
    build: fn(&crate::params::Params) -> Result<Box<dyn Observer>>,
) -> Entry {
    entry((name, Family::Localisation, Better::Higher), Wants::Mask, parameters, build)
}

/// Without tolerance; an empty mask is a hit.
pub(super) const POINTING_GAME: Entry = on_object("pointing-game", &[COMPAT], |_| {
    Ok(of(|sample, mask| {
        let largest = sample.map[sample.order[0] as usize];
        let mut tops = sample.order.iter().map(|&p| p as usize).take_while(|&p| sample.map[p] == largest);
        Ok(f64::from(u8::from(!mask.contains(&true) || tops.any(|p| mask[p]))))
    }))
});

/// Of magnitudes, not of what is positive.
pub(super) const ATTRIBUTION_LOCALISATION: Entry =
    on_object("attribution-localisation", &[COMPAT], |_| Ok(of(|sample, mask| share(sample, mask, f64::abs, 1e-9))));

/// Of signed values, whose sum may be near zero or below.
pub(super) const RELEVANCE_MASS: Entry =
    on_object("relevance-mass", &[COMPAT], |_| Ok(of(|sample, mask| share(sample, mask, |v| v, 0.0))));

pub(super) const TOP_K_INTERSECTION: Entry = on_object(
    "top-k-intersection",
    &[COMPAT, Parameter { name: "k", default: "1000", help: "how many of the largest values" }],
    |params| {
        let k = params.whole("k", 1, 1 << 24)? as usize;
        Ok(of(
            move |sample, _| {
                if k >= sample.order.len() { Err(Undefined::TooFewFeatures) } else { sample.top_on_object(k) }
            },
        ))
    },
);

pub(super) const RELEVANCE_RANK: Entry = on_object("relevance-rank", &[COMPAT], |_| {
    Ok(of(|sample, mask| sample.top_on_object(mask.iter().filter(|marked| **marked).count())))
});

pub(super) const AUC: Entry = on_object("auc", &[COMPAT], |_| Ok(Box::new(Refusing(roc_auc::RocAuc))));

fn share(sample: &Sample, mask: &[bool], of: impl Fn(f64) -> f64, more: f64) -> Score {
    sample.object()?;
    let map: Vec<f64> = normalised(sample.map).into_iter().map(of).collect();
    let inside: f64 = map.iter().zip(mask).filter(|(_, marked)| **marked).map(|(v, _)| v).sum();
    let total = map.iter().sum::<f64>() + more;
    if total == 0.0 { Err(Undefined::NothingPositive) } else { Ok(inside / total) }
}

fn of(score: impl Fn(&Sample, &[bool]) -> Score + Send + 'static) -> Box<dyn Observer> {
    Box::new(Of(score))
}

/// A function of a map and a mask.
struct Of<F>(F);

impl<F: Fn(&Sample, &[bool]) -> Score + Send> Metric for Of<F> {
    fn measure(&self, sample: &mut Sample) -> Result<Score> {
        Ok(match (sample.mask, refused(sample.map)) {
            (None, _) => Err(Undefined::NoMask),
            (_, Some(reason)) => Err(reason),
            (Some(mask), None) => (self.0)(sample, mask),
        })
    }
}
