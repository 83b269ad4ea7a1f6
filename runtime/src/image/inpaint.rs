//! Fills in missing pixels so that each is the weighted mean of its eight neighbours, as ROAD does (Rong et al. 2022).

use super::multigrid::{Hierarchy, Level};

/// The weights of neighbours beside and at the corners, twelfths: a sixth and a twelfth.
const BESIDE: f32 = 2.0;
const CORNER: f32 = 1.0;
const NEIGHBOURS: [(isize, isize, f32); 8] = [
    (-1, 0, BESIDE),
    (1, 0, BESIDE),
    (0, -1, BESIDE),
    (0, 1, BESIDE),
    (-1, -1, CORNER),
    (-1, 1, CORNER),
    (1, -1, CORNER),
    (1, 1, CORNER),
];

/// Images with the same missing pixels, for any number of planes.
pub struct Hole {
    /// By row and column: the places that are missing.
    unknown: Vec<usize>,
    hierarchy: Hierarchy,
    missing: Vec<bool>,
    extents: (usize, usize),
}

impl Hole {
    /// Of an image of that height and width; whether each of its pixels is missing, row by row.
    pub fn new(missing: Vec<bool>, (height, width): (usize, usize)) -> Hole {
        let unknown: Vec<usize> = (0..missing.len()).filter(|&p| missing[p]).collect();
        let mut finest = Level::empty(height, width);
        for &place in &unknown {
            let (row, column) = (place / width, place % width);
            for (r, c, weight) in NEIGHBOURS {
                let Some(other) = beside(place, (r, c), (height, width)) else { continue };
                finest.add_own(row, column, weight);
                if missing[other] {
                    finest.couple(row, column, (r, c), weight);
                }
            }
        }
        Hole { unknown, hierarchy: Hierarchy::new(finest), missing, extents: (height, width) }
    }

    /// Gives every missing pixel of a plane the value that solves `sum over its neighbours n of w_n (v_n - v) = 0`. Neighbours
    /// outside are left out. Where all are missing nothing changes.
    pub fn fill_in(&mut self, plane: &mut [f32]) {
        let known = plane.len() - self.unknown.len();
        if self.unknown.is_empty() || known == 0 {
            return;
        }
        let of_known = plane.iter().zip(&self.missing).filter(|(_, missing)| !**missing);
        let mean = (of_known.map(|(v, _)| *v as f64).sum::<f64>() / known as f64) as f32;
        // Deviations from the mean: zero is where to begin.
        let mut right = self.hierarchy.plane();
        for &place in &self.unknown {
            let around = NEIGHBOURS.iter().filter_map(|&(r, c, weight)| {
                let other = beside(place, (r, c), self.extents).filter(|&other| !self.missing[other])?;
                Some(weight * (plane[other] - mean))
            });
            right[self.hierarchy.place(place)] = around.sum();
        }
        let solution = self.hierarchy.solve(right);
        for &place in &self.unknown {
            plane[place] = mean + solution[self.hierarchy.place(place)];
        }
    }
}

/// The pixel so many rows and columns away, if it is inside.
fn beside(place: usize, (r, c): (isize, isize), (height, width): (usize, usize)) -> Option<usize> {
    let (row, column) = ((place / width).checked_add_signed(r)?, (place % width).checked_add_signed(c)?);
    (row < height && column < width).then_some(row * width + column)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn fill_in(plane: &mut [f32], missing: &[bool], extents: (usize, usize)) {
        Hole::new(missing.to_vec(), extents).fill_in(plane);
    }

    #[test]
    fn constants_and_ramps_are_filled_in_as_they_were() {
        let extents = (12, 15);
        let hole: Vec<bool> = (0..180).map(|p| (3..9).contains(&(p / 15)) && (4..12).contains(&(p % 15))).collect();
        let ramp: Vec<f32> = (0..180).map(|p| (p / 15) as f32 - 0.5 * (p % 15) as f32).collect();
        for whole in [vec![0.7; 180], ramp] {
            let mut plane = whole.clone();
            plane.iter_mut().zip(&hole).filter(|(_, hole)| **hole).for_each(|(v, _)| *v = 99.0);
            fill_in(&mut plane, &hole, extents);
            assert!(plane.iter().zip(&whole).all(|(a, b)| (a - b).abs() < 1e-3), "{plane:?}");
        }
    }

    #[test]
    fn one_known_pixel_is_everywhere_and_none_is_nowhere() {
        let mut plane = vec![0.0; 30];
        plane[7] = 2.5;
        fill_in(&mut plane, &(0..30).map(|p| p != 7).collect::<Vec<_>>(), (5, 6));
        assert!(plane.iter().all(|v| (v - 2.5).abs() < 1e-4), "{plane:?}");
        let mut untouched = vec![1.0, 2.0];
        fill_in(&mut untouched, &[true, true], (1, 2));
        assert_eq!(untouched, [1.0, 2.0]);
    }

    /// Every missing pixel is the weighted mean of its neighbours, whatever the hole looks like.
    #[test]
    fn what_is_filled_in_solves_the_equations() {
        let (height, width) = (61, 83);
        let rng = Rng::new(3, 1);
        let whole: Vec<f32> = (0..height * width).map(|p| rng.normal(p as u64)).collect();
        let disc = |p: usize| (p / width).abs_diff(30).pow(2) + (p % width).abs_diff(40).pow(2) < 26 * 26;
        let holes: [Box<dyn Fn(usize) -> bool>; 4] = [
            Box::new(disc),
            Box::new(|p| !disc(p)),
            Box::new(|p| Rng::new(9, 9).uniform(p as u64) < 0.9),
            Box::new(|p| p % width > 3),
        ];
        for hole in holes {
            let missing: Vec<bool> = (0..whole.len()).map(hole).collect();
            let mut plane = whole.clone();
            fill_in(&mut plane, &missing, (height, width));
            for place in 0..whole.len() {
                if !missing[place] {
                    assert_eq!(plane[place], whole[place]);
                    continue;
                }
                let around = NEIGHBOURS.iter().filter_map(|&(r, c, weight)| {
                    beside(place, (r, c), (height, width)).map(|other| (weight, weight * plane[other]))
                });
                let (weight, sum) = around.fold((0.0, 0.0), |(w, s), (own, part)| (w + own, s + part));
                assert!((sum / weight - plane[place]).abs() < 1e-3, "{place}: {} for {}", plane[place], sum / weight);
            }
        }
    }
}
