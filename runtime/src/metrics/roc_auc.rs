//! The area under the receiver operating characteristic (Fawcett 2006) of the map as a score for the object: the chance that a
//! pixel of the object is above one beside it, ties counted half.
//!
//! Cost: none.

use super::{Better, Entry, Family, Metric, Sample, Score, Undefined, Wants};
use crate::error::Result;
use whyline_stream::order::roc_area;

pub(super) const ENTRY: Entry = Entry {
    name: "auc",
    aliases: &["roc-auc"],
    family: Family::Localisation,
    summary: "the chance that a pixel of the object is above one beside it",
    paper: "Fawcett 2006",
    better: Better::Higher,
    wants: Wants::Mask,
    parameters: &[],
    build: |_| Ok(Box::new(RocAuc)),
};

pub(super) struct RocAuc;

impl Metric for RocAuc {
    fn measure(&self, sample: &mut Sample) -> Result<Score> {
        let score = sample.object().and_then(|mask| {
            let ranked = sample.order.iter().map(|&place| (sample.map[place as usize], mask[place as usize]));
            roc_area(ranked).ok_or(Undefined::FullMask)
        });
        Ok(score)
    }
}
