//! Top-k intersection (Theiner et al. 2022): of the `k` most relevant features, the share that lies on the object.
//!
//! Cost: none.

use super::{Better, Entry, Family, Metric, Sample, Score, Wants};
use crate::error::Result;
use crate::params::Parameter;

pub(super) const ENTRY: Entry = Entry {
    name: "top-k-intersection",
    aliases: &["top-k"],
    family: Family::Localisation,
    summary: "of the k top pixels, the share that lies on the object",
    paper: "Theiner et al. 2022",
    better: Better::Higher,
    wants: Wants::Mask,
    parameters: &[Parameter { name: "k", default: "1000", help: "how many features are looked at" }],
    build: |params| Ok(Box::new(TopK { k: params.whole("k", 1, 1 << 24)? as usize })),
};

struct TopK {
    k: usize,
}

impl Metric for TopK {
    fn measure(&self, sample: &mut Sample) -> Result<Score> {
        Ok(sample.object().and_then(|_| sample.top_on_object(self.k)))
    }
}
