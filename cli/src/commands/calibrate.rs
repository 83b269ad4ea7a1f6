//! `whyline calibrate`

use std::path::Path;
use std::sync::atomic::Ordering;

use whyline_runtime::calibrate::Calibrator;
use whyline_runtime::explain::{CardSource, Loaded};
use whyline_runtime::files::{self, write_atomically};
use whyline_runtime::gradient::names;
use whyline_runtime::onnx::Card;
use whyline_runtime::onnx::metadata::with_metadata;

use super::inputs::{images_in, interrupt, read_input, resources};
use super::load::load;
use crate::args::CalibrateArgs;
use crate::failure::{Failure, INTERRUPTED, Outcome};
use crate::output;
use crate::say;

/// Runs it.
pub fn run(args: &CalibrateArgs) -> Outcome {
    let inputs = if args.inputs.is_dir() { images_in(&args.inputs)? } else { vec![args.inputs.clone()] };
    let read = args.model.files().chain(&inputs);
    output::refuse_overwriting(read, [&Some(args.to.clone())])?;
    output::refuse_stdout([&Some(args.to.clone())], "what is learned")?;
    let loaded = load(&args.model, Some(&args.preprocess))?;
    output::refuse_overwriting(&loaded.files, [&Some(args.to.clone())])?;
    output::refuse_unwritable([&Some(args.to.clone())])?;
    refuse_shadowed(&args.to)?;
    refuse_apart(&loaded, &args.model.model, &args.to)?;
    if loaded.card_source == CardSource::Assumed {
        return Err(Failure::usage(
            "the model has no card, and what is learned goes into one: say what its pixels mean (--scale, --mean, --std)",
        ));
    }
    let mut calibrator = loaded.calibrator(&args.baseline, resources(&args.resources))?;
    let total = Calibrator::PASSES * inputs.len() as u64;
    let progress = output::progress::passes(total).filter(|_| !args.quiet);
    let interrupt = interrupt();
    for (number, path) in inputs.iter().enumerate() {
        calibrator.learn(&read_input(&loaded, path)?.input)?;
        if let Some(show) = &progress {
            show(Calibrator::PASSES * (number as u64 + 1));
        }
        if interrupt.load(Ordering::Relaxed) {
            return Err(Failure { message: "interrupted; nothing is written".into(), code: INTERRUPTED });
        }
    }
    let steps = calibrator.steps()?;
    let learned = steps.inputs;
    let half = steps.places[steps.places.len() / 2];
    let card = Card { steps: Some(steps), ..loaded.card.clone() };
    write(&loaded, &args.model.model, &args.to, &card.to_toml()?)?;
    if !args.quiet {
        let nothing = match inputs.len() - learned {
            0 => String::new(),
            count => format!(" ({count} more taught nothing: their maps are zero everywhere)"),
        };
        say!("inputs     {learned}{nothing}");
        say!("passes     {total}");
        say!("half way   half of the steps lie in the first {:.1} % of the path from the baseline", 100.0 * half);
        say!("wrote      {}", args.to.display());
        say!("use        -p rule=calibrated");
    }
    Ok(())
}

/// Refuses a model that would be read with another card than that in its metadata.
fn refuse_shadowed(to: &Path) -> Outcome {
    let card = Card::path_beside(to);
    match is_card(to) || !card.exists() {
        true => Ok(()),
        false => Err(Failure::usage(format!(
            "{0} lies beside {1} and would be read in place of what is learned; write another name, or the card: -o {0}",
            card.display(),
            to.display()
        ))),
    }
}

/// Refuses a copy of a model that would not find the model's other files.
fn refuse_apart(loaded: &Loaded, model: &Path, to: &Path) -> Outcome {
    let folder = |path: &Path| {
        std::fs::canonicalize(path.parent().filter(|p| *p != Path::new("")).unwrap_or(Path::new("."))).ok()
    };
    if !is_card(to) && !loaded.model.external.is_empty() && folder(model) != folder(to) {
        return Err(Failure::usage(
            "the model has weights in files beside it, which a copy elsewhere would not find; write it beside the model, or a \
             card: -o NAME.toml",
        ));
    }
    Ok(())
}

fn is_card(to: &Path) -> bool {
    to.extension().is_some_and(|e| e.eq_ignore_ascii_case("toml"))
}

/// A card of its own, or the model with the card in its metadata.
fn write(loaded: &Loaded, model: &Path, to: &Path, card: &str) -> Outcome {
    if is_card(to) {
        return Ok(write_atomically(to, card.as_bytes())?);
    }
    let bytes = with_metadata(&files::read(model)?, &loaded.model.name, names::CARD, card)?;
    Ok(write_atomically(to, &bytes)?)
}
