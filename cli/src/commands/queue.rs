//! The samples that an evaluation takes: a shard's, or those of a folder as they come in.

use std::collections::VecDeque;
use std::path::Path;
use std::time::{Duration, Instant};

use whyline_runtime::state::State;

use super::dataset::{Dataset, Sample, names_in};
use crate::failure::Outcome;
use crate::warn;

/// The samples that are still to be taken, one after the other.
pub enum Queue {
    /// Those of a shard.
    Shard {
        /// The next one's number.
        next: usize,
        /// How many numbers to go on by.
        stride: usize,
    },
    /// Those of a folder, as they come in.
    Live(Live),
}

/// What is known of a folder that is followed.
#[derive(Default)]
pub struct Live {
    /// The latest one taken.
    last: String,
    /// Those that are there already.
    waiting: VecDeque<String>,
    /// How many of those that are there were taken, or passed over.
    taken: u64,
    /// Whether it was said that some will not be.
    warned: bool,
    /// The one that is being written while later ones are whole, and since when.
    slow: Option<(String, Instant)>,
}

/// How often a folder is looked at, for how long a file there has not changed once it is whole, and for how long one that does
/// not cease to change keeps others waiting.
const PAUSE: Duration = Duration::from_millis(200);
const SETTLED: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(10);

impl Queue {
    /// What an evaluation has not taken yet.
    pub fn of(state: &State) -> Queue {
        if state.header.is_live() {
            return Queue::Live(Live { last: state.last.clone(), taken: state.done, ..Live::default() });
        }
        let (shard, count) = state.header.shard;
        let place = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let next = shard.saturating_add(state.done.saturating_mul(count));
        Queue::Shard { next: place(next), stride: place(count) }
    }

    /// The next sample; none where there are no more, or somebody wants no more. A folder that is followed is waited for; its
    /// images are taken in the order of their names.
    pub fn next(&mut self, dataset: &Dataset, wants_more: &dyn Fn() -> bool) -> Outcome<Option<Sample>> {
        if !wants_more() {
            return Ok(None);
        }
        match self {
            Queue::Shard { next, stride } => {
                let number = *next;
                *next = next.saturating_add(*stride);
                Ok((number < dataset.len()).then(|| Sample { name: dataset.name(number), number: Some(number) }))
            }
            Queue::Live(live) => Ok(live.next(dataset, wants_more)),
        }
    }
}

impl Live {
    fn next(&mut self, dataset: &Dataset, wants_more: &dyn Fn() -> bool) -> Option<Sample> {
        loop {
            if let Some(name) = self.waiting.pop_front() {
                self.last.clone_from(&name);
                self.taken += 1;
                return Some(Sample { name, number: None });
            }
            let names = names_in(dataset.folder());
            if dataset.is_gone() {
                warn!("{} is gone; nothing more is waited for", dataset.folder().display());
                return None;
            }
            // A folder inside may go while it is read; it is looked at again.
            if let Ok(names) = names {
                self.look(names, &|name| is_settled(&dataset.folder().join(name)));
            }
            if self.waiting.is_empty() {
                std::thread::sleep(PAUSE);
                if !wants_more() {
                    return None;
                }
            }
        }
    }

    /// Takes up what has come in, in the order of names, as far as it is whole.
    fn look(&mut self, names: Vec<String>, is_settled: &dyn Fn(&str) -> bool) {
        let passed = names.iter().filter(|name| **name <= self.last).count() as u64;
        let late = passed.saturating_sub(self.taken);
        if late > 0 && !std::mem::replace(&mut self.warned, true) {
            warn!("{late} images with names before '{}' were not taken, and are left out: names must grow", self.last);
        }
        // What was taken may be cleared away, and makes no room for late ones.
        self.taken = self.taken.min(passed);
        let mut new = names.into_iter().filter(|name| *name > self.last).peekable();
        while let Some(name) = new.next_if(|name| is_settled(name)) {
            self.waiting.push_back(name);
        }
        match new.next().filter(|_| self.waiting.is_empty()) {
            Some(slow) if new.any(|name| is_settled(&name)) => self.wait_for(slow),
            _ => self.slow = None,
        }
    }

    /// Others wait for one that is being written, but not for ever.
    fn wait_for(&mut self, name: String) {
        match &self.slow {
            Some((slow, since)) if *slow == name => {
                if since.elapsed() >= PATIENCE {
                    warn!("'{name}' does not cease to change, and is left out: move images there when they are whole");
                    self.taken += 1;
                    self.last = name;
                    self.slow = None;
                }
            }
            _ => self.slow = Some((name, Instant::now())),
        }
    }
}

/// Whether a file has not changed for a while.
fn is_settled(path: &Path) -> bool {
    // A link to nothing is no file to wait for: it is counted as one that can't be read.
    let data = std::fs::metadata(path).or_else(|_| std::fs::symlink_metadata(path));
    let changed = data.and_then(|data| data.modified()).ok();
    // A clock that was put back must not hold anything up.
    changed.is_some_and(|at| at.elapsed().map_or(true, |age| age >= SETTLED))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live() -> Live {
        Live { last: "a.png".into(), taken: 1, ..Live::default() }
    }

    fn names() -> Vec<String> {
        ["a.png", "b.png", "c.png", "d.png"].map(String::from).to_vec()
    }

    #[test]
    fn what_is_whole_is_taken_up_to_what_is_not() {
        let mut live = live();
        live.look(names(), &|name| name != "c.png");
        assert_eq!(live.waiting, ["b.png"]);
        assert!(live.slow.is_none());
    }

    #[test]
    fn a_file_that_does_not_cease_to_change_keeps_others_waiting_for_a_while_alone() {
        let mut live = live();
        live.look(names(), &|name| name != "b.png");
        assert!(live.waiting.is_empty() && live.last == "a.png");
        let (name, _) = live.slow.take().unwrap();
        // Much later.
        live.slow = Some((name, Instant::now().checked_sub(PATIENCE).unwrap()));
        live.look(names(), &|name| name != "b.png");
        assert_eq!((live.last.as_str(), live.taken), ("b.png", 2));
        live.look(names(), &|name| name != "b.png");
        assert_eq!(live.waiting, ["c.png", "d.png"]);
    }

    #[test]
    fn late_files_are_seen_though_others_were_cleared_away() {
        let mut live = Live { last: "c.png".into(), taken: 3, ..Live::default() };
        live.look(names(), &|_| true);
        assert!(!live.warned);
        live.look(names().split_off(1), &|_| true);
        assert!(!live.warned, "one was cleared away");
        live.look([&["a2.png".into()], &names()[1..]].concat(), &|_| true);
        assert!(live.warned);
    }

    #[test]
    fn the_last_file_is_waited_for_however_long_it_takes() {
        let mut live = live();
        live.look(names(), &|_| false);
        assert!(live.waiting.is_empty() && live.slow.is_none());
    }
}
