//! `whyline bench`

use serde_json::json;
use whyline_runtime::bench::{PassReport, Report, bench};
use whyline_runtime::engine::StepReport;

use super::load::load;
use crate::args::BenchArgs;
use crate::failure::Outcome;
use crate::output;
use crate::say;

/// Runs it.
pub fn run(args: &BenchArgs) -> Outcome {
    let loaded = load(&args.model, None)?;
    output::refuse_overwriting(args.model.files().chain(&loaded.files), [&args.json])?;
    output::refuse_unwritable([&args.json])?;
    let report = bench(&loaded, args.precision.precision(), args.runs, args.steps)?;
    if let Some(path) = &args.json {
        let value = json!({
            "model": loaded.model.name,
            "threads": 1,
            "precision": report.precision,
            "isa": report.isa,
            "runs": args.runs,
            "prepare_ms": report.prepare_ms,
            "peak_gflops": report.peak_gflops,
            "memory": report.memory,
            "forward": report.forward,
            "gradient": report.gradient,
            "steps": report.steps,
        });
        output::write_text(path, &output::to_json(&value)?)?;
        if path.as_os_str() == "-" {
            return Ok(());
        }
    }
    print(&report, args.runs);
    Ok(())
}

fn print(report: &Report, runs: u32) {
    say!(
        "{:<10} {:>9} {:>9} {:>9} {:>9} {:>10} {:>8}   {runs} runs, 1 thread, {}, {}",
        "",
        "p50 ms",
        "p90 ms",
        "p99 ms",
        "max ms",
        "GFLOP/s",
        "of peak",
        report.precision.name(),
        report.isa
    );
    let row = |name: &str, p: &PassReport| {
        let t = &p.times;
        say!(
            "{name:<10} {:>9.2} {:>9.2} {:>9.2} {:>9.2} {:>10.1} {:>7.0}%",
            t.p50_ms,
            t.p90_ms,
            t.p99_ms,
            t.max_ms,
            p.gflops,
            100.0 * p.peak_share
        );
    };
    row("forward", &report.forward);
    row("gradient", &report.gradient);
    let m = &report.memory;
    say!("peak       {:.1} GFLOP/s, multiply-adds in registers", report.peak_gflops);
    say!("memory     {}", output::memory(m));
    say!("ready in   {:.0} ms", report.prepare_ms);
    if let Some(steps) = &report.steps {
        print_steps("forward", &steps.forward);
        print_steps("gradient", &steps.gradient);
    }
}

/// The slowest first.
fn print_steps(pass: &str, steps: &[StepReport]) {
    let total: f64 = steps.iter().map(|s| s.ms).sum();
    let mut order: Vec<&StepReport> = steps.iter().collect();
    let wide = steps.iter().map(|step| step.kernel.len()).max().unwrap_or(0).max(20);
    order.sort_by(|a, b| b.ms.total_cmp(&a.ms));
    say!(
        "\n{pass} pass, {} steps, {total:.2} ms\n{:>9} {:>7} {:>10}  {:<wide$} gives",
        steps.len(),
        "ms",
        "share",
        "GFLOP/s",
        "kernel"
    );
    for step in order {
        let rate = match step.flops {
            0 => String::new(),
            flops => format!("{:.1}", flops as f64 / step.ms * 1e-6),
        };
        say!("{:>9.3} {:>6.1}% {rate:>10}  {:<wide$} {}", step.ms, 100.0 * step.ms / total, step.kernel, step.node);
    }
}
