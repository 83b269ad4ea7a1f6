//! `whyline methods`

use serde_json::json;
use whyline_runtime::explain::{LoadOptions, Loaded};
use whyline_runtime::inspect::method_lines;
use whyline_runtime::methods::METHODS;

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
    if args.json {
        let list: Vec<_> = METHODS
            .iter()
            .map(|m| {
                let parameters: Vec<_> = m
                    .parameters
                    .iter()
                    .map(|p| json!({"name": p.name, "default": p.default, "help": p.help}))
                    .collect();
                json!({"name": m.name, "aliases": m.aliases, "summary": m.summary, "paper": m.paper,
                       "complete": m.properties.complete, "stochastic": m.properties.stochastic,
                       "signed": m.properties.signed, "parameters": parameters})
            })
            .collect();
        say!("{}", output::to_json(&list)?);
        return Ok(());
    }
    for method in METHODS {
        let also =
            if method.aliases.is_empty() { String::new() } else { format!(" (also {})", method.aliases.join(", ")) };
        say!("{}{also}\n    {}; {}", method.name, method.summary, method.paper);
        for p in method.parameters {
            say!("      {:<10} {} [{}]", p.name, p.help, p.default);
        }
    }
    Ok(())
}
