//! The scores of methods by metrics, as tables, JSON and CSV.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::Serialize;
use whyline_runtime::engine::Passes;
use whyline_runtime::methods::find as find_method;
use whyline_runtime::metrics::{Better, Entry, Family, Undefined, find};
use whyline_runtime::state::{Failed, Header, RowState, State};

use super::{is_stdout, to_json, write_text};
use crate::failure::{Failure, Outcome};
use crate::{say, warn};

/// An evaluation's results.
#[derive(Serialize)]
pub struct Report {
    /// What they are of.
    of: Header,
    /// How many samples they are of.
    done: u64,
    /// What ended it before all samples were taken.
    stopped_by: Option<Stopped>,
    results: Vec<Cell>,
    rankings: Vec<Ranking>,
    methods: Vec<Spent>,
    /// Samples that could not be read or explained, and why: the first of them.
    failed: Vec<Failed>,
}

/// What ends an evaluation early.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stopped {
    /// Its time was spent.
    Budget,
    /// Somebody wanted no more.
    Interrupt,
    /// The dataset's folder is there no more.
    Gone,
    /// Something went wrong that is no sample's fault.
    Error,
}

/// A method by a metric.
#[derive(Serialize)]
struct Cell {
    method: String,
    metric: &'static str,
    family: &'static str,
    better: &'static str,
    /// Absent where no sample has a score.
    mean: Option<f64>,
    /// Absent of fewer than two, and of a single pair that is compared.
    standard_error: Option<f64>,
    /// Samples with a score.
    samples: u64,
    /// Samples without, by reason.
    undefined: BTreeMap<&'static str, u64>,
}

/// Methods by their mean place over a family's metrics.
#[derive(Serialize)]
struct Ranking {
    family: &'static str,
    methods: Vec<Place>,
}

#[derive(Serialize)]
struct Place {
    method: String,
    /// One is the best.
    mean_rank: f64,
}

#[derive(Serialize)]
struct Spent {
    method: String,
    passes: Passes,
    seconds: f64,
    /// Samples of which the budget ended an explanation early.
    degraded: u64,
}

/// The name in `name k=v k=v`.
fn name(described: &str) -> &str {
    described.split(' ').next().unwrap_or_default()
}

impl Report {
    /// Of a state.
    pub fn new(state: &State, stopped_by: Option<Stopped>) -> Outcome<Report> {
        let header = state.header.clone();
        let metrics: Vec<&'static Entry> = header.metrics.iter().map(|m| find(name(m))).collect::<Result<_, _>>()?;
        let (mut results, mut methods) = (vec![], vec![]);
        for (method, row) in header.methods.iter().zip(&state.rows) {
            methods.push(Spent {
                method: name(method).into(),
                passes: row.passes,
                seconds: row.seconds,
                degraded: row.degraded,
            });
            results.extend(cells(name(method), (&metrics, &header.metrics), row));
        }
        let rankings = Family::ALL.iter().filter_map(|family| ranking(*family, &metrics, &header, &results)).collect();
        Ok(Report {
            of: header,
            done: state.done,
            stopped_by,
            results,
            rankings,
            methods,
            failed: state.failed.clone(),
        })
    }

    /// Writes it to the files that are asked for, as JSON and as a table of comma-separated values, and prints it, unless `quiet`:
    /// where a file can't be written, the scores are still told otherwise.
    pub fn tell(&self, (json, csv): (&Option<PathBuf>, &Option<PathBuf>), quiet: bool) -> Outcome {
        let csv = csv.as_ref().map_or(Ok(()), |path| write_text(path, self.to_csv().trim_end()));
        let written = json.as_ref().map_or(Ok(()), |path| write_text(path, &to_json(self)?)).and(csv);
        if (!quiet || written.is_err()) && !is_stdout(json) {
            self.print();
        }
        written
    }

    /// An error where there were samples, and none could be used. Of a shard others may have some: that is no more than warned of.
    pub fn refuse_nothing(&self) -> Outcome {
        const NOTHING: &str = "none of the samples could be used";
        let failed = |cell: &Cell| cell.undefined.get(Undefined::Failed.text()) == Some(&self.done);
        match self.done > 0 && self.results.iter().all(failed) {
            true if self.of.shard.1 > 1 => warn!("{NOTHING}"),
            true => return Err(Failure { message: NOTHING.into(), code: 4 }),
            false => {}
        }
        Ok(())
    }

    fn to_csv(&self) -> String {
        let mut text = "method,metric,family,better,mean,standard_error,samples,undefined\n".to_string();
        let number = |value: Option<f64>| value.map_or(String::new(), |v| v.to_string());
        for cell in &self.results {
            let undefined: u64 = cell.undefined.values().sum();
            let (mean, error) = (number(cell.mean), number(cell.standard_error));
            let words = [cell.method.as_str(), cell.metric, cell.family, cell.better, &mean, &error];
            text += &format!("{},{},{undefined}\n", words.join(","), cell.samples);
        }
        text
    }

    /// Prints tables of each family, what was undefined, the rankings and what they took.
    fn print(&self) {
        self.lines().into_iter().for_each(|line| say!("{line}"));
    }

    fn lines(&self) -> Vec<String> {
        let mut lines = self.tables();
        lines.extend(self.undefined());
        for ranking in self.rankings.iter().filter(|r| r.methods.len() > 1) {
            let places = ranking.methods.iter().map(|p| format!("{} {:.1}", p.method, p.mean_rank));
            let places = places.collect::<Vec<_>>().join(", ");
            lines.push(format!("{:<NAMES$}  best first, by mean rank: {places}", ranking.family));
        }
        for method in &self.methods {
            let Passes { forward, gradient } = method.passes;
            let degraded = match method.degraded {
                0 => String::new(),
                count => format!("; the budget ended maps of {count} samples early"),
            };
            lines.push(format!(
                "{:<NAMES$}  {gradient} gradient and {forward} forward passes, {:.1} s{degraded}",
                method.method, method.seconds
            ));
        }
        lines.push(self.count());
        lines
    }

    /// How many samples of each metric have no score, and of which methods, where it is not so many of each.
    fn undefined(&self) -> Vec<String> {
        let mut reasons = BTreeMap::<(&str, &str), Vec<(&str, u64)>>::new();
        for cell in &self.results {
            for (reason, count) in &cell.undefined {
                reasons.entry((cell.metric, reason)).or_default().push((&cell.method, *count));
            }
        }
        let line = |((metric, reason), counts): ((&str, &str), Vec<(&str, u64)>)| {
            let same = counts.len() == self.methods.len() && counts.iter().all(|(_, count)| *count == counts[0].1);
            let of = |(method, count): &(&str, u64)| format!("{count} by {method}");
            let counts = match same {
                true => counts[0].1.to_string(),
                false => counts.iter().map(of).collect::<Vec<_>>().join(", "),
            };
            format!("without a score: {counts} of {metric}: {reason}")
        };
        reasons.into_iter().map(line).collect()
    }

    /// How many samples it is of, and what ended it.
    fn count(&self) -> String {
        let of = match self.of.is_live() {
            true => String::new(),
            false => format!(" of {}", self.of.share()),
        };
        let shard = match self.of.shard {
            (_, 1) => String::new(),
            (number, count) => format!(", shard {number}/{count}"),
        };
        let stopped = match self.stopped_by {
            None => "",
            Some(Stopped::Budget) => "; the time is spent",
            Some(Stopped::Interrupt) => "; interrupted",
            Some(Stopped::Gone) => "; the folder is gone",
            Some(Stopped::Error) => "; it went wrong",
        };
        format!("{}{of} samples{shard}{stopped}", self.done)
    }

    /// A table for each family: a line for each metric; as many methods beside each other as a line has room for.
    fn tables(&self) -> Vec<String> {
        Family::ALL.iter().flat_map(|family| self.family(family.name())).collect()
    }

    fn family(&self, family: &str) -> Vec<String> {
        let mut lines = vec![];
        let of_family = |cell: &&Cell| cell.family == family;
        let mut rest: &[Spent] = &self.methods;
        while !rest.is_empty() && self.results.iter().any(|cell| of_family(&cell)) {
            let widths = rest.iter().map(|m| m.title().len().max(WIDTH) + 2);
            let fits = widths.scan(NAMES, |line, width| {
                *line += width;
                Some(*line)
            });
            let (now, later) = rest.split_at(fits.take_while(|line| *line <= LINE).count().max(1));
            rest = later;
            let heads: Vec<String> =
                now.iter().map(|m| format!("{:>1$}", m.title(), m.title().len().max(WIDTH))).collect();
            lines.push(format!("{family:<NAMES$}  {}", heads.join("  ")));
            for cell in self.results.iter().filter(of_family).filter(|cell| cell.method == now[0].method) {
                let arrow = if cell.better == Better::Higher.name() { "↑" } else { "↓" };
                let mut line = format!("{:<NAMES$}", format!("  {} {arrow}", cell.metric));
                for (method, head) in now.iter().zip(&heads) {
                    let own = self.results.iter().find(|c| c.method == method.method && c.metric == cell.metric);
                    line += &format!("  {:>1$}", own.map_or(String::new(), Cell::text), head.len());
                }
                lines.push(line);
            }
            lines.push(String::new());
        }
        lines
    }
}

/// The tables on a terminal, written over themselves as they fill.
pub struct Filling {
    /// How many lines are on the terminal.
    shown: usize,
    last: Instant,
}

/// The tables change no more often.
const INTERVAL: Duration = Duration::from_millis(500);

impl Filling {
    /// Where standard output is a terminal.
    pub fn on_terminal() -> Option<Filling> {
        std::io::stdout().is_terminal().then(|| Filling { shown: 0, last: Instant::now() })
    }

    /// Whether it is time to show something.
    pub fn is_due(&self) -> bool {
        self.last.elapsed() >= INTERVAL
    }

    /// Shows a report in the place of the last one: its tables where the terminal has room for them, and how far it is.
    pub fn show(&mut self, report: &Report) {
        let (width, height) = terminal_size::terminal_size().map_or((80, 24), |(w, h)| (w.0 as usize, h.0 as usize));
        let tables = report.tables();
        let fits = tables.len() + 2 < height && tables.iter().all(|line| line.chars().count() <= width);
        let lines = if fits { [tables, vec![report.count()]].concat() } else { vec![report.count()] };
        self.clear();
        self.shown = lines.len();
        self.last = Instant::now();
        lines.into_iter().for_each(|line| say!("{line}"));
    }

    /// Takes away what is shown.
    pub fn clear(&mut self) {
        if self.shown > 0 {
            // Up so many lines, and nothing below.
            let _ = write!(std::io::stdout(), "\x1b[{}A\x1b[J", self.shown);
        }
        self.shown = 0;
    }
}

impl Spent {
    fn title(&self) -> &str {
        find_method(&self.method).map_or(&self.method, |entry| entry.title())
    }
}

/// The width of the metrics' names.
const NAMES: usize = 37;

/// The width of a line.
const LINE: usize = 120;

/// The least width of a column.
const WIDTH: usize = 17;

impl Cell {
    /// About how far the scores are from their mean.
    fn spread(&self) -> f64 {
        self.standard_error.unwrap_or(0.0) * (self.samples as f64).sqrt()
    }

    fn text(&self) -> String {
        match (self.mean, self.standard_error) {
            (None, _) => "-".into(),
            (Some(mean), None) => number(mean),
            (Some(mean), Some(error)) => format!("{} ± {}", number(mean), number(error)),
        }
    }
}

/// Four digits that say something.
fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".into(),
        size if !(1e-3..1e5).contains(&size) => format!("{value:.2e}"),
        size if size >= 100.0 => format!("{value:.1}"),
        _ => format!("{value:.4}"),
    }
}

/// What a row has of metrics, each with how it is described.
fn cells<'a>(
    method: &'a str,
    (metrics, described): (&'a [&'static Entry], &'a [String]),
    row: &'a RowState,
) -> impl Iterator<Item = Cell> + 'a {
    metrics.iter().zip(described).zip(&row.scores).map(move |((metric, described), scores)| {
        let scores = scores.scores();
        let moments = scores.moments();
        Cell {
            method: method.into(),
            metric: metric.name,
            family: metric.family.name(),
            better: metric.better_told(described).name(),
            mean: (moments.count() > 0).then(|| moments.mean()),
            standard_error: Some(moments.standard_error()).filter(|e| e.is_finite()),
            samples: moments.count(),
            undefined: scores.undefined().map(|(reason, count)| (reason.text(), count)).collect(),
        }
    })
}

/// Methods in the order of their mean rank over the family's metrics in which all have a score.
fn ranking(family: Family, metrics: &[&'static Entry], header: &Header, cells: &[Cell]) -> Option<Ranking> {
    let mut all: Vec<(String, f64)> = header.methods.iter().map(|m| (name(m).to_string(), 0.0)).collect();
    let mut counted = 0;
    for metric in metrics.iter().filter(|m| m.family == family) {
        let own: Vec<&Cell> = cells.iter().filter(|c| c.metric == metric.name).collect();
        let Some(means) = own.iter().map(|c| Some((c.mean?, c.spread()))).collect::<Option<Vec<_>>>() else { continue };
        counted += 1;
        let higher = own.iter().any(|cell| cell.better == Better::Higher.name());
        all.iter_mut().zip(ranks(&means, higher)).for_each(|((_, sum), rank)| *sum += rank);
    }
    all.sort_by(|a, b| a.1.total_cmp(&b.1));
    let places = all.into_iter().map(|(method, sum)| Place { method, mean_rank: sum / counted as f64 });
    (counted > 0).then(|| Ranking { family: family.name(), methods: places.collect() })
}

/// By how much of their size means of the same scores differ that were added up in another order.
const ROUNDING: f64 = 1e-9;

/// The ranks of means, each with how far its scores spread; equal ones share theirs. Which of equal ones is larger by rounding
/// depends on the order of samples.
fn ranks(means: &[(f64, f64)], higher: bool) -> Vec<f64> {
    let size = |(mean, spread): (f64, f64)| mean.abs() + spread;
    let near = |a: (f64, f64), b: (f64, f64)| (a.0 - b.0).abs() <= ROUNDING * size(a).max(size(b));
    let are_equal = |a: (f64, f64), b: (f64, f64)| a.0 == b.0 || ((a.0 - b.0).is_finite() && near(a, b));
    let rank = |own: &(f64, f64)| {
        let others = || means.iter().filter(|other| !are_equal(**other, *own));
        let ahead = others().filter(|other| (other.0 > own.0) == higher).count();
        let beside = means.len() - others().count();
        ahead as f64 + 0.5 * (beside + 1) as f64
    };
    means.iter().map(rank).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_means_share_ranks_whatever_rounding_left_of_them() {
        let of = |means: &[f64]| means.iter().map(|mean| (*mean, 0.1)).collect::<Vec<_>>();
        let means = of(&[0.1740000000000001, 0.5, 0.17400000000000002, 0.174, 0.1]);
        assert_eq!(ranks(&means, true), [3.0, 1.0, 3.0, 3.0, 5.0]);
        assert_eq!(ranks(&means, false), [3.0, 5.0, 3.0, 3.0, 1.0]);
        // What cancels to next to nothing.
        assert_eq!(ranks(&of(&[1e-17, -2e-18, 1e-3]), true), [2.5, 2.5, 1.0]);
        assert_eq!(ranks(&of(&[f64::INFINITY, 1.0, f64::INFINITY]), true), [1.5, 3.0, 1.5]);
    }
}
