//! How a map came about: the JSON beside it.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::asked::Budget;
use crate::attribution::{Completeness, Extent, Status};
use crate::engine::{Engine, Halves, Memory, Passes, Precision, Stop};
use crate::error::Result;
use crate::files;
use crate::hash::sha256;
use crate::onnx::card::InputCard;

/// Everything needed to make the same map again, and to judge it.
#[derive(Clone, Debug, Serialize)]
pub struct Record {
    /// Version of whyline.
    pub whyline: &'static str,
    /// Version of tract.
    pub tract: &'static str,
    /// The model's file.
    pub model: FileRecord,
    /// The input's file.
    pub input: FileRecord,
    /// The seed that weights were made from, for architectures without any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub random_weights: Option<u64>,
    /// How pixels became the input; tensors are taken as they are.
    pub preprocessing: InputCard,
    /// The rules of the backward pass.
    pub composite: String,
    /// The method's name.
    pub method: String,
    /// All its parameters, given or default.
    pub parameters: BTreeMap<String, String>,
    /// The layer that a CAM method used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layer: Option<String>,
    /// Of a model that scores every place: which ones a class's score is the mean of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub over: Option<Over>,
    /// What is explained.
    pub target: TargetRecord,
    /// What the model predicts.
    pub predicted: ClassRecord,
    /// What the map's values stand for, and their extents.
    pub map: MapRecord,
    /// Arithmetic.
    pub precision: Precision,
    /// What ran the passes.
    pub engine: Engine,
    /// Which steps use halves, where precision is not single.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub halves: Option<Halves>,
    /// Threads that computed.
    pub threads: usize,
    /// Bytes; an arena per thread.
    pub memory: MemoryRecord,
    /// What it was to keep to, where something was said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<BudgetRecord>,
    /// Passes taken.
    pub passes: Passes,
    /// Passes at the input that had been taken before, by this method or by another one beside it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub saved: Option<Passes>,
    /// Files that the input was compared with.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub baselines: Vec<FileRecord>,
    /// The file that marks a region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<FileRecord>,
    /// For methods that promise it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completeness: Option<Completeness>,
    /// Of the map's sum, for methods that average random draws.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub standard_error: Option<f64>,
    /// Wall-clock time.
    pub timing: Timing,
    /// CPU features that the kernels could use.
    pub cpu: Vec<&'static str>,
    /// What the user should know.
    pub warnings: Vec<String>,
    /// `complete`, or `degraded` where the budget ended the work early.
    pub status: Status,
    /// Where it was degraded, by what.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped_by: Option<StoppedBy>,
}

/// What an explanation was to keep to.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct BudgetRecord {
    /// Passes of both kinds together; those that were shared count as taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_passes: Option<u64>,
    /// Of one that had a deadline, how many passes fit depends on the machine: the same bytes come of the same passes at the same
    /// places.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<f64>,
}

impl BudgetRecord {
    /// What a budget says, if anything.
    pub fn of(budget: &Budget) -> Option<BudgetRecord> {
        let deadline_ms = budget.deadline.map(|deadline| 1e3 * deadline.as_secs_f64());
        let record = BudgetRecord { max_passes: budget.max_passes, deadline_ms };
        (record.max_passes.is_some() || deadline_ms.is_some()).then_some(record)
    }
}

/// Bytes, known before the first pass.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct MemoryRecord {
    /// What the model takes.
    #[serde(flatten)]
    pub plans: Memory,
    /// What the method keeps of earlier passes at most, and perturbed weights where it wants such.
    pub kept: usize,
}

/// Places of an image.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Over {
    /// All of them.
    All,
    /// Those that a picture marks.
    Region(FileRecord),
}

/// A file by name and content.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct FileRecord {
    /// As it was given.
    pub file: String,
    /// Of its bytes.
    pub sha256: String,
}

impl FileRecord {
    /// Reads and hashes a file.
    pub fn of(path: &Path) -> Result<FileRecord> {
        Ok(FileRecord::of_bytes(path.display().to_string(), &files::read_input(path)?))
    }

    /// The same of what is in no file, as a camera's frame: whatever name it is to have, and its bytes.
    pub fn of_bytes(name: impl Into<String>, bytes: &[u8]) -> FileRecord {
        FileRecord { file: name.into(), sha256: sha256([bytes]) }
    }
}

/// A class.
#[derive(Clone, Debug, Serialize)]
pub struct ClassRecord {
    /// Its index among the logits.
    pub class: usize,
    /// Its name, where the card has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Its logit; absent where probabilities are explained.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logit: Option<f64>,
    /// Softmax of the logits, or the value itself behind a Sigmoid; absent where the scores are neither.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probability: Option<f64>,
}

/// What is explained.
#[derive(Clone, Debug, Serialize)]
pub struct TargetRecord {
    /// `logit`, `probability`, or `margin`: the difference of two classes.
    pub kind: &'static str,
    /// The graph's value whose component is explained.
    pub value: String,
    /// Which.
    #[serde(flatten)]
    pub class: ClassRecord,
    /// Of a margin, the class that is behind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub against: Option<ClassRecord>,
}

/// What ended a method's work before it had all that it wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StoppedBy {
    /// The steps that its parameters allow.
    Steps,
    /// The passes that the budget allows.
    Passes,
    /// The deadline.
    Deadline,
    /// The user.
    Interrupt,
}

impl From<Stop> for StoppedBy {
    fn from(stop: Stop) -> StoppedBy {
        match stop {
            Stop::Passes => StoppedBy::Passes,
            Stop::Deadline => StoppedBy::Deadline,
            Stop::Interrupt => StoppedBy::Interrupt,
        }
    }
}

impl StoppedBy {
    /// What the user should know.
    pub fn warning(self, taken: Passes) -> String {
        let taken = taken.all();
        match self {
            StoppedBy::Steps => {
                format!("{taken} passes did not reach the tolerance; allow more with --steps or --samples")
            }
            StoppedBy::Passes => format!("the map is the best that {taken} passes give; --max-passes ended the work"),
            StoppedBy::Deadline => format!("the map is the best that {taken} passes give; the deadline came"),
            StoppedBy::Interrupt => format!("the map is the best that {taken} passes give; the work was interrupted"),
        }
    }
}

/// A map's form.
#[derive(Clone, Debug, Serialize)]
pub struct MapRecord {
    /// What its values stand for.
    pub extent: Extent,
    /// Its extents.
    pub shape: Vec<usize>,
    /// Whether signs mean something.
    pub signed: bool,
}

/// Milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Timing {
    /// Deriving the gradient and preparing the passes.
    pub prepare_ms: f64,
    /// The method.
    pub explain_ms: f64,
}

/// The CPU features that this build can use and this machine has.
pub fn cpu_features() -> Vec<&'static str> {
    known_features().iter().filter(|(_, has)| *has).map(|(name, _)| *name).collect()
}

#[cfg(target_arch = "x86_64")]
fn known_features() -> [(&'static str, bool); 4] {
    [
        ("avx2", std::arch::is_x86_feature_detected!("avx2")),
        ("fma", std::arch::is_x86_feature_detected!("fma")),
        ("f16c", std::arch::is_x86_feature_detected!("f16c")),
        ("avx512f", std::arch::is_x86_feature_detected!("avx512f")),
    ]
}

#[cfg(target_arch = "aarch64")]
fn known_features() -> [(&'static str, bool); 3] {
    [
        ("neon", std::arch::is_aarch64_feature_detected!("neon")),
        ("fp16", std::arch::is_aarch64_feature_detected!("fp16")),
        ("dotprod", std::arch::is_aarch64_feature_detected!("dotprod")),
    ]
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn known_features() -> [(&'static str, bool); 0] {
    []
}
