//! `whyline evaluate`

use std::path::Path;
use std::time::Instant;

use whyline_runtime::baseline::FILE;
use whyline_runtime::evaluate::{Effort, Evaluation, Measure, SampleScores, Subjected};
use whyline_runtime::explain::{ANY_NUMBER, Budget, Explainer, Loaded, Shared};
use whyline_runtime::files::Hold;
use whyline_runtime::metrics::{self, Cost, METRICS, Wants, quantus};
use whyline_runtime::params::Params;
use whyline_runtime::record::Over;
use whyline_runtime::state::{Failed, Header, State, difference, digest};

use super::dataset::{Dataset, Material, Sample, target_of};
use super::inputs::{
    Making, budget, entries, files_of, for_method, is_bounded, name_files, pairs, refuse_unknown, resources, target,
    told,
};
use super::load::load;
use super::queue::Queue;
use super::sample_lines::Log;
use crate::args::EvaluateArgs;
use crate::failure::{Failure, INTERRUPTED, Outcome, about_input};
use crate::output;
use crate::output::scores::{Filling, Report, Stopped};
use crate::warn;

/// Runs it.
pub fn run(args: &EvaluateArgs) -> Outcome {
    let (loaded, dataset) = read(args)?;
    let _hold = args.state.as_deref().map(hold).transpose()?;
    if loaded.competing()?.is_none() && args.target.target == "top" {
        warn!("{ANY_NUMBER}");
    }
    let measures = measures(args, &loaded, &dataset)?;
    let mut evaluation = prepare(args, &loaded, measures)?;
    let mut state = begin(args, &loaded, &dataset, &mut evaluation)?;
    let log = Log::open(args, &state)?;
    // A shard may have no samples at all; and what can't be written is known before the first.
    if let Some(path) = &args.state {
        state.write(path)?;
    }
    let budget = budget(&args.budget);
    let taken = take(args, &mut evaluation, (&loaded, &dataset), (&mut state, log), budget);
    let report = Report::new(&state, *taken.as_ref().unwrap_or(&Some(Stopped::Error)))?;
    // What went wrong at the first sample leaves nothing to tell.
    if taken.is_ok() || state.done > 0 {
        report.tell((&args.json, &args.csv), args.quiet && taken.is_ok())?;
    }
    match taken? {
        Some(Stopped::Interrupt) => {
            Err(Failure { message: "interrupted; the scores so far stand".into(), code: INTERRUPTED })
        }
        Some(Stopped::Gone) if !state.header.is_live() => {
            let message = format!("{} is gone; the scores so far stand", dataset.folder().display());
            Err(Failure { message, code: 4 })
        }
        _ => report.refuse_nothing(),
    }
}

/// The model and the dataset, once it is known that what is written overwrites nothing that is read.
fn read(args: &EvaluateArgs) -> Outcome<(Loaded, Dataset)> {
    if args.target.target == "label" && args.target.against.is_some() {
        return Err(Failure::usage("--target label is a class alone; with --against, give --target a class or top"));
    }
    if [&args.state, &args.samples].into_iter().any(output::is_stdout) {
        return Err(Failure::usage("--state and --samples want a file: both are read again where a run goes on"));
    }
    let written = [args.state.clone(), args.json.clone(), args.csv.clone(), args.samples.clone()];
    let read = args.model.files().chain(&args.labels).chain(&args.boxes);
    output::refuse_overwriting(read, &written)?;
    let mut dataset = Dataset::read(args)?;
    dataset.refuse_overwriting(&written)?;
    let loaded = load(&args.model, Some(&args.preprocess))?;
    if let Some(count) = args.mosaics {
        dataset.make_mosaics(count as usize, &loaded)?;
    }
    output::refuse_overwriting(&loaded.files, &written)?;
    output::refuse_unwritable([&args.json, &args.csv])?;
    Ok((loaded, dataset))
}

/// Takes in samples, as long as there are some and there is time, and saves the state after each. Says what ended it early.
fn take(
    args: &EvaluateArgs,
    evaluation: &mut Evaluation,
    (loaded, dataset): (&Loaded, &Dataset),
    (state, mut log): (&mut State, Log),
    budget: Budget,
) -> Outcome<Option<Stopped>> {
    let start = Instant::now();
    let is_over = || args.time.is_some_and(|most| start.elapsed() >= most);
    let mut show = Progress::new(args, state);
    let mut queue = Queue::of(state);
    let mut is_gone = false;
    while let Some(sample) = queue.next(dataset, &|| !is_over() && !budget.is_interrupted())? {
        let mut failed = vec![];
        let scores = push(evaluation, (loaded, dataset), args, &sample, &mut failed);
        is_gone = !failed.is_empty() && dataset.is_gone();
        if !failed.is_empty() && !is_gone {
            // What is shown goes first: it is written over.
            show.end();
            failed.iter().for_each(|f| output::pass_over(format_args!("{}: {}", f.sample, f.reason)));
        }
        // What was interrupted is the best so far, and no score of the method's; nor is it an image's fault that all are gone.
        if budget.is_interrupted() || is_gone {
            break;
        }
        let scores = scores?;
        log.line(evaluation, &sample.name, state.done, &scores)?;
        state.fail(failed);
        state.done += 1;
        state.last.clone_from(&sample.name);
        state.rows = evaluation.state();
        if let Some(path) = &args.state {
            // On the disk first: the state says that its lines are there.
            log.sync()?;
            state.write(path)?;
        }
        show.update(state)?;
    }
    show.end();
    log.cut()?;
    let has_more = state.header.is_live() || state.done < state.header.share();
    Ok(match budget.is_interrupted() {
        true => Some(Stopped::Interrupt),
        false if has_more && (is_gone || dataset.is_gone()) => Some(Stopped::Gone),
        false => has_more.then_some(Stopped::Budget),
    })
}

/// The metrics that were named, alone, by family, or as all of a kind.
fn measures(args: &EvaluateArgs, loaded: &Loaded, dataset: &Dataset) -> Outcome<Vec<Measure>> {
    let grid = loaded.grid()?;
    let fits = |entry: &&'static metrics::Entry| match entry.wants {
        Wants::Nothing => true,
        Wants::Mask => dataset.has_masks(),
        Wants::Mosaic => dataset.has_mosaics(),
    };
    let mut chosen: Vec<&'static metrics::Entry> = vec![];
    for name in &args.metrics {
        let of_kind = |entry: &&&'static metrics::Entry| match name.as_str() {
            "all" => true,
            "all-cheap" => entry.default().is_ok_and(|metric| metric.cost(&grid) == Cost::default()),
            family => entry.family.name() == family,
        };
        let kind: Vec<&'static metrics::Entry> = METRICS.iter().filter(of_kind).copied().collect();
        // A name is a metric before it is a family; what wants masks is not meant where there are none.
        let found = match (metrics::find(name), kind.is_empty()) {
            (Ok(entry), _) => vec![entry],
            (Err(error), true) => return Err(error.into()),
            (Err(_), false) => kind.into_iter().filter(fits).collect(),
        };
        let new: Vec<_> = found.into_iter().filter(|e| !chosen.iter().any(|c| c.name == e.name)).collect();
        chosen.extend(new);
    }
    if chosen.is_empty() {
        return Err(Failure::usage(
            "these metrics want masks (NAME.mask.png beside NAME.png, or --boxes) or --mosaics, and the dataset has none",
        ));
    }
    let chosen = if args.compat.is_some() { of_quantus(chosen, grid.channels) } else { chosen };
    let owners: Vec<_> = chosen.iter().map(|entry| (entry.name, entry.parameters)).collect();
    let wrong = |name: &str| format!("none of the metrics has a parameter '{name}'");
    let own = told(&pairs(&args.metric_params)?, &owners, wrong)?;
    let mut measures = vec![];
    for (entry, own) in chosen.into_iter().zip(&own) {
        let measure = Measure::of(entry, own)?;
        match measure.admits(loaded) {
            Ok(()) => {
                if let Some(reason) = args.compat.and_then(|_| quantus::differs(entry, &measure.params)) {
                    warn!("{} is {reason}", entry.name);
                }
                measures.push(measure);
            }
            // Of a family, those that the model is not for are left out, and named.
            Err(error) if !args.metrics.iter().any(|name| metrics::find(name).is_ok_and(|m| m.name == entry.name)) => {
                warn!("left out: {}", output::in_a_line(&error.to_string()));
            }
            Err(error) => return Err(error.into()),
        }
    }
    if measures.is_empty() {
        return Err(Failure::usage("none of the metrics can be measured of this model"));
    }
    if args.standard_error.is_some() && !measures.iter().any(Measure::ends_early) {
        return Err(Failure::usage(
            "--se takes fewer random draws, and none of the metrics has draws that may be fewer",
        ));
    }
    Ok(measures)
}

/// What Quantus computes in their place; those that it cannot are named, and stay.
fn of_quantus(chosen: Vec<&'static metrics::Entry>, channels: usize) -> Vec<&'static metrics::Entry> {
    for (entry, reason) in chosen.iter().filter_map(|entry| Some((entry, quantus::paper(entry.name, channels)?))) {
        warn!("{} is the paper's: {reason}", entry.name);
    }
    chosen.into_iter().map(|entry| quantus::of(entry, channels)).collect()
}

/// Every method, ready. Of all methods, those that are not defined for the model are left out, and named.
fn prepare<'a>(args: &EvaluateArgs, loaded: &'a Loaded, measures: Vec<Measure>) -> Outcome<Evaluation<'a>> {
    let (mut given, entries) = (pairs(&args.params)?, entries(&args.methods)?);
    name_files(&mut given);
    refuse_unknown(&given, &entries)?;
    output::refuse_overwriting(&files_of(&given)?, [&args.state, &args.json, &args.csv, &args.samples])?;
    let mut in_a_row = false;
    for measure in &measures {
        in_a_row |= measure.cost(loaded)?.forward > 1;
    }
    let mut shared = if in_a_row { Shared::for_points_in_a_row() } else { Shared::default() };
    let mut explainers = vec![];
    let resources = args.engine.of(resources(&args.resources));
    let all = args.methods == ["all"];
    let making = Making {
        loaded,
        precision: args.precision.precision(),
        resources,
        budget: budget(&args.budget),
        all,
        layer: false,
    };
    for entry in entries {
        let explainer = match making.ready(&mut shared, entry, &for_method(&given, entry, is_bounded(&args.budget)))? {
            Ok(explainer) => explainer,
            Err(reason) => {
                warn!("{} is left out: {reason}", entry.name);
                continue;
            }
        };
        if all && args.target.against.is_some() && explainer.wants_one_class() {
            warn!("{} is left out: it explains one class, not a margin", entry.name);
            continue;
        }
        explainers.push(explainer);
    }
    let effort = Effort::beside(&explainers, resources.memory);
    Ok(Evaluation::new(explainers, measures, Effort { standard_error: args.standard_error, ..effort })?)
}

/// Has a state for this run alone: of two that write one, each would lose what the other has done.
fn hold(state: &Path) -> Outcome<Option<Hold>> {
    let hold = Hold::of(state)?;
    if hold.is_none() {
        warn!("{}: its file system gives no locks; see to it that no other run has this state", state.display());
    }
    Ok(hold)
}

/// What is evaluated, at its beginning or where an earlier run has left it.
fn begin(args: &EvaluateArgs, loaded: &Loaded, dataset: &Dataset, evaluation: &mut Evaluation) -> Outcome<State> {
    let shard = args.shard.unwrap_or((0, 1));
    // What is in files decides the scores, whatever they are called.
    let described = |name: &str, params: &Params| {
        let value = |v: &str| if v.starts_with(FILE) { "file".to_string() } else { v.to_string() };
        let params = params.all().iter().map(|(k, v)| format!(" {k}={}", value(v)));
        format!("{name}{}", params.collect::<String>())
    };
    let method = |explainer: &Explainer| {
        let files: Vec<&str> = explainer.files().map(|file| file.sha256.as_str()).collect();
        let read = match files[..] {
            [] => String::new(),
            [one] => format!(" sha256={one}"),
            _ => format!(" files={} of sha256s={}", files.len(), digest(files.iter().copied())),
        };
        described(explainer.entry().name, explainer.params()) + &read
    };
    let header = Header {
        model: loaded.model.sha256.clone(),
        precision: args.precision.precision().name().into(),
        engine: args.engine.engine.name().into(),
        target: format!(
            "{:?} {:?} {:?}{}",
            args.target.target,
            args.target.against,
            args.model.score,
            // As it was where there is none.
            match loaded.places_taken() {
                None => String::new(),
                Some(Over::All) => " over all".into(),
                Some(Over::Region(file)) => format!(" over {}", file.sha256),
            }
        ),
        settings: format!(
            "{} labels {} shape {:?} output {:?} weights {:?} passes {:?} deadline {:?} error {:?}",
            output::to_json(&loaded.card.input)?,
            digest(loaded.card.labels.iter().map(String::as_str)),
            loaded.input_shape()?,
            loaded.output(),
            args.model.random_weights,
            args.budget.max_passes,
            args.budget.deadline,
            args.standard_error
        ),
        methods: evaluation.rows.iter().map(|row| method(&row.explainer)).collect(),
        metrics: evaluation.measures.iter().map(|m| described(m.entry.name, &m.params)).collect(),
        dataset: dataset.digest(),
        samples: dataset.len() as u64,
        live: args.follow,
        shard,
    };
    if let Some(path) = args.state.as_ref().filter(|path| path.exists()) {
        let state = State::read(path).map_err(about_input)?;
        let other = (state.header.shard != shard).then_some("another shard");
        let other = other.or((!state.is_like(&evaluation.state())).then_some("metrics of another kind"));
        if let Some(what) = difference(&state.header, &header).or(other) {
            let message = format!("{}: is of {what}; name another file, or remove it", path.display());
            return Err(Failure { message, code: 4 });
        }
        evaluation.restore(state.rows.clone())?;
        return Ok(state);
    }
    Ok(State { header, done: 0, last: String::new(), failed: vec![], rows: evaluation.state() })
}

/// Takes in a sample. One that can't be used is counted and named.
fn push(
    evaluation: &mut Evaluation,
    (loaded, dataset): (&Loaded, &Dataset),
    args: &EvaluateArgs,
    sample: &Sample,
    failed: &mut Vec<Failed>,
) -> Outcome<Vec<Option<SampleScores>>> {
    let mut fail = |reason: String| failed.push(Failed { sample: sample.name.clone(), reason });
    let told = Some(target(&args.target)).filter(|_| args.target.target != "label");
    let explained = told.as_ref().and_then(|told| loaded.category(told));
    let ready = dataset.material(loaded, sample, explained).and_then(|material| {
        let told = told.filter(|_| !material.mosaic);
        let target = target_of(loaded, material.label.as_deref(), told)?;
        Ok((material, target))
    });
    let (material, target) = match ready {
        Ok(ready) => ready,
        Err(failure) => {
            evaluation.push_failed();
            fail(failure.message);
            return Ok(vec![]);
        }
    };
    let Material { input, marked, mosaic, file, .. } = material;
    let pushed = evaluation.push(&Subjected { input: &input, file, marked: &marked, mosaic, target })?;
    let (mut all, mut reasons) = (vec![], vec![]);
    for (row, scores) in evaluation.rows.iter().zip(pushed) {
        match scores {
            Ok(scores) => all.push(Some(scores)),
            Err(error) => {
                reasons.push((error.to_string(), row.explainer.entry().name));
                all.push(None);
            }
        }
    }
    // A sample that failed in one way is told of once, whatever methods there are.
    for same in reasons.chunk_by(|a, b| a.0 == b.0) {
        let methods: Vec<&str> = same.iter().map(|(_, method)| *method).collect();
        let methods = if methods.len() == all.len() { String::new() } else { format!("{}: ", methods.join(", ")) };
        fail(format!("{methods}{}", same[0].0));
    }
    Ok(all)
}

/// What is shown while it runs: the table so far, or a count.
enum Progress {
    Table(Filling),
    Count(Box<dyn Fn(u64)>),
    Nothing,
}

impl Progress {
    fn new(args: &EvaluateArgs, state: &State) -> Progress {
        if args.quiet {
            return Progress::Nothing;
        }
        match Filling::on_terminal().filter(|_| !output::is_stdout(&args.json)) {
            Some(table) => Progress::Table(table),
            None => match output::progress::samples(state.header.share()) {
                Some(show) => Progress::Count(Box::new(show)),
                None => Progress::Nothing,
            },
        }
    }

    fn update(&mut self, state: &State) -> Outcome {
        match self {
            Progress::Table(table) if table.is_due() => table.show(&Report::new(state, None)?),
            Progress::Count(show) => show(state.done),
            _ => {}
        }
        Ok(())
    }

    fn end(&mut self) {
        if let Progress::Table(table) = self {
            table.clear();
        }
    }
}
