//! `evaluate --samples`: a line of JSON for every sample, which a run that was ended goes on behind.

use std::fs::{File, TryLockError};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use serde_json::{Map, Value, json};
use whyline_runtime::Error;
use whyline_runtime::evaluate::{Evaluation, SampleScores};
use whyline_runtime::metrics::Observation;
use whyline_runtime::state::State;

use crate::args::EvaluateArgs;
use crate::failure::{Failure, Outcome};

/// The lines, where somebody wants them.
pub struct Log(Option<Lines>);

struct Lines {
    path: PathBuf,
    file: File,
    /// Whether what an earlier run left lies behind the lines that are kept: it goes once the next line is there.
    has_more: bool,
}

impl Log {
    /// Goes on behind the lines of an earlier run, or begins.
    pub fn open(args: &EvaluateArgs, state: &State) -> Outcome<Log> {
        let (Some(path), done) = (&args.samples, state.done) else { return Ok(Log(None)) };
        let failed = |source| Error::Write { path: path.clone(), source };
        // A pipe or device has no lines of an earlier run, and no place to go on from.
        if std::fs::metadata(path).is_ok_and(|data| !data.is_file() && !data.is_dir()) {
            let file = File::options().write(true).open(path).map_err(failed)?;
            return Ok(Log(Some(Lines { path: path.clone(), file, has_more: false })));
        }
        // What is not there is made only once it is known that nothing of it is missing.
        let there = match File::options().read(true).write(true).open(path) {
            Ok(file) => Some(alone(file).map_err(failed)?),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(failed(error).into()),
        };
        let mut before = String::new();
        if let Some(mut file) = there.as_ref().filter(|_| done > 0) {
            // What is no text holds none of its lines.
            let _ = file.read_to_string(&mut before);
        }
        let kept: String = before.split_inclusive('\n').take(done as usize).collect();
        if !are_of(&kept, state) {
            let message = format!(
                "{}: is to go on behind {done} samples that --state has, and does not hold their lines; name the file that \
                 does, leave --samples out, or begin both anew",
                path.display()
            );
            return Err(Failure { message, code: 4 });
        }
        let mut file = match there {
            Some(file) => file,
            None => File::create_new(path).and_then(alone).map_err(failed)?,
        };
        // What is kept stays where it is: whatever ends the program here loses nothing of it.
        file.seek(SeekFrom::Start(kept.len() as u64)).map_err(failed)?;
        Ok(Log(Some(Lines { path: path.clone(), file, has_more: true })))
    }

    /// Adds a sample's.
    pub fn line(
        &mut self,
        evaluation: &Evaluation,
        name: &str,
        number: u64,
        scores: &[Option<SampleScores>],
    ) -> Outcome {
        let Some(Lines { path, file, .. }) = &mut self.0 else { return Ok(()) };
        let mut methods = Map::new();
        for (row, scores) in evaluation.rows.iter().zip(scores) {
            let own = scores.as_ref().map(|scores| {
                let values = evaluation.measures.iter().zip(&scores.scores).map(|(measure, score)| {
                    let value = match score {
                        Ok(Observation::Score(score) | Observation::Grouped { score, .. }) => json!(score),
                        Ok(Observation::Hit { hit, .. }) => json!(f64::from(u8::from(*hit))),
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
        let line = json!({"sample": number, "file": name, "methods": methods});
        let written = file.write_all(format!("{line}\n").as_bytes());
        written.map_err(|source| Error::Write { path: path.clone(), source })?;
        self.cut()
    }

    /// Lets go what an earlier run left behind the lines so far.
    pub fn cut(&mut self) -> Outcome {
        let Some(Lines { path, file, has_more }) = &mut self.0 else { return Ok(()) };
        if std::mem::take(has_more) {
            let cut = file.stream_position().and_then(|end| file.set_len(end));
            cut.map_err(|source| Error::Write { path: path.clone(), source })?;
        }
        Ok(())
    }

    /// Has the lines so far on the disk, where they go to one.
    pub fn sync(&self) -> Outcome {
        let Some(Lines { path, file, .. }) = &self.0 else { return Ok(()) };
        let synced = file.metadata().and_then(|data| if data.is_file() { file.sync_data() } else { Ok(()) });
        Ok(synced.map_err(|source| Error::Write { path: path.clone(), source })?)
    }
}

/// The file, which no other run writes to.
fn alone(file: File) -> std::io::Result<File> {
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => {
            Err(std::io::Error::new(ErrorKind::ResourceBusy, "another run writes its lines there"))
        }
        // Where the file system gives no locks, lines are as safe as their state.
        _ => Ok(file),
    }
}

/// Whether these are the lines of a state's samples: as many, and the last one's the same.
fn are_of(lines: &str, state: &State) -> bool {
    let parsed = |line: &str| serde_json::from_str::<Value>(line).ok();
    let number = |line: &str| parsed(line)?["sample"].as_u64();
    let last = lines.lines().next_back().and_then(parsed);
    let is_last = last.map_or(state.last.is_empty(), |line| line["file"] == state.last.as_str());
    let is_whole = lines.is_empty() || lines.ends_with('\n');
    is_whole && is_last && lines.lines().map(number).eq((0..state.done).map(Some))
}
