//! `whyline inspect`

use whyline_runtime::inspect::{Inspection, inspect};

use super::load::load;
use crate::args::InspectArgs;
use crate::failure::Outcome;
use crate::output;
use crate::say;

/// Runs it.
pub fn run(args: &InspectArgs) -> Outcome {
    let loaded = load(&args.model, None)?;
    let inspection = inspect(&loaded, args.precision.precision())?;
    if let Some(path) = &args.json {
        output::write_text(path, &output::to_json(&inspection)?)?;
        if path.as_os_str() == "-" {
            return Ok(());
        }
    }
    print(&inspection);
    Ok(())
}

fn print(i: &Inspection) {
    say!("model       {} (op set {}, {} nodes after folding)", i.model, i.opset, i.nodes);
    say!("input       {} {:?}", i.input, i.input_shape);
    say!(
        "target      {} {:?}{}",
        i.target,
        i.target_shape,
        match &i.stepped_over {
            Some(node) => format!(", stepping over {node}"),
            None => String::new(),
        }
    );
    say!(
        "parameters  {} ({:.1} MB{})",
        i.parameters,
        i.parameter_bytes as f64 / 1e6,
        if i.widened { ", widened from half precision" } else { "" }
    );
    say!("forward     {:.3} GFLOP", i.forward_flops as f64 / 1e9);
    match i.backward_flops {
        Some(flops) => say!("backward    {:.3} GFLOP", flops as f64 / 1e9),
        None => say!("backward    not to be had: see the ops below"),
    }
    if let Some(memory) = &i.memory {
        say!("memory      {}", output::memory(memory));
    }
    if let (Some(precision), Some(halves)) = (i.precision, &i.halves) {
        say!("precision   {}: {}", precision.name(), output::halves(halves));
    }
    if !i.on_tract.is_empty() {
        say!("on tract    {} steps without a kernel: {}", i.on_tract.len(), i.on_tract.join(", "));
    }
    say!("\nops");
    for op in &i.ops {
        say!("  {:<26} {:>5}   {}", op.op, op.count, op.derivative);
    }
    if !i.gaps.is_empty() {
        say!("\nnodes without an adjoint");
        i.gaps.iter().for_each(|gap| say!("  {gap}"));
    }
    if !i.flat.is_empty() {
        say!("\nnodes whose derivative is zero: {}", i.flat.join(", "));
    }
    say!("\nlayers for CAM methods{}", if i.layers.is_empty() { ": none" } else { "" });
    for layer in &i.layers {
        let mark = if Some(&layer.name) == i.default_layer.as_ref() { "  (default)" } else { "" };
        say!("  {:<50} {:<20} {:?}{mark}", layer.name, layer.op, layer.shape);
    }
    say!("\npasses per explanation, with each method's defaults");
    for method in &i.methods {
        say!("  {:<26} {:>5} gradient, {} forward", method.name, method.passes.gradient, method.passes.forward);
    }
}
