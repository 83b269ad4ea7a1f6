//! The mean height of a curve of many steps from few of them: steps are taken where the curve bends.
//!
//! Of a cell between two steps that were taken it is assumed that the curve is a line. Taking the one in the middle shows how
//! wrong that was, and how much the halves are to be doubted. So a tolerance is aimed at and is no bound: a bump that no step met is unseen.
//!
//! ```
//! use whyline_stream::refined::Refined;
//! // A thousand steps of a curve that falls somewhere.
//! let height = |step: u32| 1.0 / (1.0 + ((step as f64 - 700.0) / 10.0).exp());
//! let mut curve = Refined::<256>::new(1000);
//! let mut taken = 0;
//! let mut wanted = curve.first();
//! while !wanted.is_empty() {
//!     for step in wanted {
//!         curve.tell(step, height(step));
//!         taken += 1;
//!     }
//!     wanted = curve.more(1e-3);
//! }
//! let mean = |of: &dyn Fn(u32) -> f64| (0..1000).map(|i| 0.5 * (of(i) + of(i + 1))).sum::<f64>() / 1000.0;
//! assert!((mean(&|step| curve.height(step)) - mean(&height)).abs() < 1e-3);
//! assert!(taken < 60, "{taken}");
//! ```

use heapless::Vec;

/// Cells before anything is known: as many as leave no bend of their size unseen.
const FIRST: u32 = 16;

/// Cells are bisected together with the worst one if they are doubted at least so much of it.
const MINOR: f64 = 0.25;

/// A half is doubted at least this much of the whole, however straight it seems: the middle may lie on the line by accident.
const INHERITED: f64 = 0.0625;

/// A curve of steps from zero to a last one, of which up to `N` are taken.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Refined<const N: usize> {
    last: u32,
    /// By step.
    nodes: Vec<Node, N>,
}

#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
struct Node {
    step: u32,
    height: f64,
    /// How far the mean height may be wrong by the cell from here to the next node.
    doubt: f64,
}

impl<const N: usize> Refined<N> {
    /// Of steps from zero to `last`.
    pub fn new(last: u32) -> Refined<N> {
        Refined { last, nodes: Vec::new() }
    }

    /// The steps that are taken first, in the order they are to be told.
    pub fn first(&self) -> Vec<u32, N> {
        let mut wanted = Vec::new();
        let mut want = |step: u32| {
            if !wanted.contains(&step) {
                // Where there is no room, fewer are taken.
                let _ = wanted.push(step);
            }
        };
        want(0);
        want(self.last);
        let mut cells = 1;
        while cells < FIRST {
            cells *= 2;
            let place = |i: u32| (self.last as u64 * i as u64 / cells as u64) as u32;
            (1..cells).step_by(2).for_each(|i| want(place(i)));
        }
        wanted
    }

    /// The steps that are wanted next, until the mean height is doubted no more than that; none then.
    pub fn more(&self, tolerance: f64) -> Vec<u32, N> {
        let mut wanted = Vec::new();
        let (total, worst) =
            self.nodes.iter().fold((0.0, 0.0f64), |(sum, most), node| (sum + node.doubt, most.max(node.doubt)));
        if total <= tolerance {
            return wanted;
        }
        let room = N - self.nodes.len();
        for pair in self.nodes.windows(2) {
            let doubted = pair[0].doubt > 0.0 && pair[0].doubt >= MINOR * worst;
            if doubted && wanted.len() < room {
                let _ = wanted.push(pair[0].step + (pair[1].step - pair[0].step) / 2);
            }
        }
        wanted
    }

    /// The height at a step. Steps that are told for the first time must not be more than there is room for; others are ignored.
    pub fn tell(&mut self, step: u32, height: f64) {
        let place = match self.nodes.binary_search_by_key(&step, |node| node.step) {
            Ok(_) => return,
            Err(place) => place,
        };
        let around = place.checked_sub(1).and_then(|before| Some((self.nodes.get(before)?, self.nodes.get(place)?)));
        let (before, after) = match around {
            None => {
                // The ends: until a middle is taken the curve may be a stair anywhere between.
                let _ = self.nodes.insert(place, Node { step, height, doubt: 0.0 });
                if let [from, to] = self.nodes[..] {
                    self.nodes[0].doubt = self.doubt(&from, &to, 0.5 * (to.height - from.height));
                }
                return;
            }
            Some((before, after)) => (*before, *after),
        };
        let share = (step - before.step) as f64 / (after.step - before.step) as f64;
        let line = before.height + share * (after.height - before.height);
        // A triangle over the cell. A stair is as wrong again in the half that it lies in; of a bend either half is wrong by a
        // quarter at most.
        let off = self.doubt(&before, &after, 0.5 * (height - line));
        let rises = [libm::fabs(height - before.height), libm::fabs(after.height - height)];
        let both = rises[0] + rises[1];
        let shares = rises.map(|rise| if both > 0.0 { rise / both } else { 0.5 });
        let most = shares[0].max(shares[1]);
        let own = Node { step, height, doubt: 0.0 };
        let doubt = |from: &Node, to: &Node, share: f64| match to.step - from.step {
            1 => 0.0,
            _ => (off * share * most).max(INHERITED * before.doubt),
        };
        let (left, right) = (doubt(&before, &own, shares[0]), doubt(&own, &after, shares[1]));
        if self.nodes.insert(place, Node { doubt: right, ..own }).is_ok() {
            self.nodes[place - 1].doubt = left;
        }
    }

    /// What a height means for the mean over all steps, where it is that of a cell; nothing where the cell has no step inside.
    fn doubt(&self, from: &Node, to: &Node, height: f64) -> f64 {
        let steps = (to.step - from.step) as f64;
        if steps > 1.0 { libm::fabs(height) * steps / self.last.max(1) as f64 } else { 0.0 }
    }

    /// The height at a step, as it was told, or on the line between those that were; none were is zero.
    pub fn height(&self, step: u32) -> f64 {
        match self.nodes.binary_search_by_key(&step, |node| node.step) {
            Ok(known) => self.nodes[known].height,
            Err(place) => match (place.checked_sub(1).and_then(|p| self.nodes.get(p)), self.nodes.get(place)) {
                (Some(a), Some(b)) => {
                    a.height + (b.height - a.height) * (step - a.step) as f64 / (b.step - a.step) as f64
                }
                (Some(near), None) | (None, Some(near)) => near.height,
                (None, None) => 0.0,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run<const N: usize>(last: u32, tolerance: f64, height: impl Fn(u32) -> f64) -> (f64, usize) {
        let mut curve = Refined::<N>::new(last);
        let mut wanted = curve.first();
        while !wanted.is_empty() {
            wanted.iter().for_each(|step| curve.tell(*step, height(*step)));
            wanted = curve.more(tolerance);
        }
        let exact: f64 = (0..=last).map(&height).sum::<f64>() / (last + 1) as f64;
        let found: f64 = (0..=last).map(|step| curve.height(step)).sum::<f64>() / (last + 1) as f64;
        (libm::fabs(found - exact), curve.nodes.len())
    }

    #[test]
    fn curves_of_all_kinds_are_within_the_tolerance() {
        let wave = |step: u32| libm::sin(step as f64 / 40.0);
        let stair = |step: u32| if step < 137 { 1.0 } else { 0.2 };
        let rough = |step: u32| libm::exp(-(step as f64) / 60.0) * (1.0 + 0.3 * libm::sin(step as f64 * 7.0));
        let bump = |step: u32| libm::exp(-libm::pow((step as f64 - 90.0) / 14.0, 2.0));
        let curves: [&dyn Fn(u32) -> f64; 4] = [&wave, &stair, &rough, &bump];
        for (number, curve) in curves.into_iter().enumerate() {
            for tolerance in [1e-2, 1e-3] {
                let (error, taken) = run::<300>(224, tolerance, curve);
                assert!(error <= 2.0 * tolerance, "{number}: {error} for {tolerance}");
                assert!(number == 2 || taken < 100, "{number}: {taken} for {tolerance}");
            }
        }
    }

    #[test]
    fn nothing_is_left_to_doubt_once_every_step_is_taken() {
        let rough = |step: u32| libm::sin(step as f64 * 7.0);
        let (error, taken) = run::<64>(40, 0.0, rough);
        assert!(error < 1e-15 && taken <= 41, "{error}, {taken}");
        assert_eq!(run::<64>(1, 0.0, rough).1, 2);
        assert_eq!(run::<64>(0, 0.0, rough).1, 1);
        assert!(run::<20>(500, 0.0, rough).1 <= 20, "no more than there is room for");
    }

    /// A curve from 2 to 1 over eight steps.
    #[test]
    fn doubts_by_hand() {
        let mut curve = Refined::<64>::new(8);
        curve.tell(0, 2.0);
        curve.tell(8, 1.0);
        // Half the height between the ends, over all steps.
        assert!(curve.more(0.5).is_empty() && curve.more(0.499) == [4]);
        // The line says 1.5: half of 0.3 is 0.15. Of the fall 0.8 is to the left, which is doubted by 0.15 * 0.8 * 0.8 = 0.096, and
        // 0.2 to the right, whose 0.15 * 0.2 * 0.8 are less than a sixteenth of the half, 0.03125. The sum is 0.12725.
        curve.tell(4, 1.2);
        assert!(curve.more(0.12726).is_empty());
        assert_eq!(curve.more(0.12724), [2, 6]);
    }
}
