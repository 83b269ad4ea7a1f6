//! An integral over [0, 1] that is refined where it is wrong.
//!
//! Of a function the value is known at the nodes taken so far, and of each cell between two of them the derivative's
//! trapezoid, which should give the value's change, and a doubt. The cells of most doubt that miss most are bisected until
//! what the trapezoids miss together is small enough. No node is taken in vain, and what the ends of the path are worth comes with them.
//!
//! ```
//! use whyline_stream::adaptive::{Adaptive, Cell};
//! let mut cells = Adaptive::<64>::new();
//! let mut places = vec![];
//! let slope = |place: f64| 5.0 * place.powi(4);
//! while !cells.is_within(1e-2) {
//!     for place in cells.next(64) {
//!         places.push(place);
//!         let cell = |from: usize, to: usize| {
//!             let (a, b) = (places[from], places[to]);
//!             let (width, ends) = (b - a, (slope(a), slope(b)));
//!             Cell { trapezoid: 0.5 * width * (ends.0 + ends.1), doubt: width * (ends.1 - ends.0).abs() }
//!         };
//!         cells.tell(place, place.powi(5), cell).unwrap();
//!     }
//! }
//! assert_eq!(cells.change(), 1.0);
//! assert!(cells.len() < 20);
//! ```

use heapless::Vec;

/// Cells are not bisected below this width: a float32 path has no places in between.
const LEAST: f64 = 1.0 / (1u64 << 20) as f64;

/// A cell is bisected if its doubt is at least this share of the worst one's. Measured on trained and random networks
/// (shares from 1/2 to 1/8, all cells or a quarter of them a round): fewest nodes for gaps from 5 % to 0.5 %.
const MINOR: f64 = 0.125;

/// With fewer nodes errors of opposite signs may cancel by accident.
const FEW: usize = 5;

/// Up to `N` nodes.
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Adaptive<const N: usize> {
    /// By place.
    nodes: Vec<Node, N>,
}

#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
struct Node {
    place: f64,
    value: f64,
    /// In the order of telling.
    number: usize,
    /// From here to the next node.
    cell: Cell,
}

/// What the derivatives at both ends of a cell say of it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Cell {
    /// Their trapezoid.
    pub trapezoid: f64,
    /// How unsure that is of what the integral is wanted for: cells with much of it are bisected.
    pub doubt: f64,
}

/// All nodes have been told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Full;

impl<const N: usize> Adaptive<N> {
    /// No nodes yet.
    pub const fn new() -> Self {
        Adaptive { nodes: Vec::new() }
    }

    /// How many nodes have been told.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether none has been told.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Where to take the next nodes, `most` at most: both ends first, then the middles of the cells of most doubt, the
    /// worst first. None where nothing can be refined.
    pub fn next(&self, most: usize) -> Vec<f64, N> {
        let mut places = Vec::new();
        if self.nodes.len() < 2 {
            places.extend([0.0, 1.0].into_iter().skip(self.nodes.len()).take(most.min(N)));
            return places;
        }
        let open = (0..self.nodes.len() - 1).filter(|&i| self.width(i) > LEAST);
        let mut cells: Vec<(usize, f64), N> = open.map(|i| (i, self.badness(i))).collect();
        cells.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let least = cells.first().map_or(0.0, |worst| MINOR * worst.1);
        let bad = cells.iter().take_while(|cell| cell.1 >= least);
        places.extend(
            bad.take(most.min(N - self.nodes.len())).map(|cell| self.nodes[cell.0].place + 0.5 * self.width(cell.0)),
        );
        places
    }

    /// Its doubt and what it misses, each as much as the other: a cell without one of them is well known.
    fn badness(&self, cell: usize) -> f64 {
        libm::sqrt(self.nodes[cell].cell.doubt * libm::fabs(missed(&self.nodes[cell..cell + 2])))
    }

    fn width(&self, cell: usize) -> f64 {
        self.nodes[cell + 1].place - self.nodes[cell].place
    }

    /// The function's value at a place, and the cell between any two nodes, by their numbers in the order of telling.
    pub fn tell(&mut self, place: f64, value: f64, cell: impl Fn(usize, usize) -> Cell) -> Result<(), Full> {
        let (at, number) = (self.nodes.iter().position(|n| n.place > place), self.nodes.len());
        let at = at.unwrap_or(number);
        let after = self.nodes.get(at).map_or(Cell::default(), |next| cell(number, next.number));
        self.nodes.insert(at, Node { place, value, number, cell: after }).map_err(|_| Full)?;
        if let Some(before) = at.checked_sub(1) {
            self.nodes[before].cell = cell(self.nodes[before].number, number);
        }
        Ok(())
    }

    /// The numbers of the nodes at both ends of every cell, in the order of places.
    pub fn cells(&self) -> impl Iterator<Item = (usize, usize)> {
        self.nodes.windows(2).map(|pair| (pair[0].number, pair[1].number))
    }

    /// The value at the last node less that at the first.
    pub fn change(&self) -> f64 {
        match (self.nodes.first(), self.nodes.last()) {
            (Some(first), Some(last)) => last.value - first.value,
            _ => 0.0,
        }
    }

    /// Whether the integral is known to `tolerance`: the gap is no larger, and that is no accident of two or three nodes.
    pub fn is_within(&self, tolerance: f64) -> bool {
        let few = self.nodes.len() < FEW && self.error() > tolerance;
        self.nodes.len() > 1 && libm::fabs(self.gap()) <= tolerance && !few
    }

    /// The integral of the derivative less the change: what the cells miss, together.
    pub fn gap(&self) -> f64 {
        self.nodes.windows(2).map(missed).sum()
    }

    /// What the cells miss, each counted by its size: errors of opposite signs do not hide each other.
    pub fn error(&self) -> f64 {
        self.nodes.windows(2).map(|pair| libm::fabs(missed(pair))).sum()
    }

    /// By how much each derivative counts in the integral: its number in the order of telling, and the weight. The weights
    /// sum to one.
    pub fn weights(&self) -> impl Iterator<Item = (usize, f64)> {
        let place = |i: usize| self.nodes[i].place;
        (0..self.nodes.len()).map(move |i| {
            let (before, after) = (i.saturating_sub(1), (i + 1).min(self.nodes.len() - 1));
            (self.nodes[i].number, 0.5 * (place(after) - place(before)))
        })
    }
}

/// The trapezoid of a cell less the change over it.
fn missed(pair: &[Node]) -> f64 {
    pair[0].cell.trapezoid - (pair[1].value - pair[0].value)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A function's nodes: place and slope, in the order of telling.
    type Nodes = Vec<(f64, f64), 512>;

    fn tell<const N: usize>(
        cells: &mut Adaptive<N>,
        nodes: &mut Nodes,
        place: f64,
        (value, slope): (f64, f64),
    ) -> Result<(), Full> {
        nodes.push((place, slope)).unwrap();
        cells.tell(place, value, |a, b| {
            let width = nodes[b].0 - nodes[a].0;
            let doubt = libm::fabs(width * (nodes[b].1 - nodes[a].1));
            Cell { trapezoid: 0.5 * width * (nodes[a].1 + nodes[b].1), doubt }
        })
    }

    /// Takes nodes of a function and its derivative until the gap is small.
    fn integrate(f: impl Fn(f64) -> (f64, f64), gap: f64) -> (Adaptive<512>, Nodes) {
        let (mut cells, mut nodes) = (Adaptive::new(), Nodes::new());
        while !cells.is_within(gap) {
            let places = cells.next(usize::MAX);
            assert!(!places.is_empty());
            for place in places {
                tell(&mut cells, &mut nodes, place, f(place)).unwrap();
            }
        }
        (cells, nodes)
    }

    #[test]
    fn weights_and_cells_give_the_integral() {
        let f = |t: f64| (libm::exp(3.0 * t), 3.0 * libm::exp(3.0 * t));
        let (cells, nodes) = integrate(f, 1e-3);
        let sum: f64 = cells.weights().map(|w| w.1).sum();
        let integral: f64 = cells.weights().map(|(number, weight)| weight * nodes[number].1).sum();
        assert!((sum - 1.0).abs() < 1e-12);
        assert!((integral - cells.change() - cells.gap()).abs() < 1e-9);
        assert!(cells.gap().abs() <= 1e-3 && cells.error() >= cells.gap().abs());
        let widths: f64 = cells.cells().map(|(from, to)| nodes[to].0 - nodes[from].0).sum();
        assert!((widths - 1.0).abs() < 1e-12 && cells.cells().count() == cells.len() - 1);
    }

    #[test]
    fn a_line_needs_its_ends_alone() {
        assert_eq!(integrate(|t| (2.0 * t - 1.0, 2.0), 1e-12).0.len(), 2);
    }

    #[test]
    fn a_kink_is_closed_in_on() {
        let kink = 0.7371;
        let f = |t: f64| if t < kink { (0.0, 0.0) } else { (t - kink, 1.0) };
        let (cells, _) = integrate(f, 1e-5);
        // A uniform rule would take tens of thousands.
        assert!(cells.len() < 25, "{} nodes", cells.len());
    }

    #[test]
    fn its_nodes_are_bounded() {
        let (mut cells, mut nodes) = (Adaptive::<8>::new(), Nodes::new());
        loop {
            let places = cells.next(3);
            if places.is_empty() {
                break;
            }
            assert!(places.len() <= 3);
            for place in places {
                tell(&mut cells, &mut nodes, place, (libm::sin(20.0 * place), 20.0 * libm::cos(20.0 * place))).unwrap();
            }
        }
        assert_eq!(cells.len(), 8);
        assert_eq!(cells.tell(0.3, 0.0, |_, _| Cell::default()), Err(Full));
    }

    /// What cells miss, by the numbers of their ends: the first 1, the last -1, others nothing.
    fn cancelling<const N: usize>(places: &[f64], first: (usize, usize), last: (usize, usize)) -> Adaptive<N> {
        let mut cells = Adaptive::new();
        let trapezoid = |ends: (usize, usize)| f64::from(u8::from(ends == first)) - f64::from(u8::from(ends == last));
        for place in places {
            cells.tell(*place, 0.0, |from, to| Cell { trapezoid: trapezoid((from, to)), doubt: 1.0 }).unwrap();
        }
        cells
    }

    #[test]
    fn errors_that_cancel_are_no_end_while_there_are_few_nodes() {
        assert!(Adaptive::<8>::new().is_empty());
        let one = cancelling::<8>(&[0.0], (0, 2), (2, 1));
        assert!(!one.is_empty() && !one.is_within(1.0), "one node is no integral");
        assert!(cancelling::<8>(&[0.0, 1.0], (0, 2), (2, 1)).is_within(0.1));
        // The halves miss 1 and -1: together nothing, each by its size two.
        let three = cancelling::<8>(&[0.0, 1.0, 0.5], (0, 2), (2, 1));
        assert_eq!((three.gap(), three.error(), three.is_within(0.1)), (0.0, 2.0, false));
        // Of five nodes it is believed.
        let five = cancelling::<8>(&[0.0, 1.0, 0.5, 0.25, 0.75], (0, 3), (4, 1));
        assert_eq!((five.gap(), five.error(), five.is_within(0.1)), (0.0, 2.0, true));
    }

    #[test]
    fn a_cell_that_misses_nothing_is_not_bisected_however_much_it_is_doubted() {
        let mut cells = Adaptive::<8>::new();
        let cell = |from: usize, to: usize| match (from, to) {
            (0, 2) => Cell { trapezoid: 0.0, doubt: 100.0 },
            _ => Cell { trapezoid: 1.0, doubt: 0.1 },
        };
        [0.0, 1.0, 0.5].into_iter().for_each(|place| cells.tell(place, 0.0, cell).unwrap());
        assert_eq!(cells.next(8), [0.75]);
    }
}
