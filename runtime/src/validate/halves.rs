//! What half precision does to maps and to the class that is predicted.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::agreement::{cosine, rank_correlation, top_decile};
use super::{Check, Finding, NO_METHOD, NOT_LOOKED, Scene, explained, least, within};
use crate::engine::Precision;
use crate::error::Result;
use crate::params::{Parameter, Params};

pub(super) const CHECK: Check = Check {
    name: "f16",
    passes_when: "maps in half precision point where those in single precision do, and the class stays",
    parameters: LIMITS,
    run,
};

/// What the gate goes by.
pub const LIMITS: &[Parameter] = &[
    Parameter { name: "cosine", default: "0.99", help: "of the angle between maps, at least, in the mean over inputs" },
    Parameter {
        name: "top-decile",
        default: "0.9",
        help: "of the tenth of places with the largest values, the share in common",
    },
    Parameter { name: "rank", default: "0.95", help: "Spearman's correlation, at least" },
    Parameter { name: "changed", default: "0.01", help: "the share of inputs whose predicted class changes, at most" },
    Parameter {
        name: "precision",
        default: "f16-emulated",
        help: "f16-emulated: what a processor that multiplies halves gives; f16-weights: what one that does not",
    },
];

/// Means over inputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Agreement {
    /// Of the angle between maps.
    pub cosine: f64,
    /// The same, of the input where it is least.
    pub worst_cosine: f64,
    /// Of the tenth of places with the largest magnitudes, the share in common.
    pub top_decile: f64,
    /// Spearman's.
    pub rank: f64,
    /// The share of inputs whose predicted class changes.
    pub changed: f64,
}

impl Agreement {
    /// Takes in an input with its maps in half and in single precision, of which there are `count` in all.
    pub fn add(&mut self, half: &[f32], single: &[f32], changed: bool, count: usize) {
        let share = 1.0 / count as f64;
        let own = cosine(half, single);
        self.cosine += share * own;
        self.worst_cosine = self.worst_cosine.min(own);
        self.top_decile += share * top_decile(half, single);
        self.rank += share * rank_correlation(half, single);
        self.changed += share * f64::from(changed);
    }

    /// What is not within the limits.
    pub fn refused(&self, params: &Params) -> Result<Vec<String>> {
        let mut reasons = vec![];
        for (what, value) in [("cosine", self.cosine), ("top-decile", self.top_decile), ("rank", self.rank)] {
            let least = params.size(what)?;
            if !within(least, value) {
                reasons.push(format!("{what} {value:.4}, less than {least}"));
            }
        }
        let most = params.size("changed")?;
        if !within(self.changed, most) {
            reasons.push(format!(
                "{:.1} % of the classes change, more than {:.1} %",
                100.0 * self.changed,
                100.0 * most
            ));
        }
        Ok(reasons)
    }
}

/// The precision that maps are looked at in.
pub(super) fn precision(params: &Params) -> Result<Precision> {
    let named = Precision::ALL.into_iter().find(|p| p.name() == params.text("precision") && p.keeps_halves());
    named.ok_or_else(|| params.refuse("precision", "f16, f16-weights or f16-emulated"))
}

fn run(params: &Params, scene: &Scene) -> Result<Finding> {
    let precision = precision(params)?;
    let (mut all, mut reasons) = (BTreeMap::new(), vec![]);
    let looked = scene.each(&mut reasons, |method, reasons| {
        let mut single = scene.explainer(method)?;
        let halved = scene.halved.unwrap_or(scene.loaded);
        let mut half = scene.explainer_of(halved, method, &[], precision, scene.resources)?;
        let mut agreement = Agreement { worst_cosine: 1.0, ..Agreement::default() };
        for input in &scene.inputs {
            let told = explained(&mut single, input)?;
            // The class that single precision sees: another class has another map.
            let class = crate::explain::Target::Class(told.record.predicted.class);
            let own = half.explain(&input.values, input.file.clone(), &class)?;
            let changed = own.record.predicted.class != told.record.predicted.class;
            agreement.add(&own.attribution.values, &told.attribution.values, changed, scene.inputs.len());
        }
        let name = method.0.name;
        reasons.extend(agreement.refused(params)?.into_iter().map(|reason| format!("{name}: {reason}")));
        all.insert(name, agreement);
        Ok(())
    })?;
    if looked == 0 {
        return Ok(Finding::skipped(NO_METHOD));
    }
    let of = |of: fn(&Agreement) -> f64| least(all.values().map(of));
    let shares = [of(|a| a.cosine), of(|a| a.worst_cosine), of(|a| a.top_decile), of(|a| a.rank)];
    let summary = match shares {
        [Some(cosine), Some(worst), Some(decile), Some(rank)] => format!(
            "cosine {cosine:.4} ({worst:.4} for one input), top decile {decile:.3}, rank {rank:.3} at least, {:.1} % of classes \
             change",
            100.0 * all.values().map(|a| a.changed).fold(0.0, f64::max)
        ),
        _ => NOT_LOOKED.to_string(),
    };
    Ok(Finding::of(summary, reasons, json!({ "precision": precision, "methods": all })))
}
