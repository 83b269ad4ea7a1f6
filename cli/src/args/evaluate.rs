//! What `whyline evaluate` and `whyline merge` are told.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::quantities::time;
use super::{BudgetArgs, EngineArgs, ModelArgs, PrecisionArgs, PreprocessArgs, ResourceArgs, TargetArgs};

#[derive(Debug, Args)]
pub struct EvaluateArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// A folder of images, or of folders of them that are labels; NAME.mask.png marks the object of NAME.png
    pub dataset: PathBuf,
    /// Labels, as comma-separated values: an image's name and its label in each line
    #[arg(long, value_name = "FILE", help_heading = "Dataset")]
    pub labels: Option<PathBuf>,
    /// Boxes that mark the objects, as JSON in the form of COCO; an image's label too, where all its boxes say the same
    #[arg(long, value_name = "FILE", help_heading = "Dataset")]
    pub boxes: Option<PathBuf>,
    /// In place of the images, so many mosaics: of two images of a class and two of others; that class is explained
    #[arg(
        long,
        value_name = "COUNT",
        value_parser = clap::value_parser!(u32).range(1..=1_000_000),
        conflicts_with_all = ["target", "against"],
        help_heading = "Dataset"
    )]
    pub mosaics: Option<u32>,
    /// Wait for more images, until --budget or Ctrl-C; taken in the order of their names
    #[arg(long, conflicts_with_all = ["shard", "mosaics"], help_heading = "Dataset")]
    pub follow: bool,
    /// The methods, or all
    #[arg(short, long = "methods", alias = "method", value_delimiter = ',', required = true, value_name = "A,B,C")]
    pub methods: Vec<String>,
    /// The metrics: names, families, all, or all-cheap: those that take no passes
    #[arg(long, value_delimiter = ',', default_value = "all-cheap", value_name = "X,Y,Z")]
    pub metrics: Vec<String>,
    /// A parameter of every metric that has it, or of one: METRIC.NAME=VALUE
    #[arg(long = "metric-param", value_name = "NAME=VALUE")]
    pub metric_params: Vec<String>,
    /// Compute metrics as another program does, to compare numbers with it; what it cannot compute is named
    #[arg(long, value_name = "PROGRAM", conflicts_with = "against")]
    pub compat: Option<CompatArg>,
    /// Metrics of random draws take no more of them than make a sample's score this exact
    #[arg(long = "se", value_name = "ERROR", value_parser = positive)]
    pub standard_error: Option<f64>,
    /// A parameter of every method that has it, as in -p steps=100
    #[arg(short = 'p', long = "param", value_name = "NAME=VALUE")]
    pub params: Vec<String>,
    #[command(flatten)]
    pub precision: PrecisionArgs,
    #[command(flatten)]
    pub target: TargetArgs,
    #[command(flatten)]
    pub budget: BudgetArgs,
    /// Time for all samples, as in 5min: no sample is begun later
    #[arg(long = "budget", value_name = "TIME", value_parser = time)]
    pub time: Option<Duration>,
    #[command(flatten)]
    pub engine: EngineArgs,
    #[command(flatten)]
    pub resources: ResourceArgs,
    /// Keep the scores in this file after every sample, and go on from there if it exists
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub state: Option<PathBuf>,
    /// Take only a part of the samples: 0/4, 1/4, 2/4 or 3/4 of four; `whyline merge` brings their states together
    #[arg(long, value_name = "I/N", value_parser = shard)]
    pub shard: Option<(u64, u64)>,
    /// Write the results as JSON; - for standard output
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub json: Option<PathBuf>,
    /// Write the results as comma-separated values
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub csv: Option<PathBuf>,
    /// Write a line of JSON for each sample
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub samples: Option<PathBuf>,
    /// Print nothing but errors
    #[arg(short, long, help_heading = "Output")]
    pub quiet: bool,
    #[command(flatten)]
    pub preprocess: PreprocessArgs,
}

/// Whose definitions of metrics hold.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum CompatArg {
    /// Quantus 0.6, a batch for each sample
    Quantus,
}

#[derive(Debug, Args)]
pub struct MergeArgs {
    /// The states of all shards
    #[arg(required = true, value_name = "STATE")]
    pub states: Vec<PathBuf>,
    /// Write the whole as a state
    #[arg(short = 'o', long, value_name = "FILE")]
    pub state: Option<PathBuf>,
    /// Write the results as JSON; - for standard output
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write the results as comma-separated values
    #[arg(long, value_name = "FILE")]
    pub csv: Option<PathBuf>,
    /// Print nothing but errors
    #[arg(short, long)]
    pub quiet: bool,
}

/// A part of several, as in 0/4.
fn shard(text: &str) -> Result<(u64, u64), String> {
    let parts = text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
    parts.filter(|(i, n)| i < n).ok_or_else(|| "write I/N with I from 0 to N - 1, as in 0/4".into())
}

fn positive(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|v: &f64| v.is_finite() && *v > 0.0).ok_or_else(|| "write a number above zero".into())
}
