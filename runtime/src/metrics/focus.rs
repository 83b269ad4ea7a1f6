//! Focus (Arias-Duart et al. 2022): of what is positive in the map of a mosaic, the share that lies on the images of the class
//! that is explained. A mosaic is made of four images, two of that class and two of others.
//!
//! Cost: none.

use super::{Better, Entry, Family, Metric, Sample, Score, Undefined, Wants};
use crate::error::Result;

pub(super) const ENTRY: Entry = Entry {
    name: "focus",
    aliases: &[],
    family: Family::Localisation,
    summary: "in mosaics, the share of what is positive in the map that lies on the class's images",
    paper: "Arias-Duart et al. 2022",
    better: Better::Higher,
    wants: Wants::Mosaic,
    parameters: &[],
    build: |_| Ok(Box::new(Focus)),
};

struct Focus;

impl Metric for Focus {
    fn measure(&self, sample: &mut Sample) -> Result<Score> {
        match sample.mosaic {
            true => Ok(sample.share_on_object(|v| v.max(0.0))),
            false => Ok(Err(Undefined::NoMosaic)),
        }
    }
}
