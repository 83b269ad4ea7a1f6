//! One image made of four.

use crate::onnx::Layout;

/// Four inputs of the same extents (channels, height, width), each shrunk to a quarter of one: from the upper left, row by
/// row. Every pixel is the mean of those it stands for.
pub fn mosaic(parts: [&[f32]; 4], layout: Layout, (channels, height, width): (usize, usize, usize)) -> Vec<f32> {
    let place = |row: usize, column: usize, channel: usize| match layout {
        Layout::ChannelsFirst => (channel * height + row) * width + column,
        Layout::ChannelsLast => (row * width + column) * channels + channel,
    };
    let mut made = vec![0.0; channels * height * width];
    for row in 0..height {
        for column in 0..width {
            let (lower, rows) = source(row, height);
            let (right, columns) = source(column, width);
            let part = parts[2 * usize::from(lower) + usize::from(right)];
            let count = (rows.len() * columns.len()) as f32;
            for channel in 0..channels {
                let all = rows.clone().flat_map(|r| columns.clone().map(move |c| (r, c)));
                made[place(row, column, channel)] = all.map(|(r, c)| part[place(r, c, channel)]).sum::<f32>() / count;
            }
        }
    }
    made
}

/// The pixels of the quarters that are marked.
pub fn quarters(marked: [bool; 4], (height, width): (usize, usize)) -> Vec<bool> {
    let of = |p: usize| {
        let (lower, right) = (source(p / width, height).0, source(p % width, width).0);
        marked[2 * usize::from(lower) + usize::from(right)]
    };
    (0..height * width).map(of).collect()
}

/// Whether a place is in the second half, and what it stands for there.
fn source(place: usize, extent: usize) -> (bool, std::ops::Range<usize>) {
    let half = extent / 2;
    let (second, own, len) = match place < half {
        true => (false, place, half),
        false => (true, place - half, extent - half),
    };
    let (start, end) = (own * extent / len, (own + 1) * extent / len);
    (second, start..end.max(start + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_quarter_is_an_image_shrunk() {
        let part = |first: f32| (0..12).map(|i| first + i as f32).collect::<Vec<f32>>();
        let parts = [part(0.0), part(100.0), part(200.0), part(300.0)];
        let parts = [0, 1, 2, 3].map(|i| parts[i].as_slice());
        // Three rows of four: the upper half is one row, which stands for all three.
        let made = mosaic(parts, Layout::ChannelsFirst, (1, 3, 4));
        assert_eq!(made[..4], [4.5, 6.5, 104.5, 106.5]);
        assert_eq!(made[4..8], [200.5, 202.5, 300.5, 302.5]);
        let marks = quarters([true, false, false, true], (3, 4));
        let rows = [[true, true, false, false], [false, false, true, true], [false, false, true, true]];
        assert_eq!(marks, rows.concat());
    }
}
