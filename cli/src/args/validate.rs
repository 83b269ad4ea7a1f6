//! What `whyline validate` is told.

use std::path::PathBuf;

use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser};
use whyline_runtime::engine::Engine;
use whyline_runtime::validate::CHECKS;

use super::{ModelArgs, PreprocessArgs, ResourceArgs, engines};

#[derive(Debug, Args)]
pub struct ValidateArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Inputs like those that the model will see: a folder of images, or of folders of them, an image, or a .npy tensor
    pub dataset: Option<PathBuf>,
    /// In place of a dataset, so many inputs of random pixels; 4 if there is none
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..), conflicts_with = "dataset", help_heading = "Dataset")]
    pub random: Option<u16>,
    /// Take at most so many inputs of the dataset, evenly
    #[arg(long, value_name = "N", default_value_t = 16, requires = "dataset", value_parser = clap::value_parser!(u16).range(1..), help_heading = "Dataset")]
    pub inputs: u16,
    /// The methods that are to explain the model, or all
    #[arg(
        short,
        long = "methods",
        alias = "method",
        value_delimiter = ',',
        default_value = "vanilla,integrated-gradients",
        value_name = "A,B,C"
    )]
    pub methods: Vec<String>,
    /// A parameter of every method that has it, as in -p steps=100
    #[arg(short = 'p', long = "param", value_name = "NAME=VALUE")]
    pub params: Vec<String>,
    /// The checks, or all
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "all",
        value_name = "X,Y,Z",
        value_parser = PossibleValuesParser::new(
            CHECKS.iter().map(|c| PossibleValue::new(c.name).help(c.passes_when)).chain([PossibleValue::new("all")])
        )
    )]
    pub checks: Vec<String>,
    /// A limit of every check that has it, or of one: CHECK.NAME=VALUE
    #[arg(long = "limit", value_name = "NAME=VALUE")]
    pub limits: Vec<String>,
    /// ONNX Runtime's library, or the folder that holds it, as onnxruntime/capi of its Python package
    #[cfg(feature = "ort")]
    #[arg(long, value_name = "PATH")]
    pub ort_lib: Option<PathBuf>,
    /// What computes the long references of `steps` and `draws`
    #[arg(long, default_value = "kernels", value_name = "ENGINE", value_parser = engines())]
    pub references: Engine,
    #[command(flatten)]
    pub resources: ResourceArgs,
    /// Write the report as JSON; - for standard output
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub json: Option<PathBuf>,
    /// Print nothing but errors
    #[arg(short, long, help_heading = "Output")]
    pub quiet: bool,
    #[command(flatten)]
    pub preprocess: PreprocessArgs,
}
