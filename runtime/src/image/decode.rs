//! Reads image files.

use std::path::Path;

use image::{
    ColorType, DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, ImageResult, Limits, Pixel, RgbImage,
};

use super::jpeg::Jpeg;
use crate::error::{Error, Result};
use crate::files;

/// No camera makes larger pictures; a header that claims one is refused before anything is allocated.
const MAX_SIDE: u32 = 32_768;
/// Bytes that decoding may take.
const MAX_BYTES: u64 = 1 << 30;
/// Pixels: more than any camera's, and what they take in colours and while they are resized is a gibibyte or two.
const MAX_PIXELS: u64 = 1 << 28;

/// One in eight bits, in 16.
const DEEP: u16 = 257;

/// An image as it was read: 8-bit RGB.
pub type Picture = RgbImage;

/// Reads a PNG or JPEG file. Transparency is not seen: the colours are those that lie under it.
pub fn decode(path: &Path) -> Result<Picture> {
    Ok(read(path)?.into_rgb8())
}

/// Reads a picture of what is marked: what is transparent is as dark.
pub fn decode_mask(path: &Path) -> Result<Picture> {
    let image = read(path)?;
    // Of 16 bits, numbers of classes would all be black in eight.
    let image = match image.color() {
        ColorType::L16 | ColorType::La16 | ColorType::Rgb16 | ColorType::Rgba16 => {
            let mut deep = image.into_rgba16();
            let raised = |value: u16| if value > 0 { value.max(DEEP) } else { 0 };
            deep.pixels_mut().for_each(|pixel| pixel.apply_without_alpha(raised));
            DynamicImage::ImageRgba16(deep)
        }
        _ => image,
    };
    if !image.color().has_alpha() {
        return Ok(image.into_rgb8());
    }
    let image = image.into_rgba8();
    let pixel = |x, y| {
        let [colour @ .., alpha] = image.get_pixel(x, y).0;
        image::Rgb(colour.map(|value| (u16::from(value) * u16::from(alpha) / 255) as u8))
    };
    Ok(Picture::from_fn(image.width(), image.height(), pixel))
}

fn read(path: &Path) -> Result<DynamicImage> {
    let bytes = files::read_input(path)?;
    // By content alone: a name can lie.
    let unpacked = match image::guess_format(&bytes) {
        Ok(ImageFormat::Png) => png(bytes).map_err(failed).and_then(unpack),
        Ok(ImageFormat::Jpeg) => Jpeg::new(&bytes).map_err(failed).and_then(unpack),
        _ => Err("it is not an image that is understood (PNG or JPEG)".into()),
    };
    unpacked.map_err(|reason| Error::Input { path: path.into(), reason })
}

fn failed(error: ImageError) -> String {
    format!("it can't be decoded: {error}")
}

fn png(bytes: Vec<u8>) -> ImageResult<impl ImageDecoder> {
    let mut reader = ImageReader::with_format(std::io::Cursor::new(bytes), ImageFormat::Png);
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_BYTES);
    reader.limits(limits);
    reader.into_decoder()
}

/// What a decoder makes of a file, turned as its camera says it was held; or why it makes nothing of it.
fn unpack(mut decoder: impl ImageDecoder) -> std::result::Result<DynamicImage, String> {
    let (width, height) = decoder.dimensions();
    if width.max(height) > MAX_SIDE || u64::from(width) * u64::from(height) > MAX_PIXELS {
        let most = MAX_PIXELS >> 20;
        return Err(format!(
            "it has {width} x {height} pixels, more than {most} Mi or {MAX_SIDE} on a side; make it smaller"
        ));
    }
    let bytes = decoder.total_bytes();
    if bytes > MAX_BYTES {
        return Err(format!("it takes {} MiB when it is unpacked, more than {}", bytes >> 20, MAX_BYTES >> 20));
    }
    if bytes == 0 {
        return Err("it has no pixels".into());
    }
    let orientation = decoder.orientation().map_err(failed)?;
    let mut image = DynamicImage::from_decoder(decoder).map_err(failed)?;
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

    /// Somebody can then say what they are.
    #[test]
    fn numbers_of_classes_in_sixteen_bits_are_not_black() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mask.png");
        let number = |x, _| image::Luma([[0, 1, 2, u16::MAX][x as usize]]);
        image::ImageBuffer::<image::Luma<u16>, Vec<u16>>::from_fn(4, 1, number).save(&path).unwrap();
        let reds: Vec<u8> = decode_mask(&path).unwrap().pixels().map(|pixel| pixel.0[0]).collect();
        assert_eq!(reds, [0, 1, 1, 255]);
        let faint = image::LumaA([1, u16::MAX]);
        image::ImageBuffer::<image::LumaA<u16>, Vec<u16>>::from_pixel(1, 1, faint).save(&path).unwrap();
        assert_eq!(decode_mask(&path).unwrap().get_pixel(0, 0).0, [1; 3]);
    }

    /// As `image` decodes them, their missing part is grey.
    #[test]
    fn a_photograph_that_is_not_whole_is_refused() {
        let mut jpeg = std::io::Cursor::new(vec![]);
        let noise = |x: u32, y: u32| image::Rgb([(x * 37 + y * 91) as u8, (x * y) as u8, (x * x + y) as u8]);
        RgbImage::from_fn(96, 64, noise).write_to(&mut jpeg, ImageFormat::Jpeg).unwrap();
        let whole = jpeg.into_inner();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("photo.jpg");
        let decoded = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            decode(&path)
        };
        let picture = decoded(&whole).unwrap();
        assert_eq!(picture, image::load_from_memory(&whole).unwrap().to_rgb8());
        // What a camera puts behind it is no part of it: a film, another picture, and that cut short.
        for more in [&b"more"[..], &[0xff, 0xda], &[0xff, 0xd9], &whole, &whole[..whole.len() / 2]] {
            assert_eq!(decoded(&[&whole[..], more].concat()).unwrap(), picture);
        }
        // A thumbnail inside has its own end.
        let length = (whole.len() as u16 + 2).to_be_bytes();
        let thumbnail = [&[0xff, 0xe1], &length[..], &whole].concat();
        let with = |end: usize| [&whole[..2], &thumbnail, &whole[2..end]].concat();
        assert_eq!(decoded(&with(whole.len())).unwrap(), picture);
        assert!(decoded(&with(whole.len() / 2)).is_err());
        for cut in (0..whole.len()).step_by(7).chain([whole.len() - 1]) {
            assert!(decoded(&whole[..cut]).is_err(), "{cut} of {} bytes", whole.len());
            let mut blank = whole.clone();
            blank[cut.max(4)..].fill(0);
            assert!(decoded(&blank).is_err(), "{cut} of {} bytes, and zeros", whole.len());
        }
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
