//! Orders of values: ranks with ties, and the area under a receiver operating characteristic.

use core::cmp::Ordering;

/// Puts the indices of `values` into `order`, from the largest to the least, equal ones by index. Shorter slices limit both.
pub fn descending(values: &[f32], order: &mut [u32]) {
    order.iter_mut().enumerate().for_each(|(i, place)| *place = i as u32);
    let value = |i: u32| values.get(i as usize).copied().unwrap_or(f32::NEG_INFINITY);
    order.sort_unstable_by(|&a, &b| value(b).total_cmp(&value(a)).then(a.cmp(&b)));
}

/// Writes the rank of each value, one for the least, the mean of their ranks for equal ones; `order` is room for as many
/// indices.
pub fn ranks(values: &[f64], order: &mut [u32], ranks: &mut [f64]) {
    order.iter_mut().enumerate().for_each(|(i, place)| *place = i as u32);
    let value = |i: u32| values.get(i as usize).copied().unwrap_or(f64::NAN);
    order.sort_unstable_by(|&a, &b| value(a).total_cmp(&value(b)));
    let mut start = 0;
    for end in 1..=order.len() {
        if end < order.len() && value(order[end]).partial_cmp(&value(order[start])) == Some(Ordering::Equal) {
            continue;
        }
        let middle = (start + end + 1) as f64 / 2.0;
        for &index in &order[start..end] {
            if let Some(rank) = ranks.get_mut(index as usize) {
                *rank = middle;
            }
        }
        start = end;
    }
}

/// The area under the receiver operating characteristic of scores for a mask, handed over from the largest score to the least:
/// the chance that a marked one is above an unmarked one, ties counted half. None where all or none are marked.
pub fn roc_area(descending: impl Iterator<Item = (f32, bool)>) -> Option<f64> {
    let (mut marked, mut unmarked, mut area) = (0u64, 0u64, 0.0);
    let (mut tie, mut tied) = (f32::NAN, [0u64; 2]);
    // Pairs of an unmarked one with a marked one above it, or beside it.
    let mut close = |tied: &mut [u64; 2]| {
        area += tied[0] as f64 * (marked as f64 + 0.5 * tied[1] as f64);
        (marked, unmarked) = (marked + tied[1], unmarked + tied[0]);
        *tied = [0; 2];
    };
    for (score, is_marked) in descending {
        if score != tie {
            close(&mut tied);
            tie = score;
        }
        tied[usize::from(is_marked)] += 1;
    }
    close(&mut tied);
    (marked > 0 && unmarked > 0).then(|| area / (marked as f64 * unmarked as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_share_their_ranks_and_keep_their_order() {
        let (mut order, mut out) = ([0; 5], [0.0; 5]);
        ranks(&[3.0, 1.0, 3.0, -2.0, 3.0], &mut order, &mut out);
        assert_eq!(out, [4.0, 2.0, 4.0, 1.0, 4.0]);
        descending(&[3.0, 1.0, 3.0, -2.0, 3.0], &mut order);
        assert_eq!(order, [0, 2, 4, 1, 3]);
    }

    #[test]
    fn areas_are_chances() {
        let area = |pairs: &[(f32, bool)]| roc_area(pairs.iter().copied());
        assert_eq!(area(&[(3.0, true), (2.0, true), (1.0, false)]), Some(1.0));
        assert_eq!(area(&[(3.0, false), (2.0, true), (1.0, true)]), Some(0.0));
        assert_eq!(area(&[(1.0, false), (1.0, true), (1.0, true)]), Some(0.5));
        assert_eq!(area(&[(4.0, true), (3.0, false), (2.0, true), (1.0, false)]), Some(0.75));
        assert_eq!(area(&[(4.0, true)]), None);
        assert_eq!(area(&[]), None);
    }
}
