//! `whyline methods`

use serde_json::{Value, json};
use whyline_runtime::explain::{LoadOptions, Loaded};
use whyline_runtime::inspect::method_lines;
use whyline_runtime::methods::{Entry, Extents, METHODS};

use crate::args::MethodsArgs;
use crate::failure::Outcome;
use crate::output;
use crate::say;

/// Runs it.
pub fn run(args: &MethodsArgs) -> Outcome {
    if let Some(path) = &args.model {
        let lines = method_lines(&Loaded::read(path, &LoadOptions::default())?)?;
        match args.json {
            true => say!("{}", output::to_json(&lines)?),
            false => lines.iter().for_each(super::inspect::method),
        }
        return Ok(());
    }
    let extents = Extents::USUAL;
    if args.json {
        let list: Vec<_> = METHODS.iter().map(|m| as_json(m, extents)).collect::<Outcome<_>>()?;
        say!("{}", output::to_json(&list)?);
        return Ok(());
    }
    for method in METHODS {
        let also =
            if method.aliases.is_empty() { String::new() } else { format!(" (also {})", method.aliases.join(", ")) };
        let (passes, wants) = (method.default()?.passes(extents), method.wants()?);
        let wants = if wants.is_empty() { String::new() } else { format!("; wants {}", wants.join(", ")) };
        say!("{}{also}\n    {}; {}", method.name, method.summary, method.paper);
        say!("    {}; {} gradient and {} forward passes{wants}", method.family.name(), passes.gradient, passes.forward);
        for p in method.parameters {
            say!("      {:<12} {} [{}]", p.name, p.help, p.default);
        }
    }
    say!(
        "\npasses at most, for {} classes and layers of {} channels; whyline methods --model MODEL says them for a model",
        extents.classes,
        extents.channels
    );
    Ok(())
}

fn as_json(m: &'static Entry, extents: Extents) -> Outcome<Value> {
    let parameters: Vec<_> =
        m.parameters.iter().map(|p| json!({"name": p.name, "default": p.default, "help": p.help})).collect();
    let passes = m.default()?.passes(extents);
    Ok(json!({"name": m.name, "aliases": m.aliases, "family": m.family.name(), "summary": m.summary, "paper": m.paper,
              "passes": {"gradient": passes.gradient, "forward": passes.forward}, "wants": m.wants()?,
              "complete": m.properties.complete, "stochastic": m.properties.stochastic,
              "signed": m.properties.signed, "parameters": parameters}))
}
