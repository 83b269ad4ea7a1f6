//! What is asked of a model, and what that may take.

use std::time::Duration;

use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use whyline_runtime::engine::{Engine, Resources};

use super::quantities::{bytes, time};

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
    /// The class explained: top, an index, or a label of the model card, where the model scores places as CLASS@ROW,COLUMN; of a
    /// dataset also label, each sample's own
    #[arg(long, default_value = "top", allow_negative_numbers = true)]
    pub target: String,
    /// Explain by how much the class is ahead of this one: next (the best other), an index, or a label
    #[arg(long, value_name = "CLASS", allow_negative_numbers = true)]
    pub against: Option<String>,
}

/// What an explanation may spend; shared by the commands that explain.
#[derive(Debug, Args)]
#[command(
    next_help_heading = "Budget: methods that work in steps end early, with the best map so far; integrated gradients and Blur IG then go by rule=adaptive, unless told otherwise"
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
