//! From a picture to a model's input.

use image::imageops::{self, FilterType};

use super::decode::Picture;
use super::resize::centres;
use crate::error::{Error, Result};
use crate::onnx::Layout;
use crate::onnx::card::{Color, InputCard, Resize};

/// A picture made ready: the input, and the part of the picture that it shows.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// Row-major, in the model's shape.
    pub input: Vec<f32>,
    /// The picture's part that the model sees, at the picture's own resolution.
    pub seen: Picture,
}

/// Fits a picture to an input of `shape` and `layout`, and scales its pixels as the card says.
pub fn prepare(picture: &Picture, shape: &[usize], layout: Layout, card: &InputCard) -> Result<Prepared> {
    let Some((channels, height, width)) = layout.split(shape) else {
        let reason = format!("is an image, but the model's input has shape {shape:?}; give a .npy tensor");
        return Err(Error::bad_input(reason));
    };
    if shape[0] != 1 {
        return Err(Error::bad_input(format!("is one image, but the model wants a batch of {}", shape[0])));
    }
    let color = card.color.unwrap_or(if channels == 1 { Color::Gray } else { Color::Rgb });
    if channels != if color == Color::Gray { 1 } else { 3 } {
        let (own, name) = if color == Color::Gray { (1, "gray") } else { (3, "rgb or bgr") };
        let reason = format!(
            "is made an image of {own} channels (color = {name}), but the model's input has {channels}; set --color or give a .npy tensor"
        );
        return Err(Error::bad_input(reason));
    }
    for (values, what) in [(&card.mean, "mean"), (&card.std, "std")] {
        if values.len() != 1 && values.len() != channels {
            return Err(Error::usage(format!("{what} has {} values for {channels} channels", values.len())));
        }
    }
    let seen = visible_part(picture, (height, width), card)?;
    let fitted = match seen.dimensions() == (width as u32, height as u32) {
        true => seen.clone(),
        false => imageops::resize(&seen, width as u32, height as u32, FilterType::Triangle),
    };
    let mut input = vec![0.0; channels * height * width];
    for (pixel, rgb) in fitted.pixels().enumerate() {
        for channel in 0..channels {
            let raw = match color {
                Color::Rgb => rgb[channel] as f32,
                Color::Bgr => rgb[2 - channel] as f32,
                // Rec. 601, as image libraries and training pipelines have it.
                Color::Gray => luminance(rgb.0),
            };
            let place = match layout {
                Layout::ChannelsFirst => channel * height * width + pixel,
                Layout::ChannelsLast => pixel * channels + channel,
            };
            input[place] = card.value(raw, channel);
        }
    }
    Ok(Prepared { input, seen })
}

/// A picture of an input that came as numbers: its range becomes 0..255.
///
/// Errors: a shape that is no image's, or another number of values.
pub fn picture_of(input: &[f32], shape: &[usize], layout: Layout) -> Result<Picture> {
    let (channels, height, width) = layout.split(shape).unwrap_or_default();
    if channels == 0 || channels * height * width != input.len() {
        return Err(Error::bad_input(format!("has {} values, which are no image of shape {shape:?}", input.len())));
    }
    let (low, high) = input.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), &v| (l.min(v), h.max(v)));
    let range = if high > low { high - low } else { 1.0 };
    Ok(Picture::from_fn(width as u32, height as u32, |x, y| {
        let pixel = y as usize * width + x as usize;
        let value = |channel: usize| {
            let channel = channel.min(channels - 1);
            let place = match layout {
                Layout::ChannelsFirst => channel * height * width + pixel,
                Layout::ChannelsLast => pixel * channels + channel,
            };
            ((input[place] - low) / range * 255.0).round() as u8
        };
        image::Rgb(std::array::from_fn(value))
    }))
}

/// The brightness of a pixel, 0..255.
pub fn luminance([r, g, b]: [u8; 3]) -> f32 {
    (299.0 * r as f32 + 587.0 * g as f32 + 114.0 * b as f32) / 1000.0
}

/// Which pixels of an input of this shape a picture marks, by more than half of full brightness. It is fitted as the card says
/// of images, without blending pixels.
pub fn mask(picture: &Picture, shape: &[usize], layout: Layout, card: &InputCard) -> Result<Vec<bool>> {
    let no_image =
        || Error::usage(format!("an input of shape {shape:?} is no image, so none of its pixels can be marked"));
    let (_, height, width) = layout.split(shape).ok_or_else(no_image)?;
    let seen = visible_part(picture, (height, width), card)?;
    let bright: Vec<f32> = seen.pixels().map(|pixel| luminance(pixel.0)).collect();
    let extents = (seen.height() as usize, seen.width() as usize);
    Ok(centres(&bright, extents, (height, width)).into_iter().map(|v| v > 127.5).collect())
}

fn visible_part(picture: &Picture, (height, width): (usize, usize), card: &InputCard) -> Result<Picture> {
    let (w, h) = picture.dimensions();
    if w == 0 || h == 0 {
        return Err(Error::bad_input(format!("is a picture of {w} x {h}, which has no pixels")));
    }
    match card.resize {
        Resize::Stretch => Ok(picture.clone()),
        Resize::None if (w as usize, h as usize) == (width, height) => Ok(picture.clone()),
        Resize::None => Err(Error::bad_input(format!(
            "is {w} x {h}, but the model wants {width} x {height} and resize = none forbids resizing"
        ))),
        Resize::Crop => {
            // The largest window of the model's proportions, shrunk by the ratio, in the middle.
            let fit = (w as f32 / width as f32).min(h as f32 / height as f32) * card.crop_ratio;
            let cut_w = ((width as f32 * fit).round() as u32).clamp(1, w);
            let cut_h = ((height as f32 * fit).round() as u32).clamp(1, h);
            Ok(imageops::crop_imm(picture, (w - cut_w) / 2, (h - cut_h) / 2, cut_w, cut_h).to_image())
        }
    }
}
