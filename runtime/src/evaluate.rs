//! Several methods by several metrics, sample by sample.

use std::time::Instant;

use crate::attribution::{Extent, Grid, Status};
use crate::engine::Passes;
use crate::error::{Error, Kind, Result};
use crate::explain::{Explainer, Explanation, Target};
use crate::load::Loaded;
use crate::metrics::{self, Cost, Explained, Model, Observed, Observer, Sample, Tally, Undefined};
use crate::params::{Given, Params};
use crate::probe::Probe;
use crate::record::{FileRecord, Record};
use crate::state::{RowState, are_alike};
use crate::values::descending;
use crate::variants::{MEMORY, Variants};

/// A metric with its parameters.
pub struct Measure {
    /// Its line in the table.
    pub entry: &'static metrics::Entry,
    /// Given or default.
    pub params: Params,
    metric: Box<dyn Observer>,
}

impl Measure {
    /// The metric of this name.
    pub fn new(name: &str, given: &Given) -> Result<Measure> {
        Measure::of(metrics::find(name)?, given)
    }

    /// The metric of a line of the table, or of another program's.
    pub fn of(entry: &'static metrics::Entry, given: &Given) -> Result<Measure> {
        let params = entry.params(given)?;
        if !matches!(params.text("compat"), "" | "quantus") {
            return Err(params.refuse("compat", "quantus"));
        }
        let metric = (entry.build)(&params)?;
        Ok(Measure { entry, params, metric })
    }

    /// What a sample of the model takes at most.
    pub fn cost(&self, loaded: &Loaded) -> Result<Cost> {
        Ok(self.metric.cost(&loaded.grid()?))
    }

    /// Whether it is of random draws, of which [`Effort::standard_error`] takes fewer.
    pub fn ends_early(&self) -> bool {
        self.metric.ends_early()
    }

    /// Refuses a model of which the metric can never be measured; the metric is named.
    pub fn admits(&self, loaded: &Loaded) -> Result<()> {
        let layer = |name: Option<&str>| loaded.layer(name).map(|_| ());
        let grid = loaded.grid()?;
        let (head, scores) = (loaded.head()?, loaded.classes()?);
        let model = Model { grid, head, scores, changes: loaded.ready_made.is_none(), layer: &layer };
        let name = self.entry.name;
        // What takes no passes asks the model for nothing.
        let of_probability = self.params.all().get("output").is_some_and(|output| output == "probability")
            && self.metric.cost(&grid).forward > 0;
        let reads = if of_probability { model.must_have_probabilities() } else { Ok(()) };
        reads.and_then(|()| self.metric.admits(&model)).map_err(|error| Error::usage(format!("{name}: {error}")))
    }
}

/// Which features of an input are of objects.
#[derive(Clone, Debug)]
pub enum Marked {
    /// Nobody has said so.
    Nothing,
    /// Of the object.
    Object(Vec<bool>),
    /// Of the objects of each class: those of the class that is explained count.
    Classes(Vec<(usize, Vec<bool>)>),
}

impl Marked {
    fn all(&self) -> Vec<&[bool]> {
        match self {
            Marked::Nothing => vec![],
            Marked::Object(mask) => vec![mask],
            Marked::Classes(classes) => classes.iter().map(|(_, mask)| mask.as_slice()).collect(),
        }
    }

    /// The mask of the object, where a class is explained.
    fn of(&self, explained: usize) -> Option<&[bool]> {
        match self {
            Marked::Nothing => None,
            Marked::Object(mask) => Some(mask),
            Marked::Classes(classes) => {
                classes.iter().find(|(class, _)| *class == explained).map(|(_, mask)| mask.as_slice())
            }
        }
    }
}

/// An input with what is known of it.
#[derive(Clone, Debug)]
pub struct Subjected<'a> {
    /// Row-major, in the model's shape.
    pub input: &'a [f32],
    /// Where it comes from.
    pub file: FileRecord,
    /// Which features are of the object, if somebody has said so.
    pub marked: &'a Marked,
    /// Whether it is a mosaic, whose mask marks the images of the class explained.
    pub mosaic: bool,
    /// What is explained.
    pub target: Target,
}

/// A method, and its scores so far.
pub struct Row<'a> {
    /// The prepared method.
    pub explainer: Explainer<'a>,
    /// By metric.
    pub scores: Vec<Tally>,
    /// Of all samples: explanations, and what metrics took besides.
    pub passes: Passes,
    /// The same, in wall-clock time.
    pub seconds: f64,
    /// Samples of which the budget ended an explanation early: their scores are of the best map so far.
    pub degraded: u64,
}

/// What one sample gave a method.
#[derive(Clone, Debug)]
pub struct SampleScores {
    /// Its explanation.
    pub record: Record,
    /// By metric.
    pub scores: Vec<Observed>,
    /// Whether the budget ended its explanation early, or another one that a metric asked for.
    pub degraded: bool,
}

/// What an evaluation may take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Effort {
    /// About how many bytes of changed models that metrics ask for are kept; a gibibyte, if nobody says otherwise.
    pub memory: usize,
    /// Metrics of random draws take no more of them than make a sample's score this exact.
    pub standard_error: Option<f64>,
}

impl Effort {
    /// What these leave of so many bytes.
    pub fn beside(explainers: &[Explainer], memory: Option<usize>) -> Effort {
        let taken: usize = explainers.iter().map(Explainer::bytes).sum();
        Effort { memory: memory.map_or(MEMORY, |most| most.saturating_sub(taken)), ..Effort::default() }
    }
}

impl Default for Effort {
    fn default() -> Effort {
        Effort { memory: MEMORY, standard_error: None }
    }
}

/// Methods by metrics.
pub struct Evaluation<'a> {
    /// The methods.
    pub rows: Vec<Row<'a>>,
    /// The metrics.
    pub measures: Vec<Measure>,
    grid: Grid,
    variants: Variants<'a>,
    effort: Effort,
}

impl<'a> Evaluation<'a> {
    /// Of prepared methods of one model.
    pub fn new(explainers: Vec<Explainer<'a>>, measures: Vec<Measure>, effort: Effort) -> Result<Evaluation<'a>> {
        let first = explainers.first().ok_or_else(|| Error::usage("no method is evaluated"))?;
        let grid = first.grid()?;
        let row = |explainer| Row {
            explainer,
            scores: measures.iter().map(|measure| measure.metric.tally()).collect(),
            passes: Passes::default(),
            seconds: 0.0,
            degraded: 0,
        };
        let rows = explainers.into_iter().map(row).collect();
        Ok(Evaluation { rows, measures, grid, variants: Variants::within(effort.memory), effort })
    }

    /// Takes in a sample: every method explains it, every metric scores each map. A sample that cannot be explained counts as
    /// one without a score; the others' scores stand.
    ///
    /// Errors: a mask of another length, a target that there is none of, or what would fail for every sample, such as a metric
    /// that this model has no probabilities for; then nothing of the sample is counted.
    pub fn push(&mut self, sample: &Subjected) -> Result<Vec<Result<SampleScores>>> {
        if let Some(mask) = sample.marked.all().into_iter().find(|mask| mask.len() != self.grid.features()) {
            let (own, wanted) = (mask.len(), self.grid.features());
            return Err(Error::bad_input(format!(
                "has a mask of {own} features, where the model's input has {wanted}"
            )));
        }
        // What a sample takes is not for the one before it to say, if that was the same image.
        self.rows.iter_mut().for_each(|row| row.explainer.forget());
        // All explanations first: methods share passes at the input, which other inputs end.
        let mut explained = vec![];
        for row in &mut self.rows {
            let start = Instant::now();
            let explanation = row.explainer.explain(sample.input, sample.file.clone(), &sample.target);
            explained.push((explanation, start.elapsed().as_secs_f64()));
        }
        let (draw, mut all) = (draw_of(sample.input), vec![]);
        for (row, (explanation, seconds)) in self.rows.iter_mut().zip(explained) {
            let start = Instant::now();
            let outcome = match explanation {
                Ok(explanation) => {
                    let passes = explanation.record.passes;
                    measure(
                        row,
                        &self.measures,
                        &mut self.variants,
                        (sample, &self.grid, draw, self.effort),
                        explanation,
                    )
                    .map(|(own, taken)| (own, passes.plus(taken)))
                }
                Err(error) => Err(error),
            };
            match outcome {
                Err(error) if error.kind() != Kind::Input => return Err(error),
                outcome => all.push((outcome, seconds + start.elapsed().as_secs_f64())),
            }
        }
        let rows = self.rows.iter_mut().zip(all);
        Ok(rows.map(|(row, (outcome, seconds))| row.count(outcome, seconds)).collect())
    }

    /// The scores so far, by method.
    pub fn state(&self) -> Vec<RowState> {
        let state = |row: &Row| RowState {
            passes: row.passes,
            seconds: row.seconds,
            degraded: row.degraded,
            scores: row.scores.clone(),
        };
        self.rows.iter().map(state).collect()
    }

    /// Goes on from scores that were so far, of the same methods and metrics in the same order: the header of a
    /// [`State`](crate::state::State) says of which.
    ///
    /// Errors: other numbers of methods or metrics, or another kind of scores.
    pub fn restore(&mut self, rows: Vec<RowState>) -> Result<()> {
        if !are_alike(&self.state(), &rows) {
            return Err(Error::usage("the scores so far are of other methods or metrics"));
        }
        for (own, state) in self.rows.iter_mut().zip(rows) {
            (own.passes, own.seconds, own.degraded) = (state.passes, state.seconds, state.degraded);
            own.scores = state.scores;
        }
        Ok(())
    }

    /// A sample that could not be read: it counts for every method and metric as one without a score.
    pub fn push_failed(&mut self) {
        let scores = self.rows.iter_mut().flat_map(|row| &mut row.scores);
        scores.for_each(|scores| scores.push(Err(Undefined::Failed)));
    }
}

impl Row<'_> {
    fn count(&mut self, outcome: Result<(SampleScores, Passes)>, seconds: f64) -> Result<SampleScores> {
        self.seconds += seconds;
        match outcome {
            Ok((own, passes)) => {
                self.passes = self.passes.plus(passes);
                self.degraded += u64::from(own.degraded);
                self.scores.iter_mut().zip(&own.scores).for_each(|(scores, score)| scores.push(score.clone()));
                Ok(own)
            }
            Err(error) => {
                self.scores.iter_mut().for_each(|scores| scores.push(Err(Undefined::Failed)));
                Err(error)
            }
        }
    }
}

/// A map's scores, and the passes they took.
fn measure<'a>(
    row: &mut Row<'a>,
    measures: &[Measure],
    variants: &mut Variants<'a>,
    (sample, grid, draw, effort): (&Subjected, &Grid, u64, Effort),
    explanation: Explanation,
) -> Result<(SampleScores, Passes)> {
    let Explanation { attribution, record } = explanation;
    let map = row.explainer.per_feature(&attribution)?;
    let elements = (attribution.extent == Extent::Features).then_some(attribution.values.as_slice());
    let order = descending(&map);
    let name = std::path::Path::new(&sample.file.file).file_name().unwrap_or_default();
    let against = record.target.against.as_ref().map(|other| other.class);
    let explained = Explained { class: record.target.class.class, against };
    // The same image may be there under several labels.
    let numbers = [draw, explained.class as u64].map(u64::to_le_bytes);
    let bytes = numbers.iter().flatten().chain(name.as_encoded_bytes());
    let priority = crate::hash::number(bytes.copied());
    let mut probe = Probe::new(&mut row.explainer, variants);
    let (logits, head) = (probe.logits(sample.input)?, probe.head());
    let mut scores = vec![];
    for measure in measures {
        let observed = measure.metric.observe(&mut Sample {
            subject: &mut probe,
            input: sample.input,
            grid: *grid,
            explained,
            logits: &logits,
            head,
            completeness: record.completeness,
            map: &map,
            elements,
            order: &order,
            mask: sample.marked.of(explained.class),
            mosaic: sample.mosaic,
            draw,
            priority,
            standard_error: effort.standard_error,
            baselines: &[],
        });
        // A changed model or input that overflows is no fault of the other metrics.
        scores.push(match observed {
            Err(error) if error.kind() == Kind::Input => Err(Undefined::Failed),
            observed => observed?,
        });
    }
    let degraded = probe.degraded || record.status == Status::Degraded;
    Ok((SampleScores { record, scores, degraded }, probe.passes))
}

/// A number that depends on every bit of an input.
fn draw_of(input: &[f32]) -> u64 {
    let bytes: Vec<u8> = input.iter().flat_map(|v| v.to_bits().to_le_bytes()).collect();
    crate::hash::number(bytes)
}
