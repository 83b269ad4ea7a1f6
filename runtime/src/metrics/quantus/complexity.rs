//! Sparseness, complexity and effective complexity.

use super::{COMPAT, Refusing, entry, normalised};
use crate::error::Result;
use crate::metrics::{Better, Entry, Family, Metric, Observer, Sample, Score, Undefined, Wants};
use crate::params::Parameter;
use whyline_stream::spread::gini;

pub(super) const SPARSENESS: Entry =
    entry(("sparseness", Family::Complexity, Better::Higher), Wants::Nothing, &[COMPAT], |_| {
        Ok(of(|map| {
            let mut sizes: Vec<f64> = map.iter().map(|v| v.abs() + 1e-7).collect();
            sizes.sort_unstable_by(f64::total_cmp);
            gini(sizes.into_iter()).ok_or(Undefined::NothingPositive)
        }))
    });

pub(super) const COMPLEXITY: Entry =
    entry(("complexity", Family::Complexity, Better::Lower), Wants::Nothing, &[COMPAT], |_| {
        Ok(of(|map| {
            let sum: f64 = map.iter().map(|v| v.abs()).sum();
            let share = |v: &f64| v.abs() / sum;
            Ok(-map.iter().map(share).map(|p| p * (p + 1e-12).ln()).sum::<f64>())
        }))
    });

pub(super) const EFFECTIVE_COMPLEXITY: Entry = entry(
    ("effective-complexity", Family::Complexity, Better::Lower),
    Wants::Nothing,
    &[
        COMPAT,
        Parameter { name: "epsilon", default: "1e-5", help: "features count from here on, as a share of the largest" },
    ],
    |params| {
        let epsilon = params.size("epsilon")?;
        Ok(of(move |map| Ok(map.iter().filter(|v| v.abs() > epsilon).count() as f64)))
    },
);

fn of(score: impl Fn(&[f64]) -> Score + Send + 'static) -> Box<dyn Observer> {
    Box::new(Refusing(Of(score)))
}

/// A function of the map over its largest magnitude.
struct Of<F>(F);

impl<F: Fn(&[f64]) -> Score + Send> Metric for Of<F> {
    fn measure(&self, sample: &mut Sample) -> Result<Score> {
        Ok((self.0)(&normalised(sample.map)))
    }
}
