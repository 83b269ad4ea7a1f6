//! Why a sample has no score.

/// A reason, which is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// The predicted class changed at every draw.
    ClassChanged,
    /// The map has fewer features than are looked at.
    TooFewFeatures,
    /// The input is no image.
    NoImage,
    /// The sample could not be read or explained.
    Failed,
}

impl Undefined {
    /// Every reason; each is at the place of its number.
    pub const ALL: [Undefined; 10] = [
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
            Undefined::ClassChanged => "the predicted class changed at every draw",
            Undefined::TooFewFeatures => "the map has fewer features than are looked at",
            Undefined::NoImage => "the input is no image",
            Undefined::Failed => "the sample failed",
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
