//! `whyline inspect`

use whyline_runtime::inspect::{Inspection, inspect};

use super::load::load;
use crate::args::InspectArgs;
use crate::failure::Outcome;
use crate::output;

/// Runs it.
pub fn run(args: &InspectArgs) -> Outcome {
    let loaded = load(&args.model, None)?;
    let inspection = inspect(&loaded)?;
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
    println!("model       {} (op set {}, {} nodes after folding)", i.model, i.opset, i.nodes);
    println!("input       {} {:?}", i.input, i.input_shape);
    println!("target      {} {:?}{}", i.target, i.target_shape, match &i.stepped_over {
        Some(node) => format!(", stepping over {node}"),
        None => String::new(),
    });
    println!("parameters  {} ({:.1} MB{})", i.parameters, i.parameter_bytes as f64 / 1e6, if i.widened { ", widened from half precision" } else { "" });
    println!("forward     {:.3} GFLOP", i.forward_flops as f64 / 1e9);
    match i.backward_flops {
        Some(flops) => println!("backward    {:.3} GFLOP", flops as f64 / 1e9),
        None => println!("backward    not to be had: see the ops below"),
    }
    println!("\nops");
    for op in &i.ops {
        println!("  {:<26} {:>5}   {}", op.op, op.count, op.derivative);
    }
    if !i.gaps.is_empty() {
        println!("\nnodes without an adjoint");
        i.gaps.iter().for_each(|gap| println!("  {gap}"));
    }
    if !i.flat.is_empty() {
        println!("\nnodes whose derivative is zero: {}", i.flat.join(", "));
    }
    println!("\nlayers for CAM methods{}", if i.layers.is_empty() { ": none" } else { "" });
    for layer in &i.layers {
        let mark = if Some(&layer.name) == i.default_layer.as_ref() { "  (default)" } else { "" };
        println!("  {:<50} {:<20} {:?}{mark}", layer.name, layer.op, layer.shape);
    }
}
