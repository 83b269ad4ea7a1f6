//! Relevance rank accuracy (Arras et al. 2022): of as many of the most relevant features as the object has, the share that
//! lies on it.
//!
//! Cost: none.

use super::{Better, Entry, Family, Metric, Sample, Score, Wants};
use crate::error::Result;

pub(super) const ENTRY: Entry = Entry {
    name: "relevance-rank",
    aliases: &["relevance-rank-accuracy"],
    family: Family::Localisation,
    summary: "of as many top pixels as the object has, the share that lies on it",
    paper: "Arras et al. 2022",
    better: Better::Higher,
    wants: Wants::Mask,
    parameters: &[],
    build: |_| Ok(Box::new(RelevanceRank)),
};

struct RelevanceRank;

impl Metric for RelevanceRank {
    fn measure(&self, sample: &mut Sample) -> Result<Score> {
        Ok(sample.object().and_then(|mask| sample.top_on_object(mask.iter().filter(|m| **m).count())))
    }
}
