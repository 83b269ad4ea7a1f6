//! How a model's scores are to be read: which of them compete, and what makes probabilities of them.

use super::names;
use super::target::{CARRIERS, largest, top_class};
use crate::error::{Error, Result};
use crate::onnx::{Fact, Graph, Node, TypedGraph};

/// How scores are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Which of them compete; none where nobody knows, as of boxes.
    pub choice: Option<Choice>,
    /// What makes a probability of one.
    pub link: Link,
}

/// Scores that compete lie at equal distances: all of them, or those of the classes at one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// How many compete; one of something that is there or not.
    pub classes: usize,
    /// How far apart they lie.
    stride: usize,
}

/// What makes a probability of a score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// Softmax over those that compete.
    Softmax,
    /// The logistic function.
    Sigmoid,
    /// Nothing: it is one.
    Done,
    /// Nothing can.
    None,
}

impl Choice {
    /// Among all of so many scores.
    pub fn of_all(classes: usize) -> Choice {
        Choice { classes, stride: 1 }
    }

    /// Among those along an axis of scores of these extents.
    pub fn along(shape: &[usize], axis: usize) -> Choice {
        Choice { classes: shape[axis], stride: shape[axis + 1..].iter().product() }
    }

    /// The axis that it is along.
    pub fn axis(self, shape: &[usize]) -> Option<usize> {
        (0..shape.len()).find(|&axis| Choice::along(shape, axis) == self)
    }

    /// Which of those that compete an index is.
    pub fn class(self, index: usize) -> usize {
        index / self.stride % self.classes
    }

    /// The indices that compete with this one, itself among them.
    pub fn among(self, index: usize) -> impl Iterator<Item = usize> + Clone {
        let first = index - self.class(index) * self.stride;
        (0..self.classes).map(move |class| first + class * self.stride)
    }

    /// The softmax of those that compete with this one, in their order.
    fn softmax(self, scores: &[f32], index: usize) -> impl Iterator<Item = f64> {
        let most = self.among(index).map(|i| scores[i]).fold(f32::NEG_INFINITY, f32::max) as f64;
        let total: f64 = self.among(index).map(|i| (scores[i] as f64 - most).exp()).sum();
        self.among(index).map(move |i| (scores[i] as f64 - most).exp() / total)
    }

    /// The others.
    pub fn rivals(self, index: usize) -> impl Iterator<Item = usize> + Clone {
        self.among(index).filter(move |other| *other != index)
    }
}

impl Head {
    /// Of classes that all compete, by their logits.
    pub fn softmax(classes: usize) -> Head {
        Head { choice: Some(Choice::of_all(classes)), link: Link::Softmax }
    }

    /// For the value `scores`, behind which there is an `activation`, or what another output makes of them. Where they are of places,
    /// and no Softmax says it, which compete is not known yet.
    pub fn of(typed: &TypedGraph, scores: &str, activation: Option<&Activation>) -> Head {
        let shape = typed.facts.get(scores).map(|fact| fact.shape.as_slice()).unwrap_or_default();
        let other = if activation.is_none() { activation_of(typed, scores) } else { None };
        let (behind, writer) = (activation.or(other.as_ref()), writer(&typed.graph, scores));
        let of = origin(&typed.graph, scores);
        let is_softmax = |node: &&Node| matches!(node.op.as_str(), "Softmax" | "LogSoftmax");
        let written = || Fact::f32(shape).axis(writer.filter(is_softmax)?.int("axis", -1));
        let axis = behind.map_or_else(written, |activation| activation.axis);
        let all: usize = shape.iter().product();
        let choice = match axis {
            Some(axis) => Some(Choice::along(shape, axis)),
            None => (all == 1 || one_score_per_class(shape)).then(|| Choice::of_all(all)),
        };
        let link = match (behind.map(|activation| activation.node.op.as_str()), of.map(|node| node.op.as_str())) {
            // A mean of many places' scores is no logit of one choice among classes.
            _ if scores.ends_with(names::OVER_PLACES) => Link::None,
            (Some("Sigmoid"), _) => Link::Sigmoid,
            (Some(_), _) | (None, Some("LogSoftmax")) => Link::Softmax,
            (None, Some("Sigmoid" | "HardSigmoid" | "Softmax")) => Link::Done,
            (None, _) if one_score_per_class(shape) => Link::Softmax,
            (None, _) => Link::None,
        };
        Head { choice, link }
    }

    /// The same scores, where probabilities are explained.
    pub fn done(self) -> Head {
        Head { link: Link::Done, ..self }
    }

    /// The probability of one of the scores, where there is such a score and it has one.
    pub fn probability(self, scores: &[f32], index: usize) -> Option<f64> {
        let score = *scores.get(index)? as f64;
        match (self.link, self.choice) {
            (Link::Done, _) => Some(score),
            (Link::Sigmoid, _) => Some(1.0 / (1.0 + (-score).exp())),
            (Link::Softmax, Some(choice)) => choice.softmax(scores, index).nth(choice.class(index)),
            (Link::Softmax | Link::None, _) => None,
        }
    }

    /// The cotangent of the scores whose gradient is that of [`Head::probability`], or of the score where there is none.
    pub fn cotangent(self, scores: &[f32], index: usize) -> Vec<f32> {
        let mut seed = vec![0.0; scores.len()];
        let p = self.probability(scores, index);
        match (self.link, self.choice, p) {
            (Link::Softmax, Some(choice), Some(p)) => {
                // What is left of one is the others' sum: of a class that the model is sure of, one less nearly one is rounding.
                let mut rest = 0.0;
                let all = choice.among(index).zip(choice.softmax(scores, index));
                for (other, q) in all.filter(|(other, _)| *other != index) {
                    seed[other] = (-p * q) as f32;
                    rest += q;
                }
                seed[index] = (p * rest) as f32;
            }
            (Link::Sigmoid, _, Some(p)) => seed[index] = (p / (1.0 + (scores[index] as f64).exp())) as f32,
            _ => seed[index] = 1.0,
        }
        seed
    }

    /// The one with the largest score of those that compete with an index; of all, where nobody knows which do.
    pub fn winner(self, scores: &[f32], index: usize) -> usize {
        self.choice.and_then(|choice| largest(scores, choice.among(index))).unwrap_or_else(|| top_class(scores))
    }

    /// The largest score of those that compete with an index, but for its own.
    pub fn best_rival(self, scores: &[f32], index: usize) -> Option<usize> {
        largest(scores, self.choice?.rivals(index))
    }

    /// Refuses scores of which nobody knows which compete.
    ///
    /// Errors: those.
    pub fn must_choose(self) -> Result<Choice> {
        self.choice.ok_or_else(|| {
            Error::usage("the model gives neither one score for each class nor classes at places, so which scores compete is not known")
        })
    }

    /// Refuses scores of which one alone says yes or no.
    ///
    /// Errors: those.
    pub fn must_have_rivals(self) -> Result<Choice> {
        match self.must_choose()? {
            choice if choice.classes > 1 => Ok(choice),
            _ => Err(Error::usage("the model has one score and no other class")),
        }
    }

    /// Whether so many scores are of one choice: of the whole image, and not of its places or of boxes.
    pub fn is_of_the_image(self, scores: usize) -> bool {
        self.choice.is_some_and(|choice| choice.classes == scores)
    }

    /// What the scores decide where an index competes: the class; of one alone, whether it is there.
    pub fn decision(self, scores: &[f32], index: usize) -> usize {
        match self.choice {
            Some(choice) if choice.classes > 1 => choice.class(self.winner(scores, index)),
            Some(_) => usize::from(scores[index] > if self.link == Link::Done { 0.5 } else { 0.0 }),
            None => top_class(scores),
        }
    }
}

/// Whether the components of a value of this shape are classes, not places or samples.
pub fn one_score_per_class(shape: &[usize]) -> bool {
    shape.iter().filter(|&&d| d > 1).count() == 1
}

/// What an output ends with: a Softmax, LogSoftmax or Sigmoid.
pub struct Activation<'a> {
    /// The node.
    pub node: &'a Node,
    /// What it is of.
    pub before: &'a str,
    /// Of a Softmax, the axis of what it is of.
    axis: Option<usize>,
}

/// What a graph makes of scores of these extents at one of its outputs.
fn activation_of<'a>(typed: &'a TypedGraph, scores: &'a str) -> Option<Activation<'a>> {
    let root = carried(&typed.graph, scores);
    let is_alike = |before: &str| typed.facts.get(before) == typed.facts.get(scores);
    let all = typed.graph.outputs.iter().filter_map(|output| activation_behind(typed, output));
    let mut all = all;
    all.find(|own| carried(&typed.graph, own.before) == root && is_alike(own.before))
}

/// What an output ends with, but for what changes shapes and types. Of a Softmax that is taken along an axis moved to the end and back,
/// as op sets before 13 want it, the axis is that of what was moved.
pub fn activation_behind<'a>(typed: &'a TypedGraph, output: &'a str) -> Option<Activation<'a>> {
    let graph = &typed.graph;
    let producers = graph.producers();
    let wrote = |value: &str| producers.get(value).map(|&at| &graph.nodes[at]);
    let last = writer(graph, output)?;
    let (node, back) = match last.op.as_str() {
        "Transpose" => (wrote(last.input(0)?)?, Some(last)),
        _ => (last, None),
    };
    let before = node.input(0)?;
    let is_softmax = matches!(node.op.as_str(), "Softmax" | "LogSoftmax");
    let axis = typed.facts.get(before)?.axis(node.int("axis", -1)).filter(|_| is_softmax);
    match back {
        None => (is_softmax || node.op == "Sigmoid").then_some(Activation { node, before, axis }),
        Some(back) => {
            let there = wrote(before).filter(|first| first.op == "Transpose")?;
            let (perm, again) = (there.ints("perm")?, back.ints("perm")?);
            let is_inverse = again.iter().enumerate().all(|(to, &at)| perm.get(at as usize) == Some(&(to as i64)));
            let axis = usize::try_from(*perm.get(axis?)?).ok().filter(|_| is_inverse)?;
            Some(Activation { node, before: there.input(0)?, axis: Some(axis) })
        }
    }
}

/// The value that one is but for its shape or type.
fn carried<'a>(graph: &'a Graph, value: &'a str) -> &'a str {
    let producers = graph.producers();
    let mut value = value;
    while let Some(node) =
        producers.get(value).map(|&at| &graph.nodes[at]).filter(|n| CARRIERS.contains(&n.op.as_str()))
    {
        match node.input(0) {
            Some(before) => value = before,
            None => break,
        }
    }
    value
}

/// Ops that pick some of the values, or bound them: of probabilities they leave probabilities.
const PICKS: &[&str] = &["Transpose", "Gather", "GatherElements", "Slice", "Split", "Clip"];

/// The node whose values, some or all of them, a value has.
fn origin<'a>(graph: &'a Graph, value: &'a str) -> Option<&'a Node> {
    let mut node = writer(graph, value)?;
    while PICKS.contains(&node.op.as_str()) {
        node = writer(graph, node.input(0)?)?;
    }
    Some(node)
}

/// The node that writes a value, but for what changes shapes and types.
fn writer<'a>(graph: &'a Graph, value: &'a str) -> Option<&'a Node> {
    Some(&graph.nodes[*graph.producers().get(carried(graph, value))?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_compete_that_lie_along_the_axis_of_classes() {
        // Two classes at each of three places, either way round.
        let (first, last) = (Choice::along(&[1, 2, 1, 3], 1), Choice::along(&[1, 1, 3, 2], 3));
        assert_eq!((first.among(4).collect::<Vec<_>>(), last.among(3).collect::<Vec<_>>()), (vec![1, 4], vec![2, 3]));
        assert_eq!((first.class(4), last.class(3), first.axis(&[1, 2, 1, 3])), (1, 1, Some(1)));
        assert_eq!(first.rivals(2).collect::<Vec<_>>(), [5]);
        let scores = [1.0, 9.0, 8.0, 7.0, 2.0, 3.0];
        let head = Head { choice: Some(first), link: Link::Softmax };
        assert_eq!((head.winner(&scores, 3), head.best_rival(&scores, 4), head.decision(&scores, 4)), (3, Some(1), 0));
        let pair = [1, 4].map(|index| head.probability(&scores, index).unwrap());
        assert!((pair[0] - 1.0 / (1.0 + (-7.0f64).exp())).abs() < 1e-12 && (pair[0] + pair[1] - 1.0).abs() < 1e-12);
        let one = |link| Head { choice: Some(Choice::of_all(1)), link };
        assert_eq!([-0.1, 0.1].map(|score| one(Link::Sigmoid).decision(&[score], 0)), [0, 1]);
        assert_eq!([0.4, 0.6].map(|score| one(Link::Done).decision(&[score], 0)), [0, 1]);
        assert_eq!(one(Link::None).best_rival(&[1.0], 0), None);
    }

    /// Of a class that the model is sure of, too.
    #[test]
    fn cotangents_of_sure_classes_add_up_to_nothing() {
        let cotangent = Head::softmax(3).cotangent(&[40.0, 3.0, 2.0], 0);
        let (own, others) = (cotangent[0] as f64, cotangent[1] as f64 + cotangent[2] as f64);
        assert!(own > 0.0 && (own + others).abs() < 1e-6 * own, "{cotangent:?}");
    }

    /// The cotangent is the derivative of the probability.
    #[test]
    fn cotangents_are_those_of_probabilities() {
        for link in [Link::Softmax, Link::Sigmoid, Link::Done] {
            let head = Head { choice: Some(Choice::along(&[2, 3], 0)), link };
            let scores = [0.3f32, 0.7, 0.1, 0.9, 0.2, 0.4];
            for index in 0..6 {
                let cotangent = head.cotangent(&scores, index);
                for other in 0..6 {
                    let at = |by: f32| {
                        let mut moved = scores;
                        moved[other] += by;
                        head.probability(&moved, index).unwrap()
                    };
                    let slope = (at(1e-3) - at(-1e-3)) / 2e-3;
                    assert!((slope - cotangent[other] as f64).abs() < 1e-4, "{link:?} {index} {other}: {slope}");
                }
            }
        }
    }
}
