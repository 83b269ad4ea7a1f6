//! The model card: what a model's pixels and classes mean.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::files::read_text;

/// What a file does not say about its model. In `MODEL.toml` beside it, or in its metadata.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Card {
    /// The model's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What it was trained on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// How well it does, and on what.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<String>,
    /// Of the weights.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    /// The classes' names, in the order of the logits.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// How pixels become the input.
    pub input: InputCard,
    /// Where integrated gradients' steps are best taken, as `whyline calibrate` has found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<StepsCard>,
}

/// Where the steps of a path are best taken: of `n` steps an equal share lies between every two neighbouring places.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepsCard {
    /// Ascending from zero, the baseline, to one, the input.
    pub places: Vec<f32>,
    /// The baseline of the paths that it was learned from.
    pub baseline: String,
    /// Inputs that it was learned from.
    pub inputs: usize,
}

impl StepsCard {
    fn check(&self) -> std::result::Result<(), String> {
        let ascend = self.places.windows(2).all(|pair| pair[0] < pair[1]);
        match (self.places.first(), self.places.last()) {
            (Some(&0.0), Some(&1.0)) if ascend => Ok(()),
            _ => Err("the places of steps must ascend from 0 to 1".into()),
        }
    }
}

/// A crop of less sees next to nothing.
const LEAST_CROP: f32 = 0.01;

/// How pixels become the input: `value = (pixel * scale - mean) / std`, with pixels in 0..255.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct InputCard {
    /// Where the channels are; told from the input's shape by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layout: Option<LayoutName>,
    /// Order of the channels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub color: Option<Color>,
    /// How an image of another size is fitted.
    pub resize: Resize,
    /// With `resize = "crop"`: the part of the shorter side that is kept.
    pub crop_ratio: f32,
    /// [height, width], where the file leaves them open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<[usize; 2]>,
    /// Factor on pixels.
    pub scale: f32,
    /// Per channel, or one for all.
    pub mean: Vec<f32>,
    /// Per channel, or one for all.
    pub std: Vec<f32>,
}

impl Default for InputCard {
    fn default() -> Self {
        InputCard {
            layout: None,
            color: None,
            resize: Resize::Stretch,
            crop_ratio: 1.0,
            size: None,
            scale: 1.0 / 255.0,
            mean: vec![0.0],
            std: vec![1.0],
        }
    }
}

impl InputCard {
    /// What a channel's raw value of 0..255 becomes.
    pub fn value(&self, raw: f32, channel: usize) -> f32 {
        let of = |values: &[f32], none: f32| match values {
            [] => none,
            [one] => *one,
            many => many.get(channel).copied().unwrap_or(none),
        };
        (raw * self.scale - of(&self.mean, 0.0)) / of(&self.std, 1.0)
    }
}

/// Where the channels of an input are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum LayoutName {
    Nchw,
    Nhwc,
}

/// Order of an input's channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Color {
    Rgb,
    Bgr,
    Gray,
}

/// How an image is brought to the input's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resize {
    /// Both sides on their own.
    Stretch,
    /// The shorter side fits, the middle is cut out.
    Crop,
    /// Not at all: another size is an error.
    None,
}

impl Card {
    /// From TOML; `source_name` is for messages.
    pub fn parse(text: &str, source_name: &str) -> Result<Card> {
        let refuse = |reason: String| Error::Card { source_name: source_name.to_string(), reason };
        let card: Card = toml::from_str(text).map_err(|e| refuse(e.to_string().trim_end().to_string()))?;
        card.check(source_name)?;
        Ok(card)
    }

    /// Refuses numbers that make no sense; `source_name` says whose they are.
    pub fn check(&self, source_name: &str) -> Result<()> {
        let sound = self.input.check().and_then(|()| self.steps.as_ref().map_or(Ok(()), StepsCard::check));
        sound.map_err(|reason| Error::Card { source_name: source_name.to_string(), reason })
    }

    /// As TOML.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self).map_err(|e| Error::Card { source_name: "in memory".into(), reason: e.to_string() })
    }

    /// The class's label, where the card has one for each of the model's `classes`.
    pub fn label(&self, class: usize, classes: usize) -> Option<&str> {
        self.labels.get(class).filter(|_| self.labels.len() == classes).map(String::as_str)
    }

    /// The class that a label or an index means.
    ///
    /// Where some label is a number (a digit), a number is a label and no index. A label that several classes have means none.
    pub fn class(&self, name: &str, classes: usize) -> Result<usize> {
        let labelled: Vec<usize> = (0..classes).filter(|&class| self.label(class, classes) == Some(name)).collect();
        let is_number = |name: &str| name.parse::<usize>().is_ok();
        let numbered = self.labels.len() == classes && self.labels.iter().any(|label| is_number(label));
        let index = name.parse().ok().filter(|_| !numbered);
        let reason = match (labelled.as_slice(), index) {
            ([_, _, ..], _) if numbered => {
                format!("several classes are called '{name}': {labelled:?}; give them labels of their own in the card")
            }
            ([_, _, ..], _) => format!("several classes are called '{name}': {labelled:?}; name one by its index"),
            ([class], _) => return Ok(*class),
            ([], Some(class)) if class < classes => return Ok(class),
            ([], Some(class)) => format!("there is no class {class}; the model has {classes}, from 0"),
            _ if self.labels.is_empty() => {
                format!("there is no class '{name}'; the model has {classes}, from 0, and its card names none")
            }
            _ if self.labels.len() != classes => format!(
                "there is no class '{name}': the card's {} labels are not used, because the model has {classes} classes",
                self.labels.len()
            ),
            _ => format!("there is no class '{name}'; the card names {}", self.labels.join(", ")),
        };
        Err(Error::Target { reason })
    }

    /// Where a card beside a model lies: with its name and the ending `.toml`.
    pub fn path_beside(model: &Path) -> PathBuf {
        model.with_extension("toml")
    }

    /// The card beside the model file, if there is one.
    pub fn beside(model: &Path) -> Result<Option<Card>> {
        let path = Card::path_beside(model);
        match read_text(&path) {
            Ok(text) => Card::parse(&text, &path.display().to_string()).map(Some),
            Err(Error::Read { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl InputCard {
    /// Whether the numbers make sense.
    pub fn check(&self) -> std::result::Result<(), String> {
        let finite = |v: &[f32]| v.iter().all(|x| x.is_finite());
        if self.mean.is_empty() || !finite(&self.mean) {
            return Err("mean must be finite numbers, one per channel or one for all".into());
        }
        if self.std.is_empty() || !finite(&self.std) || self.std.contains(&0.0) {
            return Err("std must be finite numbers other than zero, one per channel or one for all".into());
        }
        if !self.scale.is_finite() || self.scale == 0.0 {
            return Err("scale must be a finite number other than zero".into());
        }
        if !(LEAST_CROP..=1.0).contains(&self.crop_ratio) {
            return Err(format!("crop_ratio must lie between {LEAST_CROP} and 1"));
        }
        if self.size.is_some_and(|[h, w]| h == 0 || w == 0) {
            return Err("size must be positive".into());
        }
        Ok(())
    }
}
