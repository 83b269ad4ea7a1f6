//! Fills in missing pixels so that each is the weighted mean of its eight neighbours, as ROAD does (Rong et al. 2022).

/// The weights of neighbours beside and at the corners, twelfths: a sixth and a twelfth.
const NEIGHBOURS: [(isize, isize, f64); 8] =
    [(-1, 0, 2.0), (1, 0, 2.0), (0, -1, 2.0), (0, 1, 2.0), (-1, -1, 1.0), (-1, 1, 1.0), (1, -1, 1.0), (1, 1, 1.0)];

/// The sum of the residual's squares falls to this share of what it was.
const TOLERANCE: f64 = 1e-10;

/// Gives every missing pixel of a plane the value that solves `sum over its neighbours n of w_n (v_n - v) = 0`, by conjugate
/// gradients from the mean of the others. Neighbours outside are left out. Where all are missing nothing changes.
pub fn fill_in(plane: &mut [f32], missing: &[bool], (height, width): (usize, usize)) {
    let unknown: Vec<usize> = (0..plane.len()).filter(|&p| missing[p]).collect();
    let known = plane.len() - unknown.len();
    if unknown.is_empty() || known == 0 {
        return;
    }
    let of_known = plane.iter().zip(missing).filter(|(_, missing)| !**missing);
    let mean = of_known.map(|(v, _)| *v as f64).sum::<f64>() / known as f64;
    // Deviations from the mean: zero is where to begin.
    let system = System::new(&unknown, missing, (height, width));
    let mut residual: Vec<f64> = unknown.iter().map(|&p| system.sum_of_known(p, plane, missing, mean)).collect();
    let mut solution = vec![0.0; unknown.len()];
    let mut direction = residual.clone();
    let mut squares = dot(&residual, &residual);
    let enough = squares * TOLERANCE;
    let mut image = vec![0.0; unknown.len()];
    // In exact arithmetic as many steps as unknowns would do.
    for _ in 0..unknown.len() {
        if squares <= enough {
            break;
        }
        system.apply(&direction, &mut image);
        let step = squares / dot(&direction, &image);
        for i in 0..solution.len() {
            solution[i] += step * direction[i];
            residual[i] -= step * image[i];
        }
        let before = std::mem::replace(&mut squares, dot(&residual, &residual));
        direction.iter_mut().zip(&residual).for_each(|(d, r)| *d = r + squares / before * *d);
    }
    unknown.iter().zip(solution).for_each(|(&p, v)| plane[p] = (mean + v) as f32);
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Which unknowns are beside each.
struct System {
    /// The sum of the weights inside the image.
    own: Vec<f64>,
    /// By unknown: eight of the unknowns with their weights; the weight is zero where there is none.
    beside: Vec<[(u32, f64); 8]>,
    extents: (usize, usize),
}

impl System {
    fn new(unknown: &[usize], missing: &[bool], extents: (usize, usize)) -> System {
        let mut number = vec![0u32; missing.len()];
        unknown.iter().enumerate().for_each(|(i, &p)| number[p] = i as u32);
        let mut system = System { own: vec![], beside: vec![], extents };
        for &p in unknown {
            let mut beside = [(0, 0.0); 8];
            let mut own = 0.0;
            for (slot, (q, weight)) in system.neighbours(p).enumerate() {
                own += weight;
                if missing[q] {
                    beside[slot] = (number[q], weight);
                }
            }
            system.own.push(own);
            system.beside.push(beside);
        }
        system
    }

    fn neighbours(&self, p: usize) -> impl Iterator<Item = (usize, f64)> {
        let (height, width) = (self.extents.0 as isize, self.extents.1 as isize);
        let (row, column) = (p as isize / width, p as isize % width);
        let inside = move |&(r, c, _): &(isize, isize, f64)| {
            (0..height).contains(&(row + r)) && (0..width).contains(&(column + c))
        };
        let place = move |(r, c, weight)| (((row + r) * width + column + c) as usize, weight);
        NEIGHBOURS.into_iter().filter(inside).map(place)
    }

    fn sum_of_known(&self, p: usize, plane: &[f32], missing: &[bool], mean: f64) -> f64 {
        self.neighbours(p).filter(|(q, _)| !missing[*q]).map(|(q, weight)| weight * (plane[q] as f64 - mean)).sum()
    }

    fn apply(&self, values: &[f64], out: &mut [f64]) {
        for (i, out) in out.iter_mut().enumerate() {
            let others: f64 = self.beside[i].iter().map(|&(j, weight)| weight * values[j as usize]).sum();
            *out = self.own[i] * values[i] - others;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
