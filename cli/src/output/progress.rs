//! Progress on a terminal; nothing in a pipe.

use std::cell::Cell;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use whyline_runtime::engine::{Passes, Watcher};

/// Work shorter than this shows no progress, and the line changes no more often.
const INTERVAL: Duration = Duration::from_millis(200);

/// A line that counts samples up to `total`, where standard error is a terminal.
pub fn samples(total: u64) -> Option<impl Fn(u64) + Send> {
    counter(total, "samples")
}

/// A line that counts passes up to `total`, where standard error is a terminal.
pub fn passes(total: u64) -> Option<impl Fn(u64) + Send> {
    counter(total, "passes")
}

fn counter(total: u64, what: &'static str) -> Option<impl Fn(u64) + Send> {
    if !std::io::stderr().is_terminal() {
        return None;
    }
    let (begun, last) = (Instant::now(), Cell::new(Instant::now()));
    let shown = Cell::new(false);
    Some(move |done: u64| {
        let mut terminal = std::io::stderr().lock();
        // A terminal that takes no text is no reason to stop.
        if done >= total {
            if shown.replace(false) {
                let _ = write!(terminal, "\r\x1b[K");
            }
        } else if last.get().elapsed() >= INTERVAL {
            last.set(Instant::now());
            shown.set(true);
            let left = begun.elapsed().as_secs_f64() * (total - done) as f64 / done.max(1) as f64;
            let _ = write!(terminal, "\r{done} of {total} {what}, {left:.1} s left at most\x1b[K");
            let _ = terminal.flush();
        }
    })
}

/// The same for a method's passes.
pub fn watcher(total: Passes) -> Option<Watcher<'static>> {
    let show = passes(total.all())?;
    Some(Box::new(move |done| show(done.all())))
}
