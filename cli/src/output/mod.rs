//! What people and programs read.

pub mod progress;
pub mod scores;

use std::collections::HashSet;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;
use whyline_runtime::engine::{Halves, Memory};
use whyline_runtime::files::{check_writable, write_atomically};
use whyline_runtime::image::colormap::Colormap;
use whyline_runtime::record::{ClassRecord, Record, TargetRecord};

use crate::failure::{Failure, INTERNAL, Outcome};

/// Whether standard output has taken no more.
static IS_FULL: AtomicBool = AtomicBool::new(false);

/// Whether nothing but errors is wanted.
static IS_QUIET: AtomicBool = AtomicBool::new(false);

/// From now on nothing but errors is told.
pub fn hush() {
    IS_QUIET.store(true, Ordering::Relaxed);
}

/// Writes a line to standard output. Where that takes none, what else there is to do is done: a reader that has gone away wants no
/// more of it, and of anything else [`said`] tells.
pub fn say(line: std::fmt::Arguments) {
    match writeln!(std::io::stdout(), "{}", plain(line)) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe && !IS_FULL.swap(true, Ordering::Relaxed) => {
            complain(format_args!("whyline: cannot write to standard output: {error}"));
        }
        _ => {}
    }
}

/// Whether all that was said could be.
pub fn said() -> bool {
    !IS_FULL.load(Ordering::Relaxed)
}

/// Writes a line to standard error. Where that takes none, nobody can be told, and the work goes on.
pub fn complain(line: std::fmt::Arguments) {
    let _ = writeln!(std::io::stderr(), "{}", plain(line));
}

/// A text without what a terminal takes for orders: names come from files that anybody may have written.
fn plain(text: std::fmt::Arguments) -> String {
    text.to_string().replace(|c: char| c.is_control() && !matches!(c, '\n' | '\t'), "?")
}

/// Where a file is, or would be.
fn place(path: &Path) -> PathBuf {
    let folder = || path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let beside = || Some(std::fs::canonicalize(folder()).ok()?.join(path.file_name()?));
    std::fs::canonicalize(path).ok().or_else(beside).unwrap_or_else(|| path.to_path_buf())
}

/// Refuses to write over a file that is read, or twice to one file.
pub fn refuse_overwriting<'a>(
    read: impl IntoIterator<Item = &'a PathBuf>,
    written: impl IntoIterator<Item = &'a Option<PathBuf>>,
) -> Outcome {
    let real = |path: &PathBuf| std::fs::canonicalize(path).ok();
    let inputs: HashSet<PathBuf> = read.into_iter().filter_map(real).collect();
    let mut seen = HashSet::new();
    for output in written.into_iter().flatten() {
        let is_device = std::fs::metadata(output).is_ok_and(|data| !data.is_file());
        if !is_device && !seen.insert(place(output)) {
            return Err(Failure::usage(format!("{} is to be written twice", output.display())));
        }
        if real(output).is_some_and(|path| path.is_file() && inputs.contains(&path)) {
            return Err(Failure::usage(format!("{} is read; it must not be written over", output.display())));
        }
    }
    Ok(())
}

/// Refuses standard output for what is no text.
pub fn refuse_stdout<'a>(written: impl IntoIterator<Item = &'a Option<PathBuf>>, what: &str) -> Outcome {
    match written.into_iter().any(is_stdout) {
        true => Err(Failure::usage(format!("{what} goes into a file, not to standard output"))),
        false => Ok(()),
    }
}

/// `println!` without its panic on a closed pipe.
#[macro_export]
macro_rules! say {
    () => { $crate::output::say(format_args!("")) };
    ($($arg:tt)*) => { $crate::output::say(format_args!($($arg)*)) };
}

/// Refuses what could not be written once it is there, before the work begins.
pub fn refuse_unwritable<'a>(written: impl IntoIterator<Item = &'a Option<PathBuf>>) -> Outcome {
    let files = written.into_iter().flatten().filter(|path| path.as_os_str() != "-");
    Ok(files.into_iter().try_for_each(|path| check_writable(path))?)
}

/// A warning, without the panic of `eprintln!` where standard error takes none.
#[macro_export]
macro_rules! warn {
    ($($arg:tt)*) => { $crate::output::warn(format_args!($($arg)*)) };
}

/// Writes a warning to standard error, where somebody wants to know.
pub fn warn(line: std::fmt::Arguments) {
    if !IS_QUIET.load(Ordering::Relaxed) {
        complain(format_args!("warning: {line}"));
    }
}

/// Tells of one image among others that could not be used: an error, but not the others' fault.
pub fn pass_over(reason: std::fmt::Arguments) {
    complain(format_args!("whyline: {reason}"));
}

/// Whether a file is standard output, `-`.
pub fn is_stdout(path: &Option<PathBuf>) -> bool {
    path.as_deref() == Some(Path::new("-"))
}

/// As indented JSON.
pub fn to_json(value: &impl Serialize) -> Outcome<String> {
    serde_json::to_string_pretty(value).map_err(|e| Failure { message: e.to_string(), code: INTERNAL })
}

/// To a file, or to standard output for `-`.
pub fn write_text(path: &Path, text: &str) -> Outcome {
    if path == Path::new("-") {
        say!("{text}");
        return Ok(());
    }
    Ok(write_atomically(path, format!("{text}\n").as_bytes())?)
}

/// A text of several lines in one.
pub fn in_a_line(text: &str) -> String {
    let mut line = String::new();
    for part in text.lines().map(str::trim) {
        line += if line.is_empty() || line.ends_with(':') { " " } else { "; " };
        line += part;
    }
    line.trim_start_matches([';', ' ']).to_string()
}

/// The colours for signed maps and for magnitudes.
pub fn colormap(signed: bool) -> Colormap {
    if signed { Colormap::Diverging } else { Colormap::Sequential }
}

fn class_name(class: &ClassRecord) -> String {
    match &class.label {
        Some(label) if *label != class.class.to_string() => format!("{label} (class {})", class.class),
        _ => format!("class {}", class.class),
    }
}

/// A class's score, as it is explained.
pub fn score(class: &ClassRecord) -> String {
    match (class.logit, class.probability) {
        (Some(logit), _) => format!("logit {logit:.4}"),
        (None, Some(p)) => format!("probability {p:.4}"),
        (None, None) => "no score".into(),
    }
}

/// What is explained of the target.
fn explained(target: &TargetRecord) -> String {
    let margin = |of: fn(&ClassRecord) -> Option<f64>| Some(of(&target.class)? - of(target.against.as_ref()?)?);
    match margin(|class| class.logit).or_else(|| margin(|class| class.probability)) {
        Some(margin) => format!("margin {margin:.4}"),
        None => score(&target.class),
    }
}

/// The report of one explanation.
pub fn report(input: &Path, record: &Record, written: &[&Option<PathBuf>]) {
    let (predicted, target) = (&record.predicted, &record.target.class);
    say!("input      {}", input.display());
    let probability = predicted.probability.map_or(String::new(), |p| format!(", probability {p:.4}"));
    say!("predicted  {}{probability}", class_name(predicted));
    let against = record.target.against.as_ref().map_or(String::new(), |c| format!(" against {}", class_name(c)));
    say!("target     {}{against}, {}", class_name(target), explained(&record.target));
    let told: Vec<String> = record.parameters.iter().map(|(k, v)| format!("{k} {v}")).collect();
    let told = if told.is_empty() { String::new() } else { format!(" ({})", told.join(", ")) };
    say!("method     {}{told}", record.method);
    if let Some(layer) = &record.layer {
        say!("layer      {layer}");
    }
    say!("passes     {} gradient, {} forward", record.passes.gradient, record.passes.forward);
    if let Some(c) = &record.completeness {
        say!("gap        {:+.3e}, {:.3} % of the {:.4} explained", c.gap, 100.0 * c.relative_gap, c.difference);
    }
    say!("time       {:.1} ms (and {:.0} ms to prepare the model)", record.timing.explain_ms, record.timing.prepare_ms);
    for path in written.iter().filter_map(|p| p.as_ref()) {
        say!("wrote      {}", path.display());
    }
}

/// What a session needs, in a line.
pub fn memory(memory: &Memory) -> String {
    let mib = |bytes: usize| bytes as f64 / (1 << 20) as f64;
    format!(
        "weights {:.1} MiB, arena {:.1} MiB per thread ({:.1} MiB for forward passes alone)",
        mib(memory.weights),
        mib(memory.gradient_arena),
        mib(memory.forward_arena)
    )
}

/// What steps do in half precision, in a line.
pub fn halves(halves: &Halves) -> String {
    format!(
        "{} steps multiply halves, {} have their weights in halves, {} work on floats",
        halves.multiplied,
        halves.kept,
        halves.floats.len()
    )
}
