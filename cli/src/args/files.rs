//! Files that are written.

use std::path::PathBuf;

use clap::builder::{PathBufValueParser, TypedValueParser};

/// What pictures might be called elsewhere, and what is none here.
const OTHERS: [&str; 11] = ["bmp", "gif", "jpeg", "jpg", "json", "npy", "pdf", "svg", "tif", "tiff", "webp"];

/// A picture, which is a PNG whatever it is called; a name that says otherwise is a mistake.
pub fn picture() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(|path| {
        let ending = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        match OTHERS.contains(&ending.as_str()) {
            true => Err("pictures are written as PNG; call it .png"),
            false => Ok(path),
        }
    })
}
