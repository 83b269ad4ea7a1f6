//! Reads image files.

use std::path::Path;

use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, ImageResult, Limits, RgbImage};

use crate::error::{Error, Result};
use crate::files;

/// No camera makes larger pictures; a header that claims one is refused before anything is allocated.
const MAX_SIDE: u32 = 32_768;
/// Bytes that decoding may take.
const MAX_BYTES: u64 = 1 << 30;
/// Pixels: more than any camera's, and what they take in colours and while they are resized is a gibibyte or two.
const MAX_PIXELS: u64 = 1 << 28;

/// An image as it was read: 8-bit RGB.
pub type Picture = RgbImage;

/// Reads a PNG or JPEG file. Transparency is not seen: the colours are those that lie under it.
pub fn decode(path: &Path) -> Result<Picture> {
    Ok(read(path)?.to_rgb8())
}

/// Reads a picture of what is marked: what is transparent is as dark.
pub fn decode_mask(path: &Path) -> Result<Picture> {
    let image = read(path)?;
    if !image.color().has_alpha() {
        return Ok(image.to_rgb8());
    }
    let image = image.to_rgba8();
    let pixel = |x, y| {
        let [colour @ .., alpha] = image.get_pixel(x, y).0;
        image::Rgb(colour.map(|value| (u16::from(value) * u16::from(alpha) / 255) as u8))
    };
    Ok(Picture::from_fn(image.width(), image.height(), pixel))
}

fn read(path: &Path) -> Result<DynamicImage> {
    let refuse = |reason: String| Error::Input { path: path.into(), reason };
    let bytes = files::read_input(path)?;
    // By content alone: a name can lie.
    let reader = ImageReader::new(std::io::Cursor::new(bytes)).with_guessed_format();
    let mut reader = reader.map_err(|source| Error::Read { path: path.into(), source })?;
    if !matches!(reader.format(), Some(ImageFormat::Png | ImageFormat::Jpeg)) {
        return Err(refuse("it is not an image that is understood (PNG or JPEG)".into()));
    }
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_BYTES);
    reader.limits(limits);
    let failed = |e| refuse(format!("it can't be decoded: {e}"));
    let decoder = reader.into_decoder().map_err(failed)?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        let most = MAX_PIXELS >> 20;
        return Err(refuse(format!("it has {width} x {height} pixels, more than {most} Mi; make it smaller")));
    }
    if decoder.total_bytes() > MAX_BYTES {
        let most = MAX_BYTES >> 20;
        return Err(refuse(format!(
            "it takes {} MiB when it is unpacked, more than {most}",
            decoder.total_bytes() >> 20
        )));
    }
    let image = upright(decoder).map_err(failed)?;
    if image.width() == 0 || image.height() == 0 {
        return Err(refuse("it has no pixels".into()));
    }
    Ok(image)
}

/// Decodes, and turns the picture as its camera says it was held.
fn upright(mut decoder: impl ImageDecoder) -> ImageResult<DynamicImage> {
    let orientation = decoder.orientation()?;
    let mut image = DynamicImage::from_decoder(decoder)?;
    image.apply_orientation(orientation);
    Ok(image)
}

/// Whether a file name looks like an image that [`decode`] reads.
pub fn is_image_name(path: &Path) -> bool {
    let ending = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
    matches!(ending.as_str(), "png" | "jpg" | "jpeg")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A few bytes that are a gigapixel are refused before they are unpacked.
    #[test]
    fn what_is_larger_than_any_picture_is_refused() {
        let mut png = std::io::Cursor::new(vec![]);
        image::GrayImage::new(4, 4).write_to(&mut png, ImageFormat::Png).unwrap();
        let mut bytes = png.into_inner();
        bytes[16..24].copy_from_slice(&[0, 0, 0x80, 0, 0, 0, 0x7f, 0xff]);
        let sum = crc32(&bytes[12..29]).to_be_bytes();
        bytes[29..33].copy_from_slice(&sum);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bomb.png");
        std::fs::write(&path, bytes).unwrap();
        let error = decode(&path).unwrap_err().to_string();
        assert!(error.contains("32768 x 32767"), "{error}");
    }

    #[test]
    fn what_is_transparent_is_not_marked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mask.png");
        let white = |x, _| image::Rgba([255, 255, 255, [0, 100, 255][x as usize]]);
        image::RgbaImage::from_fn(3, 1, white).save(&path).unwrap();
        let reds = |picture: Picture| picture.pixels().map(|pixel| pixel.0[0]).collect::<Vec<u8>>();
        assert_eq!(reds(decode_mask(&path).unwrap()), [0, 100, 255]);
        assert_eq!(reds(decode(&path).unwrap()), [255; 3]);
    }

    fn crc32(bytes: &[u8]) -> u32 {
        let step = |crc: u32, bit: u32| (crc >> 1) ^ if (crc ^ bit) & 1 == 1 { 0xedb8_8320 } else { 0 };
        let byte = |crc, byte: &u8| (0..8).fold(crc, |crc, bit| step(crc, u32::from(byte >> bit)));
        !bytes.iter().fold(!0, byte)
    }

    #[test]
    fn a_photograph_is_turned_upright() {
        let mut jpeg = std::io::Cursor::new(vec![]);
        RgbImage::new(16, 8).write_to(&mut jpeg, ImageFormat::Jpeg).unwrap();
        let plain = jpeg.into_inner();
        // Exif: big-endian TIFF with one entry, orientation (0x112) = 6, a quarter turn.
        let mut exif = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01".to_vec();
        exif.extend(b"\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0");
        let length = (exif.len() as u16 + 2).to_be_bytes();
        let turned = [&plain[..2], &[0xff, 0xe1], &length, &exif, &plain[2..]].concat();
        let folder = tempfile::tempdir().unwrap();
        for (bytes, size) in [(plain, (16, 8)), (turned, (8, 16))] {
            let path = folder.path().join("photo.jpg");
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(decode(&path).unwrap().dimensions(), size);
        }
    }
}
