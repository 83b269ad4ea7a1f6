//! Which model, and how it is read and run.

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};
use whyline_runtime::engine::Precision;
use whyline_runtime::gradient::target::Score;

use super::quantities::quotient;

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
    /// Of a model that scores every place, explain a class by its mean score over places: all, or those that a picture marks
    /// in white, as a mask does
    #[arg(long, value_name = "all|MASK", help_heading = "Model")]
    pub over: Option<PathBuf>,
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

impl ModelArgs {
    /// The files that are named.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.model].into_iter().chain(&self.card).chain(self.over.iter().filter(|over| over.as_os_str() != OVER_ALL))
    }
}

/// All places, and no file.
pub const OVER_ALL: &str = "all";

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
    #[arg(long, value_delimiter = ',', allow_hyphen_values = true, value_parser = quotient)]
    pub mean: Option<Vec<f32>>,
    /// Divisor, per channel or one for all
    #[arg(long, value_delimiter = ',', value_parser = quotient)]
    pub std: Option<Vec<f32>>,
    /// Factor on pixels [1/255 without a card]
    #[arg(long, value_parser = quotient)]
    pub scale: Option<f32>,
    /// Where the channels are
    #[arg(long)]
    pub layout: Option<LayoutArg>,
    /// How an image of another size is fitted
    #[arg(long)]
    pub resize: Option<ResizeArg>,
    /// Of a crop, the part of the shorter side that is kept, as 224/256
    #[arg(long, value_parser = quotient)]
    pub crop_ratio: Option<f32>,
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
