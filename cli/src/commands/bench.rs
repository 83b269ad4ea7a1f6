//! `whyline bench`

use serde_json::json;
use whyline_runtime::bench::{Percentiles, bench};

use super::load::load;
use crate::args::BenchArgs;
use crate::failure::Outcome;
use crate::output;
use crate::say;

/// Runs it.
pub fn run(args: &BenchArgs) -> Outcome {
    let loaded = load(&args.model, None)?;
    let report = bench(&loaded, args.runs)?;
    if let Some(path) = &args.json {
        let value = json!({
            "model": loaded.model.name,
            "threads": 1,
            "precision": "f32",
            "runs": args.runs,
            "prepare_ms": report.prepare_ms,
            "forward": report.forward,
            "gradient": report.gradient,
        });
        output::write_text(path, &output::to_json(&value)?)?;
        if path.as_os_str() == "-" {
            return Ok(());
        }
    }
    say!("{:<10} {:>9} {:>9} {:>9} {:>9}   ms, {} runs, 1 thread, f32", "", "p50", "p90", "p99", "max", args.runs);
    let row = |name: &str, p: &Percentiles| {
        say!("{name:<10} {:>9.2} {:>9.2} {:>9.2} {:>9.2}", p.p50_ms, p.p90_ms, p.p99_ms, p.max_ms);
    };
    row("forward", &report.forward);
    row("gradient", &report.gradient);
    say!("ready in {:.0} ms", report.prepare_ms);
    Ok(())
}
