//! What is known of a dataset's images beside them: labels from a table, boxes from a COCO file.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use serde::Deserialize;
use whyline_runtime::Error;
use whyline_runtime::files::read;
use whyline_runtime::record::FileRecord;

use crate::failure::{Failure, Outcome, about_input};
use crate::warn;

fn refuse(path: &Path, reason: String) -> Failure {
    about_input(Error::Input { path: path.into(), reason })
}

/// What is known by the names of images, and the file it comes from.
pub struct Named<T> {
    /// By the path inside the dataset, or by the name alone.
    values: HashMap<String, T>,
    /// Of the file.
    pub sha256: String,
}

impl<T> Named<T> {
    /// Of all images.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.values.values()
    }

    /// Of an image, by its path inside the dataset, or else by its name.
    pub fn of(&self, name: &str) -> Option<&T> {
        let alone = || name.rsplit_once('/').and_then(|(_, name)| self.values.get(name));
        self.values.get(name).or_else(alone)
    }
}

/// Heads of a column of names, in a table that begins with such.
const HEADS: [&str; 6] = ["file", "file_name", "filename", "image", "name", "path"];

/// The labels of a table of comma-separated values: a name and a label in each line, with a line of heads or without.
pub fn read_labels(path: &Path) -> Outcome<Named<String>> {
    let bytes = read(path).map_err(about_input)?;
    let mut reader =
        csv::ReaderBuilder::new().has_headers(false).flexible(true).trim(csv::Trim::All).from_reader(&bytes[..]);
    let mut values = HashMap::new();
    for (number, record) in reader.records().enumerate() {
        let refused = |position: Option<&csv::Position>, reason: String| {
            let begin = position.map_or(0, |position| position.byte() as usize);
            refuse(path, format!("line {} {reason}", line_of(&bytes, begin)))
        };
        let record = record.map_err(|error| refused(error.position(), format!("can't be read: {error}")))?;
        let refused = |reason: String| refused(record.position(), reason);
        let (name, label) = (record.get(0).unwrap_or_default(), record.get(1).unwrap_or_default());
        if number == 0 && HEADS.contains(&name.to_ascii_lowercase().as_str()) {
            continue;
        }
        if name.is_empty() || label.is_empty() {
            return Err(refused("has no name and label: NAME,LABEL is wanted".into()));
        }
        // A quote that is not closed takes in all lines that follow.
        if record.iter().any(|field| field.contains(['\n', '\r'])) {
            return Err(refused("has a field of several lines, as where a quote is not closed".into()));
        }
        if values.insert(name.to_string(), label.to_string()).is_some_and(|before| before != label) {
            return Err(refused(format!("gives {name} another label than a line before")));
        }
    }
    if values.is_empty() {
        return Err(refuse(path, "has no labels".into()));
    }
    Ok(Named { values, sha256: FileRecord::of(path).map_err(about_input)?.sha256 })
}

/// The number of the line that begins with a byte, or behind empty lines there.
fn line_of(bytes: &[u8], begin: usize) -> usize {
    let empty = bytes[begin..].iter().take_while(|byte| matches!(byte, b'\n' | b'\r')).count();
    let before = &bytes[..begin + empty];
    // Of both together the second one ends the line.
    let ends =
        |(place, byte): (usize, &u8)| *byte == b'\n' || (*byte == b'\r' && before.get(place + 1) != Some(&b'\n'));
    1 + before.iter().enumerate().filter(|place| ends(*place)).count()
}

/// An image's boxes.
pub struct Boxes {
    /// Width and height of the image that they are of, where the file says so.
    pub size: Option<(u32, u32)>,
    /// Each with its category.
    pub boxes: Vec<(String, [f64; 4])>,
}

impl Boxes {
    /// The category, where all boxes have the same.
    pub fn label(&self) -> Option<&str> {
        let first = self.categories().next()?;
        self.categories().all(|category| category == first).then_some(first)
    }

    /// Of each box.
    pub fn categories(&self) -> impl Iterator<Item = &str> {
        self.boxes.iter().map(|(category, _)| category.as_str())
    }
}

/// Whether a pixel's middle is in one of some boxes.
pub fn are_over(boxes: &[[f64; 4]], (column, row): (u32, u32)) -> bool {
    let (x, y) = (column as f64 + 0.5, row as f64 + 0.5);
    let is_over =
        |[left, top, width, height]: &[f64; 4]| (*left..left + width).contains(&x) && (*top..top + height).contains(&y);
    boxes.iter().any(is_over)
}

#[derive(Deserialize)]
struct Coco {
    images: Vec<CocoImage>,
    annotations: Vec<CocoBox>,
    categories: Vec<CocoCategory>,
}

#[derive(Deserialize)]
struct CocoImage {
    id: u64,
    file_name: String,
    width: Option<f64>,
    height: Option<f64>,
}

#[derive(Deserialize)]
struct CocoBox {
    image_id: u64,
    category_id: u64,
    bbox: Option<Vec<f64>>,
}

#[derive(Deserialize)]
struct CocoCategory {
    id: u64,
    name: String,
}

/// The boxes of a file as COCO has them: `images` with `id` and `file_name`, `annotations` with `image_id`, `category_id` and
/// `bbox` (left, top, width, height in pixels), `categories` with `id` and `name`. Boxes that hold nothing, of which the data set
/// itself has some, are left out, and so are those of images that are not listed, as in a part of a data set.
pub fn read_boxes(path: &Path) -> Outcome<Named<Boxes>> {
    let bytes = read(path).map_err(about_input)?;
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let coco: Coco = serde_json::from_slice(text).map_err(|error| {
        refuse(path, format!("holds no images, annotations and categories as COCO has them: {error}"))
    })?;
    let mut ids = HashSet::new();
    if let Some(twice) = coco.images.iter().find(|image| !ids.insert(image.id)) {
        return Err(refuse(path, format!("has two images with the id {}", twice.id)));
    }
    ids.clear();
    if let Some(twice) = coco.categories.iter().find(|category| !ids.insert(category.id)) {
        return Err(refuse(path, format!("has two categories with the id {}", twice.id)));
    }
    let categories: HashMap<u64, String> = coco.categories.into_iter().map(|c| (c.id, c.name)).collect();
    let names: HashMap<u64, &str> = coco.images.iter().map(|image| (image.id, image.file_name.as_str())).collect();
    let mut values: HashMap<String, Boxes> = HashMap::new();
    for image in &coco.images {
        let size = image.width.zip(image.height);
        if let Some((w, h)) = size.filter(|(w, h)| [w, h].iter().any(|side| side.fract() != 0.0 || **side < 1.0)) {
            return Err(refuse(path, format!("has '{}' of {w} x {h} pixels", image.file_name)));
        }
        let size = size.map(|(width, height)| (width as u32, height as u32));
        values.insert(image.file_name.clone(), Boxes { size, boxes: vec![] });
    }
    let (mut empty, mut elsewhere) = (0, 0);
    for (number, annotation) in coco.annotations.iter().enumerate() {
        let category = categories.get(&annotation.category_id).ok_or_else(|| {
            refuse(
                path,
                format!("annotation {number} is of the category {}, which is not there", annotation.category_id),
            )
        })?;
        let image = names.get(&annotation.image_id).and_then(|name| values.get_mut(*name));
        let sides = annotation.bbox.as_deref().unwrap_or_default();
        if !matches!(sides.len(), 0 | 4) {
            return Err(refuse(
                path,
                format!("annotation {number} has a box of {} numbers; four are wanted", sides.len()),
            ));
        }
        match (<[f64; 4]>::try_from(sides), image) {
            (Ok(sides @ [_, _, width, height]), Some(image))
                if sides.iter().all(|v| v.is_finite()) && width > 0.0 && height > 0.0 =>
            {
                image.boxes.push((category.clone(), sides));
            }
            (_, None) => elsewhere += 1,
            _ => empty += 1,
        }
    }
    for (count, what) in [(empty, "hold nothing"), (elsewhere, "are of images that are not listed")] {
        if count > 0 {
            warn!("{}: {count} boxes {what}, and are left out", path.display());
        }
    }
    Ok(Named { values, sha256: FileRecord::of(path).map_err(about_input)?.sha256 })
}
