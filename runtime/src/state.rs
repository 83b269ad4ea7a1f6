//! An evaluation's scores as bytes: kept between two runs, or brought together from several machines.
//!
//! Little-endian: `WHYLINES`, the layout's version, the length of what follows as JSON ([`Header`]), that, the samples so far, the last one's name,
//! those that failed, with their reasons, as JSON, for every method its passes, seconds, early ends and scores by metric, and the first eight bytes of the SHA-256 of all this.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use whyline_stream::wire::Wire;

use crate::engine::Passes;
use crate::error::{Error, Result};
use crate::files::{read_input, write_atomically};
use crate::hash::sha256;
use crate::metrics::Tally;

const MAGIC: &[u8; 8] = b"WHYLINES";
/// The layout that this build writes and reads.
const VERSION: u64 = 8;
/// Of the SHA-256 of all that is before it, eight bytes, in hexadecimal digits.
const CHECK: usize = 16;

/// What scores are of: states go together only where this is the same, but for the shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// SHA-256 of the model.
    pub model: String,
    /// Arithmetic.
    pub precision: String,
    /// What ran the passes.
    pub engine: String,
    /// What is explained.
    pub target: String,
    /// How pixels become inputs, what explanations may spend, and what else decides the numbers.
    pub settings: String,
    /// Methods with their parameters.
    pub methods: Vec<String>,
    /// Metrics with their parameters.
    pub metrics: Vec<String>,
    /// SHA-256 of the names and sizes of all samples, in their order, and of what is known of them.
    pub dataset: String,
    /// How many samples the dataset has; none of a folder that is followed.
    pub samples: u64,
    /// Whether samples come in while it runs.
    pub live: bool,
    /// Which part of it: number and count.
    pub shard: (u64, u64),
}

impl Header {
    /// Whether samples come in while it runs.
    pub fn is_live(&self) -> bool {
        self.live
    }

    /// How many samples the shard has: every `count`-th, from its number on.
    pub fn share(&self) -> u64 {
        let (number, count) = self.shard;
        let behind = self.samples.checked_sub(number.saturating_add(1));
        behind.and_then(|behind| behind.checked_div(count)).map_or(0, |others| others + 1)
    }
}

/// A method's scores.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RowState {
    /// Taken.
    pub passes: Passes,
    /// Taken.
    pub seconds: f64,
    /// Samples of which the budget ended an explanation early.
    pub degraded: u64,
    /// By metric.
    pub scores: Vec<Tally>,
}

/// A sample that could not be read or explained.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// Inside the dataset.
    pub sample: String,
    /// What was wrong.
    pub reason: String,
}

/// Of samples that failed, how many are kept by name: a state has the same size however many there are.
pub const FAILED: usize = 100;

/// An evaluation so far.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// What it is of.
    pub header: Header,
    /// How many samples of the shard are done, from its first on.
    pub done: u64,
    /// The sample that was taken last: what a folder that is followed, and lines of samples, are gone on with from.
    pub last: String,
    /// The first samples that could not be read or explained, [`FAILED`] at most.
    pub failed: Vec<Failed>,
    /// By method.
    pub rows: Vec<RowState>,
}

impl State {
    /// Whether it holds the same kinds of scores as others.
    pub fn is_like(&self, rows: &[RowState]) -> bool {
        are_alike(&self.rows, rows)
    }

    /// Names samples that could not be read or explained, while there is room.
    pub fn fail(&mut self, failed: impl IntoIterator<Item = Failed>) {
        let room = FAILED.saturating_sub(self.failed.len());
        self.failed.extend(failed.into_iter().take(room));
    }

    /// Reads one.
    ///
    /// Errors: a file that is none, of another version, or not whole.
    pub fn read(path: &Path) -> Result<State> {
        State::parse(&read_input(path)?).map_err(|reason| Error::Input { path: path.into(), reason: reason.into() })
    }

    /// Writes it: complete, or not at all.
    pub fn write(&self, path: &Path) -> Result<()> {
        write_atomically(path, &self.to_bytes()?)
    }

    fn to_bytes(&self) -> Result<Vec<u8>> {
        let header = serde_json::to_vec(&self.header).map_err(|e| Error::usage(e.to_string()))?;
        let mut bytes = MAGIC.to_vec();
        push(&mut bytes, VERSION);
        push(&mut bytes, header.len() as u64);
        bytes.extend(header);
        push(&mut bytes, self.done);
        push(&mut bytes, self.last.len() as u64);
        bytes.extend(self.last.as_bytes());
        let failed = serde_json::to_vec(&self.failed).map_err(|e| Error::usage(e.to_string()))?;
        push(&mut bytes, failed.len() as u64);
        bytes.extend(failed);
        for row in &self.rows {
            push(&mut bytes, row.passes.forward);
            push(&mut bytes, row.passes.gradient);
            push(&mut bytes, row.seconds);
            push(&mut bytes, row.degraded);
            row.scores.iter().for_each(|scores| scores.put(&mut bytes));
        }
        let check = sha256([bytes.as_slice()]);
        bytes.extend(&check.as_bytes()[..CHECK]);
        Ok(bytes)
    }

    fn parse(bytes: &[u8]) -> std::result::Result<State, &'static str> {
        const CUT: &str = "is not whole; it was cut short or changed";
        let rest = bytes.strip_prefix(MAGIC).ok_or("is no state of an evaluation")?;
        let (version, rest) = u64::get(rest).ok_or(CUT)?;
        if version != VERSION {
            return Err("was written by another version of whyline; begin again with this one");
        }
        let whole = bytes.len().checked_sub(CHECK).map(|end| bytes.split_at(end)).ok_or(CUT)?;
        if sha256([whole.0]).as_bytes().get(..CHECK) != Some(whole.1) {
            return Err(CUT);
        }
        let (len, rest) = u64::get(rest).ok_or(CUT)?;
        let header = usize::try_from(len).ok().and_then(|len| rest.split_at_checked(len)).ok_or(CUT)?;
        let (header, rest) = (serde_json::from_slice::<Header>(header.0).map_err(|_| CUT)?, header.1);
        let (done, rest) = u64::get(rest).ok_or(CUT)?;
        let (len, rest) = u64::get(rest).ok_or(CUT)?;
        let (last, rest) = usize::try_from(len).ok().and_then(|len| rest.split_at_checked(len)).ok_or(CUT)?;
        let last = String::from_utf8(last.to_vec()).map_err(|_| CUT)?;
        let (len, rest) = u64::get(rest).ok_or(CUT)?;
        let (failed, mut rest) = usize::try_from(len).ok().and_then(|len| rest.split_at_checked(len)).ok_or(CUT)?;
        let failed: Vec<Failed> = serde_json::from_slice(failed).map_err(|_| CUT)?;
        let mut rows = vec![];
        for _ in &header.methods {
            let mut row = RowState::default();
            (row.passes.forward, rest) = u64::get(rest).ok_or(CUT)?;
            (row.passes.gradient, rest) = u64::get(rest).ok_or(CUT)?;
            (row.seconds, rest) = f64::get(rest).ok_or(CUT)?;
            (row.degraded, rest) = u64::get(rest).ok_or(CUT)?;
            if !(row.seconds.is_finite() && row.seconds >= 0.0 && row.degraded <= done) {
                return Err(CUT);
            }
            for _ in &header.metrics {
                let (scores, behind) = Tally::get(rest).ok_or(CUT)?;
                // Every sample is one for each metric, if without a score.
                if scores.taken() != Some(done) {
                    return Err(CUT);
                }
                row.scores.push(scores);
                rest = behind;
            }
            rows.push(row);
        }
        let sound = rest.len() == CHECK && header.shard.0 < header.shard.1;
        let sound = sound && failed.len() <= FAILED && (header.is_live() || done <= header.share());
        if sound { Ok(State { header, done, last, failed, rows }) } else { Err(CUT) }
    }

    /// The scores of all shards together.
    ///
    /// Errors: shards of something else, one twice, one that is missing or not done; the file is named.
    pub fn merge(parts: Vec<(PathBuf, State)>) -> Result<State> {
        let refuse = |path: &Path, reason: String| Err(Error::Input { path: path.into(), reason });
        let mut parts = parts.into_iter();
        let Some((first, mut whole)) = parts.next() else { return Err(Error::usage("there is nothing to merge")) };
        let count = whole.header.shard.1;
        let mut seen = vec![(whole.header.shard.0, first.clone())];
        if let Some(reason) = unfinished(&whole) {
            return refuse(&first, reason);
        }
        for (path, part) in parts {
            let shard = part.header.shard;
            let alike = Header { shard: whole.header.shard, ..part.header.clone() };
            if let Some(what) = difference(&alike, &whole.header) {
                return refuse(&path, format!("is of {what} than {}", first.display()));
            }
            if shard.1 != count {
                return refuse(
                    &path,
                    format!("is one of {} shards, but {} is one of {count}", shard.1, first.display()),
                );
            }
            if let Some((_, other)) = seen.iter().find(|(number, _)| *number == shard.0) {
                return refuse(&path, format!("is the same shard as {}", other.display()));
            }
            if let Some(reason) = unfinished(&part) {
                return refuse(&path, reason);
            }
            let Some(done) = whole.done.checked_add(part.done).filter(|_| part.is_like(&whole.rows)) else {
                return refuse(&path, "is not whole; it was changed".into());
            };
            seen.push((shard.0, path));
            whole.fail(part.failed);
            whole.done = done;
            for (own, more) in whole.rows.iter_mut().zip(&part.rows) {
                own.passes = own.passes.plus(more.passes);
                own.seconds += more.seconds;
                own.degraded += more.degraded;
                own.scores.iter_mut().zip(&more.scores).for_each(|(own, more)| own.merge(more));
            }
        }
        let missing = count.saturating_sub(seen.len() as u64);
        if missing > 0 {
            let first = (0..count).filter(|n| !seen.iter().any(|(s, _)| s == n)).take(NAMED);
            let first: Vec<String> = first.map(|n| format!("{n}/{count}")).collect();
            let more = missing - first.len() as u64;
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            return Err(Error::usage(format!("the shards {}{more} are missing", first.join(", "))));
        }
        whole.header.shard = (0, 1);
        Ok(whole)
    }
}

/// Whether scores are as many, and of the same kinds.
pub fn are_alike(rows: &[RowState], others: &[RowState]) -> bool {
    let scores = |(a, b): (&RowState, &RowState)| {
        a.scores.len() == b.scores.len() && a.scores.iter().zip(&b.scores).all(|(a, b)| a.is_like(b))
    };
    rows.len() == others.len() && rows.iter().zip(others).all(scores)
}

/// Of missing shards, how many are named.
const NAMED: usize = 20;

fn unfinished(state: &State) -> Option<String> {
    let (done, share) = (state.done, state.header.share());
    (done < share).then(|| format!("has {done} of its {share} samples; let it end first"))
}

/// In what two evaluations differ, apart from the shard.
pub fn difference(a: &Header, b: &Header) -> Option<&'static str> {
    let pairs = [
        (a.model != b.model, "another model"),
        (a.precision != b.precision, "another precision"),
        (a.engine != b.engine, "another engine"),
        (a.target != b.target, "another target"),
        (a.settings != b.settings, "another preprocessing, shape, output or budget"),
        (a.methods != b.methods, "other methods or parameters"),
        (a.metrics != b.metrics, "other metrics or parameters"),
        (a.dataset != b.dataset || a.live != b.live || a.samples != b.samples, "another dataset"),
    ];
    pairs.into_iter().find(|(differs, _)| *differs).map(|(_, what)| what)
}

/// SHA-256 of names in their order.
pub fn digest<'a>(names: impl Iterator<Item = &'a str>) -> String {
    sha256(names.flat_map(|name| [name.as_bytes(), b"\n"]))
}

fn push<T: Wire>(bytes: &mut Vec<u8>, value: T) {
    let start = bytes.len();
    bytes.resize(start + T::BYTES, 0);
    value.put(&mut bytes[start..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Engine;
    use crate::metrics::Observation;

    fn state(shard: (u64, u64)) -> State {
        let header = Header {
            model: "m".into(),
            precision: "f32".into(),
            engine: Engine::Kernels.name().into(),
            target: "top".into(),
            settings: String::new(),
            methods: vec!["a".into(), "b".into()],
            metrics: vec!["x".into()],
            dataset: "d".into(),
            samples: 7,
            live: false,
            shard,
        };
        let mut rows = vec![RowState { scores: vec![Tally::default()], ..RowState::default() }; 2];
        for sample in (shard.0..7).step_by(shard.1 as usize) {
            for (i, row) in rows.iter_mut().enumerate() {
                row.passes.gradient += 3;
                row.scores[0].push(Ok(Observation::Score((i as f64 + 1.0) * sample as f64)));
            }
        }
        State { done: header.share(), header, last: "a.png".into(), failed: vec![], rows }
    }

    #[test]
    fn what_is_written_is_read_and_what_is_cut_or_changed_is_refused() {
        let whole = state((1, 3));
        let bytes = whole.to_bytes().unwrap();
        assert_eq!(State::parse(&bytes).unwrap(), whole);
        for cut in 0..bytes.len() {
            assert!(State::parse(&bytes[..cut]).is_err(), "{cut}");
            let mut changed = bytes.clone();
            changed[cut] ^= 1;
            assert!(State::parse(&changed).is_err(), "{cut}");
        }
    }

    #[test]
    fn parameters_may_be_long() {
        let mut long = state((0, 1));
        long.header.methods[0] = "a base=".to_string() + &"x".repeat(100_000);
        assert_eq!(State::parse(&long.to_bytes().unwrap()).unwrap(), long);
    }

    #[test]
    fn what_nobody_can_have_counted_is_refused() {
        let changes: [fn(&mut State); 4] = [
            |state| state.done -= 1,
            |state| state.rows[1].scores[0].push(Ok(Observation::Score(1.0))),
            |state| state.rows[0].degraded = state.done + 1,
            |state| state.rows[0].seconds = f64::NAN,
        ];
        for change in changes {
            let mut state = state((1, 3));
            change(&mut state);
            assert!(State::parse(&state.to_bytes().unwrap()).is_err());
        }
    }

    #[test]
    fn shards_in_any_order_give_the_whole() {
        let whole = state((0, 1));
        let part = |n: u64| (PathBuf::from(format!("{n}.wls")), state((n, 3)));
        for order in [[0, 1, 2], [2, 0, 1], [1, 2, 0]] {
            let merged = State::merge(order.map(part).to_vec()).unwrap();
            assert_eq!((merged.done, merged.header.clone()), (7, whole.header.clone()));
            for (own, other) in merged.rows.iter().zip(&whole.rows) {
                assert_eq!(own.passes, other.passes);
                assert!(
                    (own.scores[0].scores().moments().mean() - other.scores[0].scores().moments().mean()).abs() < 1e-12
                );
            }
        }
        let refused = |parts: Vec<(PathBuf, State)>| State::merge(parts).unwrap_err().to_string();
        assert!(refused(vec![part(0), part(2)]).contains("1/3"));
        assert!(refused(vec![part(0), part(0), part(1)]).contains("same shard"));
        let mut short = part(1);
        short.1.done = 1;
        assert!(refused(vec![part(0), short, part(2)]).contains("1 of its 2 samples"));
        let mut other = part(1);
        other.1.header.model = "n".into();
        assert!(refused(vec![part(0), other]).contains("another model"));
    }
}
