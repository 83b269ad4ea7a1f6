//! The whyline command: parses, calls the runtime, writes what comes back. It holds no arithmetic.

mod args;
mod commands;
mod failure;
mod output;

use std::process::ExitCode;
use std::sync::Mutex;

use clap::Parser;

static LAST_PANIC: Mutex<String> = Mutex::new(String::new());

fn main() -> ExitCode {
    // A panic inside a library is caught and told as an error; its own print would come first. The last one
    // is kept, for a panic that nobody catches.
    std::panic::set_hook(Box::new(|info| *LAST_PANIC.lock().unwrap_or_else(|e| e.into_inner()) = info.to_string()));
    let cli = args::Cli::parse();
    if cli.command.is_quiet() {
        output::hush();
    }
    match std::panic::catch_unwind(|| commands::run(cli.command)) {
        Ok(Ok(())) if output::said() => ExitCode::SUCCESS,
        Ok(Ok(())) => ExitCode::from(failure::UNSAID),
        Ok(Err(failure)) => {
            output::complain(format_args!("whyline: {}", failure.message));
            ExitCode::from(failure.code)
        }
        Err(_) => {
            let last = LAST_PANIC.lock().unwrap_or_else(|e| e.into_inner()).clone();
            let report = "please report it with the model and the command";
            output::complain(format_args!("whyline: an internal error; {report}: {last}"));
            ExitCode::from(failure::INTERNAL)
        }
    }
}
