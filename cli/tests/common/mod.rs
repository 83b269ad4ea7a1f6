//! Shared by the tests of the command: the program, the models beside it, and a place to run it in.
#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The folder of models and samples.
pub fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models")
}

/// Runs the program.
pub fn whyline(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_whyline")).args(words).output().unwrap()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A folder for a test, with so many of the samples in a folder inside, without masks.
pub struct Place(pub tempfile::TempDir);

impl Place {
    pub fn of(count: usize) -> Place {
        let place = Place(tempfile::tempdir().unwrap());
        std::fs::create_dir(place.path("images")).unwrap();
        (0..count).for_each(|digit| place.sample(digit, &format!("images/digit-{digit}.png")));
        place
    }

    pub fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    /// Puts a sample there, in a folder that is made for it.
    pub fn sample(&self, digit: usize, name: &str) {
        let path = self.0.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::copy(models().join(format!("samples/digit-{digit}.png")), path).unwrap();
    }

    pub fn json(&self, name: &str) -> serde_json::Value {
        serde_json::from_slice(&std::fs::read(self.path(name)).unwrap()).unwrap()
    }
}
