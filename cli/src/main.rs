//! The whyline command: parses, calls the runtime, writes what comes back. It holds no arithmetic.

mod args;
mod commands;
mod failure;
mod output;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    // A panic inside a library is caught and told as an error with its place; its own print would come first.
    std::panic::set_hook(Box::new(|_| {}));
    let cli = args::Cli::parse();
    match std::panic::catch_unwind(|| commands::run(cli.command)) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(failure)) => {
            eprintln!("whyline: {}", failure.message);
            ExitCode::from(failure.code)
        }
        Err(_) => {
            eprintln!("whyline: an internal error; please report it with the model and the command");
            ExitCode::from(failure::INTERNAL)
        }
    }
}
