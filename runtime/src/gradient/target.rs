//! What is explained: the components of the model's logits.

use super::head::{Activation, Head, Link, activation_behind};
use crate::error::{Error, Result};
use crate::onnx::{DType, TypedGraph};

/// The value whose components are explained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Name of the value.
    pub logits: String,
    /// Its extents.
    pub shape: Vec<usize>,
    /// The Softmax, LogSoftmax or Sigmoid that the file ends with and that was stepped over.
    pub stepped_over: Option<SteppedOver>,
    /// How its components are to be read.
    pub head: Head,
}

/// A node behind the value that is explained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SteppedOver {
    /// Its name.
    pub node: String,
    /// Its op.
    pub op: String,
}

/// What of a class is explained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Score {
    /// Its score before a Softmax or Sigmoid.
    #[default]
    Logit,
    /// Its probability.
    Probability,
}

/// The component with the largest score, the first of equals; zero where there is none.
pub fn top_class(scores: &[f32]) -> usize {
    largest(scores, 0..scores.len()).unwrap_or(0)
}

/// The same among some of them.
pub fn largest(scores: &[f32], mut among: impl Iterator<Item = usize>) -> Option<usize> {
    let first = among.next()?;
    Some(among.fold(first, |best, index| if scores[index].total_cmp(&scores[best]).is_gt() { index } else { best }))
}

/// The cotangent of the component with the largest score.
pub fn top_seed(scores: &[f32]) -> Vec<f32> {
    let mut seed = vec![0.0; scores.len()];
    if let Some(top) = seed.get_mut(top_class(scores)) {
        *top = 1.0;
    }
    seed
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

    /// The class's probability; of two, its share of what both have, which of two that one Softmax weighs is the logistic function of
    /// [`Explained::score`].
    pub fn probability(self, head: Head, scores: &[f32]) -> Option<f64> {
        let own = head.probability(scores, self.class)?;
        let Some(other) = self.against else { return Some(own) };
        let compete = head.choice.is_some_and(|choice| choice.among(self.class).any(|index| index == other));
        if head.link == Link::Softmax && compete {
            return Some(1.0 / (1.0 + (-self.score(scores)).exp()));
        }
        let both = own + head.probability(scores, other)?;
        Some(if both > 0.0 { own / both } else { 0.5 })
    }

    /// The same of another class. Of two of which that one is the other, they change places.
    pub fn of_class(self, class: usize) -> Explained {
        Explained { class, against: self.against.map(|other| if other == class { self.class } else { other }) }
    }
}

/// Ops that change no value, only its shape or type.
pub(super) const CARRIERS: &[&str] = &["Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Cast"];

/// Finds the logits behind the graph's output `output` (the first, by default).
///
/// A Softmax, LogSoftmax or Sigmoid that the file ends with is stepped over, because a probability's gradient
/// vanishes where the model is sure, and a Softmax's mixes in the other classes.
pub fn find_target(typed: &TypedGraph, output: Option<&str>) -> Result<Target> {
    let graph = &typed.graph;
    let output = match output {
        None => &graph.outputs[0],
        Some(name) => graph.outputs.iter().find(|o| *o == name).ok_or_else(|| Error::Usage {
            reason: format!("the model has no output '{name}'; it has {}", graph.outputs.join(", ")),
        })?,
    };
    let activation = activation_behind(typed, output);
    let (logits, stepped_over) = match &activation {
        Some(Activation { node, before, .. }) => {
            (before.to_string(), Some(SteppedOver { node: node.name.clone(), op: node.op.clone() }))
        }
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
    let head = Head::of(typed, &logits, activation.as_ref());
    Ok(Target { logits, shape: fact.shape.clone(), stepped_over, head })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_equal_scores_the_first_counts() {
        assert_eq!((top_class(&[1.0, 2.0, 2.0]), largest(&[3.0, 2.0, 2.0], 1..3)), (1, Some(1)));
    }

    #[test]
    fn of_two_classes_the_probability_is_a_share_of_both() {
        let scores = [1.0, 4.0, 2.0];
        let explained = Explained { class: 1, against: Some(2) };
        assert_eq!(explained.score(&scores), 2.0);
        assert_eq!(explained.of_class(0), Explained { class: 0, against: Some(2) });
        assert_eq!(explained.of_class(2), Explained { class: 2, against: Some(1) });
        let softmax = Head::softmax(3);
        let of = |class| softmax.probability(&scores, class).unwrap();
        let share = of(1) / (of(1) + of(2));
        assert!((explained.probability(softmax, &scores).unwrap() - share).abs() < 1e-12);
        let done = softmax.done();
        assert_eq!(
            explained.probability(done, &[0.0, 0.3, 0.1]),
            Some(0.3f32 as f64 / (0.3f32 as f64 + 0.1f32 as f64))
        );
        assert_eq!(explained.probability(done, &[0.5, 0.0, 0.0]), Some(0.5));
        assert_eq!(explained.probability(Head { link: Link::None, ..softmax }, &scores), None);
    }
}
