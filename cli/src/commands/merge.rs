//! `whyline merge`

use std::path::PathBuf;

use whyline_runtime::state::State;

use crate::args::MergeArgs;
use crate::failure::{Outcome, about_input};
use crate::output::scores::Report;
use crate::output::{refuse_overwriting, refuse_unwritable};

/// Runs it.
pub fn run(args: &MergeArgs) -> Outcome {
    refuse_overwriting(&args.states, [&args.state, &args.json, &args.csv])?;
    refuse_unwritable([&args.state, &args.json, &args.csv])?;
    let read = |path: &PathBuf| Ok((path.clone(), State::read(path).map_err(about_input)?));
    let whole = State::merge(args.states.iter().map(read).collect::<Outcome<_>>()?)?;
    let report = Report::new(&whole, None)?;
    if let Some(path) = &args.state {
        whole.write(path)?;
    }
    report.tell((&args.json, &args.csv), args.quiet)?;
    report.refuse_nothing()
}
