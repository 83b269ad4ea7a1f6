//! Reads image files.

use std::path::Path;

use image::{ImageReader, Limits, RgbImage};

use crate::error::{Error, Result};

/// No camera makes larger pictures; a header that claims one is refused before anything is allocated.
const MAX_SIDE: u32 = 32_768;
/// Bytes that decoding may take.
const MAX_BYTES: u64 = 1 << 30;

/// An image as it was read: 8-bit RGB.
pub type Picture = RgbImage;

/// Reads a PNG or JPEG file.
pub fn decode(path: &Path) -> Result<Picture> {
    let refuse = |reason: String| Error::Input { path: path.into(), reason };
    let failed = |source| Error::Read { path: path.into(), source };
    let file = std::fs::File::open(path).map_err(failed)?;
    // By content alone: a name can lie.
    let mut reader = ImageReader::new(std::io::BufReader::new(file)).with_guessed_format().map_err(failed)?;
    if reader.format().is_none() {
        return Err(refuse("it is not an image that is understood (PNG or JPEG)".into()));
    }
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_BYTES);
    reader.limits(limits);
    let image = reader.decode().map_err(|e| refuse(format!("it can't be decoded: {e}")))?;
    if image.width() == 0 || image.height() == 0 {
        return Err(refuse("it has no pixels".into()));
    }
    Ok(image.to_rgb8())
}

/// Whether a file name looks like an image that [`decode`] reads.
pub fn is_image_name(path: &Path) -> bool {
    let ending = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
    matches!(ending.as_str(), "png" | "jpg" | "jpeg")
}
