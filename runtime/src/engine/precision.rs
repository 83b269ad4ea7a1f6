//! How numbers are kept and multiplied.

use serde::{Serialize, Serializer};

use crate::simd::Isa;

/// How numbers are kept and multiplied.
///
/// In half precision weights take half the memory. Where the machine multiplies halves, convolutions and products with
/// weights do: both sides are scaled by powers of two, sixteen products are added up as halves and all else as floats,
/// so that nothing overflows and no gradient vanishes. What is kept between layers is always floats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// Floats.
    #[default]
    F32,
    /// Weights are kept as halves, and halves are multiplied where the machine has instructions for that.
    F16,
    /// Weights are kept as halves, and floats are multiplied.
    F16Weights,
    /// As `F16`, with halves emulated, slowly, where the machine has none: what another machine will say.
    F16Emulated,
}

impl Precision {
    /// All, for those who choose.
    pub const ALL: [Precision; 4] = [Precision::F32, Precision::F16, Precision::F16Weights, Precision::F16Emulated];

    /// What becomes of it on this machine.
    pub fn here(self, isa: Isa) -> Precision {
        match self {
            Precision::F16 if !isa.has_halves() => Precision::F16Weights,
            Precision::F16Emulated if isa.has_halves() => Precision::F16,
            other => other,
        }
    }

    /// Its name on the command line and in records.
    pub fn name(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::F16 => "f16",
            Precision::F16Weights => "f16-weights",
            Precision::F16Emulated => "f16-emulated",
        }
    }

    /// Whether weights are kept as halves.
    pub fn keeps_halves(self) -> bool {
        self != Precision::F32
    }

    /// Whether halves are multiplied.
    pub fn multiplies_halves(self) -> bool {
        matches!(self, Precision::F16 | Precision::F16Emulated)
    }
}

impl Serialize for Precision {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}
