//! One file per subcommand.

mod annotations;
mod bench;
mod calibrate;
mod compare;
mod compile;
mod completions;
mod dataset;
mod evaluate;
mod explain;
mod inputs;
mod inspect;
mod load;
mod masks;
mod merge;
mod methods;
mod metrics;
mod mosaics;
mod queue;
mod sample_lines;
mod validate;

use crate::args::Command;
use crate::failure::Outcome;

/// Runs a subcommand.
pub fn run(command: Command) -> Outcome {
    match command {
        Command::Explain(args) => explain::run(&args),
        Command::Compare(args) => compare::run(&args),
        Command::Evaluate(args) => evaluate::run(&args),
        Command::Merge(args) => merge::run(&args),
        Command::Validate(args) => validate::run(&args),
        Command::Calibrate(args) => calibrate::run(&args),
        Command::Compile(args) => compile::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Methods(args) => methods::run(&args),
        Command::Metrics(args) => metrics::run(&args),
        Command::Completions { shell } => completions::run(shell),
    }
}
