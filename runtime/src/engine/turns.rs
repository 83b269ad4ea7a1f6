//! Numbered results of several threads, handed over in the order of their numbers, so that sums come out the same for
//! any number of threads.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::plan::arena::Arena;
use super::session::{Gradient, Take};
use crate::error::{Error, Result};

/// Runs `count` numbered passes side by side, as many at a time as there are arenas; `run` gives each turn its result.
pub fn in_turns<'m>(
    arenas: &mut [Arena<'m>],
    count: usize,
    take: Take,
    run: &(dyn Fn(&mut Arena<'m>, Turn) + Sync),
) -> Result<()> {
    let turns = Turns::new(count, take);
    let work = |arena: &mut Arena<'m>| {
        let mut first = true;
        while let Some(mut turn) = turns.claim() {
            turn.first = std::mem::take(&mut first);
            run(arena, turn);
        }
    };
    // A scope for threads allocates.
    if let [arena] = arenas {
        work(arena);
        return turns.end();
    }
    let (first, others) = arenas.split_at_mut(1);
    std::thread::scope(|scope| {
        for arena in others.iter_mut().take(count.saturating_sub(1)) {
            scope.spawn(|| work(arena));
        }
        first.iter_mut().for_each(&work);
    });
    turns.end()
}

/// Who works on what, and whose turn it is.
pub struct Turns<'a> {
    count: usize,
    state: Mutex<State<'a>>,
    moved: Condvar,
}

struct State<'a> {
    /// The number that is to be claimed next.
    next: usize,
    /// The number that is to be handed over next.
    turn: usize,
    take: Take<'a>,
    /// Whether the others are not wanted any more.
    ended: Result<bool>,
}

impl State<'_> {
    /// Whether the next result is wanted: nothing has failed, and nobody has had enough.
    fn wants(&self) -> bool {
        matches!(self.ended, Ok(false))
    }
}

impl<'a> Turns<'a> {
    /// Numbers below `count`, whose results go to `take`.
    fn new(count: usize, take: Take<'a>) -> Turns<'a> {
        let state = Mutex::new(State { next: 0, turn: 0, take, ended: Ok(false) });
        Turns { count, state, moved: Condvar::new() }
    }

    /// The next number to work on; none after the last, after a failure, or when no more are wanted.
    fn claim(&self) -> Option<Turn<'_, 'a>> {
        // Every number that is claimed is passed on, so that nobody waits for one that is not.
        let mut state = self.lock();
        let number = state.next;
        let wanted = number < self.count && state.wants();
        state.next += usize::from(wanted);
        // Not made where it is not wanted: what is dropped passes its turn on.
        wanted.then(|| Turn { turns: self, number, first: false })
    }

    /// How it ended.
    fn end(self) -> Result<()> {
        self.state.into_inner().unwrap_or_else(PoisonError::into_inner).ended.map(|_| ())
    }

    /// Runs `end` when the turn of `number` has come, and passes it on.
    fn pass(&self, number: usize, end: impl FnOnce(&mut State<'a>)) {
        let waiting = self.lock();
        let come = self.moved.wait_while(waiting, |state| state.turn < number);
        let mut state = come.unwrap_or_else(PoisonError::into_inner);
        end(&mut state);
        state.turn = number + 1;
        self.moved.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State<'a>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A number that somebody works on. Dropped without a result, as by a panic, it lets the others end.
pub struct Turn<'t, 'a> {
    turns: &'t Turns<'a>,
    /// The number.
    pub number: usize,
    /// Whether it is the first in its arena.
    pub first: bool,
}

impl Turn<'_, '_> {
    /// Waits for its turn and hands the result over. The first failure, by number, is the one that counts.
    pub fn give(self, result: Result<Gradient<'_>>) {
        let number = self.number;
        self.turns.pass(number, |state| {
            if state.wants() {
                let taken = result.and_then(|gradient| (state.take)(number, gradient));
                state.ended = taken.map(|flow| flow.is_break());
            }
        });
        std::mem::forget(self);
    }
}

impl Drop for Turn<'_, '_> {
    fn drop(&mut self) {
        let lost = || Err(Error::Plan { reason: "a thread ended before its pass did".into() });
        self.turns.pass(self.number, |state| {
            if state.wants() {
                state.ended = lost();
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use super::*;

    fn run(count: usize, threads: usize, fail_at: Option<usize>, stop_at: usize) -> (Vec<usize>, Result<()>) {
        let mut seen = vec![];
        let mut take = |i: usize, _: Gradient<'_>| {
            seen.push(i);
            Ok(if i == stop_at { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        };
        let turns = Turns::new(count, &mut take);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    while let Some(turn) = turns.claim() {
                        // The later ones are ready first.
                        std::thread::sleep(std::time::Duration::from_micros(300 / (turn.number as u64 + 1)));
                        match Some(turn.number) == fail_at {
                            true => drop(turn),
                            false => turn.give(Ok(Gradient::default())),
                        }
                    }
                });
            }
        });
        let ended = turns.end();
        (seen, ended)
    }

    #[test]
    fn results_come_in_order() {
        for threads in [1, 2, 5] {
            let (seen, ended) = run(40, threads, None, 40);
            assert_eq!(seen, (0..40).collect::<Vec<_>>());
            assert!(ended.is_ok());
        }
    }

    #[test]
    fn what_is_not_wanted_is_not_handed_over() {
        for threads in [1, 2, 5] {
            let (seen, ended) = run(40, threads, Some(30), 11);
            assert_eq!(seen, (0..=11).collect::<Vec<_>>());
            assert!(ended.is_ok());
        }
    }

    #[test]
    fn what_is_lost_ends_the_work() {
        let (seen, ended) = run(40, 3, Some(7), 40);
        assert_eq!(seen, (0..7).collect::<Vec<_>>());
        assert!(ended.is_err());
    }
}
