//! From model flags to a loaded model.

use whyline_runtime::explain::{LoadOptions, Loaded};
use whyline_runtime::files::read_text;
use whyline_runtime::gradient::ready_made::Parts;
use whyline_runtime::onnx::Card;
use whyline_runtime::onnx::card::{Color, LayoutName, Resize};

use super::inputs::read_region;
use crate::args::{ColorArg, LayoutArg, ModelArgs, OVER_ALL, PreprocessArgs, ResizeArg};
use crate::failure::{Failure, Outcome};

/// Reads the model with its card, and applies the preprocessing flags to the card.
pub fn load(args: &ModelArgs, preprocess: Option<&PreprocessArgs>) -> Outcome<Loaded> {
    let card = match &args.card {
        Some(path) => {
            let text = read_text(path)?;
            Some(Card::parse(&text, &path.display().to_string())?)
        }
        None => None,
    };
    let options = LoadOptions {
        card,
        shape: args.shape.clone(),
        random_weights: args.random_weights,
        output: args.output.clone(),
        score: args.score.into(),
        parts: Parts { cotangent: args.cotangent.clone(), gradient: args.gradient.clone() },
    };
    let mut loaded = Loaded::read(&args.model, &options)?;
    if args.random_weights.is_some() && loaded.model.random_weights.is_none() {
        let model = args.model.display();
        return Err(Failure::usage(format!("{model} has weights of its own; --random-weights is for files without")));
    }
    if let Some(flags) = preprocess {
        apply(flags, &mut loaded)?;
    }
    match &args.over {
        None => Ok(loaded),
        Some(over) if over.as_os_str() == OVER_ALL => Ok(loaded.over(None)?),
        Some(path) => {
            let region = read_region(&loaded, path)?;
            Ok(loaded.over(Some(region))?)
        }
    }
}

fn apply(flags: &PreprocessArgs, loaded: &mut Loaded) -> Outcome {
    let input = &mut loaded.card.input;
    let before = input.clone();
    if let Some(mean) = &flags.mean {
        input.mean = mean.clone();
    }
    if let Some(std) = &flags.std {
        input.std = std.clone();
    }
    input.scale = flags.scale.unwrap_or(input.scale);
    if let Some(layout) = flags.layout {
        input.layout = Some(match layout {
            LayoutArg::Nchw => LayoutName::Nchw,
            LayoutArg::Nhwc => LayoutName::Nhwc,
        });
    }
    if let Some(resize) = flags.resize {
        input.resize = match resize {
            ResizeArg::Stretch => Resize::Stretch,
            ResizeArg::Crop => Resize::Crop,
            ResizeArg::None => Resize::None,
        };
    }
    input.crop_ratio = flags.crop_ratio.unwrap_or(input.crop_ratio);
    if let Some(color) = flags.color {
        input.color = Some(match color {
            ColorArg::Rgb => Color::Rgb,
            ColorArg::Bgr => Color::Bgr,
            ColorArg::Gray => Color::Gray,
        });
    }
    if flags.crop_ratio.is_some() && input.resize != Resize::Crop {
        return Err(Failure::usage("--crop-ratio is of --resize crop"));
    }
    input.check().map_err(Failure::usage)?;
    if *input != before || flags.scale.is_some() {
        loaded.card_source = whyline_runtime::explain::CardSource::Known;
    }
    Ok(())
}
