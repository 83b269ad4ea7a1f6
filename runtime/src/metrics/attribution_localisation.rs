//! Attribution localisation (Kohlbrenner et al. 2020): the share of what is positive in the map that lies on the object; with
//! `weighted`, times the image's size over the object's.
//!
//! Cost: none.

use super::{Better, Entry, Family, Metric, Sample, Score, Wants};
use crate::error::Result;
use crate::params::Parameter;

pub(super) const ENTRY: Entry = Entry {
    name: "attribution-localisation",
    aliases: &["inside-total-relevance"],
    family: Family::Localisation,
    summary: "the share of what is positive in the map that lies on the object",
    paper: "Kohlbrenner et al. 2020",
    better: Better::Higher,
    wants: Wants::Mask,
    parameters: &[Parameter {
        name: "weighted",
        default: "false",
        help: "whether it is divided by the share of the image that the object has",
    }],
    build: |params| Ok(Box::new(AttributionLocalisation { weighted: params.flag("weighted")? })),
};

struct AttributionLocalisation {
    weighted: bool,
}

impl Metric for AttributionLocalisation {
    fn measure(&self, sample: &mut Sample) -> Result<Score> {
        let share = match sample.share_on_object(|v| v.max(0.0)) {
            Ok(share) => share,
            Err(reason) => return Ok(Err(reason)),
        };
        let marked = sample.mask.map_or(0, |mask| mask.iter().filter(|m| **m).count());
        let weight = if self.weighted { sample.map.len() as f64 / marked as f64 } else { 1.0 };
        Ok(Ok(share * weight))
    }
}
