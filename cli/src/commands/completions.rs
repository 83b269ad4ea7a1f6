//! `whyline completions`

use clap::CommandFactory;

use crate::args::Cli;
use crate::failure::Outcome;
use crate::say;

/// Runs it.
pub fn run(shell: clap_complete::Shell) -> Outcome {
    let mut script = vec![];
    clap_complete::generate(shell, &mut Cli::command(), "whyline", &mut script);
    say!("{}", String::from_utf8_lossy(&script).trim_end());
    Ok(())
}
