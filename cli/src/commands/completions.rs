//! `whyline completions`

use clap::CommandFactory;

use crate::args::Cli;
use crate::failure::Outcome;

/// Runs it.
pub fn run(shell: clap_complete::Shell) -> Outcome {
    clap_complete::generate(shell, &mut Cli::command(), "whyline", &mut std::io::stdout());
    Ok(())
}
