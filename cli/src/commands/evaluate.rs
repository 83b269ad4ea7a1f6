//! `whyline evaluate`

use std::path::PathBuf;
use std::time::Instant;

use serde_json::{Map, Value, json};
use whyline_runtime::evaluate::{Evaluation, Measure, SampleScores, Subjected};
use whyline_runtime::explain::{Loaded, Shared, Target};
use whyline_runtime::metrics::{self, Cost, Grid, METRICS, Observation, Wants};
use whyline_runtime::params::{Given, Params};
use whyline_runtime::record::FileRecord;
use whyline_runtime::state::{Header, State, difference};
use whyline_runtime::variants::MEMORY;
use whyline_runtime::{Error, Kind};

use super::dataset::{Dataset, Item};
use super::inputs::{
    budget, entries, for_method, give_files, is_bounded, name_files, pairs, read_input, refuse_unknown, resources,
    target,
};
use super::load::load;
use crate::args::EvaluateArgs;
use crate::failure::{Failure, INTERRUPTED, Outcome, about_input};
use crate::output;
use crate::output::scores::{Failed, Report};

/// Runs it.
pub fn run(args: &EvaluateArgs) -> Outcome {
    let written = [args.state.clone(), args.json.clone(), args.csv.clone(), args.samples.clone()];
    output::refuse_overwriting([&args.model.model].into_iter().chain(&args.model.card), &written)?;
    let dataset = Dataset::read(&args.dataset)?;
    dataset.refuse_overwriting(&written)?;
    let loaded = load(&args.model, Some(&args.preprocess))?;
    output::refuse_overwriting(&loaded.files, &written)?;
    let measures = measures(args, &Grid::of(&loaded.input_shape()?, loaded.layout()?), &dataset)?;
    let mut evaluation = prepare(args, &loaded, measures)?;
    let mut state = begin(args, &loaded, &dataset, &mut evaluation)?;
    // A shard may have no samples at all; and what can't be written is known before the first.
    if let Some(path) = &args.state {
        state.write(path)?;
    }
    let mut log = Log::open(args, state.done)?;
    let (start, budget) = (Instant::now(), budget(&args.budget));
    let progress = output::progress::samples(state.header.share()).filter(|_| !args.quiet);
    let (mut failed, mut interrupted) = (vec![], false);
    let (shard, count) = state.header.shard;
    let own = dataset.names.iter().enumerate().filter(|(i, _)| *i as u64 % count == shard).skip(state.done as usize);
    for (_, name) in own {
        if args.time.is_some_and(|most| start.elapsed() >= most) {
            break;
        }
        let item = dataset.item(name);
        let scores = push(&mut evaluation, &loaded, args, &item, &mut failed);
        // What was interrupted is the best so far, and no score of the method's.
        if budget.is_interrupted() {
            interrupted = true;
            break;
        }
        let scores = scores?;
        log.line(&evaluation, &item, state.done, &scores)?;
        state.done += 1;
        state.rows = evaluation.state();
        if let Some(path) = &args.state {
            state.write(path)?;
        }
        if let Some(show) = &progress {
            show(state.done);
        }
    }
    let report = Report::new(&state, failed)?;
    report.write(args.json.as_ref(), args.csv.as_ref())?;
    if !args.quiet && !output::is_stdout(&args.json) {
        report.print();
    }
    match interrupted {
        true => Err(Failure { message: "interrupted; the scores so far stand".into(), code: INTERRUPTED }),
        false if report.is_of_nothing() => {
            Err(Failure { message: "none of the samples could be used".into(), code: 4 })
        }
        false => Ok(()),
    }
}

/// The metrics that were named, alone, by family, or as all of a kind.
fn measures(args: &EvaluateArgs, grid: &Grid, dataset: &Dataset) -> Outcome<Vec<Measure>> {
    let has_masks = dataset.has_masks();
    let mut chosen: Vec<&'static metrics::Entry> = vec![];
    for name in &args.metrics {
        let of_kind = |entry: &&&'static metrics::Entry| match name.as_str() {
            "all" => true,
            "all-cheap" => entry.default().is_ok_and(|metric| metric.cost(grid) == Cost::default()),
            family => entry.family.name() == family,
        };
        let kind: Vec<&'static metrics::Entry> = METRICS.iter().filter(of_kind).copied().collect();
        // A name is a metric before it is a family; what wants masks is not meant where there are none.
        let found = match (metrics::find(name), kind.is_empty()) {
            (Ok(entry), _) => vec![entry],
            (Err(error), true) => return Err(error.into()),
            (Err(_), false) => kind
                .into_iter()
                .filter(|entry| entry.wants == Wants::Nothing || (has_masks && entry.wants == Wants::Mask))
                .collect(),
        };
        let new: Vec<_> = found.into_iter().filter(|e| !chosen.iter().any(|c| c.name == e.name)).collect();
        chosen.extend(new);
    }
    if chosen.is_empty() {
        return Err(Failure::usage(
            "these metrics want masks (NAME.mask.png beside NAME.png), and the dataset has none",
        ));
    }
    let given = pairs(&args.metric_params)?;
    let known = |name: &str| chosen.iter().any(|e| e.parameters.iter().any(|p| is_for(e, p.name, name)));
    if let Some(name) = given.keys().find(|name| !known(name)) {
        return Err(Failure::usage(format!("none of the metrics has a parameter '{name}'")));
    }
    let own = |entry: &'static metrics::Entry| {
        let of = |p: &str| given.iter().filter(|(name, _)| is_for(entry, p, name)).max_by_key(|(name, _)| name.len());
        let own = entry.parameters.iter().filter_map(|p| Some((p.name.to_string(), of(p.name)?.1.clone())));
        Ok(Measure::new(entry.name, &own.collect::<Given>())?)
    };
    chosen.into_iter().map(own).collect()
}

/// Whether `given`, as PARAMETER or METRIC.PARAMETER, is a metric's parameter.
fn is_for(entry: &metrics::Entry, parameter: &str, given: &str) -> bool {
    given == parameter || given.split_once('.') == Some((entry.name, parameter))
}

/// Every method, ready. Of all methods, those that are not defined for the model are left out, and named.
fn prepare<'a>(args: &EvaluateArgs, loaded: &'a Loaded, measures: Vec<Measure>) -> Outcome<Evaluation<'a>> {
    let (mut given, entries) = (pairs(&args.params)?, entries(&args.methods)?);
    name_files(&mut given);
    refuse_unknown(&given, &entries)?;
    let (mut shared, mut explainers) = (Shared::default(), vec![]);
    let (budget, resources) = (budget(&args.budget), resources(&args.resources));
    for entry in entries {
        let own = for_method(&given, entry, is_bounded(&args.budget));
        (entry.build)(&entry.params(&own)?)?;
        let made = loaded.explainer_sharing(&mut shared, entry.name, &own, args.precision.precision(), resources);
        let mut explainer = match made {
            Err(error) if args.methods == ["all"] && matches!(error.kind(), Kind::Model | Kind::Usage) => {
                eprintln!("warning: {} is left out: {}", entry.name, output::in_a_line(&error.to_string()));
                continue;
            }
            made => made?,
        };
        explainer.set_budget(budget)?;
        give_files(loaded, &mut explainer, &own)?;
        explainers.push(explainer);
    }
    Ok(Evaluation::new(explainers, measures, resources.memory.unwrap_or(MEMORY))?)
}

/// What is evaluated, at its beginning or where an earlier run has left it.
fn begin(args: &EvaluateArgs, loaded: &Loaded, dataset: &Dataset, evaluation: &mut Evaluation) -> Outcome<State> {
    let shard = args.shard.unwrap_or((0, 1));
    let described = |name: &str, params: &Params| {
        let params = params.all().iter().map(|(k, v)| format!(" {k}={v}"));
        format!("{name}{}", params.collect::<String>())
    };
    let header = Header {
        model: loaded.model.sha256.clone(),
        precision: args.precision.precision().name().into(),
        target: format!("{:?} {:?} {:?}", args.target.target, args.target.against, args.model.score),
        settings: format!(
            "{} shape {:?} output {:?} weights {:?} passes {:?} deadline {:?}",
            output::to_json(&loaded.card.input)?,
            loaded.input_shape()?,
            loaded.output(),
            args.model.random_weights,
            args.budget.max_passes,
            args.budget.deadline
        ),
        methods: evaluation.rows.iter().map(|r| described(r.explainer.entry().name, r.explainer.params())).collect(),
        metrics: evaluation.measures.iter().map(|m| described(m.entry.name, &m.params)).collect(),
        dataset: whyline_runtime::state::digest(dataset.names.iter().map(String::as_str)),
        samples: dataset.names.len() as u64,
        shard,
    };
    if let Some(path) = args.state.as_ref().filter(|path| path.exists()) {
        let state = State::read(path).map_err(about_input)?;
        let other = (state.header.shard != shard).then_some("another shard");
        if let Some(what) = difference(&state.header, &header).or(other) {
            let message = format!("{}: is of {what}; name another file, or remove it", path.display());
            return Err(Failure { message, code: 4 });
        }
        evaluation.restore(state.rows.clone());
        return Ok(state);
    }
    Ok(State { header, done: 0, rows: evaluation.state() })
}

/// Takes in a sample. One that can't be used is counted and named.
fn push(
    evaluation: &mut Evaluation,
    loaded: &Loaded,
    args: &EvaluateArgs,
    item: &Item,
    failed: &mut Vec<Failed>,
) -> Outcome<Vec<Option<SampleScores>>> {
    let mut fail = |reason: String| {
        eprintln!("warning: {}: {reason}", item.name);
        failed.push(Failed { sample: item.name.clone(), reason });
    };
    let (input, mask, file, target) = match material(loaded, args, item) {
        Ok(material) => material,
        Err(failure) => {
            evaluation.push_failed();
            fail(failure.message);
            return Ok(vec![]);
        }
    };
    let pushed = evaluation.push(&Subjected { input: &input, file, mask: mask.as_deref(), mosaic: false, target })?;
    let mut all = vec![];
    for (row, scores) in evaluation.rows.iter().zip(pushed) {
        match scores {
            Ok(scores) => all.push(Some(scores)),
            Err(error) => {
                fail(format!("{}: {error}", row.explainer.entry().name));
                all.push(None);
            }
        }
    }
    Ok(all)
}

type Material = (Vec<f32>, Option<Vec<bool>>, FileRecord, Target);

fn material(loaded: &Loaded, args: &EvaluateArgs, item: &Item) -> Outcome<Material> {
    let target = match (args.target.target.as_str(), &item.label) {
        ("label", Some(label)) => {
            loaded.card.class(label, loaded.classes()?)?;
            Target::Named(label.clone())
        }
        ("label", None) => return Err(Failure { message: "it has no label: it lies in no folder".into(), code: 4 }),
        _ => target(&args.target),
    };
    let file = FileRecord::of(&item.path).map_err(about_input)?;
    Ok((read_input(loaded, &item.path)?.input, item.marked(loaded)?, file, target))
}

/// A line of JSON for every sample.
struct Log(Option<(PathBuf, std::fs::File)>);

impl Log {
    /// Goes on behind the first `done` lines of an earlier run, or begins.
    fn open(args: &EvaluateArgs, done: u64) -> Outcome<Log> {
        let Some(path) = &args.samples else { return Ok(Log(None)) };
        let failed = |source| Error::Write { path: path.clone(), source };
        let before = if done > 0 { std::fs::read_to_string(path).unwrap_or_default() } else { String::new() };
        let kept: String = before.split_inclusive('\n').take(done as usize).collect();
        let mut file = std::fs::File::create(path).map_err(failed)?;
        std::io::Write::write_all(&mut file, kept.as_bytes()).map_err(failed)?;
        Ok(Log(Some((path.clone(), file))))
    }

    fn line(&mut self, evaluation: &Evaluation, item: &Item, number: u64, scores: &[Option<SampleScores>]) -> Outcome {
        let Some((path, file)) = &mut self.0 else { return Ok(()) };
        let mut methods = Map::new();
        for (row, scores) in evaluation.rows.iter().zip(scores) {
            let own = scores.as_ref().map(|scores| {
                let values = evaluation.measures.iter().zip(&scores.scores).map(|(measure, score)| {
                    let value = match score {
                        Ok(Observation::Score(score)) => json!(score),
                        Ok(Observation::Label { label, .. }) => json!({"label": format!("{label:016x}")}),
                        Ok(Observation::Sketch { .. }) => json!({"compared": true}),
                        Err(reason) => json!({"undefined": reason.text()}),
                    };
                    (measure.entry.name.to_string(), value)
                });
                let mut own: Map<String, Value> = values.collect();
                own.insert("class".into(), json!(scores.record.target.class.class));
                own
            });
            methods.insert(row.explainer.entry().name.into(), json!(own));
        }
        let line = json!({"sample": number, "file": item.name, "methods": methods});
        let write = std::io::Write::write_all(file, format!("{line}\n").as_bytes());
        Ok(write.map_err(|source| Error::Write { path: path.clone(), source })?)
    }
}
