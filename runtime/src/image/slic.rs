//! Superpixels by simple linear iterative clustering (Achanta et al. 2012): segments of about the same size that follow an
//! image's edges. As scikit-image has them by default, step by step and in its order of sums, so that segments are the same
//! pixels: values over their range, colours in CIELAB, compactness 10, ten rounds, no smoothing, and what is too small for a
//! segment of its own goes to one beside it.

use std::ops::Range;

use crate::values::range;

/// What a place counts beside a value: a step of the grid is as far as so many units of value.
const COMPACTNESS: f64 = 10.0;
const ROUNDS: usize = 10;

/// The places that segments start from, and how large segments may become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Superpixels {
    height: Axis,
    width: Axis,
}

/// Places along an axis: the first, and how far it is to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Axis {
    extent: usize,
    first: usize,
    step: usize,
}

impl Axis {
    fn of(extent: usize, step: f64) -> Axis {
        Axis { extent, first: (step / 2.0).floor() as usize, step: (step.round_ties_even() as usize).max(1) }
    }

    fn places(&self) -> impl Iterator<Item = usize> + use<> {
        (self.first..self.extent).step_by(self.step)
    }

    /// What lies within two steps of a place.
    fn around(&self, place: f64) -> Range<usize> {
        let reach = (2 * self.step) as f64;
        (place - reach).max(0.0) as usize..(place + reach + 1.0).min(self.extent as f64) as usize
    }
}

impl Superpixels {
    /// About `wanted` of them, evenly apart.
    pub fn of((height, width): (usize, usize), wanted: usize) -> Superpixels {
        let (pixels, wanted) = ((height * width) as f64, wanted.max(1) as f64);
        let even = (pixels / wanted).sqrt();
        let (low, high) = (height.min(width) as f64, height.max(width) as f64);
        let [of_low, of_high] = match () {
            _ if pixels <= wanted => [0.0, 0.0],
            // An image thinner than a step has one row of them.
            _ if low < even => [low, high / wanted],
            _ => [even, even],
        };
        let [of_height, of_width] = if height <= width { [of_low, of_high] } else { [of_high, of_low] };
        Superpixels { height: Axis::of(height, of_height), width: Axis::of(width, of_width) }
    }

    fn starts(&self) -> usize {
        self.height.places().count() * self.width.places().count()
    }

    /// The fewest pixels that may be a segment, and the most: half and three times as many as they have on average.
    fn sizes(&self) -> [usize; 2] {
        let mean = (self.height.extent * self.width.extent) as f64 / self.starts().max(1) as f64;
        [0.5, 3.0].map(|factor| (factor * mean) as usize)
    }

    /// How many there are at most.
    pub fn most(&self) -> usize {
        (self.height.extent * self.width.extent / self.sizes()[0].max(1)).max(1)
    }
}

/// The pixels of each segment of an image, whose channels are row-major planes: three are red, green and blue.
pub fn slic(planes: &[Vec<f32>], (height, width): (usize, usize), wanted: usize) -> Vec<Vec<u32>> {
    let start = Superpixels::of((height, width), wanted);
    let labels = joined(&nearest(&start, &values(planes)), width, start.sizes());
    let mut segments = vec![vec![]; labels.iter().max().map_or(0, |most| most + 1)];
    labels.iter().enumerate().for_each(|(place, &label)| segments[label].push(place as u32));
    segments
}

/// Over their range, as colours where they are three, over the compactness.
fn values(planes: &[Vec<f32>]) -> Vec<Vec<f64>> {
    let ranges = planes.iter().map(|plane| range(plane));
    let (low, high) = ranges.fold((f32::MAX, f32::MIN), |(low, high), (l, h)| (low.min(l), high.max(h)));
    let (low, high) = (f64::from(low), f64::from(high));
    let scale = if low == high { 1.0 } else { high - low };
    let of = |plane: &Vec<f32>| plane.iter().map(|v| (f64::from(*v) - low) / scale).collect();
    let mut planes: Vec<Vec<f64>> = planes.iter().map(of).collect();
    if let [red, green, blue] = planes.as_mut_slice() {
        for ((r, g), b) in red.iter_mut().zip(green).zip(blue) {
            [*r, *g, *b] = lab([*r, *g, *b]);
        }
    }
    planes.iter_mut().flatten().for_each(|v| *v *= 1.0 / COMPACTNESS);
    planes
}

/// CIELAB of sRGB under daylight (D65), for an observer at two degrees.
fn lab(rgb: [f64; 3]) -> [f64; 3] {
    const XYZ: [[f64; 3]; 3] =
        [[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]];
    const WHITE: [f64; 3] = [0.95047, 1.0, 1.08883];
    let linear = rgb.map(|v| if v > 0.04045 { ((v + 0.055) / 1.055).powf(2.4) } else { v / 12.92 });
    let mut f = [0.0; 3];
    for ((f, row), white) in f.iter_mut().zip(XYZ).zip(WHITE) {
        let t = row.iter().zip(linear).map(|(a, b)| a * b).sum::<f64>() / white;
        *f = if t > 0.008856 { t.cbrt() } else { 7.787 * t + 16.0 / 116.0 };
    }
    let [x, y, z] = f;
    [116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)]
}

/// What a segment's pixels are near: place, and the value of each channel.
struct Centre {
    row: f64,
    column: f64,
    values: Vec<f64>,
}

/// The number of each pixel's nearest centre.
fn nearest(start: &Superpixels, planes: &[Vec<f64>]) -> Vec<usize> {
    let width = start.width.extent;
    let places =
        start.height.places().flat_map(|row| start.width.places().map(move |column| (row as f64, column as f64)));
    let at = |(row, column)| Some(Centre { row, column, values: vec![0.0; planes.len()] });
    let mut centres: Vec<Option<Centre>> = places.map(at).collect();
    // How far a centre is looked for is told by how many there have become.
    let reach = Superpixels::of((start.height.extent, width), centres.len());
    let weight = 1.0 / (start.height.step.max(start.width.step) as f64).powi(2);
    let mut labels = vec![0; start.height.extent * width];
    for _ in 0..ROUNDS {
        let mut nearest = vec![f64::MAX; labels.len()];
        for (number, centre) in centres.iter().enumerate().filter_map(|(number, c)| Some((number, c.as_ref()?))) {
            for row in reach.height.around(centre.row) {
                let down = (centre.row - row as f64).powi(2);
                for column in reach.width.around(centre.column) {
                    let place = row * width + column;
                    let across = (centre.column - column as f64).powi(2);
                    let apart = planes.iter().zip(&centre.values).map(|(plane, v)| (plane[place] - v).powi(2));
                    let distance = (down + across) * weight + apart.sum::<f64>();
                    if nearest[place] > distance {
                        (nearest[place], labels[place]) = (distance, number);
                    }
                }
            }
        }
        centres = means(planes, &labels, centres.len(), width);
    }
    labels
}

/// The centre of each number's pixels; none where it has lost all of them.
fn means(planes: &[Vec<f64>], labels: &[usize], count: usize, width: usize) -> Vec<Option<Centre>> {
    let mut sums = vec![(0usize, 0.0, 0.0, vec![0.0; planes.len()]); count];
    for (place, &label) in labels.iter().enumerate() {
        let (pixels, row, column, values) = &mut sums[label];
        *pixels += 1;
        *row += (place / width) as f64;
        *column += (place % width) as f64;
        values.iter_mut().zip(planes).for_each(|(sum, plane)| *sum += plane[place]);
    }
    let centre = |(pixels, row, column, mut values): (usize, f64, f64, Vec<f64>)| {
        let pixels = pixels as f64;
        values.iter_mut().for_each(|sum| *sum /= pixels);
        (pixels > 0.0).then(|| Centre { row: row / pixels, column: column / pixels, values })
    };
    sums.into_iter().map(centre).collect()
}

/// The places beside a place, in the order in which they are looked at.
fn beside(place: usize, width: usize, places: usize) -> impl Iterator<Item = usize> {
    let column = place % width;
    let [right, left] = [(column + 1 < width).then(|| place + 1), (column > 0).then(|| place - 1)];
    let [down, up] = [Some(place + width).filter(|p| *p < places), (place >= width).then(|| place - width)];
    [right, left, down, up].into_iter().flatten()
}

/// Numbers pieces from the first pixel on: what is connected and near the same centre, of `most` pixels at most. A piece of less
/// than `least` goes to the one that was met last beside it.
fn joined(labels: &[usize], width: usize, [least, most]: [usize; 2]) -> Vec<usize> {
    const NONE: usize = usize::MAX;
    let (mut pieces, mut number) = (vec![NONE; labels.len()], 0);
    for start in 0..labels.len() {
        if pieces[start] != NONE {
            continue;
        }
        pieces[start] = number;
        let (mut piece, mut next, mut other) = (vec![start], 0, number);
        'whole: while next < piece.len() && piece.len() < most {
            for place in beside(piece[next], width, labels.len()) {
                if labels[place] == labels[start] && pieces[place] == NONE {
                    pieces[place] = number;
                    piece.push(place);
                    if piece.len() >= most {
                        break 'whole;
                    }
                } else if pieces[place] != NONE && pieces[place] != number {
                    other = pieces[place];
                }
            }
            next += 1;
        }
        match piece.len() < least {
            true => piece.iter().for_each(|&place| pieces[place] = other),
            false => number += 1,
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(segments: &[Vec<u32>], places: u32) {
        let mut all = segments.concat();
        all.sort_unstable();
        assert_eq!(all, (0..places).collect::<Vec<u32>>());
    }

    #[test]
    fn segments_cover_every_pixel_once_and_keep_to_edges() {
        // Two halves with an edge that no grid line is on; of three planes, so that it is far in colour.
        let plane: Vec<f32> = (0..30 * 40).map(|p| if p % 40 < 17 { 0.0 } else { 1.0 }).collect();
        let segments = slic(&[plane.clone(), plane.clone(), plane.clone()], (30, 40), 12);
        assert!(segments.len() <= Superpixels::of((30, 40), 12).most());
        covers(&segments, 1200);
        for segment in &segments {
            assert!(segment.iter().all(|&p| plane[p as usize] == plane[segment[0] as usize]), "{segment:?}");
        }
    }

    #[test]
    fn segments_of_noise_are_neither_too_small_nor_too_large() {
        // Values that jump from place to place, so that places alone keep nothing together.
        let noise = |by: u32| (0..40 * 50u32).map(|p| (p.wrapping_mul(by) >> 16 & 0xff) as f32).collect();
        let segments = slic(&[noise(2_654_435_761), noise(40_503), noise(97_531_357)], (40, 50), 20);
        covers(&segments, 2000);
        let start = Superpixels::of((40, 50), 20);
        let [least, _] = start.sizes();
        assert!(segments.len() <= start.most() && segments.iter().all(|s| s.len() >= least), "{segments:?}");
    }

    #[test]
    fn images_of_any_extent_have_segments() {
        for (height, width) in [(1, 1), (1, 40), (40, 1), (2, 3), (3, 200), (17, 5)] {
            for wanted in [1, 2, 7, 100] {
                let plane = (0..height * width).map(|p| (p * 37 % 11) as f32).collect();
                let segments = slic(&[plane], (height, width), wanted);
                covers(&segments, (height * width) as u32);
                assert!(segments.len() <= Superpixels::of((height, width), wanted).most(), "{height} {width} {wanted}");
            }
        }
    }

    #[test]
    fn a_flat_image_has_even_segments() {
        let segments = slic(&[vec![0.5; 900]], (30, 30), 9);
        assert_eq!(segments.iter().map(Vec::len).collect::<Vec<_>>(), [121, 110, 99, 110, 100, 90, 99, 90, 81]);
    }

    /// What scikit-image 0.26 gives with `n_segments=12, start_label=0`: how many pixels each has, and the sum of label times place.
    #[test]
    fn segments_are_those_of_scikit_image() {
        let plane = |c: usize| (0..24 * 30).map(|p| ((p % 30 * (c + 2) + p / 30 * (5 - c)) / 40 % 5) as f32).collect();
        let planes: Vec<Vec<f32>> = (0..3).map(plane).collect();
        let of = |planes: &[Vec<f32>]| {
            let segments = slic(planes, (24, 30), 12);
            let sum =
                |(label, segment): (usize, &Vec<u32>)| segment.iter().map(|p| label * (*p as usize + 1)).sum::<usize>();
            (segments.iter().map(Vec::len).collect::<Vec<_>>(), segments.iter().enumerate().map(sum).sum::<usize>())
        };
        assert_eq!(of(&planes), (vec![78, 171, 41, 48, 69, 118, 126, 69], 1_182_322));
        assert_eq!(of(&planes[..1]), (vec![64, 64, 56, 56, 64, 64, 56, 56, 64, 64, 56, 56], 1_877_808));
    }

    /// Of white, L is 100; of pure red 53.2408, 80.0925, 67.2032.
    #[test]
    fn colours_are_those_of_cielab() {
        let near = |a: [f64; 3], b: [f64; 3]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 0.02);
        assert!(near(lab([1.0; 3]), [100.0, 0.0, 0.0]), "{:?}", lab([1.0; 3]));
        assert!(near(lab([1.0, 0.0, 0.0]), [53.2408, 80.0925, 67.2032]), "{:?}", lab([1.0, 0.0, 0.0]));
        assert!(near(lab([0.0; 3]), [0.0; 3]));
    }
}
