//! A dataset: the images of a folder, or of its folders, which are then labels, with their masks; or mosaics of them.

use std::collections::{HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::time::Duration;

use whyline_runtime::Error;
use whyline_runtime::explain::{Loaded, Target};
use whyline_runtime::image::decode::is_image_name;
use whyline_runtime::image::mosaic::{mosaic, quarters};
use whyline_runtime::image::preprocess::{luminance, mask};
use whyline_runtime::image::{Picture, decode_mask};
use whyline_runtime::record::FileRecord;
use whyline_runtime::state::digest;

use super::annotations::{Boxes, Named, read_boxes, read_labels};
use super::inputs::{images_among, read_input};
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
    /// The samples, in place of the images themselves.
    mosaics: Option<Vec<Mosaic>>,
}

/// A sample, made ready.
pub struct Material {
    /// Row-major, in the model's shape.
    pub input: Vec<f32>,
    /// Which pixels are of the object, if somebody has said so.
    pub mask: Option<Vec<bool>>,
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
        let mut dataset = Dataset { folder, names, labels, boxes, mosaics: None };
        if let Some(count) = args.mosaics {
            let labels: Vec<_> = dataset.names.iter().map(|name| dataset.label(name)).collect();
            dataset.mosaics = Some(mosaics(&labels, count as usize)?);
        }
        Ok(dataset)
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
        let names: Vec<String> = samples.chain(sizes).chain(masks).collect();
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

    /// Whether its folder is gone.
    pub fn is_gone(&self) -> bool {
        !self.folder.is_dir()
    }

    /// Whether samples are mosaics.
    pub fn has_mosaics(&self) -> bool {
        self.mosaics.is_some()
    }

    /// What an image is of: by the table of labels, by its folder, or by its boxes where all say the same.
    fn label(&self, name: &str) -> Option<String> {
        let told = self.labels.as_ref().and_then(|labels| labels.of(name).cloned());
        let folder = || name.split_once('/').map(|(label, _)| label.to_string());
        let boxed = || self.boxes.as_ref()?.of(name)?.label().map(str::to_string);
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
        let (path, label) = (self.folder.join(name), self.label(name));
        if name.contains(char::REPLACEMENT_CHARACTER) && !path.exists() {
            return Err(Failure { message: "its name is not UTF-8; give it another one".into(), code: 4 });
        }
        let file = FileRecord::of(&path).map_err(about_input)?;
        let read = read_input(loaded, &path)?;
        let mask = self.mask(loaded, name, (label.as_deref(), explained), read.size.unwrap_or_default())?;
        Ok(Material { input: read.input, mask, mosaic: false, file, label })
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
            mask: Some(quarters(whole.own, (height, width))),
            mosaic: true,
            file,
            label: Some(whole.label.clone()),
        })
    }

    /// Which pixels of the model's input are of the object: by the picture beside an image of that size, or by its boxes.
    fn mask(
        &self,
        loaded: &Loaded,
        name: &str,
        (label, explained): (Option<&str>, Option<usize>),
        own: (u32, u32),
    ) -> Outcome<Option<Vec<bool>>> {
        let (beside, boxes) =
            (mask_beside(&self.folder.join(name)), self.boxes.as_ref().and_then(|boxes| boxes.of(name)));
        // Boxes of other things are not of the object: those of the class explained count, where it is one for all, and of a
        // labelled image else those of its class.
        let class = |name: &str| loaded.category_named(name);
        let is_own = |category: &str| match (explained, label) {
            (Some(explained), _) => class(category) == Some(explained),
            (None, Some(label)) => label == category || class(label).is_some_and(|own| class(category) == Some(own)),
            (None, None) => true,
        };
        let is_boxed = boxes.is_some_and(|boxes| boxes.boxes.iter().any(|(category, _)| is_own(category)));
        if beside.is_none() && !is_boxed {
            return Ok(None);
        }
        let (shape, layout) = (loaded.input_shape()?, loaded.layout()?);
        let layout = layout.ok_or_else(|| Failure::usage("the model's input is no image, so it has no masks"))?;
        let (told, source, picture) = match (&beside, boxes) {
            (Some(beside), _) => {
                let picture = decode_mask(beside).map_err(about_input)?;
                refuse_classes(&picture, beside)?;
                (picture.dimensions(), beside.display().to_string(), picture)
            }
            (None, boxes) => {
                let boxes = boxes.ok_or_else(|| Failure::usage("there are no boxes"))?;
                let marked = |column, row| if boxes.contain(is_own, (column, row)) { [255; 3] } else { [0; 3] };
                let picture = Picture::from_fn(own.0, own.1, |x, y| marked(x, y).into());
                (boxes.size.unwrap_or(own), format!("{name}, by its boxes"), picture)
            }
        };
        if told != own {
            let ((w, h), (width, height)) = (told, own);
            let message = format!("{source}: the mask is {w} x {h}, but its image is {width} x {height}");
            return Err(Failure { message, code: 4 });
        }
        Ok(Some(mask(&picture, &shape, layout, &loaded.card.input)?))
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

/// Refuses a picture that marks objects by numbers of classes, as indices or in their colours: few different ones, most of which
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
    if dark <= bright || is_noise || (bright > 0 && kinds.len() > CLASSES) {
        return Ok(());
    }
    let message = format!(
        "{}: {dark} pixels are neither black nor bright, and {bright} are bright: a mask marks the object white, on black",
        path.display()
    );
    Err(Failure { message, code: 4 })
}

/// Colours of classes that a mask has at most.
const CLASSES: usize = 8;

/// What a compressed black has.
const NEARLY_BLACK: f32 = 8.0;

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

fn mask_beside(path: &Path) -> Option<PathBuf> {
    Some(path.with_extension("mask.png")).filter(|mask| mask.is_file())
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

/// A sample that is next.
pub struct Sample {
    /// As lists show it.
    pub name: String,
    /// In the dataset; none of a folder that is followed.
    number: Option<usize>,
}

/// The samples that are still to be taken, one after the other.
pub enum Queue {
    /// Those of a shard.
    Shard {
        /// The next one's number.
        next: usize,
        /// How many numbers to go on by.
        stride: usize,
    },
    /// Those of a folder, as they come in.
    Live {
        /// The latest one taken.
        last: String,
        /// Those that are there already.
        waiting: VecDeque<String>,
        /// How many were taken.
        taken: u64,
        /// Whether it was said that some will not be.
        warned: bool,
    },
}

/// How often a folder is looked at, and for how long a file there has not changed once it is whole.
const PAUSE: Duration = Duration::from_millis(200);
const SETTLED: Duration = Duration::from_secs(1);

impl Queue {
    /// The next sample; none where there are no more, or somebody wants no more. A folder that is followed is waited for; its
    /// images are taken in the order of their names.
    pub fn next(&mut self, dataset: &Dataset, wants_more: &dyn Fn() -> bool) -> Outcome<Option<Sample>> {
        if !wants_more() {
            return Ok(None);
        }
        match self {
            Queue::Shard { next, stride } => {
                let number = *next;
                *next = next.saturating_add(*stride);
                Ok((number < dataset.len()).then(|| Sample { name: dataset.name(number), number: Some(number) }))
            }
            Queue::Live { last, waiting, taken, warned } => loop {
                if let Some(name) = waiting.pop_front() {
                    last.clone_from(&name);
                    *taken += 1;
                    return Ok(Some(Sample { name, number: None }));
                }
                // A folder inside may go while it is read; it is looked at again.
                let names = names_in(&dataset.folder).unwrap_or_default();
                if dataset.is_gone() {
                    warn!("{} is gone; nothing more is waited for", dataset.folder.display());
                    return Ok(None);
                }
                let passed = names.iter().filter(|name| *name <= last).count() as u64;
                if passed > *taken && !std::mem::replace(warned, true) {
                    warn!(
                        "{} images came behind '{last}' with names before it, and are left out: names must grow",
                        passed - *taken
                    );
                }
                let new = names.into_iter().filter(|name| name > last);
                waiting.extend(new.take_while(|name| is_settled(&dataset.folder.join(name))));
                if waiting.is_empty() {
                    std::thread::sleep(PAUSE);
                    if !wants_more() {
                        return Ok(None);
                    }
                }
            },
        }
    }
}

/// Whether a file has not changed for a while.
fn is_settled(path: &Path) -> bool {
    // A link to nothing is no file to wait for: it is counted as one that can't be read.
    let data = std::fs::metadata(path).or_else(|_| std::fs::symlink_metadata(path));
    let changed = data.and_then(|data| data.modified()).ok();
    // A clock that was put back must not hold anything up.
    changed.is_some_and(|at| at.elapsed().map_or(true, |age| age >= SETTLED))
}
