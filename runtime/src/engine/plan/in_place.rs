//! Lets steps write over what nobody reads after them.

use super::arena::{BufferId, Life};
use super::run::Step;

/// Lets chains write over an operand that nobody reads after them. Returns which buffers have taken the place of
/// which.
pub fn work_in_place(
    steps: &mut [Step],
    lives: &mut [Option<Life>],
    in_arena: impl Fn(BufferId) -> bool,
) -> Vec<(BufferId, BufferId)> {
    let mut roots: Vec<BufferId> = (0..lives.len()).collect();
    let mut merged = vec![];
    for (at, step) in steps.iter_mut().enumerate() {
        let candidates = step.work.may_overwrite();
        let Some(&output) = step.writes.first() else { continue };
        let Some(own) = lives[output] else { continue };
        let ends_here = |id: BufferId| {
            let once = step.reads.iter().filter(|&&r| roots[r] == roots[id]).count() == 1;
            once && in_arena(id) && lives[roots[id]].is_some_and(|l| l.to == at && l.len == own.len)
        };
        let Some(&operand) = candidates.iter().find(|&&i| ends_here(step.reads[i])) else { continue };
        let root = roots[step.reads[operand]];
        step.work.overwrite(operand);
        step.reads.remove(operand);
        step.in_place = true;
        if let Some(life) = &mut lives[root] {
            (life.from, life.to) = (life.from.min(own.from), own.to);
        }
        lives[output] = None;
        roots[output] = root;
        merged.push((output, root));
    }
    merged
}
