//! What is kept of an explanation to compare it with others.

use crate::wire::Wire;

/// How many cells a sketch has: 16 x 16.
pub const CELLS: usize = 256;

/// A map's cells, and the class that the model predicts.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Sketch {
    /// Predicted.
    pub class: u64,
    /// Row by row; what a smaller map leaves over is zero.
    pub cells: [f32; CELLS],
}

impl Default for Sketch {
    fn default() -> Self {
        Sketch { class: 0, cells: [0.0; CELLS] }
    }
}

impl Wire for Sketch {
    const BYTES: usize = u64::BYTES + <[f32; CELLS]>::BYTES;

    fn put<'a>(&self, out: &'a mut [u8]) -> &'a mut [u8] {
        self.cells.put(self.class.put(out))
    }

    fn get(bytes: &[u8]) -> Option<(Sketch, &[u8])> {
        let (class, rest) = u64::get(bytes)?;
        let (cells, rest) = <[f32; CELLS]>::get(rest)?;
        cells.iter().all(|v| v.is_finite()).then_some((Sketch { class, cells }, rest))
    }
}

/// Standardised distances between sketches: `sqrt(sum_i (a_i - b_i)^2 / v_i)` with each cell's variance over all, of those
/// cells that differ at all.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Distances {
    precision: [f64; CELLS],
}

impl Distances {
    /// As far as these differ.
    pub fn of<'a>(sketches: impl Iterator<Item = &'a Sketch> + Clone) -> Distances {
        let count = sketches.clone().count().max(2) as f64;
        let precision = core::array::from_fn(|i| {
            let mut moments = crate::moments::Moments::default();
            sketches.clone().for_each(|sketch| moments.push(sketch.cells[i] as f64));
            // Of a sample: divided by one less than their number.
            let variance = moments.variance() * count / (count - 1.0);
            if variance > 0.0 { 1.0 / variance } else { 0.0 }
        });
        Distances { precision }
    }

    /// Between two.
    pub fn between(&self, a: &Sketch, b: &Sketch) -> f64 {
        let part = |((a, b), p): ((&f32, &f32), &f64)| (*a as f64 - *b as f64) * (*a as f64 - *b as f64) * p;
        libm::sqrt(a.cells.iter().zip(&b.cells).zip(&self.precision).map(part).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_count_by_how_far_they_differ() {
        let sketch = |a: f32, b: f32| {
            let mut sketch = Sketch::default();
            (sketch.cells[0], sketch.cells[255]) = (a, b);
            sketch
        };
        let all = [sketch(0.0, 0.0), sketch(1.0, 100.0)];
        let distances = Distances::of(all.iter());
        // Both cells' variances are half the square of their difference.
        assert!((distances.between(&all[0], &all[1]) - 2.0).abs() < 1e-9);
        assert_eq!(distances.between(&all[1], &all[1]), 0.0);
    }
}
