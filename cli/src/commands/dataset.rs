//! A dataset: the images of a folder, or of its folders, which are then labels, with their masks.

use std::path::{Path, PathBuf};

use whyline_runtime::Error;
use whyline_runtime::explain::Loaded;
use whyline_runtime::image::decode;
use whyline_runtime::image::preprocess::mask;

use super::inputs::images_among;
use crate::failure::{Failure, Outcome, about_input};

/// A sample's files.
pub struct Item {
    /// The image.
    pub path: PathBuf,
    /// Its path inside the dataset.
    pub name: String,
    /// The name of its folder inside the dataset, if it has one.
    pub label: Option<String>,
    /// What marks the object, if there is such a file.
    pub mask: Option<PathBuf>,
}

/// The samples of a folder: its images, and those of its folders, in the order of their names.
pub fn read(folder: &Path) -> Outcome<Vec<Item>> {
    if !folder.is_dir() {
        return Err(Failure { message: format!("{}: the dataset is no folder of images", folder.display()), code: 4 });
    }
    let mut items: Vec<Item> = images_among(folder)?.into_iter().map(|path| item(path, None)).collect();
    let failed = |source| about_input(Error::Read { path: folder.into(), source });
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let inside = entry.map_err(failed)?.path();
        if inside.is_dir() {
            let label = inside.file_name().map(|name| name.to_string_lossy().into_owned());
            items.extend(images_among(&inside)?.into_iter().map(|path| item(path, label.clone())));
        }
    }
    items.sort_by(|a, b| a.name.cmp(&b.name));
    match items.is_empty() {
        true => {
            Err(Failure { message: format!("{}: the dataset holds no PNG or JPEG images", folder.display()), code: 4 })
        }
        false => Ok(items),
    }
}

fn item(path: PathBuf, label: Option<String>) -> Item {
    let own = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let name = label.as_ref().map_or(own.clone(), |label| format!("{label}/{own}"));
    let mask = Some(path.with_extension("mask.png")).filter(|mask| mask.is_file());
    Item { path, name, label, mask }
}

impl Item {
    /// Which pixels of the model's input are of the object.
    pub fn marked(&self, loaded: &Loaded) -> Outcome<Option<Vec<bool>>> {
        let Some(path) = &self.mask else { return Ok(None) };
        let (shape, layout) = (loaded.input_shape()?, loaded.layout()?);
        let layout = layout.ok_or_else(|| Failure::usage("the model's input is no image, so it has no masks"))?;
        let picture = decode(path).map_err(about_input)?;
        let own = decode(&self.path).map_err(about_input)?;
        if picture.dimensions() != own.dimensions() {
            let ((w, h), (width, height)) = (picture.dimensions(), own.dimensions());
            let message = format!("{}: the mask is {w} x {h}, but its image is {width} x {height}", path.display());
            return Err(Failure { message, code: 4 });
        }
        Ok(Some(mask(&picture, &shape, layout, &loaded.card.input)?))
    }
}
