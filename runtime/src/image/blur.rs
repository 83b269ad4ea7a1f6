//! Gaussian blur.

use crate::onnx::Layout;

/// What lies beside an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Border {
    /// The image mirrored, its border pixels included.
    Reflect,
    /// Zeros.
    Zero,
}

/// Blurs every channel of an image of (channels, height, width) with a Gaussian of deviation `sigma` pixels, cut off at
/// four deviations.
pub fn gaussian(image: &[f32], layout: Layout, extents: (usize, usize, usize), sigma: f64, border: Border) -> Vec<f32> {
    let radius = (4.0 * sigma + 0.5) as usize;
    if radius == 0 {
        return image.to_vec();
    }
    let weights = weights(sigma, radius);
    let (rows, columns) = axes(layout, extents);
    let down = along(image, rows, &weights, border);
    along(&down, columns, &weights, border)
}

/// The blur of RISE (Petsiuk et al. 2018), whose image lies among zeros: 11 x 11 pixels, whose weights are a Gaussian of 5 pixels
/// mirrored at the borders of these 11, so that their deviation is 3.1.
pub fn of_rise(image: &[f32], layout: Layout, (channels, height, width): (usize, usize, usize)) -> Vec<f32> {
    let (mut point, sigma) = ([0.0; 11], 5.0);
    point[5] = 1.0;
    let weights = along(&point, [11, 1], &weights(sigma, 20), Border::Reflect);
    let (rows, columns) = axes(layout, (channels, height, width));
    along(&along(image, rows, &weights, Border::Zero), columns, &weights, Border::Zero)
}

/// How many places rows and columns have, and how many numbers each place.
fn axes(layout: Layout, (channels, height, width): (usize, usize, usize)) -> ([usize; 2], [usize; 2]) {
    match layout {
        Layout::ChannelsFirst => ([height, width], [width, 1]),
        Layout::ChannelsLast => ([height, width * channels], [width, channels]),
    }
}

fn weights(sigma: f64, radius: usize) -> Vec<f32> {
    let bell: Vec<f64> = (0..=2 * radius)
        .map(|k| {
            let away = k as f64 - radius as f64;
            (-0.5 * away * away / (sigma * sigma)).exp()
        })
        .collect();
    let sum: f64 = bell.iter().sum();
    bell.iter().map(|w| (w / sum) as f32).collect()
}

/// Along an axis of `len` places of `inner` numbers each.
fn along(image: &[f32], [len, inner]: [usize; 2], weights: &[f32], border: Border) -> Vec<f32> {
    let radius = weights.len() / 2;
    let mut wide = vec![0.0f32; (len + 2 * radius) * inner];
    let mut out = vec![0.0f32; image.len()];
    for (from, to) in image.chunks_exact(len * inner).zip(out.chunks_exact_mut(len * inner)) {
        for (place, values) in wide.chunks_exact_mut(inner).enumerate() {
            match source(place as i64 - radius as i64, len as i64, border) {
                Some(at) => values.copy_from_slice(&from[at * inner..(at + 1) * inner]),
                None => values.fill(0.0),
            }
        }
        let mut runs = to.chunks_exact_mut(RUN);
        for (run, to) in runs.by_ref().enumerate() {
            // Sums that stay in registers.
            let mut sums = [0.0f32; RUN];
            for (k, &weight) in weights.iter().enumerate() {
                let at = run * RUN + k * inner;
                sums.iter_mut().zip(&wide[at..at + RUN]).for_each(|(sum, &v)| *sum += weight * v);
            }
            to.copy_from_slice(&sums);
        }
        let rest = runs.into_remainder();
        let done = len * inner - rest.len();
        for (k, &weight) in weights.iter().enumerate() {
            rest.iter_mut().zip(&wide[done + k * inner..]).for_each(|(to, &v)| *to += weight * v);
        }
    }
    out
}

/// Numbers that are added up at a time.
const RUN: usize = 32;

/// The place inside that stands for one that may lie beside.
fn source(place: i64, len: i64, border: Border) -> Option<usize> {
    let inside = (0..len).contains(&place);
    match border {
        Border::Zero => inside.then_some(place as usize),
        Border::Reflect => {
            let at = place.rem_euclid(2 * len);
            Some(if at < len { at } else { 2 * len - 1 - at } as usize)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXTENTS: (usize, usize, usize) = (2, 5, 7);

    #[test]
    fn a_constant_stays_where_the_border_is_mirrored() {
        for layout in [Layout::ChannelsFirst, Layout::ChannelsLast] {
            for sigma in [0.0, 0.1, 1.3, 20.0] {
                let blurred = gaussian(&[3.0; 70], layout, EXTENTS, sigma, Border::Reflect);
                assert!(blurred.iter().all(|v| (v - 3.0).abs() < 1e-5), "{sigma}: {blurred:?}");
            }
        }
    }

    #[test]
    fn the_kernel_of_rise_is_that_of_its_program() {
        let mut image = vec![0.0; 2 * 13 * 15];
        image[13 * 15 + 6 * 15 + 7] = 1.0;
        let blurred = of_rise(&image, Layout::ChannelsFirst, (2, 13, 15));
        // scipy.ndimage.gaussian_filter of a point amid 11 x 11 zeros, with a deviation of 5.
        let kernel = [0.08795815, 0.08889612, 0.0904742, 0.09219112, 0.09348939, 0.09398206];
        let weight = |away: usize| kernel.get(5usize.wrapping_sub(away)).copied().unwrap_or(0.0);
        for (i, &v) in blurred.iter().enumerate() {
            let (row, column) = (i % 195 / 15, i % 15);
            let expected = weight(row.abs_diff(6)) * weight(column.abs_diff(7)) * f64::from(u8::from(i >= 195));
            assert!((v as f64 - expected).abs() < 1e-8, "{i}: {v} for {expected}");
        }
        // Beside zeros a constant fades.
        let faded = of_rise(&[1.0; 169], Layout::ChannelsLast, (1, 13, 13));
        assert!((faded[6 * 13 + 6] - 1.0).abs() < 1e-6 && (faded[0] - 0.2992).abs() < 1e-3, "{}", faded[0]);
    }

    #[test]
    fn a_point_becomes_the_bell_in_its_own_channel() {
        let mut image = vec![0.0; 70];
        image[35 + 2 * 7 + 3] = 1.0;
        let blurred = gaussian(&image, Layout::ChannelsFirst, EXTENTS, 0.5, Border::Zero);
        let bell = |d: f64| (-2.0 * d * d).exp();
        let sum: f64 = (-2..=2).map(|d| bell(d as f64)).sum();
        for (i, &v) in blurred.iter().enumerate() {
            let (channel, row, column) = (i / 35, i / 7 % 5, i % 7);
            let away = (row as f64 - 2.0, column as f64 - 3.0);
            let near = channel == 1 && away.0.abs() <= 2.0 && away.1.abs() <= 2.0;
            let expected = if near { bell(away.0) * bell(away.1) / (sum * sum) } else { 0.0 };
            assert!((v as f64 - expected).abs() < 1e-6, "{i}: {v} for {expected}");
        }
        let turned: Vec<f32> = (0..70).map(|i| image[i % 2 * 35 + i / 2]).collect();
        let last = gaussian(&turned, Layout::ChannelsLast, EXTENTS, 0.5, Border::Zero);
        assert!((0..70).all(|i| last[i] == blurred[i % 2 * 35 + i / 2]));
    }
}
