//! `whyline inspect`

use serde::Serialize;
use whyline_runtime::engine::Resources;
use whyline_runtime::explain::Loaded;
use whyline_runtime::inspect::{Compiled, Inspection, MethodLine, compiled, inspect, method_line};
use whyline_runtime::methods::{Given, find};
use whyline_runtime::record::MemoryRecord;

use super::inputs::{for_method, given};
use super::load::load;
use crate::args::InspectArgs;
use crate::failure::{Failure, Outcome};
use crate::output;
use crate::say;

/// Runs it.
pub fn run(args: &InspectArgs) -> Outcome {
    let loaded = load(&args.model, None)?;
    output::refuse_overwriting(args.model.files().chain(&loaded.files), [&args.json])?;
    if let Some(name) = &args.method {
        return inspect_method(&loaded, name, args);
    }
    if let Some(name) = given(&args.params)?.keys().next() {
        return Err(Failure::usage(format!("'{name}' is a method's; say which with --method")));
    }
    match loaded.ready_made {
        Some(_) => show(&compiled(&loaded, args.precision.precision())?, args, print_compiled),
        None => show(&inspect(&loaded, args.precision.precision())?, args, print),
    }
}

/// Writes it as JSON, where that is wanted, and prints it, unless the JSON goes there.
fn show<T: Serialize>(what: &T, args: &InspectArgs, print: fn(&T)) -> Outcome {
    if let Some(path) = &args.json {
        output::write_text(path, &output::to_json(what)?)?;
    }
    if !output::is_stdout(&args.json) {
        print(what);
    }
    Ok(())
}

/// What a method takes, as JSON.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    line: &'a MethodLine,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<&'a MemoryRecord>,
}

fn inspect_method(loaded: &Loaded, name: &str, args: &InspectArgs) -> Outcome {
    let (entry, given) = (find(name)?, given(&args.params)?);
    let given =
        Given::from_iter(given.iter().map(|(k, v)| (k.clone(), v.clone())).chain(for_method(&given, entry, false)));
    let mut line = method_line(loaded, entry, &given)?;
    // What a budget must leave is what the method takes under one.
    line.least = method_line(loaded, entry, &for_method(&given, entry, true))?.least;
    let memory = match &line.refused {
        Some(_) => None,
        None => Some(loaded.explainer(entry.name, &given, args.precision.precision(), Resources::default())?.memory()),
    };
    if let Some(path) = &args.json {
        output::write_text(path, &output::to_json(&Line { line: &line, memory: memory.as_ref() })?)?;
    }
    if let Some(reason) = &line.refused {
        return Err(Failure { message: reason.clone(), code: 3 });
    }
    let Some(memory) = memory.filter(|_| !output::is_stdout(&args.json)) else { return Ok(()) };
    let (most, least) = (line.passes, line.least);
    say!("method      {}", entry.name);
    say!("passes      {} gradient and {} forward at most", most.gradient, most.forward);
    say!("least       {} gradient and {} forward", least.gradient, least.forward);
    say!("memory      {}", output::memory(&memory.plans));
    say!("keeps       {:.1} MiB besides", memory.kept as f64 / (1 << 20) as f64);
    Ok(())
}

fn print_compiled(c: &Compiled) {
    say!("model       {} (a gradient graph, {} nodes)", c.model, c.nodes);
    if let Some(source) = &c.source {
        say!("of          the model with SHA-256 {source}");
    }
    say!("composite   {}", c.composite);
    say!("input       {} {:?}", c.input, c.input_shape);
    say!("target      {} [{}]", c.target, c.classes);
    if !c.taps.is_empty() {
        say!("taps        {}", c.taps.join(", "));
    }
    say!("memory      {}", output::memory(&c.memory));
    if let Some(halves) = &c.halves {
        say!("precision   {}: {}", c.precision.name(), output::halves(halves));
    }
    if !c.on_tract.is_empty() {
        say!(
            "on tract    {} steps without a kernel, in memory of tract's own: {}",
            c.on_tract.len(),
            c.on_tract.join(", ")
        );
    }
    if let Some(validated) = &c.validated {
        say!("\nhalf precision was validated on {} inputs ({})", validated.inputs, validated.of);
        for (method, found) in &validated.found.methods {
            let share = |name: &str| found[name].as_f64().unwrap_or(f64::NAN);
            let (cosine, decile, changed) = (share("cosine"), share("top_decile"), 100.0 * share("changed"));
            say!("  {method:<34} cosine {cosine:.4}, top decile {decile:.3}, {changed:.1} % of classes change");
        }
    }
    say!("\npasses per explanation, with each method's defaults, the class included");
    c.methods.iter().for_each(method);
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
    if i.competing.is_none() {
        say!("            which of these compete is not known: name one with --target, by its index");
    }
    if i.of_places {
        say!("            a score of each place: --target CLASS@ROW,COLUMN, or --over all and a class");
    }
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
        say!(
            "on tract    {} steps without a kernel, in memory of tract's own: {}",
            i.on_tract.len(),
            i.on_tract.join(", ")
        );
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
    say!("\npasses per explanation, with each method's defaults, the class included");
    i.methods.iter().for_each(method);
}

/// A method's line: what it takes, or why it can't.
pub fn method(line: &MethodLine) {
    match &line.refused {
        None => say!("  {:<34} {:>5} gradient, {} forward", line.name, line.passes.gradient, line.passes.forward),
        Some(reason) => say!("  {:<34} not defined for this model: {}", line.name, output::in_a_line(reason)),
    }
}
