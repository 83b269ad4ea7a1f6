//! `whyline explain`

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use whyline_runtime::engine::Resources;
use whyline_runtime::explain::{CardSource, Explainer, Explanation, Loaded, Target};
use whyline_runtime::files::write_atomically;
use whyline_runtime::image::decode::is_image_name;
use whyline_runtime::image::overlay::encode_png;
use whyline_runtime::image::{Picture, Style, decode, draw, prepare};
use whyline_runtime::methods::{FILE, Given, find};
use whyline_runtime::record::FileRecord;
use whyline_runtime::{Error, npy};

use super::load::load;
use crate::args::{ExplainArgs, MethodArgs};
use crate::failure::{Failure, Outcome, about_input};
use crate::output;

/// Runs it.
pub fn run(args: &ExplainArgs) -> Outcome {
    let jobs = jobs(args)?;
    let given = given(&args.method)?;
    let target = match args.target.as_str() {
        "top" => Target::Top,
        name => Target::Named(name.to_string()),
    };
    let loaded = load(&args.model, Some(&args.preprocess))?;
    let all = std::thread::available_parallelism().map_or(1, usize::from);
    let resources = Resources { threads: args.threads.map_or(all, usize::from), memory: args.memory };
    let mut explainer = loaded.explainer(&args.method.method, &given, args.precision.precision(), resources)?;
    refuse_over_budget(&explainer, args)?;
    if let Some(watcher) = output::progress::passes(explainer.passes()).filter(|_| !args.quiet) {
        explainer.watch(watcher);
    }
    if let Some(path) = given.get("baseline").and_then(|b| b.strip_prefix(FILE)) {
        explainer.set_baselines(read_baselines(&loaded, Path::new(path))?)?;
    }
    if args.input.is_dir() {
        for folder in [&args.png, &args.npy, &args.json].into_iter().flatten() {
            std::fs::create_dir_all(folder).map_err(|source| Error::Write { path: folder.clone(), source })?;
        }
    }
    jobs.iter().try_for_each(|job| explain_one(&loaded, &mut explainer, args, job, &target))
}

/// An input, and what to write for it.
struct Job {
    input: PathBuf,
    png: Option<PathBuf>,
    npy: Option<PathBuf>,
    json: Option<PathBuf>,
}

/// What is to be done; nothing that is read is written over.
fn jobs(args: &ExplainArgs) -> Outcome<Vec<Job>> {
    let jobs = match args.input.is_dir() {
        true => jobs_in(args)?,
        false => vec![Job {
            input: args.input.clone(),
            png: args.png.clone(),
            npy: args.npy.clone(),
            json: args.json.clone(),
        }],
    };
    let read = [&args.model.model].into_iter().chain(&args.model.card).chain(jobs.iter().map(|job| &job.input));
    output::refuse_overwriting(read, jobs.iter().flat_map(|job| [&job.png, &job.npy, &job.json]))?;
    Ok(jobs)
}

/// A job for each image of a folder.
fn jobs_in(args: &ExplainArgs) -> Outcome<Vec<Job>> {
    let inputs = images_in(&args.input)?;
    if args.json.as_deref() == Some(Path::new("-")) {
        return Err(Failure::usage("the records of a folder's images go to a folder: --json FOLDER"));
    }
    let stems: Vec<_> = inputs.iter().map(|i| i.file_stem().unwrap_or_default().to_os_string()).collect();
    if let Some(i) = (1..stems.len()).find(|&i| stems[..i].contains(&stems[i])) {
        let both = format!("{}: another image has the same name but for its ending", inputs[i].display());
        return Err(Failure::usage(format!("{both}, so their maps would be one file")));
    }
    let job = |(input, stem): (PathBuf, OsString)| {
        let inside = |folder: &Option<PathBuf>, ending: &str| {
            let mut name = stem.clone();
            name.push(ending);
            folder.as_ref().map(|f| f.join(name))
        };
        let [png, npy, json] =
            [(&args.png, ".png"), (&args.npy, ".npy"), (&args.json, ".json")].map(|f| inside(f.0, f.1));
        Job { input, png, npy, json }
    };
    Ok(inputs.into_iter().zip(stems).map(job).collect())
}

fn refuse_over_budget(explainer: &Explainer, args: &ExplainArgs) -> Outcome {
    let passes = explainer.passes();
    let total = passes.forward + passes.gradient;
    match args.max_passes {
        Some(most) if total > most => Err(Error::Budget {
            reason: format!(
                "{} takes {total} passes ({} gradient, {} forward), more than --max-passes {most}",
                explainer.entry().name,
                passes.gradient,
                passes.forward
            ),
        }
        .into()),
        _ => Ok(()),
    }
}

/// The method's parameters, from -p and from the flags of common ones.
fn given(args: &MethodArgs) -> Outcome<Given> {
    let mut given = Given::new();
    for param in &args.params {
        let (name, value) =
            param.split_once('=').ok_or_else(|| Failure::usage(format!("-p {param}: write NAME=VALUE")))?;
        given.insert(name.to_string(), value.to_string());
    }
    let flags = [
        ("steps", &args.steps),
        ("baseline", &args.baseline),
        ("tolerance", &args.tolerance),
        ("samples", &args.samples),
        ("sigma", &args.sigma),
        ("seed", &args.seed),
        ("layer", &args.layer),
    ];
    for (name, value) in flags {
        if let Some(value) = value {
            given.insert(name.to_string(), value.clone());
        }
    }
    // What names a file is one.
    if let Some(baseline) = given.get_mut("baseline")
        && Path::new(baseline.as_str()).exists()
    {
        *baseline = format!("{FILE}{baseline}");
    }
    // How far a fixed rule gets is not known before.
    if args.tolerance.is_some() && find(&args.method)?.parameters.iter().any(|p| p.name == "rule") {
        given.entry("rule".into()).or_insert_with(|| "adaptive".into());
    }
    Ok(given)
}

fn images_in(folder: &Path) -> Outcome<Vec<PathBuf>> {
    let failed = |source| about_input(Error::Read { path: folder.into(), source });
    let mut images = vec![];
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let mask = path.file_stem().is_some_and(|s| s.to_string_lossy().ends_with(".mask"));
        if is_image_name(&path) && !mask {
            images.push(path);
        }
    }
    images.sort();
    if images.is_empty() {
        return Err(Failure {
            message: format!("{}: the folder holds no PNG or JPEG images", folder.display()),
            code: 4,
        });
    }
    Ok(images)
}

/// An input, and the picture that shows it.
struct Material {
    input: Vec<f32>,
    picture: Option<Picture>,
}

fn read_input(loaded: &Loaded, path: &Path) -> Outcome<Material> {
    let shape = loaded.input_shape()?;
    let refuse = |reason: String| Failure::from(Error::Input { path: path.into(), reason });
    if path.extension().is_some_and(|e| e == "npy") {
        let tensor = npy::read(path).map_err(about_input)?;
        if tensor.shape != shape {
            return Err(refuse(format!("it has shape {:?}, but the model wants {shape:?}", tensor.shape)));
        }
        return Ok(Material { input: tensor.to_f32().unwrap_or_default(), picture: None });
    }
    let picture = decode(path).map_err(about_input)?;
    let layout = loaded.layout()?.ok_or_else(|| {
        refuse(format!("it is an image, but the model's input has shape {shape:?}; give a .npy tensor"))
    })?;
    let prepared = prepare(&picture, &shape, layout, &loaded.card.input).map_err(|error| match error {
        Error::BadInput { reason } => refuse(format!("it {reason}")),
        other => other.into(),
    })?;
    Ok(Material { input: prepared.input, picture: Some(prepared.seen) })
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

fn explain_one(loaded: &Loaded, explainer: &mut Explainer, args: &ExplainArgs, job: &Job, target: &Target) -> Outcome {
    let material = read_input(loaded, &job.input)?;
    let file = FileRecord::of(&job.input).map_err(about_input)?;
    let explained = explainer.explain(&material.input, file, target)?;
    let mut record = explained.record.clone();
    if loaded.card_source == CardSource::Assumed && material.picture.is_some() {
        record.warnings.push("the model has no card: pixels were scaled to 0..1; see --scale, --mean and --std".into());
    }
    let json = output::to_json(&record)?;
    // Everything is computed before anything is written.
    let png = match &job.png {
        Some(_) => Some(overlay(loaded, explainer, args, &material, &explained, &json)?),
        None => None,
    };
    if let Some(path) = &job.npy {
        npy::write(path, &explained.attribution.shape, &explained.attribution.values)?;
    }
    if let (Some(path), Some(png)) = (&job.png, &png) {
        write_atomically(path, png)?;
    }
    if let Some(path) = &job.json {
        output::write_text(path, &json)?;
    }
    // Standard output carries either the record or the report.
    let to_stdout = job.json.as_deref() == Some(Path::new("-"));
    if !args.quiet && !to_stdout {
        output::report(&job.input, &record, &[&job.png, &job.npy, &job.json]);
    }
    if !args.quiet {
        record.warnings.iter().for_each(|w| eprintln!("warning: {w}"));
    }
    Ok(())
}

fn overlay(
    loaded: &Loaded,
    explainer: &Explainer,
    args: &ExplainArgs,
    material: &Material,
    explained: &Explanation,
    json: &str,
) -> Outcome<Vec<u8>> {
    let layout = loaded
        .layout()?
        .ok_or_else(|| Failure::usage("the input is no image, so there is no picture to write; use --npy"))?;
    let shape = loaded.input_shape()?;
    let flat = explained.attribution.per_pixel(layout, explainer.signed())?;
    let (_, height, width) = layout.split(&shape).unwrap_or_default();
    let picture = match &material.picture {
        Some(picture) => picture.clone(),
        None => whyline_runtime::image::preprocess::picture_of(&material.input, &shape, layout),
    };
    let style =
        Style { colormap: output::colormap(explainer.signed()), side_by_side: args.side_by_side, zoom: args.zoom };
    let image = draw(&flat, (height, width), &picture, &style);
    Ok(encode_png(&image, &[("whyline", json)])?)
}
