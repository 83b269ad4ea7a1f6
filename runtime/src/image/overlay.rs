//! Draws an attribution over the picture it explains.

use std::io::Cursor;

use image::imageops;
use image::{Rgb, RgbImage};

use super::colormap::Colormap;
use super::decode::Picture;
use super::preprocess::luminance;
use super::resize::bilinear;
use crate::error::{Error, Result};

/// How to draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Colours.
    pub colormap: Colormap,
    /// Picture, map and overlay beside each other, instead of the overlay alone.
    pub side_by_side: bool,
    /// Whole-number magnification; `None` magnifies only pictures too small to see.
    pub zoom: Option<u32>,
}

/// Pictures with a shorter side below this are magnified until they reach it.
const VISIBLE: u32 = 224;
/// They are not magnified to more than this many.
const LARGE: u32 = 4096;
/// The part of all pixels whose attribution may be off the colour scale, so that one outlier does not
/// leave the rest colourless.
const CLIPPED: f64 = 0.005;
const GUTTER: u32 = 8;

/// Draws a map of `size` (height, width), one value per pixel of the model's input, over `picture`, which
/// shows what the model saw.
///
/// Errors: a map of another size, a picture without pixels, or one that would be magnified to more than 65 535 pixels a side.
pub fn draw(map: &[f32], size: (usize, usize), picture: &Picture, style: &Style) -> Result<RgbImage> {
    if map.is_empty() || map.len() != size.0 * size.1 {
        return Err(Error::usage(format!("a map of {} values is none of {} x {} pixels", map.len(), size.1, size.0)));
    }
    let shorter = picture.width().min(picture.height()).max(1);
    let longer = picture.width().max(picture.height()).max(1);
    let zoom = style.zoom.unwrap_or(VISIBLE.div_ceil(shorter).min(LARGE / longer)).max(1);
    let (width, height) = (picture.width(), picture.height());
    let side = |extent: u32| extent > 0 && extent.saturating_mul(zoom) <= u16::MAX.into();
    if !side(width) || !side(height) {
        return Err(Error::usage(format!("a picture of {width} x {height} can't be drawn {zoom} times as large")));
    }
    let large = |image: RgbImage| match zoom {
        1 => image,
        _ => imageops::resize(&image, width * zoom, height * zoom, imageops::FilterType::Nearest),
    };
    let full = bilinear(map, size, (height as usize, width as usize));
    let scale = color_scale(&full);
    let strength = |i: usize| if scale > 0.0 { full[i] / scale } else { 0.0 };
    let place = |x: u32, y: u32| (y * width + x) as usize;
    let over = || {
        RgbImage::from_fn(width, height, |x, y| {
            let grey = luminance(picture.get_pixel(x, y).0);
            Rgb(blend(grey, strength(place(x, y)), style.colormap))
        })
    };
    if !style.side_by_side {
        return Ok(large(over()));
    }
    let alone = || RgbImage::from_fn(width, height, |x, y| Rgb(style.colormap.color(strength(place(x, y)))));
    let step = width * zoom + GUTTER;
    let mut sheet = RgbImage::from_pixel(3 * step - GUTTER, height * zoom, Rgb([255; 3]));
    // One at a time: of a camera's picture each takes as much as the picture.
    let panels: [&dyn Fn() -> RgbImage; 3] = [&|| picture.clone(), &alone, &over];
    for (i, panel) in panels.into_iter().enumerate() {
        imageops::replace(&mut sheet, &large(panel()), (i as u32 * step) as i64, 0);
    }
    Ok(sheet)
}

/// The size of value that gets the full colour.
fn color_scale(map: &[f32]) -> f32 {
    let mut sizes: Vec<f32> = map.iter().map(|v| v.abs()).filter(|v| v.is_finite()).collect();
    if sizes.is_empty() {
        return 0.0;
    }
    let rank = ((sizes.len() as f64 * (1.0 - CLIPPED)) as usize).min(sizes.len() - 1);
    let (_, at_rank, above) = sizes.select_nth_unstable_by(rank, f32::total_cmp);
    // A map with a few non-zero pixels has zero at the rank.
    if *at_rank > 0.0 { *at_rank } else { above.iter().copied().fold(0.0, f32::max) }
}

/// The picture in grey where the attribution is weak, the colour where it is strong.
fn blend(grey: f32, strength: f32, colormap: Colormap) -> [u8; 3] {
    let size = strength.abs().min(1.0);
    let color = match colormap {
        // Opacity says how strong, so the hue is one bright red or blue, not the map's way over white.
        Colormap::Diverging => colormap.color(strength.signum() * 0.6),
        Colormap::Sequential => colormap.color(0.3 + 0.7 * size),
    };
    // Faint evidence stays visible, but the picture shows through everywhere.
    let opacity = 0.9 * size.powf(0.7);
    let ground = 30.0 + 0.7 * grey;
    std::array::from_fn(|c| (ground * (1.0 - opacity) + color[c] as f32 * opacity).round() as u8)
}

/// The picture as a PNG file's bytes, with `texts` (keyword, text) in it.
pub fn encode_png(image: &RgbImage, texts: &[(&str, &str)]) -> Result<Vec<u8>> {
    let mut bytes = Cursor::new(vec![]);
    let mut encoder = png::Encoder::new(&mut bytes, image.width(), image.height());
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    // A camera's picture takes seconds otherwise, for a file that is not much smaller.
    encoder.set_compression(png::Compression::Fast);
    let write = || -> std::result::Result<(), png::EncodingError> {
        for (keyword, text) in texts {
            encoder.add_itxt_chunk(keyword.to_string(), text.to_string())?;
        }
        let mut writer = encoder.write_header()?;
        writer.write_image_data(image.as_raw())?;
        writer.finish()
    };
    write().map_err(|e| Error::usage(format!("the picture can't be written as PNG: {e}")))?;
    Ok(bytes.into_inner())
}
