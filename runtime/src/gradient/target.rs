//! What is explained: the components of the model's logits.

use super::names;
use crate::error::{Error, Result};
use crate::onnx::{DType, Graph, TypedGraph};

/// The value whose components are explained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Name of the value.
    pub logits: String,
    /// Its extents.
    pub shape: Vec<usize>,
    /// The Softmax or LogSoftmax that the file ends with and that was stepped over.
    pub stepped_over: Option<String>,
    /// What makes a probability of a score.
    pub head: Head,
}

/// What of a class is explained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Score {
    /// Its score before a Softmax.
    #[default]
    Logit,
    /// Its probability.
    Probability,
}

/// What makes a probability of a score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// Softmax over all scores.
    Softmax,
    /// Nothing: a Sigmoid has been at work already.
    Sigmoid,
    /// Nothing can: one score alone, one for every place, or their means.
    None,
}

/// The component with the largest score, the first of equals; zero where there is none.
pub fn top_class(scores: &[f32]) -> usize {
    (0..scores.len()).max_by(|&a, &b| scores[a].total_cmp(&scores[b]).then(b.cmp(&a))).unwrap_or(0)
}

/// The cotangent of the component with the largest score.
pub fn top_seed(scores: &[f32]) -> Vec<f32> {
    let mut seed = vec![0.0; scores.len()];
    if let Some(top) = seed.get_mut(top_class(scores)) {
        *top = 1.0;
    }
    seed
}

/// Softmax of all scores.
pub fn class_probabilities(scores: &[f32]) -> Vec<f64> {
    let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max) as f64;
    let total: f64 = scores.iter().map(|&s| (s as f64 - most).exp()).sum();
    scores.iter().map(|&s| (s as f64 - most).exp() / total).collect()
}

impl Head {
    /// The probability of one of the scores, where there is such a score and it has one.
    pub fn probability(self, scores: &[f32], class: usize) -> Option<f64> {
        let score = *scores.get(class)? as f64;
        match self {
            Head::Sigmoid => Some(score),
            Head::None => None,
            Head::Softmax => Some(class_probabilities(scores)[class]),
        }
    }

    /// For the value `scores`.
    pub fn of(typed: &TypedGraph, scores: &str) -> Head {
        // A mean of many places' scores is no logit of one choice among classes.
        if scores.ends_with(names::OVER_PLACES) {
            return Head::None;
        }
        let producers = typed.graph.producers();
        let mut value = scores;
        let mut writer = None;
        while let Some(node) = producers.get(value).map(|&i| &typed.graph.nodes[i]) {
            writer = Some(node.op.as_str());
            match node.input(0) {
                Some(before) if CARRIERS.contains(&node.op.as_str()) => value = before,
                _ => break,
            }
        }
        let shape = typed.facts.get(scores).map(|f| f.shape.as_slice()).unwrap_or_default();
        match writer {
            Some("Sigmoid" | "HardSigmoid") => Head::Sigmoid,
            _ if one_score_per_class(shape) => Head::Softmax,
            _ => Head::None,
        }
    }
}

/// What of the scores is explained: a class, or by how much it is ahead of another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Explained {
    /// What speaks for it is positive.
    pub class: usize,
    /// The other one.
    pub against: Option<usize>,
}

impl Explained {
    /// The class's score, or how far it is ahead.
    pub fn score(self, scores: &[f32]) -> f64 {
        scores[self.class] as f64 - self.against.map_or(0.0, |other| scores[other] as f64)
    }

    /// The class's probability; of two, its share of what both have, which of a Softmax is the logistic function of
    /// [`Explained::score`].
    pub fn probability(self, head: Head, scores: &[f32]) -> Option<f64> {
        match (self.against, head) {
            (None, _) => head.probability(scores, self.class),
            (Some(_), Head::Softmax) => Some(1.0 / (1.0 + (-self.score(scores)).exp())),
            (Some(_), Head::None) => None,
            (Some(other), Head::Sigmoid) => {
                let (own, both) = (scores[self.class] as f64, scores[self.class] as f64 + scores[other] as f64);
                Some(if both > 0.0 { own / both } else { 0.5 })
            }
        }
    }

    /// The same of another class. Of two of which that one is the other, they change places.
    pub fn of_class(self, class: usize) -> Explained {
        Explained { class, against: self.against.map(|other| if other == class { self.class } else { other }) }
    }
}

/// The axis of the classes.
pub fn class_axis(shape: &[usize]) -> usize {
    shape.iter().position(|&d| d > 1).unwrap_or(0)
}

/// Whether the components of a value of this shape are classes, not places or samples.
pub fn one_score_per_class(shape: &[usize]) -> bool {
    shape.iter().filter(|&&d| d > 1).count() == 1
}

/// Ops that change no value, only its shape or type.
const CARRIERS: &[&str] = &["Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Cast"];

/// Finds the logits behind the graph's output `output` (the first, by default).
///
/// A Softmax or LogSoftmax that the file ends with is stepped over, because a probability's gradient
/// vanishes where the model is sure, and mixes in the other classes.
pub fn find_target(typed: &TypedGraph, output: Option<&str>) -> Result<Target> {
    let graph = &typed.graph;
    let output = match output {
        None => &graph.outputs[0],
        Some(name) => graph.outputs.iter().find(|o| *o == name).ok_or_else(|| Error::Usage {
            reason: format!("the model has no output '{name}'; it has {}", graph.outputs.join(", ")),
        })?,
    };
    let (logits, stepped_over) = match softmax_behind(graph, output) {
        Some((logits, name)) => (logits, Some(name)),
        None => (output.clone(), None),
    };
    let fact = typed.facts.get(&logits).ok_or_else(|| Error::graph(format!("the output '{logits}' is not typed")))?;
    if fact.dtype != DType::F32 {
        let reason =
            format!("the model's output '{output}' is {:?}, not a score; name another with --output", fact.dtype);
        return Err(Error::NoTarget { reason });
    }
    let classes: usize = fact.shape.iter().product();
    if classes == 0 {
        return Err(Error::NoTarget { reason: format!("the model's output '{output}' is empty") });
    }
    let head = Head::of(typed, &logits);
    Ok(Target { logits, shape: fact.shape.clone(), stepped_over, head })
}

fn softmax_behind(graph: &Graph, output: &str) -> Option<(String, String)> {
    let producers = graph.producers();
    let mut value = output;
    loop {
        let node = &graph.nodes[*producers.get(value)?];
        let before = node.input(0)?;
        match node.op.as_str() {
            "Softmax" | "LogSoftmax" => return Some((before.to_string(), node.name.clone())),
            op if CARRIERS.contains(&op) => value = before,
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_classes_the_probability_is_a_share_of_both() {
        let scores = [1.0, 4.0, 2.0];
        let explained = Explained { class: 1, against: Some(2) };
        assert_eq!(explained.score(&scores), 2.0);
        assert_eq!(explained.of_class(0), Explained { class: 0, against: Some(2) });
        assert_eq!(explained.of_class(2), Explained { class: 2, against: Some(1) });
        let of = |class| Head::Softmax.probability(&scores, class).unwrap();
        let share = of(1) / (of(1) + of(2));
        assert!((explained.probability(Head::Softmax, &scores).unwrap() - share).abs() < 1e-12);
        assert_eq!(
            explained.probability(Head::Sigmoid, &[0.0, 0.3, 0.1]),
            Some(0.3f32 as f64 / (0.3f32 as f64 + 0.1f32 as f64))
        );
        assert_eq!(explained.probability(Head::Sigmoid, &[0.5, 0.0, 0.0]), Some(0.5));
        assert_eq!(explained.probability(Head::None, &scores), None);
    }
}
