//! The command line's grammar.

mod asked;
mod evaluate;
mod files;
mod model;
mod quantities;
mod validate;

use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser};
use clap::{Args, Parser, Subcommand};
use files::picture;
use whyline_runtime::gradient::COMPOSITES;

pub use asked::{BudgetArgs, EngineArgs, MethodArgs, ParamArgs, ResourceArgs, TargetArgs, engines};
pub use evaluate::{CompatArg, EvaluateArgs, MergeArgs};
pub use model::{ColorArg, LayoutArg, ModelArgs, OVER_ALL, PrecisionArgs, PreprocessArgs, ResizeArg, ScoreArg};
pub use validate::ValidateArgs;

/// Why did the model decide that? Attribution maps from a bare ONNX file, on the device that decides.
#[derive(Debug, Parser)]
#[command(name = "whyline", version, propagate_version = true)]
#[command(
    after_help = "Exit codes: 0 done, 2 usage, 3 bad model, 4 bad input, 5 budget can't be met, 6 a check failed, 130 interrupted."
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Explain what a model decides on an image, a folder of images or a .npy tensor
    Explain(Box<ExplainArgs>),
    /// Explain an image by several methods, side by side in one picture
    Compare(Box<CompareArgs>),
    /// Score methods by metrics over a dataset, sample by sample
    Evaluate(Box<EvaluateArgs>),
    /// Bring the states of an evaluation's shards together
    Merge(MergeArgs),
    /// Check whether a model's explanations are sound here: gradients, kernels, half precision, methods
    Validate(Box<ValidateArgs>),
    /// Learn from images where integrated gradients' steps are best taken, and write it into the model
    Calibrate(Box<CalibrateArgs>),
    /// Write a model's gradient graph as an ONNX file
    Compile(CompileArgs),
    /// Show a model's ops, which of them can be differentiated, its cost and its layers
    Inspect(InspectArgs),
    /// Time a model's forward and gradient passes
    Bench(BenchArgs),
    /// List the attribution methods and their parameters
    Methods(MethodsArgs),
    /// List the metrics and their parameters
    Metrics(MetricsArgs),
    /// Print a shell's completion script
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

impl Command {
    /// Whether nothing but errors is to be printed.
    pub fn is_quiet(&self) -> bool {
        match self {
            Command::Explain(args) => args.quiet,
            Command::Compare(args) => args.quiet,
            Command::Evaluate(args) => args.quiet,
            Command::Merge(args) => args.quiet,
            Command::Validate(args) => args.quiet,
            Command::Calibrate(args) => args.quiet,
            Command::Compile(args) => args.quiet,
            _ => false,
        }
    }
}

#[derive(Debug, Args)]
pub struct ExplainArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// An image (PNG, JPEG), a folder of images, or a .npy tensor taken as it is
    pub input: PathBuf,
    #[command(flatten)]
    pub method: MethodArgs,
    #[command(flatten)]
    pub precision: PrecisionArgs,
    #[command(flatten)]
    pub target: TargetArgs,
    /// Explain the K classes with the largest scores, each in files of its own: why-1.png, why-2.png, ...
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u16).range(1..), conflicts_with_all = ["target", "against"])]
    pub top_k: Option<u16>,
    #[command(flatten)]
    pub budget: BudgetArgs,
    #[command(flatten)]
    pub engine: EngineArgs,
    #[command(flatten)]
    pub resources: ResourceArgs,
    /// Write the overlay; a folder, where INPUT is one
    #[arg(short = 'o', long = "png", value_name = "PNG", value_parser = picture(), help_heading = "Output")]
    pub png: Option<PathBuf>,
    /// Write the map as float32
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub npy: Option<PathBuf>,
    /// Write the record; - for standard output
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub json: Option<PathBuf>,
    /// Show input, map and overlay beside each other
    #[arg(long, requires = "png", help_heading = "Output")]
    pub side_by_side: bool,
    /// Magnify the picture by a whole number [pictures under 224 pixels are magnified to that]
    #[arg(long, value_name = "N", requires = "png", value_parser = clap::value_parser!(u32).range(1..=64), help_heading = "Output")]
    pub zoom: Option<u32>,
    /// Print nothing but errors
    #[arg(short, long, help_heading = "Output")]
    pub quiet: bool,
    #[command(flatten)]
    pub preprocess: PreprocessArgs,
}

#[derive(Debug, Args)]
pub struct CompareArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// An image (PNG, JPEG) or a .npy tensor of one
    pub input: PathBuf,
    /// The methods, or all
    #[arg(short, long = "methods", alias = "method", value_delimiter = ',', required = true, value_name = "A,B,C")]
    pub methods: Vec<String>,
    #[command(flatten)]
    pub params: ParamArgs,
    #[command(flatten)]
    pub precision: PrecisionArgs,
    #[command(flatten)]
    pub target: TargetArgs,
    #[command(flatten)]
    pub budget: BudgetArgs,
    #[command(flatten)]
    pub engine: EngineArgs,
    #[command(flatten)]
    pub resources: ResourceArgs,
    /// Write the picture
    #[arg(short = 'o', long = "png", value_name = "PNG", value_parser = picture(), help_heading = "Output")]
    pub png: PathBuf,
    /// Write the records of all maps; - for standard output
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub json: Option<PathBuf>,
    /// Pictures in a row
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64), help_heading = "Output")]
    pub columns: Option<u16>,
    /// Magnify the picture by a whole number [pictures under 224 pixels are magnified to that]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64), help_heading = "Output")]
    pub zoom: Option<u32>,
    /// Print nothing but errors
    #[arg(short, long, help_heading = "Output")]
    pub quiet: bool,
    #[command(flatten)]
    pub preprocess: PreprocessArgs,
}

#[derive(Debug, Args)]
pub struct MetricsArgs {
    /// With another program's defaults, where it computes a metric in its own way
    #[arg(long, value_name = "PROGRAM")]
    pub compat: Option<CompatArg>,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct CalibrateArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Images like those that are to be explained: a folder, an image, or a .npy tensor
    pub inputs: PathBuf,
    /// The file to write: the model with what was learned in its metadata; or, for NAME.toml, its card
    #[arg(short = 'o', long = "to", value_name = "FILE")]
    pub to: PathBuf,
    /// Where paths start: zero, a number, mean, blur, uniform or max-distance
    #[arg(long, value_name = "BASELINE", default_value = "zero", allow_hyphen_values = true)]
    pub baseline: String,
    #[command(flatten)]
    pub resources: ResourceArgs,
    /// Print nothing but errors
    #[arg(short, long)]
    pub quiet: bool,
    #[command(flatten)]
    pub preprocess: PreprocessArgs,
}

#[derive(Debug, Args)]
pub struct CompileArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// The file to write
    #[arg(short = 'o', long = "to", value_name = "ONNX")]
    pub to: PathBuf,
    /// The composite of rules
    #[arg(long, default_value = "gradient", value_parser = PossibleValuesParser::new(COMPOSITES.iter().map(|c| PossibleValue::new(c.name).help(c.summary))))]
    pub rule: String,
    /// A value to hand out with its gradient; may be repeated
    #[arg(long, value_name = "NAME")]
    pub tap: Vec<String>,
    /// Store the weights as float16: half the file, each rounded to the nearest half
    #[arg(long)]
    pub f16: bool,
    /// With --f16: see first what half precision does to maps, on a dataset's inputs or on random ones, and write that into the
    /// file; where it is too much, nothing is written (exit code 6)
    #[arg(long, value_name = "DATASET", num_args = 0..=1, require_equals = true, requires = "f16")]
    pub validated: Option<Option<PathBuf>>,
    /// With --validated: the methods whose maps are looked at; by default those that the graph is for
    #[arg(
        short,
        long = "methods",
        alias = "method",
        value_delimiter = ',',
        requires = "validated",
        value_name = "A,B,C"
    )]
    pub methods: Vec<String>,
    /// Print nothing but errors
    #[arg(short, long)]
    pub quiet: bool,
}

#[derive(Debug, Args)]
pub struct InspectArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Say what this method takes of the model: passes at most and at least, memory, and whether it is defined
    #[arg(short, long)]
    pub method: Option<String>,
    #[command(flatten)]
    pub params: ParamArgs,
    #[command(flatten)]
    pub precision: PrecisionArgs,
    /// Write the result as JSON; - for standard output
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct BenchArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub precision: PrecisionArgs,
    /// Passes timed of each kind
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub runs: u32,
    /// Show where the time goes, step by step
    #[arg(long)]
    pub steps: bool,
    /// Write the result as JSON; - for standard output
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct MethodsArgs {
    /// Say which are defined for this model, and how many passes they take
    #[arg(long, value_name = "MODEL")]
    pub model: Option<PathBuf>,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}
