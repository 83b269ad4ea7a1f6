//! Parameters of methods and metrics: declared in the table, given as text, checked before anything runs.

use std::collections::BTreeMap;

use crate::error::{Error, Result};

/// What a method or metric can be told.
#[derive(Clone, Copy, Debug)]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// The value taken when none is given.
    pub default: &'static str,
    /// One line for people.
    pub help: &'static str,
}

/// Parameters as somebody gave them.
pub type Given = BTreeMap<String, String>;

/// All parameters of one, given or default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Params {
    owner: &'static str,
    values: BTreeMap<String, String>,
}

impl Params {
    /// Those of `owner`, which are `declared`, with defaults filled in; one that is not declared is an error.
    pub fn new(owner: &'static str, declared: &[Parameter], given: &Given) -> Result<Params> {
        let mut values: BTreeMap<String, String> =
            declared.iter().map(|p| (p.name.to_string(), p.default.to_string())).collect();
        for (name, value) in given {
            if values.insert(name.clone(), value.clone()).is_none() {
                let names: Vec<&str> = declared.iter().map(|p| p.name).collect();
                let takes = if names.is_empty() { "none".to_string() } else { names.join(", ") };
                return Err(Error::usage(format!("{owner} has no parameter '{name}'; it takes {takes}")));
            }
        }
        Ok(Params { owner, values })
    }

    /// By name, for the record.
    pub fn all(&self) -> &BTreeMap<String, String> {
        &self.values
    }

    /// The value as text.
    pub fn text(&self, name: &str) -> &str {
        self.values.get(name).map_or("", String::as_str)
    }

    /// A refusal of a parameter's value.
    pub fn refuse(&self, name: &str, wanted: &str) -> Error {
        Error::usage(format!("{}: {name} = '{}', but it must be {wanted}", self.owner, self.text(name)))
    }

    /// A whole number in a range.
    pub fn whole(&self, name: &str, least: u32, most: u32) -> Result<u32> {
        let value = self.text(name).parse().ok().filter(|v| (least..=most).contains(v));
        value.ok_or_else(|| self.refuse(name, &format!("a whole number from {least} to {most}")))
    }

    /// A yes or no.
    pub fn flag(&self, name: &str) -> Result<bool> {
        self.text(name).parse().map_err(|_| self.refuse(name, "true or false"))
    }

    /// A finite number that is not negative.
    pub fn size(&self, name: &str) -> Result<f64> {
        let value = self.text(name).parse().ok().filter(|v: &f64| v.is_finite() && *v >= 0.0);
        value.ok_or_else(|| self.refuse(name, "a number that is not negative"))
    }

    /// A finite number.
    pub fn number(&self, name: &str) -> Result<f64> {
        let value = self.text(name).parse().ok().filter(|v: &f64| (*v as f32).is_finite());
        value.ok_or_else(|| self.refuse(name, "a number"))
    }

    /// A seed: a whole number.
    pub fn seed(&self, name: &str) -> Result<u64> {
        self.text(name).parse().map_err(|_| self.refuse(name, "a whole number"))
    }
}
