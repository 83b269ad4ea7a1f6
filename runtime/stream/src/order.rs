//! Orders of values: ranks with ties, and the area under a receiver operating characteristic.

/// Bits in the order of values, as `total_cmp` has it, but that zeros are equal whatever their signs.
fn bits(value: f32) -> u32 {
    // Minus zero and zero are zero.
    let bits = (value + 0.0).to_bits();
    bits ^ (((bits as i32) >> 31) as u32 | 1 << 31)
}

/// The upper half of the same.
fn upper(value: f64) -> u32 {
    let bits = value.to_bits();
    ((bits ^ (((bits as i64) >> 63) as u64 | 1 << 63)) >> 32) as u32
}

/// Values up to which comparing them takes no longer than counting their digits.
const FEW: usize = 256;
/// Digits of what is sorted by, and the values that one has.
const DIGITS: usize = 4;
const VALUES: usize = 256;

/// Writes the numbers of places beside what they are sorted by, and sorts them: that is faster than to look up what numbers
/// stand for. Returns those `count` places, the first of `room`.
fn sort(room: &mut [u64], count: usize, key: impl Fn(usize) -> u32) -> &mut [u64] {
    let (places, rest) = room.split_at_mut(count);
    places.iter_mut().enumerate().for_each(|(i, place)| *place = (key(i) as u64) << 32 | i as u64);
    match rest.get_mut(..count) {
        Some(other) if count > FEW => by_digits(places, other),
        _ => places.sort_unstable(),
    }
    places
}

/// Sorts by the upper half, the last digit first; what is equal stays in its order. `other` has as many places, and the last of
/// an even number of passes writes where the first has read.
fn by_digits(places: &mut [u64], other: &mut [u64]) {
    let digit = |place: u64, number: usize| (place >> (32 + 8 * number)) as usize % VALUES;
    let mut counts = [[0u32; VALUES]; DIGITS];
    for &place in places.iter() {
        counts.iter_mut().enumerate().for_each(|(number, counts)| counts[digit(place, number)] += 1);
    }
    let (mut from, mut to) = (places, other);
    for (number, counts) in counts.iter_mut().enumerate() {
        let mut before = 0;
        for count in counts.iter_mut() {
            before += core::mem::replace(count, before);
        }
        for &place in from.iter() {
            let next = &mut counts[digit(place, number)];
            to[*next as usize] = place;
            *next += 1;
        }
        (from, to) = (to, from);
    }
}

/// Puts the indices of `values` into `order`, from the largest to the least, equal ones by index; `room` is for as many, and with
/// room for twice as many it takes time in proportion to their number. Shorter slices limit the others.
pub fn descending(values: &[f32], room: &mut [u64], order: &mut [u32]) {
    let count = values.len().min(room.len()).min(order.len());
    let places = sort(room, count, |i| !bits(values[i]));
    order.iter_mut().zip(places).for_each(|(index, place)| *index = *place as u32);
}

/// Writes the rank of each value, one for the least, the mean of their ranks for equal ones; `room` as for [`descending`]. Shorter
/// slices limit the others.
pub fn ranks(values: &[f64], room: &mut [u64], ranks: &mut [f64]) {
    let count = values.len().min(room.len()).min(ranks.len());
    let room = sort(room, count, |i| upper(values[i]));
    let value = |place: u64| values[place as u32 as usize];
    for alike in room.chunk_by_mut(|a, b| a >> 32 == b >> 32).filter(|alike| alike.len() > 1) {
        alike.sort_unstable_by(|&a, &b| value(a).total_cmp(&value(b)));
    }
    let mut before = 0;
    for equal in room.chunk_by(|&a, &b| value(a) == value(b)) {
        let middle = (2 * before + equal.len() + 1) as f64 / 2.0;
        equal.iter().for_each(|&place| ranks[place as u32 as usize] = middle);
        before += equal.len();
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
        let (mut room, mut out, mut order) = ([0; 5], [0.0; 5], [0; 5]);
        ranks(&[3.0, 1.0, 3.0, -2.0, 3.0], &mut room, &mut out);
        assert_eq!(out, [4.0, 2.0, 4.0, 1.0, 4.0]);
        descending(&[3.0, 1.0, 3.0, -2.0, 3.0], &mut room, &mut order);
        assert_eq!(order, [0, 2, 4, 1, 3]);
    }

    #[test]
    fn values_that_hardly_differ_are_told_apart() {
        let (mut room, mut out, mut order) = ([0; 7], [0.0; 7], [0; 7]);
        let little = 1.0 + f64::EPSILON;
        ranks(&[little, 1.0, -1.0, -little, little, 0.0, -0.0], &mut room, &mut out);
        assert_eq!(out, [6.5, 5.0, 2.0, 1.0, 6.5, 3.5, 3.5]);
        let values = [1.0, 1.0 + f32::EPSILON, -f32::INFINITY, -1.0, 0.0, f32::MIN_POSITIVE, -f32::MIN_POSITIVE];
        descending(&values, &mut room, &mut order);
        assert_eq!(order, [1, 0, 5, 4, 6, 3, 2]);
    }

    #[test]
    fn the_sign_of_zero_decides_nothing() {
        const COUNT: usize = 2 * FEW;
        let values: [f32; COUNT] = core::array::from_fn(|i| if i % 3 == 0 { 0.0 } else { -0.0 });
        for count in [5, COUNT] {
            let (mut room, mut order) = ([0; 2 * COUNT], [0; COUNT]);
            descending(&values[..count], &mut room, &mut order);
            assert!(order[..count].iter().copied().eq(0..count as u32));
        }
    }

    #[test]
    fn more_room_changes_nothing() {
        const COUNT: usize = 3 * FEW;
        let number = |i: usize| (i as u32).wrapping_mul(2_654_435_761) >> 3;
        // All kinds of bits, and many that are equal.
        for most in [u32::MAX, 1_000, 3] {
            let values: [f32; COUNT] = core::array::from_fn(|i| match most {
                u32::MAX => f32::from_bits(number(i) << 3),
                most => (number(i) % most) as f32 - 1.0,
            });
            let (mut short, mut long) = ([0; COUNT], [0; 2 * COUNT]);
            let mut orders = [[0; COUNT]; 2];
            descending(&values, &mut short, &mut orders[0]);
            descending(&values, &mut long, &mut orders[1]);
            assert!(orders[0] == orders[1]);
            let mut found = [[0.0; COUNT]; 2];
            let values = values.map(|v| if v.is_finite() { v as f64 } else { 0.5 });
            ranks(&values, &mut short, &mut found[0]);
            ranks(&values, &mut long, &mut found[1]);
            assert!(found[0] == found[1]);
        }
    }

    #[test]
    fn shorter_slices_limit_the_others() {
        let (mut room, mut out, mut order) = ([0; 2], [0.0; 3], [9; 3]);
        ranks(&[3.0, 1.0, 2.0], &mut room, &mut out);
        assert_eq!(out, [2.0, 1.0, 0.0]);
        descending(&[3.0, 1.0, 2.0], &mut room, &mut order);
        assert_eq!(order, [0, 1, 9]);
        descending(&[5.0], &mut [7, 7], &mut order);
        assert_eq!(order, [0, 1, 9]);
    }

    #[test]
    fn areas_are_chances() {
        let area = |pairs: &[(f32, bool)]| roc_area(pairs.iter().copied());
        assert_eq!(area(&[(3.0, true), (2.0, true), (1.0, false)]), Some(1.0));
        assert_eq!(area(&[(3.0, false), (2.0, true), (1.0, true)]), Some(0.0));
        assert_eq!(area(&[(1.0, false), (1.0, true), (1.0, true)]), Some(0.5));
        assert_eq!(area(&[(4.0, true), (3.0, false), (2.0, true), (1.0, false)]), Some(0.75));
        assert_eq!((area(&[(4.0, true)]), area(&[(4.0, false)])), (None, None));
        assert_eq!(area(&[]), None);
    }

    #[test]
    fn neighbouring_numbers_are_told_apart_on_both_sides_of_zero() {
        let values = [2.0f32, 2.0f32.next_up(), -1.0, (-1.0f32).next_up(), (-1.0f32).next_down()];
        let (mut room, mut order) = ([0; 5], [0; 5]);
        descending(&values, &mut room, &mut order);
        assert_eq!(order, [1, 0, 3, 2, 4]);
    }
}
