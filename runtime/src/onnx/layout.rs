//! Where the channels of an image tensor are.

/// Where the channels of a rank-4 value are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// [batch, channels, height, width]
    ChannelsFirst,
    /// [batch, height, width, channels]
    ChannelsLast,
}

impl Layout {
    /// (channels, height, width) of a rank-4 value.
    pub fn split(self, shape: &[usize]) -> Option<(usize, usize, usize)> {
        match (self, shape) {
            (Layout::ChannelsFirst, [_, c, h, w]) | (Layout::ChannelsLast, [_, h, w, c]) => Some((*c, *h, *w)),
            _ => None,
        }
    }

    /// The layout that an image input of this shape most likely has.
    pub fn of_input(shape: &[usize]) -> Option<Layout> {
        match shape {
            [_, 1 | 3 | 4, _, _] => Some(Layout::ChannelsFirst),
            [_, _, _, 1 | 3 | 4] => Some(Layout::ChannelsLast),
            [_, _, _, _] => Some(Layout::ChannelsFirst),
            _ => None,
        }
    }
}
