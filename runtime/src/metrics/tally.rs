//! What a metric notes of a sample, and what is kept of all of them.

use whyline_stream::groups::Groups;
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
    /// Of metrics whose samples see one of a few random models: which, and the score.
    Grouped {
        /// Less than `MODELS`.
        group: usize,
        /// The sample's.
        score: f64,
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

/// How many random models there can be.
pub const MODELS: usize = 16;

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
    Labels { alone_count: bool, table: Box<Table<LABELS>> },
    Hits(Box<Table<HITS>>),
    Groups(Box<Groups<MODELS>>),
    Sketches { threshold: f64, kept: Box<Reservoir<Sketch, SKETCHES>> },
}

impl Default for Tally {
    /// Of scores.
    fn default() -> Tally {
        Tally { scores: Scores::default(), compared: Compared::Not }
    }
}

impl Tally {
    /// Of labels: a sample's score is the share of the others with its label that have its class too; where there are no others
    /// it has none, or nought with `alone_count`.
    pub fn of_labels(alone_count: bool) -> Tally {
        Tally { compared: Compared::Labels { alone_count, table: Box::default() }, ..Tally::default() }
    }

    /// Of hits: the score is the classes' mean share of them.
    pub fn of_hits() -> Tally {
        Tally { compared: Compared::Hits(Box::default()), ..Tally::default() }
    }

    /// Of scores in groups: the mean's standard error is that of groups which are drawn.
    pub fn of_groups() -> Tally {
        Tally { compared: Compared::Groups(Box::default()), ..Tally::default() }
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
            (Ok(Observation::Label { label, class }), Compared::Labels { table, .. }) => table.push(label, class),
            (Ok(Observation::Hit { class, hit }), Compared::Hits(table)) => {
                // Where there is no room for all classes, those that are dropped are as good as drawn.
                table.push(crate::hash::number(class.to_le_bytes()), hit.into());
            }
            (Ok(Observation::Grouped { group, score }), Compared::Groups(groups)) => {
                if !groups.push(group, score) {
                    self.scores.push(Err(Undefined::Failed));
                }
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
            (Compared::Labels { table, .. }, Compared::Labels { table: more, .. }) => table.merge(more),
            (Compared::Hits(own), Compared::Hits(more)) => own.merge(more),
            (Compared::Groups(own), Compared::Groups(more)) => own.merge(more),
            (Compared::Sketches { kept, .. }, Compared::Sketches { kept: more, .. }) => kept.merge(more),
            _ => {}
        }
    }

    /// The scores of all samples, those that come from comparing them too.
    pub fn scores(&self) -> Scores {
        let mut scores = self.scores;
        match &self.compared {
            Compared::Not => {}
            Compared::Labels { alone_count, table } => {
                let (shares, alone) = table.agreement(*alone_count);
                scores.push_all(&shares);
                scores.push_undefined(Undefined::Alone, alone);
                scores.push_undefined(Undefined::NoRoom, table.dropped());
            }
            Compared::Hits(table) => {
                scores.push_all(&table.mean_share(1));
                scores.push_undefined(Undefined::NoRoom, table.dropped());
            }
            Compared::Groups(groups) => scores.push_all(&groups.mean()),
            Compared::Sketches { threshold, kept } => {
                let (shares, alone) = neighbours(kept, *threshold);
                scores.push_all(&shares);
                scores.push_undefined(Undefined::Alone, alone);
                scores.push_undefined(Undefined::NoRoom, kept.seen() - kept.items().len() as u64);
            }
        }
        scores
    }

    /// How many samples were taken in; none where nobody can have counted them.
    pub fn taken(&self) -> Option<u64> {
        let compared = match &self.compared {
            Compared::Not => Some(0),
            Compared::Labels { table, .. } => table.taken(),
            Compared::Hits(table) => table.taken(),
            Compared::Groups(groups) => groups.taken(),
            Compared::Sketches { kept, .. } => Some(kept.seen()),
        };
        self.scores.taken()?.checked_add(compared?)
    }

    /// Whether the other one is of the same kind.
    pub fn is_like(&self, other: &Tally) -> bool {
        match (&self.compared, &other.compared) {
            (Compared::Sketches { threshold, .. }, Compared::Sketches { threshold: other, .. }) => threshold == other,
            (Compared::Labels { alone_count, .. }, Compared::Labels { alone_count: other, .. }) => alone_count == other,
            (own, other) => std::mem::discriminant(own) == std::mem::discriminant(other),
        }
    }

    /// How many bytes it takes.
    pub fn bytes(&self) -> usize {
        u64::BYTES
            + Scores::BYTES
            + match &self.compared {
                Compared::Not => 0,
                Compared::Labels { .. } => Table::<LABELS>::BYTES,
                Compared::Hits(_) => Table::<HITS>::BYTES,
                Compared::Groups(_) => Groups::<MODELS>::BYTES,
                Compared::Sketches { .. } => f64::BYTES + Reservoir::<Sketch, SKETCHES>::BYTES,
            }
    }

    /// Writes it behind `bytes`.
    pub fn put(&self, bytes: &mut Vec<u8>) {
        let start = bytes.len();
        bytes.resize(start + self.bytes(), 0);
        let kind = match self.compared {
            Compared::Not => 0u64,
            Compared::Labels { alone_count: false, .. } => 1,
            Compared::Labels { alone_count: true, .. } => 5,
            Compared::Sketches { .. } => 2,
            Compared::Hits(_) => 3,
            Compared::Groups(_) => 4,
        };
        let rest = self.scores.put(kind.put(&mut bytes[start..]));
        match &self.compared {
            Compared::Not => {}
            Compared::Labels { table, .. } => drop(table.put(rest)),
            Compared::Hits(table) => drop(table.put(rest)),
            Compared::Groups(groups) => drop(groups.put(rest)),
            Compared::Sketches { threshold, kept } => drop(kept.put(threshold.put(rest))),
        }
    }

    /// Reads it from the first of `bytes`, and returns the rest; none where they are too few or are none.
    pub fn get(bytes: &[u8]) -> Option<(Tally, &[u8])> {
        let (kind, rest) = u64::get(bytes)?;
        let (scores, rest) = Scores::get(rest)?;
        let (compared, rest) = match kind {
            0 => (Compared::Not, rest),
            1 | 5 => {
                let (table, rest) = Table::get(rest)?;
                (Compared::Labels { alone_count: kind == 5, table: Box::new(table) }, rest)
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
            4 => {
                let (groups, rest) = Groups::get(rest)?;
                (Compared::Groups(Box::new(groups)), rest)
            }
            _ => return None,
        };
        Some((Tally { scores, compared }, rest))
    }
}

/// The mean, over the sketches, of the share of the others near one that have its class; and how many have none near them. As
/// each counts in the others' shares, too, the standard error is that of [`Moments::jackknife`]; infinite where without one of them
/// nothing is near anything else.
fn neighbours(kept: &Reservoir<Sketch, SKETCHES>, threshold: f64) -> (Moments, u64) {
    let distances = Distances::of(kept.items());
    let apart: Vec<Vec<f64>> = kept.items().map(|a| kept.items().map(|b| distances.between(a, b)).collect()).collect();
    let largest = apart.iter().flatten().copied().fold(0.0, f64::max);
    // By sketch, what each other one counts: nothing, as near, as near and of its class.
    let near: Vec<Vec<[u64; 2]>> = (kept.items().enumerate())
        .map(|(i, own)| {
            let counted = |(j, other): (usize, &Sketch)| match i != j && apart[i][j] <= threshold * largest {
                true => [1, u64::from(other.class == own.class)],
                false => [0, 0],
            };
            kept.items().enumerate().map(counted).collect()
        })
        .collect();
    let all: Vec<[u64; 2]> = near
        .iter()
        .map(|row| row.iter().fold([0, 0], |sum, counts| [sum[0] + counts[0], sum[1] + counts[1]]))
        .collect();
    let mean_without = |left_out: Option<usize>| {
        let mut shares = Moments::default();
        for (i, counts) in all.iter().enumerate().filter(|(i, _)| Some(*i) != left_out) {
            let less = left_out.map_or([0, 0], |k| near[i][k]);
            let (near, same) = (counts[0] - less[0], counts[1] - less[1]);
            if near > 0 {
                shares.push(same as f64 / near as f64);
            }
        }
        shares
    };
    let shares = mean_without(None);
    let alone = all.len() as u64 - shares.count();
    if shares.count() < 2 {
        return (shares, alone);
    }
    let without: Vec<Moments> = (0..all.len()).map(|k| mean_without(Some(k))).collect();
    let mut left_out = Moments::default();
    without.iter().for_each(|shares| left_out.push(shares.mean()));
    let is_known = without.iter().all(|shares| shares.count() > 0);
    let error = if is_known { left_out.jackknife() } else { f64::INFINITY };
    (Moments::of(shares.count(), shares.mean(), error), alone)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sketched(value: f32, class: u64) -> Result<Observation, Undefined> {
        let mut sketch = Box::new(Sketch { class, ..Sketch::default() });
        sketch.cells[3] = value;
        Ok(Observation::Sketch { priority: (value * 1e3) as u64, sketch })
    }

    /// What the mean over datasets deviates by is what each says of itself.
    #[test]
    fn the_error_of_sketches_is_how_far_datasets_lie_apart() {
        let (mut means, mut told) = (Moments::default(), Moments::default());
        for dataset in 0..150 {
            let rng = crate::rng::Rng::new(3, dataset);
            let mut tally = Tally::of_sketches(0.6);
            for i in 0..SKETCHES as u64 {
                tally.push(sketched(rng.uniform(2 * i), u64::from(rng.uniform(2 * i + 1) < 0.7)));
            }
            let scores = tally.scores();
            means.push(scores.moments().mean());
            told.push(scores.moments().standard_error());
        }
        let apart = means.variance().sqrt();
        assert!((told.mean() / apart - 1.0).abs() < 0.2, "{} told for {apart}", told.mean());
    }

    /// Without either one of a single pair nothing is near anything else.
    #[test]
    fn the_error_of_one_pair_is_unknown() {
        let mut tally = Tally::of_sketches(0.3);
        [sketched(0.0, 1), sketched(0.1, 1), sketched(1.0, 2)].into_iter().for_each(|sketch| tally.push(sketch));
        let scores = tally.scores();
        let shares = scores.moments();
        assert_eq!((shares.count(), shares.mean(), shares.standard_error()), (2, 1.0, f64::INFINITY));
    }

    #[test]
    fn every_kind_merges_and_survives_its_bytes() {
        let label = |label| Ok(Observation::Label { label, class: label % 2 });
        let grouped = |group| Ok(Observation::Grouped { group, score: group as f64 });
        let hit = |class| Ok(Observation::Hit { class, hit: class > 1 });
        for (mut tally, samples) in [
            (Tally::default(), vec![Ok(Observation::Score(0.5)), Err(Undefined::NoMask), Ok(Observation::Score(1.0))]),
            (Tally::of_labels(false), vec![label(4), label(4), label(5)]),
            (Tally::of_hits(), vec![hit(1), hit(2), Err(Undefined::EmptyMask)]),
            (Tally::of_groups(), vec![grouped(0), grouped(3), Err(Undefined::ConstantMap)]),
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
            assert_eq!((tally.taken(), first.taken()), (Some(3), Some(3)));
            let mut bytes = vec![7];
            tally.put(&mut bytes);
            assert_eq!(bytes.len(), 1 + tally.bytes());
            let (read, rest) = Tally::get(&bytes[1..]).unwrap();
            assert!(rest.is_empty() && read == tally);
        }
    }
}
