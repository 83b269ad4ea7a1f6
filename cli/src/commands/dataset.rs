//! A dataset: the images of a folder, or of its folders, which are then labels, with their masks; or mosaics of them.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use whyline_runtime::Error;
use whyline_runtime::evaluate::Marked;
use whyline_runtime::explain::{Loaded, Target};
use whyline_runtime::image::decode::is_image_name;
use whyline_runtime::image::mosaic::{mosaic, quarters};
use whyline_runtime::image::preprocess::{is_bright, marked};
use whyline_runtime::record::FileRecord;
use whyline_runtime::state::digest;

use super::annotations::{Boxes, Named, are_over, read_boxes, read_labels};
use super::inputs::{images_among, read_input};
use super::masks::{mask_beside, read_mask};
use super::mosaics::{Mosaic, mosaics};
use crate::args::EvaluateArgs;
use crate::failure::{Failure, Outcome, about_input};
use crate::warn;

/// A folder of samples. It keeps their names alone, so that memory hardly grows with their number.
pub struct Dataset {
    folder: PathBuf,
    /// Paths inside the folder, in their order.
    names: Vec<String>,
    labels: Option<Named<String>>,
    boxes: Option<Named<Boxes>>,
    /// Of all boxes.
    categories: HashSet<String>,
    /// The samples, in place of the images themselves.
    mosaics: Option<Vec<Mosaic>>,
}

/// A sample of it.
pub struct Sample {
    /// As lists show it.
    pub name: String,
    /// In the dataset; none of a folder that is followed.
    pub number: Option<usize>,
}

/// A sample, made ready.
pub struct Material {
    /// Row-major, in the model's shape.
    pub input: Vec<f32>,
    /// Which pixels are of the object, if somebody has said so.
    pub marked: Marked,
    /// Whether it is a mosaic, and what the mask marks are its class's images.
    pub mosaic: bool,
    /// Where it comes from.
    pub file: FileRecord,
    /// What the dataset calls it.
    pub label: Option<String>,
}

impl Dataset {
    /// What the arguments name. A folder that is followed may be empty yet.
    pub fn read(args: &EvaluateArgs) -> Outcome<Dataset> {
        let folder = args.dataset.clone();
        if !folder.is_dir() {
            let message = format!("{}: the dataset is no folder of images", folder.display());
            return Err(Failure { message, code: 4 });
        }
        let names = if args.follow { vec![] } else { names_in(&folder)? };
        if names.is_empty() && !args.follow {
            let message = format!("{}: the dataset holds no PNG or JPEG images", folder.display());
            return Err(Failure { message, code: 4 });
        }
        let labels = args.labels.as_deref().map(read_labels).transpose()?;
        let boxes = args.boxes.as_deref().map(read_boxes).transpose()?;
        let is_known = |name: &String| {
            labels.as_ref().is_some_and(|l| l.of(name).is_some())
                || boxes.as_ref().is_some_and(|b| b.of(name).is_some())
        };
        if (labels.is_some() || boxes.is_some()) && !args.follow && !names.iter().any(is_known) {
            warn!("the labels or boxes are of none of the images: names are paths inside the folder, or files alone");
        }
        let categories = boxes.iter().flat_map(Named::values).flat_map(Boxes::categories).map(str::to_string).collect();
        Ok(Dataset { folder, names, labels, boxes, categories, mosaics: None })
    }

    /// Its samples become so many mosaics, for a model.
    pub fn make_mosaics(&mut self, count: usize, loaded: &Loaded) -> Outcome {
        let labels: Vec<_> = self.names.iter().map(|name| self.label(name, &|_| true)).collect();
        self.mosaics = Some(mosaics(&labels, count, &|label| loaded.class(label).is_ok())?);
        let labelled = labels.iter().flatten().count();
        if labelled < 4 * count {
            warn!(
                "of {labelled} images {count} mosaics have many in common; standard errors, which take them for independent, \
                 are too small"
            );
        }
        Ok(())
    }

    /// How many samples there are.
    pub fn len(&self) -> usize {
        self.mosaics.as_ref().map_or(self.names.len(), Vec::len)
    }

    /// The name of a sample.
    pub fn name(&self, number: usize) -> String {
        match &self.mosaics {
            None => self.names[number].clone(),
            Some(mosaics) => {
                let parts = mosaics[number].images.map(|image| self.names[image].as_str());
                format!("mosaic {number} of {}", parts.join(", "))
            }
        }
    }

    /// What depends on all names, sizes of files, those of masks among them, labels and boxes. To read every image first would take too long.
    pub fn digest(&self) -> String {
        let samples = (0..self.len()).map(|number| self.name(number));
        let size = |name: &String| std::fs::metadata(self.folder.join(name)).map_or(0, |data| data.len());
        let mask = |name: &String| {
            let size = mask_beside(&self.folder.join(name)).and_then(|mask| std::fs::metadata(mask).ok())?.len();
            Some(format!("{name} has a mask of {size}"))
        };
        let masks = self.names.iter().filter_map(mask);
        let sizes = self.names.iter().map(|name| size(name).to_string());
        // Of a folder that is followed nothing is known but where it is.
        let place = std::fs::canonicalize(&self.folder).ok().filter(|_| self.names.is_empty());
        let place = place.map(|path| path.display().to_string());
        let names: Vec<String> = samples.chain(sizes).chain(masks).chain(place).collect();
        let files = [self.labels.as_ref().map(|l| &l.sha256), self.boxes.as_ref().map(|b| &b.sha256)];
        let files = files.map(|sha| sha.map_or("", String::as_str));
        digest(names.iter().map(String::as_str).chain(files.into_iter().filter(|sha| !sha.is_empty())))
    }

    /// Whether any sample has a mask.
    pub fn has_masks(&self) -> bool {
        let is_masked = |name: &String| mask_beside(&self.folder.join(name)).is_some();
        self.mosaics.is_some()
            || self.boxes.is_some()
            || self.names.iter().any(is_masked)
            // Of a folder that is followed, what is there at first.
            || (self.names.is_empty() && names_in(&self.folder).is_ok_and(|names| names.iter().any(is_masked)))
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether its folder is gone, or nothing is left there of what was: what was mounted is no longer.
    pub fn is_gone(&self) -> bool {
        let is_empty = || std::fs::read_dir(&self.folder).is_ok_and(|mut inside| inside.next().is_none());
        !self.folder.is_dir() || (!self.names.is_empty() && is_empty())
    }

    /// Whether samples are mosaics.
    pub fn has_mosaics(&self) -> bool {
        self.mosaics.is_some()
    }

    /// What an image is of: by the table of labels, by its folder, or by its boxes where all say the same. The folder of an image
    /// that has boxes may be named for anything: it says so only if it is one of their categories, or a class.
    fn label(&self, name: &str, is_class: &dyn Fn(&str) -> bool) -> Option<String> {
        let told = self.labels.as_ref().and_then(|labels| labels.of(name).cloned());
        let boxes = self.boxes.as_ref().and_then(|boxes| boxes.of(name));
        let is_label = |folder: &&str| boxes.is_none() || self.categories.contains(*folder) || is_class(folder);
        let folder = || name.split_once('/').map(|(folder, _)| folder).filter(is_label).map(str::to_string);
        let boxed = || boxes?.label().map(str::to_string);
        told.or_else(folder).or_else(boxed)
    }

    /// A sample by number, or an image of the folder by name, made ready for a model of which one class is `explained`, or whichever
    /// class a sample is of.
    pub fn material(&self, loaded: &Loaded, sample: &Sample, explained: Option<usize>) -> Outcome<Material> {
        match (&self.mosaics, sample.number) {
            (Some(mosaics), Some(number)) => self.put_together(loaded, sample, &mosaics[number]),
            _ => self.image(loaded, &sample.name, explained),
        }
    }

    fn image(&self, loaded: &Loaded, name: &str, explained: Option<usize>) -> Outcome<Material> {
        let is_class = |name: &str| loaded.category_named(name).is_some();
        let (path, label) = (self.folder.join(name), self.label(name, &is_class));
        if name.contains(char::REPLACEMENT_CHARACTER) && !path.exists() {
            return Err(Failure { message: "its name is not UTF-8; give it another one".into(), code: 4 });
        }
        let file = FileRecord::of(&path).map_err(about_input)?;
        let read = read_input(loaded, &path)?;
        let marked = self.marked(loaded, name, (label.as_deref(), explained), read.size.unwrap_or_default())?;
        Ok(Material { input: read.input, marked, mosaic: false, file, label })
    }

    fn put_together(&self, loaded: &Loaded, sample: &Sample, whole: &Mosaic) -> Outcome<Material> {
        let (shape, layout) = (loaded.input_shape()?, loaded.layout()?);
        let image = layout.and_then(|layout| Some((layout, layout.split(&shape)?)));
        let (layout, extents) = image.ok_or_else(|| Failure::usage("mosaics are made of images"))?;
        let paths = whole.images.map(|image| self.folder.join(&self.names[image]));
        let (mut inputs, mut hashes) = (vec![], vec![]);
        for path in &paths {
            hashes.push(FileRecord::of(path).map_err(about_input)?.sha256);
            inputs.push(read_input(loaded, path)?.input);
        }
        let [a, b, c, d] = [0, 1, 2, 3].map(|i| inputs[i].as_slice());
        let file = FileRecord { file: sample.name.clone(), sha256: digest(hashes.iter().map(String::as_str)) };
        let (_, height, width) = extents;
        Ok(Material {
            input: mosaic([a, b, c, d], layout, extents),
            marked: Marked::Object(quarters(whole.own, (height, width))),
            mosaic: true,
            file,
            label: Some(whole.label.clone()),
        })
    }

    /// Which pixels of the model's input are of the object: by the picture beside an image of that size, or by its boxes.
    fn marked(
        &self,
        loaded: &Loaded,
        name: &str,
        (label, explained): (Option<&str>, Option<usize>),
        own: (u32, u32),
    ) -> Outcome<Marked> {
        if let Some(beside) = mask_beside(&self.folder.join(name)) {
            let picture = read_mask(&beside)?;
            let is_marked = |x, y| is_bright(&picture, (x, y));
            let told = (picture.dimensions(), beside.display().to_string());
            return Ok(Marked::Object(fitted(loaded, own, told, is_marked)?));
        }
        let Some(boxes) = self.boxes.as_ref().and_then(|boxes| boxes.of(name)) else { return Ok(Marked::Nothing) };
        let classes: Vec<Option<usize>> = boxes.categories().map(|name| loaded.category_named(name)).collect();
        let boxed = |counts: &dyn Fn(usize) -> bool| {
            let counting: Vec<[f64; 4]> = (0..classes.len()).filter(|i| counts(*i)).map(|i| boxes.boxes[i].1).collect();
            let told = (boxes.size.unwrap_or(own), format!("{name}, by its boxes"));
            fitted(loaded, own, told, |x, y| are_over(&counting, (x, y)))
        };
        // Which place of a model of places is explained says nothing of the class until then.
        if explained.is_none() && label.is_none() && loaded.places()?.is_none() {
            let known: BTreeSet<usize> = classes.iter().copied().flatten().collect();
            let of = |own: usize| Ok((own, boxed(&|i| classes[i] == Some(own))?));
            if !known.is_empty() {
                return Ok(Marked::Classes(known.into_iter().map(of).collect::<Outcome<_>>()?));
            }
        }
        // Boxes of other things are not of the object: those of the class explained count, where it is one for all, and of a
        // labelled image else those of its class.
        let labelled = label.and_then(|label| loaded.category_named(label));
        let is_own = |i: usize| match (explained, label) {
            (Some(explained), _) => classes[i] == Some(explained),
            (None, Some(label)) => label == boxes.boxes[i].0 || labelled.is_some_and(|own| classes[i] == Some(own)),
            (None, None) => true,
        };
        match (0..classes.len()).any(is_own) {
            true => Ok(Marked::Object(boxed(&is_own)?)),
            false => Ok(Marked::Nothing),
        }
    }

    /// Refuses to write over one of the samples' files, or over what is known of them.
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

/// Which pixels of the model's input are marked of a picture, of the size and from where it is told, that is fitted as its image of
/// `own` width and height is.
fn fitted(
    loaded: &Loaded,
    own: (u32, u32),
    (told, source): ((u32, u32), String),
    is_marked: impl Fn(u32, u32) -> bool,
) -> Outcome<Vec<bool>> {
    let layout = loaded.layout()?.ok_or_else(|| Failure::usage("the model's input is no image, so it has no masks"))?;
    if told != own {
        let ((w, h), (width, height)) = (told, own);
        let message = format!("{source}: the mask is {w} x {h}, but its image is {width} x {height}");
        return Err(Failure { message, code: 4 });
    }
    Ok(marked(own, is_marked, &loaded.input_shape()?, layout, &loaded.card.input)?)
}

/// What is explained of a sample.
pub fn target_of(loaded: &Loaded, label: Option<&str>, otherwise: Option<Target>) -> Outcome<Target> {
    match (otherwise, label) {
        (Some(target), _) => Ok(target),
        (None, Some(label)) => {
            loaded.class(label)?;
            Ok(Target::Named(label.to_string()))
        }
        (None, None) => {
            Err(Failure { message: "it has no label: it lies in no folder, and nobody says".into(), code: 4 })
        }
    }
}

/// Images of a folder and of its folders, in the order of their names.
pub fn names_in(folder: &Path) -> Outcome<Vec<String>> {
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
    Ok(names)
}
