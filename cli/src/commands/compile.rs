//! `whyline compile`

use whyline_runtime::explain::CardSource;
use whyline_runtime::gradient::layers::cam_layers;
use whyline_runtime::gradient::{Composite, Settings, Spec, differentiate, names};
use whyline_runtime::onnx::half_weights::store_as_halves;
use whyline_runtime::onnx::{Layout, write_model};

use super::load::load;
use crate::args::CompileArgs;
use crate::failure::{Failure, Outcome};
use crate::output;
use crate::say;

/// Runs it.
pub fn run(args: &CompileArgs) -> Outcome {
    output::refuse_overwriting([&args.model.model], [&Some(args.to.clone())])?;
    let composite =
        Composite::named(&args.rule).ok_or_else(|| Failure::usage(format!("there is no composite '{}'", args.rule)))?;
    let loaded = load(&args.model, None)?;
    output::refuse_overwriting(&loaded.files, [&Some(args.to.clone())])?;
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
    for layer in cam_layers(&loaded.typed, loaded.output())?.iter().filter(|l| args.tap.contains(&l.name)) {
        let layout = if layer.layout == Layout::ChannelsLast { "nhwc" } else { "nchw" };
        derived.graph.metadata.insert(format!("{}{}", names::TAP_LAYOUT, layer.name), layout.into());
    }
    let halved = args.f16.then(|| store_as_halves(&mut derived.graph));
    write_model(&derived.graph, &derived.facts, &args.to)?;
    for (node, op) in &derived.flat {
        eprintln!("warning: the derivative of {node} ({op}) is zero; nothing passes through");
    }
    for name in halved.iter().flat_map(|h| &h.refused) {
        eprintln!("warning: {name} does not fit half precision and stays in single");
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
