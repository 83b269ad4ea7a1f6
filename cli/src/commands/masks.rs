//! Pictures of what is marked: white on black.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use whyline_runtime::image::preprocess::luminance;
use whyline_runtime::image::{Picture, decode_mask};

use crate::failure::{Failure, Outcome, about_input};

/// Whether a file is a mask of another one, by its name.
pub fn is_mask(path: &Path) -> bool {
    path.file_stem().is_some_and(|stem| stem.to_string_lossy().ends_with(".mask"))
}

/// The mask of an image, if there is one.
pub fn mask_beside(path: &Path) -> Option<PathBuf> {
    let endings = ["png", "PNG", "jpg", "JPG", "jpeg", "JPEG"];
    let masks = endings.iter().map(|ending| path.with_extension(format!("mask.{ending}")));
    masks.into_iter().find(|mask| mask.is_file())
}

/// Reads one.
pub fn read_mask(path: &Path) -> Outcome<Picture> {
    let picture = decode_mask(path).map_err(about_input)?;
    refuse_classes(&picture, path)?;
    Ok(picture)
}

/// Refuses a picture that marks objects by numbers of classes, as indices or in their colours: few different ones, some of which
/// would be taken for background. What an edge or its compression leaves has many.
fn refuse_classes(picture: &Picture, path: &Path) -> Outcome {
    let (mut dark, mut bright, mut kinds) = (0u64, 0u64, HashSet::new());
    for pixel in picture.pixels().filter(|pixel| pixel.0 != [0; 3]) {
        if luminance(pixel.0) > 127.5 {
            bright += 1;
        } else {
            dark += 1;
            kinds.insert(pixel.0);
        }
    }
    // Where nothing is bright, whatever else there is is all that is marked; beside it, nearly black is black.
    let is_noise = bright > 0 && kinds.iter().all(|color| luminance(*color) < NEARLY_BLACK);
    let are_classes = kinds.len() <= CLASSES && (dark > bright || kinds.iter().any(is_vivid));
    if is_noise || (bright > 0 && !are_classes) || dark == 0 {
        return Ok(());
    }
    let message = format!(
        "{}: {dark} pixels are neither black nor bright, and {bright} are bright: a mask marks the object white, on black",
        path.display()
    );
    Err(Failure { message, code: 4 })
}

/// Whether a colour is far from grey.
fn is_vivid(color: &[u8; 3]) -> bool {
    let (least, most) = color.iter().fold((u8::MAX, 0), |(least, most), v| (least.min(*v), most.max(*v)));
    most - least > VIVID
}

/// What compression makes of grey is no farther from it.
const VIVID: u8 = 64;

/// Colours of classes that a mask has at most.
const CLASSES: usize = 8;

/// What a compressed black has.
const NEARLY_BLACK: f32 = 8.0;
