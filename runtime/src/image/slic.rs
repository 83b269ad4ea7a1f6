//! Superpixels by simple linear iterative clustering (Achanta et al. 2012): segments of about the same size that follow an
//! image's edges. Each is in one piece: of what is in several, all but the largest goes to the segments around it.

use std::collections::VecDeque;

/// How much a pixel's place counts beside its value: where values differ by this share of their range, a step of a
/// segment's side is as far.
const COMPACTNESS: f64 = 0.1;

const ROUNDS: usize = 10;

/// The grid that segments start from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Superpixels {
    rows: usize,
    columns: usize,
}

impl Superpixels {
    /// About `wanted` of them, as square as can be.
    pub fn of((height, width): (usize, usize), wanted: usize) -> Superpixels {
        let side = ((height * width) as f64 / wanted.max(1) as f64).sqrt().max(1.0);
        let along = |extent: usize| ((extent as f64 / side).round() as usize).clamp(1, extent.max(1));
        Superpixels { rows: along(height), columns: along(width) }
    }

    /// How many there are at most.
    pub fn count(&self) -> usize {
        self.rows * self.columns
    }
}

/// What a segment's pixels are near: place, and the value of each channel.
#[derive(Clone, Default)]
struct Centre {
    row: f64,
    column: f64,
    values: Vec<f64>,
    pixels: usize,
}

/// The pixels of each segment of an image, whose channels are row-major planes; segments that lost all of theirs are left out.
pub fn slic(planes: &[Vec<f32>], (height, width): (usize, usize), wanted: usize) -> Vec<Vec<u32>> {
    let start = Superpixels::of((height, width), wanted);
    let (step_r, step_c) = (height as f64 / start.rows as f64, width as f64 / start.columns as f64);
    let spread = planes.iter().map(|plane| {
        let (low, high) = plane.iter().fold((f32::MAX, f32::MIN), |(low, high), v| (low.min(*v), high.max(*v)));
        (high - low) as f64
    });
    let spread = spread.fold(0.0, f64::max);
    // Of a flat image places alone count.
    let scale = if spread > 0.0 { spread } else { 1.0 };
    let weight = (COMPACTNESS * scale / step_r.max(step_c)).powi(2);
    let mut labels: Vec<usize> = (0..height * width)
        .map(|p| (p / width * start.rows / height) * start.columns + p % width * start.columns / width)
        .collect();
    let mut centres = means(planes, &labels, start.count(), width);
    for _ in 0..ROUNDS {
        let mut nearest = vec![f64::INFINITY; labels.len()];
        for (number, centre) in centres.iter().enumerate().filter(|(_, centre)| centre.pixels > 0) {
            let reach = |middle: f64, step: f64, extent: usize| {
                ((middle - step).max(0.0) as usize)..((middle + step) as usize + 1).min(extent)
            };
            for row in reach(centre.row, step_r, height) {
                for column in reach(centre.column, step_c, width) {
                    let place = row * width + column;
                    let away = (row as f64 - centre.row).powi(2) + (column as f64 - centre.column).powi(2);
                    let apart = planes.iter().zip(&centre.values).map(|(p, v)| (p[place] as f64 - v).powi(2));
                    let distance = apart.sum::<f64>() + weight * away;
                    if distance < nearest[place] {
                        (nearest[place], labels[place]) = (distance, number);
                    }
                }
            }
        }
        centres = means(planes, &labels, centres.len(), width);
    }
    join(&mut labels, width);
    let mut segments = vec![vec![]; centres.len()];
    labels.iter().enumerate().for_each(|(place, &label)| segments[label].push(place as u32));
    segments.retain(|segment| !segment.is_empty());
    segments
}

/// The places beside a place.
fn beside(place: usize, width: usize, places: usize) -> impl Iterator<Item = usize> {
    let column = place % width;
    let [up, down] = [(place >= width).then(|| place - width), Some(place + width).filter(|p| *p < places)];
    let [left, right] = [(column > 0).then(|| place - 1), (column + 1 < width).then(|| place + 1)];
    [up, left, right, down].into_iter().flatten()
}

/// Leaves each label its largest piece; the others' places go, from their rims inwards, to the labels beside them.
fn join(labels: &mut [usize], width: usize) {
    let mut seen = vec![false; labels.len()];
    let mut largest: Vec<Vec<usize>> = vec![];
    for start in 0..labels.len() {
        if std::mem::replace(&mut seen[start], true) {
            continue;
        }
        let (label, mut piece, mut next) = (labels[start], vec![start], 0);
        while let Some(&place) = piece.get(next) {
            next += 1;
            for other in beside(place, width, labels.len()) {
                if labels[other] == label && !std::mem::replace(&mut seen[other], true) {
                    piece.push(other);
                }
            }
        }
        largest.resize_with(largest.len().max(label + 1), Vec::new);
        if piece.len() > largest[label].len() {
            largest[label] = piece;
        }
    }
    let mut is_kept = vec![false; labels.len()];
    largest.iter().flatten().for_each(|&place| is_kept[place] = true);
    let mut rim: VecDeque<usize> = (0..labels.len()).filter(|&place| is_kept[place]).collect();
    while let Some(place) = rim.pop_front() {
        for other in beside(place, width, labels.len()) {
            if !std::mem::replace(&mut is_kept[other], true) {
                labels[other] = labels[place];
                rim.push_back(other);
            }
        }
    }
}

fn means(planes: &[Vec<f32>], labels: &[usize], count: usize, width: usize) -> Vec<Centre> {
    let mut centres = vec![Centre { values: vec![0.0; planes.len()], ..Centre::default() }; count];
    for (place, &label) in labels.iter().enumerate() {
        let centre = &mut centres[label];
        centre.pixels += 1;
        centre.row += (place / width) as f64;
        centre.column += (place % width) as f64;
        centre.values.iter_mut().zip(planes).for_each(|(sum, plane)| *sum += plane[place] as f64);
    }
    for centre in centres.iter_mut().filter(|centre| centre.pixels > 0) {
        let pixels = centre.pixels as f64;
        (centre.row, centre.column) = (centre.row / pixels, centre.column / pixels);
        centre.values.iter_mut().for_each(|sum| *sum /= pixels);
    }
    centres
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_cover_every_pixel_once_and_keep_to_edges() {
        // Two halves with an edge that no grid line is on.
        let plane: Vec<f32> = (0..30 * 40).map(|p| if p % 40 < 17 { 0.0 } else { 1.0 }).collect();
        let segments = slic(std::slice::from_ref(&plane), (30, 40), 12);
        assert!(segments.len() <= Superpixels::of((30, 40), 12).count());
        let mut all = segments.concat();
        all.sort_unstable();
        assert_eq!(all, (0..1200).collect::<Vec<u32>>());
        for segment in &segments {
            assert!(segment.iter().all(|&p| plane[p as usize] == plane[segment[0] as usize]), "{segment:?}");
        }
    }

    #[test]
    fn segments_of_noise_are_in_one_piece() {
        // Values that jump from place to place, so that places alone keep nothing together.
        let plane: Vec<f32> = (0..40 * 50u32).map(|p| (p.wrapping_mul(2_654_435_761) >> 16 & 0xff) as f32).collect();
        let segments = slic(&[plane], (40, 50), 20);
        assert_eq!(segments.iter().map(Vec::len).sum::<usize>(), 2000);
        for segment in segments {
            let (mut reached, mut next) = (vec![segment[0] as usize], 0);
            while let Some(&place) = reached.get(next) {
                next += 1;
                let more = beside(place, 50, 2000).filter(|p| segment.contains(&(*p as u32)));
                let new: Vec<usize> = more.filter(|p| !reached.contains(p)).collect();
                reached.extend(new);
            }
            assert_eq!(reached.len(), segment.len(), "{segment:?}");
        }
    }

    #[test]
    fn a_flat_image_has_even_segments() {
        let segments = slic(&[vec![0.5; 900]], (30, 30), 9);
        assert_eq!(segments.len(), 9);
        assert!(
            segments.iter().all(|s| (60..140).contains(&s.len())),
            "{:?}",
            segments.iter().map(Vec::len).collect::<Vec<_>>()
        );
    }
}
