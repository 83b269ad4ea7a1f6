//! Colours for attributions.

/// How values become colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colormap {
    /// Blue for negative, white for zero, red for positive values.
    Diverging,
    /// Black for zero, over purple and orange to pale yellow, for magnitudes.
    Sequential,
}

/// Equally spaced from -1 to 1.
const DIVERGING: [[f32; 3]; 5] =
    [[8.0, 48.0, 130.0], [66.0, 146.0, 222.0], [247.0, 247.0, 247.0], [232.0, 96.0, 66.0], [140.0, 8.0, 28.0]];

/// Equally spaced from 0 to 1.
const SEQUENTIAL: [[f32; 3]; 6] = [
    [0.0, 0.0, 4.0],
    [66.0, 12.0, 110.0],
    [150.0, 38.0, 103.0],
    [222.0, 74.0, 60.0],
    [252.0, 160.0, 20.0],
    [252.0, 252.0, 170.0],
];

impl Colormap {
    /// The colour of a value in [-1, 1] or [0, 1]; values outside are taken as the ends.
    pub fn color(self, value: f32) -> [u8; 3] {
        let (stops, place): (&[[f32; 3]], f32) = match self {
            Colormap::Diverging => (&DIVERGING, (value.clamp(-1.0, 1.0) + 1.0) / 2.0),
            Colormap::Sequential => (&SEQUENTIAL, value.clamp(0.0, 1.0)),
        };
        let at = place * (stops.len() - 1) as f32;
        let below = (at.floor() as usize).min(stops.len() - 2);
        let part = at - below as f32;
        std::array::from_fn(|c| (stops[below][c] * (1.0 - part) + stops[below + 1][c] * part).round() as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_neutral_and_ends_are_ends() {
        assert_eq!(Colormap::Diverging.color(0.0), [247, 247, 247]);
        assert_eq!(Colormap::Diverging.color(9.0), Colormap::Diverging.color(1.0));
        assert_eq!(Colormap::Sequential.color(-1.0), [0, 0, 4]);
    }
}
