//! Relevance mass accuracy (Arras et al. 2022): the share of the map's magnitudes that lies on the object.
//!
//! Cost: none.

use super::{Better, Entry, Family, Metric, Sample, Score, Wants};
use crate::error::Result;

pub(super) const ENTRY: Entry = Entry {
    name: "relevance-mass",
    aliases: &["relevance-mass-accuracy"],
    family: Family::Localisation,
    summary: "the share of the map's magnitudes that lies on the object",
    paper: "Arras et al. 2022",
    better: Better::Higher,
    wants: Wants::Mask,
    parameters: &[],
    build: |_| Ok(Box::new(RelevanceMass)),
};

struct RelevanceMass;

impl Metric for RelevanceMass {
    fn measure(&self, sample: &mut Sample) -> Result<Score> {
        Ok(sample.share_on_object(f64::abs))
    }
}
