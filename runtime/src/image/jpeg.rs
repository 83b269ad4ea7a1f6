//! JPEG files, whole: `image` takes those that are cut short, too, and those with codes that are none, and leaves grey what it can't
//! make out, which would then be explained. Damage that gives other codes nobody can see: the files have no checksums.

use image::error::{DecodingError, ImageError};
use image::metadata::Orientation;
use image::{ColorType, ImageDecoder, ImageFormat, ImageResult};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

/// Reads a file's bytes, of which the headers are read.
pub struct Jpeg<'a>(JpegDecoder<ZCursor<&'a [u8]>>);

fn failed(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ImageError {
    ImageError::Decoding(DecodingError::new(ImageFormat::Jpeg.into(), error))
}

/// Whether the picture has its end, from segment to segment: a thumbnail, or what a camera puts behind it, has its own.
fn has_end(bytes: &[u8]) -> bool {
    const END: u8 = 0xd9;
    // Within a scan a marker is followed by zero, or says where it can be taken up again.
    let is_segment = |pair: &[u8]| pair[0] == 0xff && !matches!(pair[1], 0 | 0x01 | 0xd0..=0xd8 | 0xff);
    let mut rest = bytes;
    while let Some(at) = rest.windows(2).position(is_segment) {
        let behind = &rest[at + 2..];
        if rest[at + 1] == END {
            return true;
        }
        let Some(length) = behind.first_chunk().map(|length| u16::from_be_bytes(*length)) else { return false };
        rest = behind.get(length.into()..).unwrap_or_default();
    }
    false
}

impl<'a> Jpeg<'a> {
    /// Reads the headers.
    ///
    /// Errors: headers that are none, or a file without an end.
    pub fn new(bytes: &'a [u8]) -> ImageResult<Jpeg<'a>> {
        if !has_end(bytes) {
            return Err(failed("it has no end: it is cut short"));
        }
        let options = DecoderOptions::default().set_strict_mode(true);
        let options = options.set_max_width(usize::MAX).set_max_height(usize::MAX);
        let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
        decoder.decode_headers().map_err(failed)?;
        let color = match decoder.input_colorspace() {
            Some(ColorSpace::Luma) => ColorSpace::Luma,
            _ => ColorSpace::RGB,
        };
        decoder.set_options(options.jpeg_set_out_colorspace(color));
        Ok(Jpeg(decoder))
    }
}

impl ImageDecoder for Jpeg<'_> {
    fn dimensions(&self) -> (u32, u32) {
        // Both are of 16 bits in the file.
        self.0.dimensions().map_or((0, 0), |(width, height)| (width as u32, height as u32))
    }

    fn color_type(&self) -> ColorType {
        match self.0.options().jpeg_get_out_colorspace() {
            ColorSpace::Luma => ColorType::L8,
            _ => ColorType::Rgb8,
        }
    }

    fn orientation(&mut self) -> ImageResult<Orientation> {
        let told = self.0.exif().and_then(|exif| Orientation::from_exif_chunk(exif));
        Ok(told.unwrap_or(Orientation::NoTransforms))
    }

    fn read_image(mut self, room: &mut [u8]) -> ImageResult<()> {
        self.0.decode_into(room).map_err(failed)
    }

    fn read_image_boxed(self: Box<Self>, room: &mut [u8]) -> ImageResult<()> {
        self.read_image(room)
    }
}
