//! A dataset: the images of a folder, or of its folders, which are then labels, with their masks.

use std::path::{Path, PathBuf};

use whyline_runtime::Error;
use whyline_runtime::explain::Loaded;
use whyline_runtime::image::decode;
use whyline_runtime::image::decode::is_image_name;
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

/// A folder of samples. It keeps their names alone, so that memory hardly grows with their number.
pub struct Dataset {
    folder: PathBuf,
    /// Paths inside the folder, in their order.
    pub names: Vec<String>,
}

impl Dataset {
    /// The images of a folder, and those of its folders, in the order of their names.
    pub fn read(folder: &Path) -> Outcome<Dataset> {
        if !folder.is_dir() {
            let message = format!("{}: the dataset is no folder of images", folder.display());
            return Err(Failure { message, code: 4 });
        }
        let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut names: Vec<String> = images_among(folder)?.iter().map(|path| name(path)).collect();
        let failed = |source| about_input(Error::Read { path: folder.into(), source });
        for entry in std::fs::read_dir(folder).map_err(failed)? {
            let inside = entry.map_err(failed)?.path();
            if inside.is_dir() {
                let label = name(&inside);
                names.extend(images_among(&inside)?.iter().map(|path| format!("{label}/{}", name(path))));
            }
        }
        names.sort_unstable();
        if names.is_empty() {
            let message = format!("{}: the dataset holds no PNG or JPEG images", folder.display());
            return Err(Failure { message, code: 4 });
        }
        Ok(Dataset { folder: folder.into(), names })
    }

    /// A sample's files.
    pub fn item(&self, name: &str) -> Item {
        let path = self.folder.join(name);
        let label = name.split_once('/').map(|(label, _)| label.to_string());
        let mask = Some(path.with_extension("mask.png")).filter(|mask| mask.is_file());
        Item { path, name: name.into(), label, mask }
    }

    /// Whether any sample has a mask.
    pub fn has_masks(&self) -> bool {
        self.names.iter().any(|name| self.item(name).mask.is_some())
    }

    /// Refuses to write over one of the samples' files.
    pub fn refuse_overwriting<'a>(&self, written: impl IntoIterator<Item = &'a Option<PathBuf>>) -> Outcome {
        let real = |path: &Path| std::fs::canonicalize(path).ok();
        let inside = real(&self.folder);
        for output in written.into_iter().flatten() {
            let is_sample = real(output).is_some_and(|path| {
                inside.as_ref().is_some_and(|folder| path.starts_with(folder)) && is_image_name(&path)
            });
            if is_sample {
                return Err(Failure::usage(format!("{} is read; it must not be written over", output.display())));
            }
        }
        Ok(())
    }
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
