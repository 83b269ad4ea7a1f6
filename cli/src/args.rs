//! The command line's grammar.

mod evaluate;
mod validate;

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use whyline_runtime::engine::{Engine, Precision, Resources};
use whyline_runtime::gradient::COMPOSITES;
use whyline_runtime::gradient::target::Score;

pub use evaluate::{CompatArg, EvaluateArgs, MergeArgs};
pub use validate::ValidateArgs;

/// Why did the model decide that? Attribution maps from a bare ONNX file, on the device that decides.
#[derive(Debug, Parser)]
#[command(name = "whyline", version, propagate_version = true)]
#[command(
    after_help = "Exit codes: 0 done, 2 usage, 3 bad model, 4 bad input, 5 budget can't be met, 6 a check failed."
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

/// How the model is read; shared by every command that takes one.
#[derive(Debug, Args)]
pub struct ModelArgs {
    /// An ONNX model, or a gradient graph made from one
    pub model: PathBuf,
    /// The model card; by default MODEL.toml beside the model, or the model's metadata
    #[arg(long, value_name = "FILE", help_heading = "Model")]
    pub card: Option<PathBuf>,
    /// The input's extents, where the model leaves them open, as in 1,3,224,224
    #[arg(long, value_delimiter = ',', value_name = "N,C,H,W", help_heading = "Model")]
    pub shape: Option<Vec<usize>>,
    /// The output that is explained; the first by default
    #[arg(long, value_name = "NAME", help_heading = "Model")]
    pub output: Option<String>,
    /// What of a class is explained
    #[arg(long, default_value = "logit", help_heading = "Model")]
    pub score: ScoreArg,
    /// Fill in the weights of an architecture file, from a seed if one is given: --random-weights=7
    #[arg(
        long,
        value_name = "SEED",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "0",
        help_heading = "Model"
    )]
    pub random_weights: Option<u64>,
    /// In a foreign gradient graph: the input that is the cotangent of the scores
    #[arg(long, value_name = "NAME", help_heading = "Model")]
    pub cotangent: Option<String>,
    /// In a foreign gradient graph: the output that is the gradient
    #[arg(long, value_name = "NAME", help_heading = "Model")]
    pub gradient: Option<String>,
}

/// What of a class is explained.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum ScoreArg {
    /// Its score before a Softmax
    Logit,
    /// Its probability
    Probability,
}

impl From<ScoreArg> for Score {
    fn from(score: ScoreArg) -> Score {
        match score {
            ScoreArg::Logit => Score::Logit,
            ScoreArg::Probability => Score::Probability,
        }
    }
}

/// How the model is run; shared by the commands that run or plan it.
#[derive(Debug, Args)]
pub struct PrecisionArgs {
    /// f16 halves the memory of weights, and multiplies halves where the processor can; f16-weights never does,
    /// f16-emulated shows, slowly, what a processor that can will give
    #[arg(long, default_value = "f32", value_parser = precisions(), help_heading = "Model")]
    precision: Precision,
    /// The same as --precision f16
    #[arg(long, conflicts_with = "precision", help_heading = "Model")]
    f16: bool,
}

impl PrecisionArgs {
    /// The one that was asked for.
    pub fn precision(&self) -> Precision {
        if self.f16 { Precision::F16 } else { self.precision }
    }
}

/// The names of precisions, as a parser.
fn precisions() -> impl TypedValueParser<Value = Precision> {
    let named = |name: String| Precision::ALL.into_iter().find(|p| p.name() == name).unwrap_or_default();
    PossibleValuesParser::new(Precision::ALL.map(Precision::name)).map(named)
}

/// How pixels become the input, in place of what the card says.
#[derive(Debug, Args)]
#[command(next_help_heading = "Preprocessing: value = (pixel * scale - mean) / std, pixels in 0..255")]
pub struct PreprocessArgs {
    /// Subtracted, per channel or one for all
    #[arg(long, value_delimiter = ',', allow_hyphen_values = true)]
    pub mean: Option<Vec<f32>>,
    /// Divisor, per channel or one for all
    #[arg(long, value_delimiter = ',')]
    pub std: Option<Vec<f32>>,
    /// Factor on pixels [1/255 without a card]
    #[arg(long)]
    pub scale: Option<f32>,
    /// Where the channels are
    #[arg(long)]
    pub layout: Option<LayoutArg>,
    /// How an image of another size is fitted
    #[arg(long)]
    pub resize: Option<ResizeArg>,
    /// Order of the channels
    #[arg(long)]
    pub color: Option<ColorArg>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum LayoutArg {
    Nchw,
    Nhwc,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum ResizeArg {
    Stretch,
    Crop,
    None,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum ColorArg {
    Rgb,
    Bgr,
    Gray,
}

/// Which method, and what it is told.
#[derive(Debug, Args)]
#[command(next_help_heading = "Method")]
pub struct MethodArgs {
    /// The attribution method; `whyline methods` lists them
    #[arg(short, long, default_value = "integrated-gradients")]
    pub method: String,
    #[command(flatten)]
    pub params: ParamArgs,
}

/// What methods are told.
#[derive(Debug, Args)]
pub struct ParamArgs {
    /// Any parameter of the method, as in -p steps=100
    #[arg(short = 'p', long = "param", value_name = "NAME=VALUE")]
    pub params: Vec<String>,
    /// Gradients along a path
    #[arg(allow_negative_numbers = true, long, value_name = "N")]
    pub steps: Option<String>,
    /// What the input is compared with: zero, a number, mean, blur, uniform, max-distance, an image or a .npy tensor, or a
    /// folder of images for methods that take a set
    #[arg(long, value_name = "BASELINE", allow_hyphen_values = true)]
    pub baseline: Option<String>,
    /// Take only as many gradients, up to --steps, as this completeness gap wants, as a share of what is explained
    #[arg(allow_negative_numbers = true, long, value_name = "SHARE")]
    pub tolerance: Option<String>,
    /// Noisy copies
    #[arg(allow_negative_numbers = true, long, value_name = "N")]
    pub samples: Option<String>,
    /// Deviation of noise
    #[arg(allow_negative_numbers = true, long, value_name = "PART")]
    pub sigma: Option<String>,
    /// Seed of random draws
    #[arg(allow_negative_numbers = true, long, value_name = "SEED")]
    pub seed: Option<String>,
    /// The layer of a CAM method
    #[arg(long, value_name = "NAME")]
    pub layer: Option<String>,
    /// Reproduce another program's numbers where they differ from the paper's; `whyline methods` says which
    #[arg(long, value_name = "PROGRAM")]
    pub compat: Option<String>,
}

/// Which class is explained; shared by the commands that explain.
#[derive(Debug, Args)]
pub struct TargetArgs {
    /// The class explained: top, an index, or a label of the model card
    #[arg(long, default_value = "top", allow_negative_numbers = true)]
    pub target: String,
    /// Explain by how much the class is ahead of this one: next (the best other), an index, or a label
    #[arg(long, value_name = "CLASS", allow_negative_numbers = true)]
    pub against: Option<String>,
}

/// What an explanation may spend; shared by the commands that explain.
#[derive(Debug, Args)]
#[command(
    next_help_heading = "Budget: methods that work in steps end early, with the best map so far; paths take -p rule=adaptive"
)]
pub struct BudgetArgs {
    /// Passes, forward and gradient together; fewer than a method's least are refused (exit code 5)
    #[arg(long, value_name = "N")]
    pub max_passes: Option<u64>,
    /// Time for each explanation, as in 20ms or 1.5s, the model's preparation not counted
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub deadline: Option<Duration>,
}

/// What passes may use; shared by the commands that take many.
#[derive(Debug, Args)]
pub struct ResourceArgs {
    /// Passes that run at a time, each in memory of its own; by default as many as there are processors
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Memory for weights and arenas, as in 64MiB: fewer threads are used, and less than one needs is refused (exit
    /// code 5); `whyline inspect` says what a model needs
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    pub memory: Option<usize>,
}

/// What runs passes; shared by the commands that explain.
#[derive(Debug, Args)]
pub struct EngineArgs {
    /// What runs the passes
    #[arg(long, default_value = "kernels", value_parser = engines())]
    pub engine: Engine,
}

impl EngineArgs {
    /// The same resources, of this engine.
    pub fn of(&self, resources: Resources) -> Resources {
        Resources { engine: self.engine, ..resources }
    }
}

/// Reads an engine's name.
pub fn engines() -> impl TypedValueParser<Value = Engine> {
    let all = Engine::ALL.iter().map(|engine| PossibleValue::new(engine.name()).help(engine.summary()));
    PossibleValuesParser::new(all).map(|name| Engine::named(&name).unwrap_or_default())
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
    #[arg(short = 'o', long = "png", value_name = "PNG", help_heading = "Output")]
    pub png: Option<PathBuf>,
    /// Write the map as float32
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub npy: Option<PathBuf>,
    /// Write the record; - for standard output
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub json: Option<PathBuf>,
    /// Show input, map and overlay beside each other
    #[arg(long, help_heading = "Output")]
    pub side_by_side: bool,
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
    #[arg(short = 'o', long = "png", value_name = "PNG", help_heading = "Output")]
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

/// A time, as in 20ms, 1.5s or 2min.
fn time(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let seconds = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "min" => 60.0,
        _ => return Err("write a number with us, ms, s or min".into()),
    };
    let value = number.trim().parse::<f64>().ok().filter(|v| *v >= 0.0).map(|v| v * seconds);
    value
        .and_then(|v| Duration::try_from_secs_f64(v).ok())
        .ok_or_else(|| "write a number with its unit, as in 20ms".to_string())
}

/// Bytes, as in 64MiB, 64MB, 1.5GiB or 65536.
fn bytes(text: &str) -> Result<usize, String> {
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kb" => 1e3,
        "m" | "mb" => 1e6,
        "g" | "gb" => 1e9,
        "kib" => 1024.0,
        "mib" => 1024.0 * 1024.0,
        "gib" => 1024.0 * 1024.0 * 1024.0,
        _ => return Err("write a number with B, kB, MB, GB, KiB, MiB or GiB".into()),
    };
    match number.trim().parse::<f64>() {
        Ok(v) if v >= 0.0 && v.is_finite() => Ok((v * factor) as usize),
        _ => Err("write a number with its unit, as in 64MiB".into()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{bytes, time};

    #[test]
    fn times_are_read_with_their_units() {
        assert_eq!(time("20ms"), Ok(Duration::from_millis(20)));
        assert_eq!(time("1.5 s"), Ok(Duration::from_millis(1500)));
        for wrong in ["", "20", "ms", "-1s", "nan s", "1e300min", "5 h"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_are_read_with_their_units() {
        assert_eq!(bytes("65536"), Ok(65536));
        assert_eq!(bytes("64MiB"), Ok(64 << 20));
        assert_eq!(bytes("1.5 kB"), Ok(1500));
        for wrong in ["", "MiB", "-1", "12 parsecs", "nan", "inf"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }
}
