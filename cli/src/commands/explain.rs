//! `whyline explain`

use std::collections::HashSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use whyline_runtime::Error;
use whyline_runtime::explain::{CardSource, Explainer, Explanation, Loaded, Target};
use whyline_runtime::files::write_atomically;
use whyline_runtime::image::overlay::encode_png;
use whyline_runtime::image::{Style, draw};
use whyline_runtime::methods::find;
use whyline_runtime::npy;
use whyline_runtime::record::{FileRecord, Record};

use super::inputs::{
    Material, budget, files_of, for_method, give_files, given, images_in, is_bounded, read_input, resources, target,
};
use super::load::load;
use crate::args::ExplainArgs;
use crate::failure::{Failure, INTERRUPTED, Outcome, about_input};
use crate::output;
use crate::warn;

/// Runs it.
pub fn run(args: &ExplainArgs) -> Outcome {
    let jobs = jobs(args)?;
    if args.method.method.contains(',') || args.method.method == "all" {
        return Err(Failure::usage("explain takes one method; compare takes several, or all"));
    }
    let mut given = given(&args.method.params)?;
    given.extend(for_method(&given, find(&args.method.method)?, is_bounded(&args.budget)));
    output::refuse_overwriting(&files_of(&given)?, written(args, &jobs).iter().flat_map(Job::outputs))?;
    let loaded = load(&args.model, Some(&args.preprocess))?;
    if !args.input.is_dir() {
        output::refuse_unwritable(written(args, &jobs).iter().flat_map(Job::outputs))?;
    }
    output::refuse_overwriting(&loaded.files, written(args, &jobs).iter().flat_map(Job::outputs))?;
    if args.top_k.is_some_and(|k| usize::from(k) > loaded.classes().unwrap_or(0)) {
        return Err(Failure::usage(format!("--top-k: the model has {} classes", loaded.classes()?)));
    }
    let resources = args.engine.of(resources(&args.resources));
    let mut explainer = loaded.explainer(&args.method.method, &given, args.precision.precision(), resources)?;
    let budget = budget(&args.budget);
    explainer.set_budget(budget)?;
    if let Some(watcher) = output::progress::watcher(explainer.passes()).filter(|_| !args.quiet) {
        explainer.watch(watcher);
    }
    give_files(&loaded, &mut explainer, &given)?;
    if args.input.is_dir() {
        for folder in [&args.png, &args.npy, &args.json].into_iter().flatten() {
            std::fs::create_dir_all(folder).map_err(|source| Error::Write { path: folder.clone(), source })?;
        }
    }
    let (mut records, mut failed) = (vec![], 0);
    let ended = jobs.iter().try_for_each(|job| {
        for target in targets(args) {
            match explain_one(&loaded, &mut explainer, args, &job.of(&target), &target) {
                Ok(record) => records.push(record),
                // One image of a folder is not the others' fault.
                Err(failure) if args.input.is_dir() && failure.code == 4 => {
                    failed += 1;
                    output::pass_over(format_args!("{}", failure.naming(&job.input).message));
                    return Ok(());
                }
                Err(failure) => return Err(failure),
            }
            if budget.is_interrupted() {
                let message = "interrupted; what was begun is written".into();
                return Err(Failure { message, code: INTERRUPTED });
            }
        }
        Ok(())
    });
    match (to_stdout(args), args.top_k) {
        (false, _) => {}
        // One document, whatever the number of classes.
        (true, Some(_)) => output::write_text(Path::new("-"), &output::to_json(&records)?)?,
        (true, None) => records.iter().try_for_each(|r| output::write_text(Path::new("-"), &output::to_json(r)?))?,
    }
    ended?;
    match failed {
        0 => Ok(()),
        _ => Err(Failure { message: format!("{failed} of {} images could not be explained", jobs.len()), code: 4 }),
    }
}

/// Whether standard output carries records and not reports.
fn to_stdout(args: &ExplainArgs) -> bool {
    output::is_stdout(&args.json)
}

/// What is explained of each input.
fn targets(args: &ExplainArgs) -> Vec<Target> {
    match args.top_k {
        None => vec![target(&args.target)],
        Some(k) => (0..usize::from(k)).map(Target::Ranked).collect(),
    }
}

/// An input, and what to write for it.
#[derive(Clone)]
struct Job {
    input: PathBuf,
    png: Option<PathBuf>,
    npy: Option<PathBuf>,
    json: Option<PathBuf>,
}

impl Job {
    fn outputs(&self) -> [&Option<PathBuf>; 3] {
        [&self.png, &self.npy, &self.json]
    }

    /// The job for one of several targets: its files are told apart by the class's rank.
    fn of(&self, target: &Target) -> Job {
        let Target::Ranked(rank) = target else { return self.clone() };
        let ranked = |path: &Option<PathBuf>| {
            path.as_ref().filter(|p| p.as_os_str() != "-").map(|path| {
                let mut name = path.file_stem().unwrap_or_default().to_os_string();
                name.push(format!("-{}", rank + 1));
                if let Some(ending) = path.extension() {
                    name.push(".");
                    name.push(ending);
                }
                path.with_file_name(name)
            })
        };
        let [png, npy, json] = [&self.png, &self.npy, &self.json].map(ranked);
        Job { input: self.input.clone(), png, npy, json }
    }
}

/// What is to be done; nothing that is read is written over.
fn jobs(args: &ExplainArgs) -> Outcome<Vec<Job>> {
    output::refuse_stdout([&args.png, &args.npy], "a picture or tensor")?;
    let jobs = match args.input.is_dir() {
        true => jobs_in(args)?,
        false => vec![Job {
            input: args.input.clone(),
            png: args.png.clone(),
            npy: args.npy.clone(),
            json: args.json.clone(),
        }],
    };
    let read = args.model.files().chain(jobs.iter().map(|job| &job.input));
    output::refuse_overwriting(read, written(args, &jobs).iter().flat_map(Job::outputs))?;
    Ok(jobs)
}

/// The jobs, each for every target.
fn written(args: &ExplainArgs, jobs: &[Job]) -> Vec<Job> {
    jobs.iter().flat_map(|job| targets(args).iter().map(|t| job.of(t)).collect::<Vec<_>>()).collect()
}

/// A job for each image of a folder.
fn jobs_in(args: &ExplainArgs) -> Outcome<Vec<Job>> {
    let inputs = images_in(&args.input)?;
    if to_stdout(args) {
        return Err(Failure::usage("the records of a folder's images go to a folder: --json FOLDER"));
    }
    let stems: Vec<_> = inputs.iter().map(|i| i.file_stem().unwrap_or_default().to_os_string()).collect();
    let mut seen = HashSet::new();
    if let Some(i) = (0..stems.len()).find(|&i| !seen.insert(&stems[i])) {
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

fn explain_one(
    loaded: &Loaded,
    explainer: &mut Explainer,
    args: &ExplainArgs,
    job: &Job,
    target: &Target,
) -> Outcome<Record> {
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
    if let Some(path) = job.json.as_ref().filter(|_| !to_stdout(args)) {
        output::write_text(path, &json)?;
    }
    if !args.quiet && !to_stdout(args) {
        output::report(&job.input, &record, &[&job.png, &job.npy, &job.json]);
    }
    record.warnings.iter().for_each(|w| warn!("{w}"));
    Ok(record)
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
    let picture = material.picture(loaded, layout)?;
    let style =
        Style { colormap: output::colormap(explainer.signed()), side_by_side: args.side_by_side, zoom: args.zoom };
    let image = draw(&flat, (height, width), &picture, &style)?;
    Ok(encode_png(&image, &[("whyline", json)])?)
}
