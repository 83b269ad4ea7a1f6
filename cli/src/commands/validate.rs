//! `whyline validate`

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Serialize;
use whyline_runtime::explain::{Explainer, Loaded};
use whyline_runtime::methods::{self, Given};
use whyline_runtime::params::Params;
use whyline_runtime::record::FileRecord;
use whyline_runtime::validate::{self, CHECKS, Check, Made, Scene, Specimen, Verdict};
use whyline_runtime::{Error, Kind, npy};

use super::dataset::names_in;
use super::inputs::{
    entries, for_method, give_files, interrupt, name_files, no_images, pairs, read_input, refuse_unknown, resources,
    told,
};
use super::load::load;
use crate::args::{ModelArgs, ScoreArg, ValidateArgs};
use crate::failure::{Failure, INTERRUPTED, Outcome, about_input};
use crate::output;
use crate::{say, warn};

/// The code of a check that failed.
pub const CHECK_FAILED: u8 = 6;

/// Random inputs, where nobody says how many.
pub const RANDOM: u16 = 4;

/// Runs it.
pub fn run(args: &ValidateArgs) -> Outcome {
    let read = args.model.files().chain(&args.dataset);
    output::refuse_overwriting(read, [&args.json])?;
    let checks = chosen(args)?;
    let limits = limits(args, &checks)?;
    let files = args.dataset.as_deref().map(files_of).transpose()?;
    output::refuse_overwriting(files.iter().flatten(), [&args.json])?;
    let loaded = load(&args.model, Some(&args.preprocess))?;
    output::refuse_overwriting(&loaded.files, [&args.json])?;
    output::refuse_unwritable([&args.json])?;
    let methods = methods_of(args, &loaded)?;
    for (_, given) in &methods {
        output::refuse_overwriting(&super::inputs::files_of(given)?, [&args.json])?;
    }
    refuse_unfit(&loaded)?;
    let inputs = specimens(&loaded, files.as_deref(), args.inputs, args.random)?;
    let give = |explainer: &mut Explainer, given: &Given| {
        give_files(&loaded, explainer, given).map_err(|failure| Error::Usage { reason: failure.message })
    };
    let fresh = |entry: &methods::Entry, given: &Given, input: &Specimen| again(args, &loaded, entry, given, input);
    let scene = Scene {
        references: args.references,
        give: Some(&give),
        file: Some(&args.model.model),
        #[cfg(feature = "ort")]
        ort_library: args.ort_lib.as_deref(),
        fresh: Some(&fresh),
        interrupt: Some(interrupt()),
        ..Scene::new(&loaded, inputs, methods, resources(&args.resources))
    };
    let talks = !args.quiet && !output::is_stdout(&args.json);
    if talks {
        begin(&scene);
    }
    let (mut all, mut cut) = (vec![], None);
    for (check, params) in checks.into_iter().zip(&limits) {
        let made = scene.make(check, params);
        // What was interrupted has found nothing.
        if scene.is_interrupted() {
            return Err(Failure { message: "interrupted; nothing is written".into(), code: INTERRUPTED });
        }
        match made {
            Ok(made) => {
                if talks {
                    tell(&made);
                }
                all.push(made);
            }
            // What was found before is told all the same.
            Err(error) => {
                cut = Some(Failure::of(check.name, error));
                break;
            }
        }
    }
    conclude(args, &scene, all, cut)
}

/// Refuses what every check would stumble over.
fn refuse_unfit(loaded: &Loaded) -> Outcome {
    match loaded.classes() {
        Err(error) if error.kind() == Kind::Usage => return Err(error.into()),
        _ => {}
    }
    match loaded.takes_batches()? {
        true => {
            Err(Failure::usage("the model takes batches; one image is explained at a time: export it with batch 1"))
        }
        false => Ok(()),
    }
}

/// The report as JSON.
#[derive(Serialize)]
struct Report<'a> {
    whyline: &'static str,
    model: FileRecord,
    inputs: Vec<&'a FileRecord>,
    methods: Vec<(&'static str, &'a Given)>,
    checks: Vec<Made>,
    passed: bool,
}

/// Writes the report; what failed is the outcome, and what cut the checks short before that.
fn conclude(args: &ValidateArgs, scene: &Scene, checks: Vec<Made>, cut: Option<Failure>) -> Outcome {
    let is_bad = |made: &&Made| matches!(made.finding.verdict, Verdict::Failed | Verdict::Error);
    let bad: Vec<&str> = checks.iter().filter(is_bad).map(|made| made.check).collect();
    let count = checks.len();
    let report = Report {
        whyline: env!("CARGO_PKG_VERSION"),
        model: FileRecord { file: scene.loaded.model.name.clone(), sha256: scene.loaded.model.sha256.clone() },
        inputs: scene.inputs.iter().map(|input| &input.file).collect(),
        methods: scene.methods.iter().map(|(entry, given)| (entry.name, given)).collect(),
        passed: bad.is_empty() && cut.is_none(),
        checks,
    };
    if let Some(path) = &args.json {
        output::write_text(path, &output::to_json(&report)?)?;
    }
    if let Some(failure) = cut {
        return Err(failure);
    }
    match report.passed {
        true => {
            if !args.quiet && !output::is_stdout(&args.json) {
                let skipped = report.checks.iter().filter(|made| made.finding.verdict == Verdict::Skipped).count();
                say!("{} checks passed, {skipped} skipped", count - skipped);
            }
            Ok(())
        }
        false => {
            let message = format!("{} of {count} checks failed: {}", bad.len(), bad.join(", "));
            Err(Failure { message, code: CHECK_FAILED })
        }
    }
}

fn begin(scene: &Scene) {
    let names: Vec<&str> = scene.methods.iter().map(|(entry, _)| entry.name).collect();
    say!("model    {}", scene.loaded.model.name);
    say!("inputs   {}", scene.inputs.len());
    say!("methods  {}", names.join(", "));
    say!();
}

fn tell(made: &Made) {
    let verdict = match made.finding.verdict {
        Verdict::Passed => "passed",
        Verdict::Failed => "FAILED",
        Verdict::Skipped => "skipped",
        Verdict::Error => "ERROR",
    };
    say!("{verdict:<8} {:<13} {} ({:.1} s)", made.check, made.finding.summary, made.seconds);
    for reason in &made.finding.reasons {
        say!("{:<8} {:<13} {}", "", "", output::in_a_line(reason));
    }
}

/// The checks that were named, in the order in which they are made.
fn chosen(args: &ValidateArgs) -> Outcome<Vec<&'static Check>> {
    let wanted = |check: &&Check| args.checks.iter().any(|name| name == "all" || name == check.name);
    Ok(CHECKS.iter().copied().filter(|check| wanted(check)).collect())
}

/// What each check is told; a limit that none has is a mistake, and one that is none.
fn limits(args: &ValidateArgs, checks: &[&'static Check]) -> Outcome<Vec<Params>> {
    let owners: Vec<_> = checks.iter().map(|check| (check.name, check.parameters)).collect();
    let told = told(&pairs(&args.limits)?, &owners, |name| format!("none of the checks has a limit '{name}'"))?;
    checks.iter().zip(&told).map(|(check, own)| Ok(check.params(own)?)).collect()
}

/// The methods that were named, each with those of the parameters that it has.
fn methods_of(args: &ValidateArgs, loaded: &Loaded) -> Outcome<Vec<(&'static methods::Entry, Given)>> {
    let (mut given, entries) = (pairs(&args.params)?, entries(&args.methods)?);
    name_files(&mut given);
    refuse_unknown(&given, &entries)?;
    let own = |entry: &'static methods::Entry| {
        let own = for_method(&given, entry, false);
        (entry.build)(&entry.params(&own)?)?;
        Ok((entry, own))
    };
    let mut methods: Vec<_> = entries.into_iter().map(own).collect::<Outcome<_>>()?;
    // Of all methods, those that are not for such a model are left out, and named.
    if args.methods == ["all"] {
        methods.retain(|(entry, given)| match validate::admits(loaded, entry, given) {
            Err(error) if error.kind() == Kind::Usage => {
                warn!("{} is left out: {}", entry.name, output::in_a_line(&error.to_string()));
                false
            }
            _ => true,
        });
    }
    Ok(methods)
}

/// The files of a dataset: its images, or the one file that it is.
pub fn files_of(dataset: &Path) -> Outcome<Vec<PathBuf>> {
    let files: Vec<PathBuf> = match dataset.is_dir() {
        true => names_in(dataset)?.into_iter().map(|name| dataset.join(name)).collect(),
        false => vec![dataset.to_path_buf()],
    };
    if files.is_empty() { Err(no_images(dataset)) } else { Ok(files) }
}

/// At most so many of the files, evenly; or inputs of random pixels.
pub fn specimens(loaded: &Loaded, files: Option<&[PathBuf]>, most: u16, random: Option<u16>) -> Outcome<Vec<Specimen>> {
    let Some(files) = files else {
        return (0..random.unwrap_or(RANDOM)).map(|number| Ok(Specimen::random(loaded, number.into())?)).collect();
    };
    let count = files.len().min(usize::from(most));
    let specimen = |i: usize| {
        let path = &files[i * files.len() / count];
        let file = FileRecord::of(path).map_err(about_input)?;
        Ok(Specimen::new(file, read_input(loaded, path)?.input)?)
    };
    (0..count).map(specimen).collect()
}

/// The map of an input by a new process of this program.
fn again(
    args: &ValidateArgs,
    loaded: &Loaded,
    entry: &methods::Entry,
    given: &Given,
    input: &Specimen,
) -> whyline_runtime::Result<Vec<f32>> {
    let failed = |reason: String| Error::Usage { reason: format!("another process of whyline: {reason}") };
    let folder = tempfile::tempdir().map_err(|e| failed(e.to_string()))?;
    let [tensor, map, card] = ["input.npy", "map.npy", "card.toml"].map(|name| folder.path().join(name));
    npy::write(&tensor, &loaded.input_shape()?, &input.values)?;
    std::fs::write(&card, loaded.card.to_toml()?).map_err(|e| failed(e.to_string()))?;
    let program = std::env::current_exe().map_err(|e| failed(e.to_string()))?;
    let mut command = Command::new(program);
    command.arg("explain").arg(&args.model.model).arg(&tensor);
    command.args(["-m", entry.name, "--threads", "1", "-q"]).arg("--card").arg(&card).arg("--npy").arg(&map);
    command.args(given.iter().flat_map(|(name, value)| ["-p".to_string(), format!("{name}={value}")]));
    command.args(model_flags(&args.model));
    let ended = command.stdin(Stdio::null()).stdout(Stdio::null()).output().map_err(|e| failed(e.to_string()))?;
    if !ended.status.success() {
        return Err(failed(String::from_utf8_lossy(&ended.stderr).trim().to_string()));
    }
    let written = npy::read(&map)?;
    written.to_f32().ok_or_else(|| failed("its map is of no floats".into()))
}

/// The flags that say how the model is read, but for its card.
fn model_flags(args: &ModelArgs) -> Vec<String> {
    let shape = args.shape.as_ref().map(|shape| shape.iter().map(usize::to_string).collect::<Vec<_>>().join(","));
    let pairs = [
        ("--shape", shape),
        ("--output", args.output.clone()),
        ("--over", args.over.as_ref().map(|over| over.display().to_string())),
        ("--random-weights", args.random_weights.map(|seed| seed.to_string())),
        ("--cotangent", args.cotangent.clone()),
        ("--gradient", args.gradient.clone()),
        ("--score", matches!(args.score, ScoreArg::Probability).then(|| "probability".into())),
    ];
    pairs.into_iter().filter_map(|(flag, value)| Some(format!("{flag}={}", value?))).collect()
}
