//! The left operand of a matrix product: pixels or rows, in the order in which a kernel finds them.

use std::ops::Range;

use half::f16;

use crate::simd::LANES;

/// The left operand.
#[derive(Clone, Copy, Debug)]
pub enum Left<'a> {
    /// `[k / 16][row][16]`; the stride from one sixteen of `k` to the next.
    Blocked(&'a [f32], usize),
    /// `[k][row]`; the stride from one `k` to the next.
    Rows(&'a [f32], usize),
    /// `[row][k]`; the stride from one row to the next.
    Plain(&'a [f32], usize),
    /// As blocked, but halves, to be multiplied by the factor that comes last. Wants weights in half precision.
    Halves(&'a [f16], usize, f32),
}

impl Left<'_> {
    /// Whether some terms, which the operand has, are zero in every row. Values that are not end the search soon.
    pub fn vanishes(&self, rows: usize, terms: Range<usize>) -> bool {
        let mut blocks = terms.clone().step_by(LANES).map(|k| k / LANES);
        match *self {
            Left::Blocked(left, stride) => blocks.all(|b| are_zero(&left[b * stride..][..rows * LANES])),
            Left::Halves(left, stride, _) => blocks.all(|b| are_zero(&left[b * stride..][..rows * LANES])),
            Left::Rows(left, stride) => terms.into_iter().all(|k| are_zero(&left[k * stride..][..rows])),
            Left::Plain(left, stride) => {
                (0..rows).all(|row| are_zero(&left[row * stride + terms.start..][..terms.len()]))
            }
        }
    }
}

/// Whether all values are zero; a part at a time, because a search that may end anywhere does not vectorise.
fn are_zero<T: Copy + PartialEq + Default>(values: &[T]) -> bool {
    values.chunks(64).all(|part| part.iter().fold(true, |zero, &v| zero & (v == T::default())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_zero_in_every_row_vanishes() {
        let (rows, depth) = (3, 64);
        let halves = |values: &[f32]| values.iter().map(|&v| f16::from_f32(v)).collect::<Vec<_>>();
        for at in 0..rows * depth {
            let mut values = vec![0.0; rows * depth];
            values[at] = -1e-3;
            let half = halves(&values);
            let (block, row, term) = (at / (rows * LANES), at % depth, at / rows);
            let orders = [
                (Left::Blocked(&values, rows * LANES), block * LANES + at % LANES),
                (Left::Halves(&half, rows * LANES, 1.0), block * LANES + at % LANES),
                (Left::Plain(&values, depth), row),
                (Left::Rows(&values, rows), term),
            ];
            for (left, holds) in orders {
                for from in (0..depth).step_by(16) {
                    let terms = from..from + 16;
                    assert_eq!(left.vanishes(rows, terms.clone()), !terms.contains(&holds), "{left:?}");
                }
            }
        }
    }
}
