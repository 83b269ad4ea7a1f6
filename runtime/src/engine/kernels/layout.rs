//! From one order of an image's elements to the other.

use crate::simd::LANES;

/// `[channel][place]` to `[channel / 16][place][16]`; lanes beyond the channels are zero.
pub fn to_blocked(planes: &[f32], channels: usize, blocked: &mut [f32]) {
    let places = planes.len() / channels.max(1);
    for (block, output) in blocked.chunks_exact_mut(places * LANES).enumerate() {
        let first = block * LANES;
        let count = LANES.min(channels - first);
        let part = &planes[first * places..(first + count) * places];
        for (place, lanes) in output.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
            for (lane, v) in lanes.iter_mut().enumerate() {
                *v = if lane < count { part[lane * places + place] } else { 0.0 };
            }
        }
    }
}

/// `[channel / 16][place][16]` to `[channel][place]`.
pub fn to_planes(blocked: &[f32], channels: usize, planes: &mut [f32]) {
    let places = planes.len() / channels.max(1);
    for (channel, output) in planes.chunks_exact_mut(places).enumerate() {
        let input = &blocked[channel / LANES * places * LANES..][..places * LANES];
        for (v, lanes) in output.iter_mut().zip(input.as_chunks::<LANES>().0) {
            *v = lanes[channel % LANES];
        }
    }
}
