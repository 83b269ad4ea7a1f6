//! What an explanation is asked to be of, and what it may spend.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::gradient::head::Head;
use crate::gradient::target::{Explained, top_class};

/// Which class is explained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The one with the largest score.
    Top,
    /// The one with so many larger scores.
    Ranked(usize),
    /// By index.
    Class(usize),
    /// By index, or by its name in the card; where scores are of places, as `CLASS@ROW,COLUMN`.
    Named(String),
    /// By how much a class is ahead of another.
    Margin {
        /// The class that speaks for it.
        class: Box<Target>,
        /// The other one; the largest other score, if none, and of the same place where scores are of places.
        against: Option<Box<Target>>,
    },
}

/// What one explanation may spend. Methods that work in steps stop early and give the best map so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Budget {
    /// Passes of both kinds together.
    pub max_passes: Option<u64>,
    /// From the beginning of the explanation; no pass is begun that would end later.
    pub deadline: Option<Duration>,
    /// Set by somebody who wants no more. Methods that do not work in steps end with their last pass.
    pub interrupt: Option<&'static AtomicBool>,
}

impl Budget {
    /// Whether somebody wants no more.
    pub fn is_interrupted(&self) -> bool {
        self.interrupt.is_some_and(|flag| flag.load(Ordering::Relaxed))
    }
}

impl Target {
    /// Whether it depends on the scores which class is meant.
    pub(crate) fn is_by_score(&self) -> bool {
        match self {
            Target::Top | Target::Ranked(_) => true,
            Target::Class(_) | Target::Named(_) => false,
            Target::Margin { class, against } => {
                class.is_by_score() || against.as_ref().is_some_and(|a| a.is_by_score())
            }
        }
    }

    /// The cotangent of the scores, the class explained, and what it is explained against. `named` says which class a name means.
    pub(crate) fn seed(
        &self,
        logits: &[f32],
        head: Head,
        named: &dyn Fn(&str) -> Result<usize>,
    ) -> Result<(Vec<f32>, usize, Option<usize>)> {
        let class = |target: &Target| match target {
            Target::Top => Ok(top_class(logits)),
            Target::Ranked(rank) if *rank < logits.len() => Ok(by_score(logits)[*rank]),
            Target::Ranked(rank) => {
                Err(Error::usage(format!("there is no class of rank {rank}; there are {}", logits.len())))
            }
            Target::Class(class) if *class < logits.len() => Ok(*class),
            Target::Class(class) => Err(Error::usage(format!("there is no class {class}; there are {}", logits.len()))),
            Target::Named(name) => named(name),
            Target::Margin { .. } => Err(Error::usage("a margin is between two classes, not between margins")),
        };
        let mut seed = vec![0.0; logits.len()];
        let Target::Margin { class: ahead, against } = self else {
            let class = class(self)?;
            seed[class] = 1.0;
            return Ok((seed, class, None));
        };
        let is_by_score = self.is_by_score();
        let ahead = class(ahead)?;
        let behind = match against {
            Some(other) => class(other)?,
            None => {
                head.must_have_rivals()?;
                head.best_rival(logits, ahead).unwrap_or(ahead)
            }
        };
        if behind == ahead {
            let reason = format!("class {ahead} has no margin over itself; name another class");
            return Err(match is_by_score {
                // Of another input it may have one.
                true => Error::bad_input(format!("is of the class that it is explained against: {reason}")),
                false => Error::usage(reason),
            });
        }
        (seed[ahead], seed[behind]) = (1.0, -1.0);
        Ok((seed, ahead, Some(behind)))
    }
}

impl From<Explained> for Target {
    /// The same at every input.
    fn from(explained: Explained) -> Target {
        let class = Target::Class(explained.class);
        match explained.against {
            None => class,
            Some(other) => Target::Margin { class: Box::new(class), against: Some(Box::new(Target::Class(other))) },
        }
    }
}

/// Classes from the largest score to the least; equal ones by index.
fn by_score(scores: &[f32]) -> Vec<usize> {
    let mut classes: Vec<usize> = (0..scores.len()).collect();
    classes.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    classes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradient::head::Choice;

    #[test]
    fn a_margin_is_the_same_wherever_it_is_asked_for() {
        let (scores, nobody) = ([1.0, 4.0, 2.0], &|_: &str| unreachable!());
        let next = Target::Margin { class: Box::new(Target::Top), against: None };
        let head = Head::softmax(3);
        let (seed, class, against) = next.seed(&scores, head, nobody).unwrap();
        let explained = Explained { class, against };
        assert_eq!(explained, Explained { class: 1, against: Some(2) });
        assert_eq!(Target::from(explained).seed(&[9.0, 0.0, 0.0], head, nobody).unwrap(), (seed, 1, Some(2)));
        // Two classes at each of three places: the other one of the same place.
        let of = |choice| Head { choice, ..head };
        let places = of(Some(Choice::along(&[1, 2, 1, 3], 1)));
        let (_, class, against) = next.seed(&[1.0, 9.0, 8.0, 7.0, 2.0, 3.0], places, nobody).unwrap();
        assert_eq!((class, against), (1, Some(4)));
        // One score has no rival, and of boxes nobody knows it.
        for (scores, head) in [(&[1.0][..], Head::softmax(1)), (&[1.0, 2.0], of(None))] {
            assert!(next.seed(scores, head, nobody).unwrap_err().kind() == crate::error::Kind::Usage);
        }
    }
}
