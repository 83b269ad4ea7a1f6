//! What commands that explain have in common: parameters, and the files that are read.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use whyline_runtime::baseline::{Baseline, FILE};
use whyline_runtime::engine::{Precision, Resources};
use whyline_runtime::explain::{Budget, Explainer, Loaded, Shared, Target};
use whyline_runtime::image::decode::is_image_name;
use whyline_runtime::image::preprocess::{mask, picture_of};
use whyline_runtime::image::{Picture, decode, prepare};
use whyline_runtime::methods::{Entry, Given, METHODS, find};
use whyline_runtime::onnx::Layout;
use whyline_runtime::params::Parameter;
use whyline_runtime::record::FileRecord;
use whyline_runtime::{Error, Kind, npy};

use super::masks::{is_mask, read_mask};
use crate::args::{BudgetArgs, ParamArgs, ResourceArgs, TargetArgs};
use crate::failure::{Failure, INTERRUPTED, Outcome, about_input};
use crate::output;

/// What NAME=VALUE says.
pub fn pairs(params: &[String]) -> Outcome<Given> {
    let pair = |param: &String| {
        let (name, value) =
            param.split_once('=').ok_or_else(|| Failure::usage(format!("{param}: write NAME=VALUE")))?;
        Ok((name.to_string(), value.to_string()))
    };
    params.iter().map(pair).collect()
}

/// The methods that were named, each once, or all.
pub fn entries(names: &[String]) -> Outcome<Vec<&'static Entry>> {
    if names == ["all"] {
        return Ok(METHODS.to_vec());
    }
    let mut entries: Vec<&'static Entry> = vec![];
    for name in names {
        let entry = find(name)?;
        if entries.iter().any(|e| e.name == entry.name) {
            return Err(Failure::usage(format!("{} is named twice", entry.name)));
        }
        entries.push(entry);
    }
    Ok(entries)
}

/// What each owner of parameters is told, of NAME=VALUE, which is for all that have the parameter, and OWNER.NAME=VALUE, which
/// goes before it; one that none has is a mistake.
pub fn told(given: &Given, owners: &[(&str, &[Parameter])], wrong: impl Fn(&str) -> String) -> Outcome<Vec<Given>> {
    let is_for = |owner: &str, own: &str, name: &str| name == own || name.split_once('.') == Some((owner, own));
    let known = |name: &str| owners.iter().any(|(owner, all)| all.iter().any(|p| is_for(owner, p.name, name)));
    if let Some(name) = given.keys().find(|name| !known(name)) {
        let all = names_of(owners.iter().flat_map(|(_, all)| *all));
        return Err(Failure::usage(format!("{}; there are {all}", wrong(name))));
    }
    let of = |owner: &str, own: &str| {
        let told = given.iter().filter(|(name, _)| is_for(owner, own, name)).max_by_key(|(name, _)| name.len());
        told.map(|(_, value)| (own.to_string(), value.clone()))
    };
    Ok(owners.iter().map(|(owner, all)| all.iter().filter_map(|p| of(owner, p.name)).collect()).collect())
}

/// The names of parameters, each once.
fn names_of<'a>(parameters: impl Iterator<Item = &'a Parameter>) -> String {
    Vec::from_iter(parameters.map(|p| p.name).collect::<BTreeSet<_>>()).join(", ")
}

/// A parameter goes to every method that has it; one that none has is a mistake.
pub fn refuse_unknown(given: &Given, entries: &[&'static Entry]) -> Outcome {
    let known = |name: &str| entries.iter().any(|e| e.parameters.iter().any(|p| p.name == name));
    let Some(name) = given.keys().find(|name| !known(name)) else { return Ok(()) };
    let all = names_of(entries.iter().flat_map(|e| e.parameters));
    Err(Failure::usage(format!("none of the methods has a parameter '{name}'; there are {all}")))
}

/// The method's parameters, from -p and from the flags of common ones.
pub fn given(args: &ParamArgs) -> Outcome<Given> {
    let mut given = pairs(&args.params)?;
    let flags = [
        ("steps", &args.steps),
        ("baseline", &args.baseline),
        ("tolerance", &args.tolerance),
        ("samples", &args.samples),
        ("sigma", &args.sigma),
        ("seed", &args.seed),
        ("layer", &args.layer),
        ("compat", &args.compat),
    ];
    for (name, value) in flags {
        if let Some(value) = value {
            given.insert(name.to_string(), value.clone());
        }
    }
    name_files(&mut given);
    Ok(given)
}

/// Baselines and regions that are files are named as such.
pub fn name_files(given: &mut Given) {
    for name in ["baseline", "region"] {
        if let Some(value) = given.get_mut(name)
            && Baseline::named(value).is_none()
            && Path::new(value.as_str()).exists()
        {
            *value = format!("{FILE}{value}");
        }
    }
}

/// The files that baselines and regions are read from.
pub fn files_of(given: &Given) -> Outcome<Vec<PathBuf>> {
    let mut files = vec![];
    for path in given.values().filter_map(|value| value.strip_prefix(FILE)).map(Path::new) {
        match path.is_dir() {
            true => files.extend(images_in(path)?),
            false => files.push(path.to_path_buf()),
        }
    }
    Ok(files)
}

/// Those of the parameters that a method has; how far a fixed rule gets is not known before, so a tolerance or a budget makes
/// nodes adaptive.
pub fn for_method(given: &Given, entry: &Entry, is_bounded: bool) -> Given {
    let has = |name: &str| entry.parameters.iter().any(|p| p.name == name);
    let mut own: Given = given.iter().filter(|(name, _)| has(name)).map(|(n, v)| (n.clone(), v.clone())).collect();
    let tolerance = own.get("tolerance").is_some_and(|t| t.parse() != Ok(0.0));
    if (is_bounded || tolerance) && has("rule") && !own.contains_key("compat") {
        own.entry("rule".into()).or_insert_with(|| "adaptive".into());
    }
    own
}

/// The target that flags name.
pub fn target(args: &TargetArgs) -> Target {
    let class = match args.target.as_str() {
        "top" => Target::Top,
        name => Target::Named(name.to_string()),
    };
    match args.against.as_deref() {
        None => class,
        Some("next") => Target::Margin { class: Box::new(class), against: None },
        Some(name) => {
            Target::Margin { class: Box::new(class), against: Some(Box::new(Target::Named(name.to_string()))) }
        }
    }
}

/// Whether flags bound what an explanation may spend.
pub fn is_bounded(args: &BudgetArgs) -> bool {
    args.max_passes.is_some() || args.deadline.is_some()
}

/// Set by Ctrl-C, once; a second ends the program.
pub fn interrupt() -> &'static AtomicBool {
    static INTERRUPT: AtomicBool = AtomicBool::new(false);
    // Where no handler can be set, Ctrl-C ends the program at once, as it does by default.
    let _ = ctrlc::set_handler(|| {
        if INTERRUPT.swap(true, Ordering::Relaxed) {
            std::process::exit(INTERRUPTED.into());
        }
    });
    &INTERRUPT
}

/// The budget that flags name. Ctrl-C ends methods that work in steps early.
pub fn budget(args: &BudgetArgs) -> Budget {
    Budget { max_passes: args.max_passes, deadline: args.deadline, interrupt: Some(interrupt()) }
}

/// The resources that a number of threads, or all there are, make up.
pub fn resources(args: &ResourceArgs) -> Resources {
    let all = std::thread::available_parallelism().map_or(1, usize::from);
    Resources { threads: args.threads.map_or(all, usize::from), memory: args.memory, ..Resources::default() }
}

/// What is said of a folder without any.
pub fn no_images(folder: &Path) -> Failure {
    Failure { message: format!("{}: the folder holds no PNG or JPEG images", folder.display()), code: 4 }
}

/// The images of a folder, in order; masks are none. There must be one at least.
pub fn images_in(folder: &Path) -> Outcome<Vec<PathBuf>> {
    let images = images_among(folder)?;
    if images.is_empty() { Err(no_images(folder)) } else { Ok(images) }
}

/// The images among a folder's files, in order; masks are none.
pub fn images_among(folder: &Path) -> Outcome<Vec<PathBuf>> {
    let failed = |source| about_input(Error::Read { path: folder.into(), source });
    let mut images = vec![];
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = entry.path();
        if is_image_name(&path) && !is_mask(&path) && !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            images.push(path);
        }
    }
    images.sort();
    Ok(images)
}

/// An input, and the picture that shows it.
pub struct Material {
    /// The tensor.
    pub input: Vec<f32>,
    /// What the model saw, where the input was a picture.
    pub picture: Option<Picture>,
    /// Width and height of the file's picture.
    pub size: Option<(u32, u32)>,
}

impl Material {
    /// The picture, or one made of the tensor.
    pub fn picture(&self, loaded: &Loaded, layout: Layout) -> Outcome<Picture> {
        match &self.picture {
            Some(picture) => Ok(picture.clone()),
            None => Ok(picture_of(&self.input, &loaded.input_shape()?, layout, loaded.card.input.color)?),
        }
    }
}

/// Reads an image, or a tensor as it is.
pub fn read_input(loaded: &Loaded, path: &Path) -> Outcome<Material> {
    let shape = loaded.input_shape()?;
    let refuse = |reason: String| Failure::from(Error::Input { path: path.into(), reason });
    if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("npy")) {
        let tensor = npy::read(path).map_err(about_input)?;
        if tensor.shape != shape {
            return Err(refuse(format!("it has shape {:?}, but the model wants {shape:?}", tensor.shape)));
        }
        return Ok(Material { input: tensor.to_f32().unwrap_or_default(), picture: None, size: None });
    }
    let picture = decode(path).map_err(about_input)?;
    let layout = loaded.layout()?.ok_or_else(|| {
        refuse(format!("it is an image, but the model's input has shape {shape:?}; give a .npy tensor"))
    })?;
    let prepared = prepare(&picture, &shape, layout, &loaded.card.input).map_err(|error| match error {
        Error::BadInput { reason } => refuse(format!("it {reason}")),
        other => other.into(),
    })?;
    Ok(Material { input: prepared.input, picture: Some(prepared.seen), size: Some(picture.dimensions()) })
}

/// The tensors of a file, or of all images of a folder.
fn read_baselines(loaded: &Loaded, path: &Path) -> Outcome<Vec<(FileRecord, Vec<f32>)>> {
    let files = if path.is_dir() { images_in(path)? } else { vec![path.to_path_buf()] };
    let read = |file: &PathBuf| {
        let record = FileRecord::of(file).map_err(about_input)?;
        Ok((record, read_input(loaded, file)?.input))
    };
    files.iter().map(read).collect()
}

/// How methods are made ready.
pub struct Making<'a> {
    /// The model.
    pub loaded: &'a Loaded,
    /// Of the passes.
    pub precision: Precision,
    /// What they may take.
    pub resources: Resources,
    /// What an explanation may take.
    pub budget: Budget,
    /// Whether all methods are asked for: those that are not for the model or the budget are left out then.
    pub all: bool,
    /// Whether a layer is named, for those that want one: what is wrong with it is told.
    pub layer: bool,
}

impl<'a> Making<'a> {
    /// A method with its parameters; or why it is left out.
    pub fn ready(
        &self,
        shared: &mut Shared,
        entry: &'static Entry,
        own: &Given,
    ) -> Outcome<Result<Explainer<'a>, String>> {
        (entry.build)(&entry.params(own)?)?;
        let made = self.loaded.explainer_sharing(shared, entry.name, own, self.precision, self.resources);
        let bound = made.and_then(|mut explainer| explainer.set_budget(self.budget).map(|()| explainer));
        let is_left_out = |error: &Error| error.kind() == Kind::Budget || (!self.layer && is_of_the_method(error));
        match bound {
            Err(error) if self.all && is_left_out(&error) => Ok(Err(output::in_a_line(&error.to_string()))),
            bound => {
                let mut explainer = bound?;
                give_files(self.loaded, &mut explainer, own)?;
                Ok(Ok(explainer))
            }
        }
    }
}

/// Whether an error says that a method is not for this model or target, and nothing of files or memory.
pub fn is_of_the_method(error: &Error) -> bool {
    matches!(error.kind(), Kind::Model | Kind::Usage)
}

/// Gives an explainer what parameters name as files: baselines, and a region.
pub fn give_files(loaded: &Loaded, explainer: &mut Explainer, given: &Given) -> Outcome {
    let named = |name: &str| given.get(name).and_then(|value| value.strip_prefix(FILE)).map(Path::new);
    if let Some(path) = named("baseline") {
        explainer.set_baselines(read_baselines(loaded, path)?)?;
    }
    if let Some(path) = named("region") {
        let (file, marked) = read_region(loaded, path)?;
        explainer.set_region(file, marked)?;
    }
    Ok(())
}

/// A picture, and which of the input's pixels it marks.
pub fn read_region(loaded: &Loaded, path: &Path) -> Outcome<(FileRecord, Vec<bool>)> {
    let picture = read_mask(path)?;
    let layout = loaded.layout()?.ok_or_else(|| Failure::usage("the input is no image, so a region has no pixels"))?;
    let marked = mask(&picture, &loaded.input_shape()?, layout, &loaded.card.input).map_err(|error| match error {
        Error::BadInput { reason } => about_input(Error::Input { path: path.into(), reason: format!("it {reason}") }),
        other => other.into(),
    })?;
    Ok((FileRecord::of(path).map_err(about_input)?, marked))
}
