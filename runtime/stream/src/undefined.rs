//! Why a sample has no score.

/// A reason, which is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
pub enum Undefined {
    /// The mask marks nothing.
    EmptyMask,
    /// The mask marks everything.
    FullMask,
    /// The sample has no mask.
    NoMask,
    /// The map is the same everywhere.
    ConstantMap,
    /// The map is zero everywhere, or nowhere positive where that counts.
    NothingPositive,
    /// The model gives the same whatever is changed.
    ConstantOutput,
    /// The predicted class changed: at every draw, or at one where that is enough.
    ClassChanged,
    /// There are too few features, segments or copies to say anything.
    TooFewFeatures,
    /// The input is no image.
    NoImage,
    /// The sample could not be read or explained.
    Failed,
    /// No other sample has the same explanation.
    Alone,
    /// The sample is no mosaic.
    NoMosaic,
    /// There was no room to keep it.
    NoRoom,
    /// The model's output is not positive, so that nothing is a share of it.
    NothingToLose,
    /// The input is the same everywhere, and what is a share of its range is nothing.
    ConstantInput,
}

impl Undefined {
    /// Every reason; each is at the place of its number.
    pub const ALL: [Undefined; 15] = [
        Undefined::EmptyMask,
        Undefined::FullMask,
        Undefined::NoMask,
        Undefined::ConstantMap,
        Undefined::NothingPositive,
        Undefined::ConstantOutput,
        Undefined::ClassChanged,
        Undefined::TooFewFeatures,
        Undefined::NoImage,
        Undefined::Failed,
        Undefined::Alone,
        Undefined::NoMosaic,
        Undefined::NoRoom,
        Undefined::NothingToLose,
        Undefined::ConstantInput,
    ];

    /// For people.
    pub fn text(self) -> &'static str {
        match self {
            Undefined::EmptyMask => "the mask marks nothing",
            Undefined::FullMask => "the mask marks everything",
            Undefined::NoMask => "there is no mask",
            Undefined::ConstantMap => "the map is the same everywhere",
            Undefined::NothingPositive => "the map has nothing positive",
            Undefined::ConstantOutput => "the model gives the same whatever is changed",
            Undefined::ClassChanged => "the predicted class changed with the noise",
            Undefined::TooFewFeatures => "there are too few features, segments or copies",
            Undefined::NoImage => "the input is no image",
            Undefined::Failed => "the sample failed",
            Undefined::Alone => "no other sample has such an explanation",
            Undefined::NoMosaic => "the sample is no mosaic",
            Undefined::NoRoom => "there was no room to keep it",
            Undefined::NothingToLose => "the model's output is not positive",
            Undefined::ConstantInput => "the input is the same everywhere, and noise is a share of its range",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_at_its_number() {
        assert!(Undefined::ALL.iter().enumerate().all(|(i, reason)| *reason as usize == i));
    }
}
