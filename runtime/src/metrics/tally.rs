//! What a metric notes of a sample, and what is kept of all of them.

use whyline_stream::moments::Moments;
use whyline_stream::reservoir::Reservoir;
use whyline_stream::scores::Scores;
use whyline_stream::sketch::{Distances, Sketch};
use whyline_stream::table::Table;
use whyline_stream::undefined::Undefined;
use whyline_stream::wire::Wire;

/// What is noted of a sample.
#[derive(Clone, Debug, PartialEq)]
pub enum Observation {
    /// Its score.
    Score(f64),
    /// Of metrics that look for the same explanation again: a hash of it.
    Label {
        /// The same for explanations that count as the same.
        label: u64,
        /// Predicted.
        class: u64,
    },
    /// Of metrics that are means over classes: whether it was hit.
    Hit {
        /// The sample's.
        class: u64,
        /// Whether it counts as one, or as nought.
        hit: bool,
    },
    /// Of metrics that look for similar explanations.
    Sketch {
        /// A hash; those of the least are kept.
        priority: u64,
        /// What is kept.
        sketch: Box<Sketch>,
    },
}

/// How many pairs of a label and a class are kept.
pub const LABELS: usize = 1024;

/// How many pairs of a class and a hit or miss are kept: those of a thousand classes.
pub const HITS: usize = 2048;

/// How many explanations are kept to be compared.
pub const SKETCHES: usize = 64;

/// What is kept of all samples: a fixed number of bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Tally {
    /// Scores, and how many samples have none.
    scores: Scores,
    compared: Compared,
}

#[derive(Clone, Debug, PartialEq)]
enum Compared {
    Not,
    Labels(Box<Table<LABELS>>),
    Hits(Box<Table<HITS>>),
    Sketches { threshold: f64, kept: Box<Reservoir<Sketch, SKETCHES>> },
}

impl Default for Tally {
    /// Of scores.
    fn default() -> Tally {
        Tally { scores: Scores::default(), compared: Compared::Not }
    }
}

impl Tally {
    /// Of labels: a sample's score is the share of the others with its label that have its class too.
    pub fn of_labels() -> Tally {
        Tally { compared: Compared::Labels(Box::default()), ..Tally::default() }
    }

    /// Of hits: the score is the classes' mean share of them.
    pub fn of_hits() -> Tally {
        Tally { compared: Compared::Hits(Box::default()), ..Tally::default() }
    }

    /// Of sketches: a sample's score is the share that has its class among the others no farther from it than `threshold`
    /// times the largest distance of all.
    pub fn of_sketches(threshold: f64) -> Tally {
        Tally { compared: Compared::Sketches { threshold, kept: Box::default() }, ..Tally::default() }
    }

    /// Takes in a sample. What is noted must be of the kind that is kept.
    pub fn push(&mut self, observed: Result<Observation, Undefined>) {
        match (observed, &mut self.compared) {
            (Ok(Observation::Score(score)), _) => self.scores.push(Ok(score)),
            (Ok(Observation::Label { label, class }), Compared::Labels(table)) => table.push(label, class),
            (Ok(Observation::Hit { class, hit }), Compared::Hits(table)) => {
                // Where there is no room for all classes, those that are dropped are as good as drawn.
                table.push(crate::hash::number(class.to_le_bytes()), hit.into());
            }
            (Ok(Observation::Sketch { priority, sketch }), Compared::Sketches { kept, .. }) => {
                kept.push(priority, *sketch);
            }
            (Ok(_), _) => self.scores.push(Err(Undefined::Failed)),
            (Err(reason), _) => self.scores.push(Err(reason)),
        }
    }

    /// Takes in the samples of another of the same kind.
    pub fn merge(&mut self, other: &Tally) {
        self.scores.merge(&other.scores);
        match (&mut self.compared, &other.compared) {
            (Compared::Labels(own), Compared::Labels(more)) => own.merge(more),
            (Compared::Hits(own), Compared::Hits(more)) => own.merge(more),
            (Compared::Sketches { kept, .. }, Compared::Sketches { kept: more, .. }) => kept.merge(more),
            _ => {}
        }
    }

    /// The scores of all samples, those that come from comparing them too.
    pub fn scores(&self) -> Scores {
        let mut scores = self.scores;
        match &self.compared {
            Compared::Not => {}
            Compared::Labels(table) => {
                let (shares, alone) = table.agreement();
                scores.push_all(&shares);
                scores.push_undefined(Undefined::Alone, alone);
                scores.push_undefined(Undefined::NoRoom, table.dropped());
            }
            Compared::Hits(table) => {
                scores.push_all(&table.mean_share(1));
                scores.push_undefined(Undefined::NoRoom, table.dropped());
            }
            Compared::Sketches { threshold, kept } => {
                let (shares, alone) = neighbours(kept, *threshold);
                scores.push_all(&shares);
                scores.push_undefined(Undefined::Alone, alone);
                scores.push_undefined(Undefined::NoRoom, kept.seen() - kept.items().len() as u64);
            }
        }
        scores
    }

    /// How many bytes it takes.
    pub fn bytes(&self) -> usize {
        u64::BYTES
            + Scores::BYTES
            + match &self.compared {
                Compared::Not => 0,
                Compared::Labels(_) => Table::<LABELS>::BYTES,
                Compared::Hits(_) => Table::<HITS>::BYTES,
                Compared::Sketches { .. } => f64::BYTES + Reservoir::<Sketch, SKETCHES>::BYTES,
            }
    }

    /// Writes it behind `bytes`.
    pub fn put(&self, bytes: &mut Vec<u8>) {
        let start = bytes.len();
        bytes.resize(start + self.bytes(), 0);
        let kind = match self.compared {
            Compared::Not => 0u64,
            Compared::Labels(_) => 1,
            Compared::Sketches { .. } => 2,
            Compared::Hits(_) => 3,
        };
        let rest = self.scores.put(kind.put(&mut bytes[start..]));
        match &self.compared {
            Compared::Not => {}
            Compared::Labels(table) => drop(table.put(rest)),
            Compared::Hits(table) => drop(table.put(rest)),
            Compared::Sketches { threshold, kept } => drop(kept.put(threshold.put(rest))),
        }
    }

    /// Reads it from the first of `bytes`, and returns the rest; none where they are too few or are none.
    pub fn get(bytes: &[u8]) -> Option<(Tally, &[u8])> {
        let (kind, rest) = u64::get(bytes)?;
        let (scores, rest) = Scores::get(rest)?;
        let (compared, rest) = match kind {
            0 => (Compared::Not, rest),
            1 => {
                let (table, rest) = Table::get(rest)?;
                (Compared::Labels(Box::new(table)), rest)
            }
            2 => {
                let (threshold, rest) = f64::get(rest)?;
                let (kept, rest) = Reservoir::get(rest)?;
                (Compared::Sketches { threshold, kept: Box::new(kept) }, rest)
            }
            3 => {
                let (table, rest) = Table::get(rest)?;
                (Compared::Hits(Box::new(table)), rest)
            }
            _ => return None,
        };
        Some((Tally { scores, compared }, rest))
    }
}

/// Of each sketch, the share of the others near it that have its class; and how many have none near them.
fn neighbours(kept: &Reservoir<Sketch, SKETCHES>, threshold: f64) -> (Moments, u64) {
    let distances = Distances::of(kept.items());
    let pairs = || kept.items().flat_map(|a| kept.items().map(move |b| (a, b)));
    let largest = pairs().map(|(a, b)| distances.between(a, b)).fold(0.0, f64::max);
    let (mut shares, mut alone) = (Moments::default(), 0);
    for (i, own) in kept.items().enumerate() {
        let (mut near, mut same) = (0u64, 0u64);
        for (_, other) in kept.items().enumerate().filter(|(j, _)| *j != i) {
            if distances.between(own, other) <= threshold * largest {
                near += 1;
                same += u64::from(other.class == own.class);
            }
        }
        match near {
            0 => alone += 1,
            _ => shares.push(same as f64 / near as f64),
        }
    }
    (shares, alone)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sketched(value: f32, class: u64) -> Result<Observation, Undefined> {
        let mut sketch = Box::new(Sketch { class, ..Sketch::default() });
        sketch.cells[3] = value;
        Ok(Observation::Sketch { priority: (value * 1e3) as u64, sketch })
    }

    #[test]
    fn every_kind_merges_and_survives_its_bytes() {
        let label = |label| Ok(Observation::Label { label, class: label % 2 });
        let hit = |class| Ok(Observation::Hit { class, hit: class > 1 });
        for (mut tally, samples) in [
            (Tally::default(), vec![Ok(Observation::Score(0.5)), Err(Undefined::NoMask), Ok(Observation::Score(1.0))]),
            (Tally::of_labels(), vec![label(4), label(4), label(5)]),
            (Tally::of_hits(), vec![hit(1), hit(2), Err(Undefined::EmptyMask)]),
            (Tally::of_sketches(0.3), vec![sketched(0.0, 1), sketched(0.1, 1), sketched(1.0, 2)]),
        ] {
            let (mut first, mut second) = (tally.clone(), tally.clone());
            samples.iter().cloned().for_each(|s| tally.push(s));
            first.push(samples[2].clone());
            samples[..2].iter().cloned().for_each(|s| second.push(s));
            first.merge(&second);
            assert_eq!(first.scores().moments().mean(), tally.scores().moments().mean());
            assert!(first.scores().undefined().eq(tally.scores().undefined()));
            assert_eq!(tally.scores().moments().count(), 2);
            assert_eq!(tally.scores().undefined().map(|(_, count)| count).sum::<u64>(), 1);
            let mut bytes = vec![7];
            tally.put(&mut bytes);
            assert_eq!(bytes.len(), 1 + tally.bytes());
            let (read, rest) = Tally::get(&bytes[1..]).unwrap();
            assert!(rest.is_empty() && read == tally);
        }
    }
}
