//! `whyline compile`

use std::path::PathBuf;

use serde_json::json;
use whyline_runtime::engine::Resources;
use whyline_runtime::explain::{CardSource, LoadOptions, Loaded};
use whyline_runtime::gradient::layers::cam_layers;
use whyline_runtime::gradient::{Composite, GradientGraph, Settings, Spec, differentiate, names};
use whyline_runtime::methods::{Entry, Given, METHODS};
use whyline_runtime::onnx::half_weights::store_as_halves;
use whyline_runtime::onnx::{Layout, write_model};
use whyline_runtime::params::Params;
use whyline_runtime::validate::{self, Scene, Verdict};

use super::inputs::{entries, interrupt};
use super::load::load;
use super::validate::{CHECK_FAILED, RANDOM, files_of, specimens};
use crate::args::CompileArgs;
use crate::failure::{Failure, INTERRUPTED, Outcome};
use crate::output;
use crate::{say, warn};

/// Runs it.
pub fn run(args: &CompileArgs) -> Outcome {
    let dataset = args.validated.iter().flatten().next().map(|dataset| files_of(dataset)).transpose()?;
    let read = args.model.files().chain(args.validated.iter().flatten()).chain(dataset.iter().flatten());
    output::refuse_overwriting(read, [&Some(args.to.clone())])?;
    output::refuse_stdout([&Some(args.to.clone())], "a gradient graph")?;
    let composite =
        Composite::named(&args.rule).ok_or_else(|| Failure::usage(format!("there is no composite '{}'", args.rule)))?;
    let loaded = load(&args.model, None)?;
    output::refuse_overwriting(&loaded.files, [&Some(args.to.clone())])?;
    output::refuse_unwritable([&Some(args.to.clone())])?;
    if loaded.ready_made.is_some() {
        return Err(Failure::usage("the file is a gradient graph already; compile takes the forward model"));
    }
    let settings = Settings { bounds: loaded.bounds()?, ..Settings::default() };
    let (taps, output, score) = (args.tap.clone(), args.model.output.clone(), args.model.score.into());
    let spec = Spec { composite, taps, output, score, settings, ..Spec::default() };
    let mut derived = differentiate(&loaded.typed, &spec)?;
    derived.graph.metadata.insert(names::SOURCE.into(), loaded.model.sha256.clone());
    // An assumed card must not pass for a known one.
    if loaded.card_source == CardSource::Known {
        derived.graph.metadata.insert(names::CARD.into(), loaded.card.to_toml()?);
    }
    for layer in
        cam_layers(&loaded.typed, loaded.output(), loaded.layout()?)?.iter().filter(|l| args.tap.contains(&l.name))
    {
        let layout = if layer.layout == Layout::ChannelsLast { "nhwc" } else { "nchw" };
        derived.graph.metadata.insert(format!("{}{}", names::TAP_LAYOUT, layer.name), layout.into());
    }
    let halved = args.f16.then(|| store_as_halves(&mut derived.graph));
    if let Some(named) = &args.validated {
        let of = named.as_ref().map_or("random".into(), |path| path.display().to_string());
        let found = halves(args, &loaded, &derived, dataset.as_deref(), &of)?;
        derived.graph.metadata.insert(names::HALVES.into(), found);
    }
    write_model(&derived.graph, &derived.facts, &args.to)?;
    for (node, op) in &derived.flat {
        warn!("the derivative of {node} ({op}) is zero; nothing passes through");
    }
    for name in halved.iter().flat_map(|h| &h.refused) {
        warn!("{name} does not fit half precision and stays in single");
    }
    if !args.quiet {
        let forward = loaded.typed.graph.nodes.len();
        let inputs = [Some(derived.input.as_str()), Some(&derived.seed), derived.baseline.as_deref()];
        say!("inputs     {}", inputs.into_iter().flatten().collect::<Vec<_>>().join(", "));
        say!("outputs    {}", derived.graph.outputs.join(", "));
        say!("nodes      {} ({forward} of the forward model)", derived.graph.nodes.len());
        say!("composite  {} ({} nodes under a rule)", derived.composite, derived.ruled);
        if let Some(halved) = &halved {
            say!("float16    {} tensors", halved.tensors);
        }
        say!("wrote      {}", args.to.display());
    }
    Ok(())
}

/// Inputs of a dataset that half precision is put to the test on.
const MOST: u16 = 16;

/// What half precision does to maps of methods that the graph serves, as JSON; an error where it is too much. Looked at is the
/// graph as it will be read.
fn halves(
    args: &CompileArgs,
    loaded: &Loaded,
    derived: &GradientGraph,
    files: Option<&[PathBuf]>,
    of: &str,
) -> Outcome<String> {
    let folder = tempfile::tempdir().map_err(|e| Failure { message: format!("no room for a draft: {e}"), code: 4 })?;
    let draft = folder.path().join("draft.onnx");
    write_model(&derived.graph, &derived.facts, &draft)?;
    let halved = Loaded::read(&draft, &LoadOptions { card: Some(loaded.card.clone()), ..LoadOptions::default() })?;
    let methods = methods_of(args, &halved)?;
    let inputs = specimens(loaded, files, MOST, Some(RANDOM))?;
    let scene = Scene {
        halved: Some(&halved),
        interrupt: Some(interrupt()),
        ..Scene::new(loaded, inputs, methods, Resources::default())
    };
    let check = validate::find("f16")?;
    let made = scene.make(check, &Params::new(check.name, check.parameters, &Given::new())?);
    // Maps that were cut short are no maps to compare.
    if scene.is_interrupted() {
        return Err(Failure { message: "interrupted; nothing is written".into(), code: INTERRUPTED });
    }
    let made = made?;
    let reasons = output::in_a_line(&made.finding.reasons.join("\n"));
    let said = match made.finding.verdict {
        Verdict::Passed => None,
        Verdict::Failed => Some("half precision does not pass"),
        Verdict::Skipped | Verdict::Error => Some("what half precision does could not be seen"),
    };
    if let Some(said) = said {
        return Err(Failure { message: format!("{said}, and nothing is written: {reasons}"), code: CHECK_FAILED });
    }
    let (version, inputs) = (env!("CARGO_PKG_VERSION"), scene.inputs.len());
    output::to_json(
        &json!({ "whyline": version, "inputs": inputs, "of": of, "limits": made.limits, "found": made.finding.numbers }),
    )
}

/// The methods that were named; or else, of those with the graph's rules, all that it serves, and of the plain gradient's, which are
/// many, the gradient itself and its path.
fn methods_of(args: &CompileArgs, halved: &Loaded) -> Outcome<Vec<(&'static Entry, Given)>> {
    // Methods that look at a layer look at the one that the graph hands out.
    let told = |entry: &'static Entry| {
        let layered = entry.parameters.iter().any(|p| p.name == "layer");
        let layer = args.tap.first().filter(|_| layered).map(|tap| ("layer".to_string(), tap.clone()));
        // Of methods with several rules, the one with the graph's.
        let rule = [("rules".to_string(), args.rule.clone())].into();
        let rule = entry.params(&rule).is_ok_and(|params| (entry.build)(&params).is_ok()).then_some(rule);
        (entry, layer.into_iter().chain(rule.into_iter().flatten()).collect())
    };
    if !args.methods.is_empty() {
        let named: Vec<_> = entries(&args.methods)?.into_iter().map(told).collect();
        for (entry, given) in &named {
            validate::admits(halved, entry, given).map_err(|error| Failure::of(entry.name, error))?;
        }
        return Ok(named);
    }
    let is_usual =
        |entry: &&&Entry| args.rule != "gradient" || ["vanilla", "integrated-gradients"].contains(&entry.name);
    let methods: Vec<_> = METHODS.iter().filter(is_usual).map(|entry| told(entry)).collect();
    let served: Vec<_> =
        methods.into_iter().filter(|(entry, given)| validate::admits(halved, entry, given).is_ok()).collect();
    match served.is_empty() {
        true => {
            let rule = &args.rule;
            Err(Failure::usage(format!(
                "--validated: no method is served by a graph of the rule '{rule}' with these taps, so there are no maps to look at"
            )))
        }
        false => Ok(served),
    }
}
