//! The samples that an evaluation takes: a shard's, or those of a folder as they come in.

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use whyline_runtime::state::State;

use super::dataset::{Dataset, Sample, names_in};
use super::masks::mask_beside;
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
    Live(Box<Live>),
}

/// What is known of a folder that is followed.
#[derive(Default)]
pub struct Live {
    /// The latest one taken.
    last: String,
    /// Those that are there already.
    waiting: VecDeque<String>,
    /// How many an earlier run has taken.
    done: u64,
    /// Of those that come before the latest one taken, which are known, once they were looked at: they were taken, or passed over.
    known: Option<HashSet<String>>,
    /// The one that is being written while later ones are whole, and since when.
    slow: Option<(String, Instant)>,
    /// Files that may be being written.
    watch: Watch,
}

/// Files that were changed lately, by their own dates: how large they are, those dates, and since when nothing of that has changed.
#[derive(Default)]
struct Watch {
    /// As they were when they were looked at the time before.
    before: HashMap<PathBuf, Seen>,
    now: HashMap<PathBuf, Seen>,
}

/// A file's size and date, and since when they are these.
type Seen = ((u64, Option<SystemTime>), Instant);

/// How often a folder is looked at, for how long a file there has not changed once it is whole, and for how long one that does
/// not cease to change keeps others waiting.
const PAUSE: Duration = Duration::from_millis(200);
const SETTLED: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(10);

impl Queue {
    /// What an evaluation has not taken yet.
    pub fn of(state: &State) -> Queue {
        if state.header.is_live() {
            return Queue::Live(Box::new(Live { last: state.last.clone(), done: state.done, ..Live::default() }));
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
                return Some(Sample { name, number: None });
            }
            let names = names_in(dataset.folder());
            if dataset.is_gone() {
                warn!("{} is gone; nothing more is waited for", dataset.folder().display());
                return None;
            }
            // A folder inside may go while it is read; it is looked at again.
            if let Ok(names) = names {
                let mut watch = self.watch.again();
                self.look(names, &mut |name| watch.has_settled(dataset.folder(), name));
                self.watch = watch;
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
    fn look(&mut self, names: Vec<String>, is_settled: &mut dyn FnMut(&str) -> bool) {
        let (passed, new): (Vec<String>, Vec<String>) = names.into_iter().partition(|name| *name <= self.last);
        let mut known = HashSet::from_iter(passed);
        if let Some(late) = self.late(&known) {
            warn!(
                "{late} with names before '{}' came, or came back, too late, and are left out: names must grow",
                self.last
            );
        }
        // All are asked: for how long a file has not changed is known of those alone that were looked at.
        let asked: Vec<(bool, String)> = new.into_iter().map(|name| (is_settled(&name), name)).collect();
        let mut asked = asked.into_iter().peekable();
        while let Some((_, name)) = asked.next_if(|(settled, _)| *settled) {
            known.insert(name.clone());
            self.waiting.push_back(name);
        }
        self.known = Some(known);
        match asked.next().filter(|_| self.waiting.is_empty()) {
            Some((_, slow)) if asked.any(|(settled, _)| settled) => self.wait_for(slow),
            _ => self.slow = None,
        }
    }

    /// Which of those that come before the latest one taken have come after it.
    fn late(&self, passed: &HashSet<String>) -> Option<String> {
        let Some(known) = &self.known else {
            // Which they are an earlier run knew, and how many it had taken.
            let late = (passed.len() as u64).saturating_sub(self.done);
            return (late > 0).then(|| if late == 1 { "an image".into() } else { format!("{late} images") });
        };
        let late = passed.difference(known);
        let first = late.clone().min()?;
        Some(match late.count() {
            1 => format!("the image '{first}'"),
            count => format!("'{first}' and {} other images", count - 1),
        })
    }

    /// Others wait for one that is being written, but not for ever.
    fn wait_for(&mut self, name: String) {
        match &self.slow {
            Some((slow, since)) if *slow == name => {
                if since.elapsed() >= PATIENCE {
                    warn!("'{name}' does not cease to change, and is left out: move images there when they are whole");
                    self.known.get_or_insert_default().insert(name.clone());
                    self.last = name;
                    self.slow = None;
                }
            }
            _ => self.slow = Some((name, Instant::now())),
        }
    }
}

impl Watch {
    /// For another look at all of them.
    fn again(&mut self) -> Watch {
        Watch { before: std::mem::take(&mut self.now), now: HashMap::new() }
    }

    /// Whether an image and its mask have not changed for a while.
    fn has_settled(&mut self, folder: &Path, name: &str) -> bool {
        let image = folder.join(name);
        // A name that is no text can't be asked for: it is counted as one that can't be read.
        (name.contains(char::REPLACEMENT_CHARACTER) && !image.exists())
            || (self.is_still(&image) && mask_beside(&image).is_none_or(|mask| self.is_still(&mask)))
    }

    /// By its date, or where that is no time ago or yet to come, because a clock is another one's, by what was seen of it.
    fn is_still(&mut self, path: &Path) -> bool {
        // A link to nothing is no file to wait for: it is counted as one that can't be read.
        let data = std::fs::metadata(path).or_else(|_| std::fs::symlink_metadata(path));
        let Ok(data) = data else { return false };
        let date = data.modified().ok();
        if date.and_then(|date| date.elapsed().ok()).is_some_and(|age| age >= SETTLED) {
            return true;
        }
        let stamp = (data.len(), date);
        let since = self.before.get(path).filter(|seen| seen.0 == stamp).map_or_else(Instant::now, |seen| seen.1);
        self.now.insert(path.into(), (stamp, since));
        since.elapsed() >= SETTLED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live() -> Live {
        Live { last: "a.png".into(), done: 1, ..Live::default() }
    }

    fn names() -> Vec<String> {
        ["a.png", "b.png", "c.png", "d.png"].map(String::from).to_vec()
    }

    #[test]
    fn what_is_whole_is_taken_up_to_what_is_not() {
        let mut live = live();
        live.look(names(), &mut |name| name != "c.png");
        assert_eq!(live.waiting, ["b.png"]);
        assert!(live.slow.is_none());
    }

    #[test]
    fn a_file_that_does_not_cease_to_change_keeps_others_waiting_for_a_while_alone() {
        let mut live = live();
        live.look(names(), &mut |name| name != "b.png");
        assert!(live.waiting.is_empty() && live.last == "a.png");
        let (name, _) = live.slow.take().unwrap();
        // Much later.
        live.slow = Some((name, Instant::now().checked_sub(PATIENCE).unwrap()));
        live.look(names(), &mut |name| name != "b.png");
        assert_eq!(live.last, "b.png");
        live.look(names(), &mut |name| name != "b.png");
        assert_eq!(live.waiting, ["c.png", "d.png"]);
    }

    #[test]
    fn late_files_are_seen_though_others_were_cleared_away() {
        let of = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<Vec<String>>();
        let set = |names: &[&str]| of(names).into_iter().collect::<HashSet<String>>();
        let mut live = Live { last: "c.png".into(), done: 3, ..Live::default() };
        assert!(live.late(&set(&["a.png", "b.png", "c.png"])).is_none());
        assert_eq!(live.late(&set(&["a.png", "a2.png", "b.png", "c.png"])).unwrap(), "an image");
        live.look(names(), &mut |_| true);
        live.last = live.waiting.pop_front().unwrap();
        assert_eq!(live.last, "d.png");
        live.look(of(&["b.png", "c.png", "d.png"]), &mut |_| true);
        assert!(live.late(&set(&["c.png", "d.png"])).is_none(), "one was cleared away");
        // In the same look as another one was cleared away.
        assert!(live.late(&set(&["a2.png", "a3.png", "c.png", "d.png"])).unwrap().contains("'a2.png' and 1 other"));
        live.look(of(&["a2.png", "c.png", "d.png"]), &mut |_| true);
        assert!(live.late(&set(&["a2.png", "c.png", "d.png"])).is_none(), "it was told of");
    }

    #[test]
    fn the_last_file_is_waited_for_however_long_it_takes() {
        let mut live = live();
        live.look(names(), &mut |_| false);
        assert!(live.waiting.is_empty() && live.slow.is_none());
    }

    /// A clock that is ahead makes every file one of the future.
    #[test]
    fn a_date_to_come_says_nothing_of_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("a.png");
        let write = |bytes: &[u8]| {
            std::fs::write(&image, bytes).unwrap();
            let ahead = SystemTime::now() + Duration::from_secs(3600);
            std::fs::File::options().write(true).open(&image).unwrap().set_modified(ahead).unwrap();
        };
        // Seen long ago, by the clock that was there.
        let long_ago = |watch: &mut Watch| {
            let mut again = watch.again();
            again.before.values_mut().for_each(|seen| seen.1 = Instant::now().checked_sub(2 * SETTLED).unwrap());
            again
        };
        write(b"half");
        let mut watch = Watch::default();
        assert!(!watch.has_settled(folder.path(), "a.png"));
        write(b"whole");
        watch = long_ago(&mut watch);
        assert!(!watch.has_settled(folder.path(), "a.png"), "it has grown");
        watch = long_ago(&mut watch);
        assert!(watch.has_settled(folder.path(), "a.png"));
        std::fs::write(folder.path().join("a.mask.png"), b"half").unwrap();
        watch = long_ago(&mut watch);
        assert!(!watch.has_settled(folder.path(), "a.png"), "its mask is new");
        assert!(watch.has_settled(folder.path(), "\u{fffd}.png"));
    }
}
