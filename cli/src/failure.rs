//! Errors and exit codes.

use std::path::Path;

use whyline_runtime::{Error, Kind};

/// The code of an error in whyline itself.
pub const INTERNAL: u8 = 70;

/// The code where standard output did not take what was asked for.
pub const UNSAID: u8 = 2;

/// The code that shells give a program which Ctrl-C has ended.
pub const INTERRUPTED: u8 = 130;

/// What to tell, and the process's exit code: 2 usage, 3 bad model, 4 bad input, 5 over budget, 6 a check failed.
#[derive(Debug)]
pub struct Failure {
    pub message: String,
    pub code: u8,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let code = match error.kind() {
            Kind::Usage => 2,
            Kind::Model => 3,
            Kind::Input => 4,
            Kind::Budget => 5,
        };
        Failure { message: error.to_string(), code }
    }
}

impl Failure {
    /// Wrong arguments.
    pub fn usage(message: impl Into<String>) -> Failure {
        Failure { message: message.into(), code: 2 }
    }

    /// An error of something that has a name, which the message begins with.
    pub fn of(name: &str, error: Error) -> Failure {
        Failure::from(error).beginning(name)
    }

    /// The same, of a file.
    pub fn naming(self, path: &Path) -> Failure {
        let name = path.display().to_string();
        if self.message.contains(&name) { self } else { self.beginning(&name) }
    }

    fn beginning(self, name: &str) -> Failure {
        match self.message.starts_with(name) {
            true => self,
            false => Failure { message: format!("{name}: {}", self.message), ..self },
        }
    }
}

/// The result of a command.
pub type Outcome<T = ()> = Result<T, Failure>;

/// An error in reading the model is about the model; in reading the input, about the input.
pub fn about_input(error: Error) -> Failure {
    let read = matches!(error, Error::Read { .. });
    let mut failure = Failure::from(error);
    if read {
        failure.code = 4;
    }
    failure
}
