//! `whyline metrics`

use serde_json::{Value, json};
use whyline_runtime::metrics::{Entry, Grid, METRICS, Wants, quantus};
use whyline_runtime::onnx::Layout;

use crate::args::MetricsArgs;
use crate::failure::Outcome;
use crate::output;
use crate::say;

/// An image of 224 x 224 pixels.
const USUAL: Grid = Grid { layout: Some(Layout::ChannelsFirst), channels: 3, height: 224, width: 224 };

/// Runs it.
pub fn run(args: &MetricsArgs) -> Outcome {
    let list = METRICS.iter().map(|entry| if args.compat.is_some() { quantus::of(entry, 1) } else { entry });
    if args.json {
        let list: Vec<Value> = list.map(as_json).collect::<Outcome<_>>()?;
        say!("{}", output::to_json(&list)?);
        return Ok(());
    }
    for metric in list {
        let also =
            if metric.aliases.is_empty() { String::new() } else { format!(" (also {})", metric.aliases.join(", ")) };
        let made = metric.default()?;
        let (cost, bytes) = (made.cost(&USUAL), made.tally().bytes());
        say!("{}{also}\n    {}; {}", metric.name, metric.summary, metric.paper);
        let wants = match metric.wants {
            Wants::Nothing => "",
            Wants::Mask => "; wants a mask",
            Wants::Mosaic => "; wants mosaics",
        };
        say!(
            "    {}, {} is better; {} forward passes and {} explanations; {bytes} bytes{wants}",
            metric.family.name(),
            metric.better.name(),
            cost.forward,
            cost.explanations
        );
        for p in metric.parameters {
            say!("      {:<12} {} [{}]", p.name, p.help, p.default);
        }
    }
    say!(
        "\npasses and explanations at most, of a sample of 224 x 224 pixels, beside its own explanation; bytes are all that is kept"
    );
    Ok(())
}

fn as_json(m: &'static Entry) -> Outcome<Value> {
    let parameters: Vec<_> =
        m.parameters.iter().map(|p| json!({"name": p.name, "default": p.default, "help": p.help})).collect();
    let made = m.default()?;
    let (cost, bytes) = (made.cost(&USUAL), made.tally().bytes());
    Ok(json!({"name": m.name, "aliases": m.aliases, "family": m.family.name(), "summary": m.summary, "paper": m.paper,
              "better": m.better.name(), "wants_mask": m.wants == Wants::Mask, "wants_mosaics": m.wants == Wants::Mosaic, "forward": cost.forward,
              "explanations": cost.explanations, "bytes": bytes, "parameters": parameters}))
}
