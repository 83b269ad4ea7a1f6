//! Mosaics of a dataset's images, for metrics that ask whether a map keeps to the images of its class.

use std::collections::BTreeMap;

use whyline_runtime::rng::Rng;

use crate::failure::{Failure, Outcome};

/// Four images of a dataset, by number: from the upper left, row by row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mosaic {
    /// Which images.
    pub images: [usize; 4],
    /// Which of them are of the class that is explained: two.
    pub own: [bool; 4],
    /// The class's label.
    pub label: String,
}

/// What draws begin with: of a mosaic's images, and of the order of classes.
const SEED: u64 = 0;
const ROUNDS: u64 = 1;

/// So many mosaics of images with these labels, each of two images of one of the model's classes and two of others, in a random
/// order. Every class has as many mosaics, or one more.
///
/// Errors: no class of the model's has two images while others have two.
pub fn mosaics(labels: &[Option<String>], count: usize, is_class: &dyn Fn(&str) -> bool) -> Outcome<Vec<Mosaic>> {
    let mut classes: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (image, label) in labels.iter().enumerate() {
        if let Some(label) = label {
            classes.entry(label).or_default().push(image);
        }
    }
    let all: usize = classes.values().map(Vec::len).sum();
    let is_fit = |label: &str, own: &Vec<usize>| own.len() >= 2 && all - own.len() >= 2 && is_class(label);
    let fit: Vec<(&str, &Vec<usize>)> =
        classes.iter().map(|(label, own)| (*label, own)).filter(|(label, own)| is_fit(label, own)).collect();
    if fit.is_empty() {
        let message = "mosaics want labels: two images of one of the model's classes, and two of others".to_string();
        return Err(Failure { message, code: 4 });
    }
    // Of the classes, anew for every round of them.
    let order = |round: usize| {
        let mut order: Vec<usize> = (0..fit.len()).collect();
        Rng::new(ROUNDS, round as u64).shuffle(&mut order);
        order
    };
    let mosaic = |number: usize| {
        let rng = Rng::new(SEED, number as u64);
        let below = |draw: u64, count: usize| ((rng.bits(draw) as u128 * count as u128) >> 64) as usize;
        let (label, own) = fit[order(number / fit.len())[number % fit.len()]];
        let others: Vec<usize> =
            classes.iter().filter(|(l, _)| **l != label).flat_map(|(_, own)| own).copied().collect();
        let two = |from: &[usize], draw: u64| {
            let (first, second) = (below(draw, from.len()), below(draw + 1, from.len() - 1));
            [from[first], from[if second < first { second } else { second + 1 }]]
        };
        let ([a, b], [c, d]) = (two(own, 1), two(&others, 3));
        let mut places = [(a, true), (b, true), (c, false), (d, false)];
        (1..4).rev().for_each(|last| places.swap(last, below(4 + last as u64, last + 1)));
        Mosaic { images: places.map(|(image, _)| image), own: places.map(|(_, own)| own), label: label.to_string() }
    };
    Ok((0..count).map(mosaic).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_are_of_the_class_and_two_of_others() {
        let labels: Vec<Option<String>> = ["a", "b", "a", "c", "a", "b"].iter().map(|l| Some(l.to_string())).collect();
        let any = |_: &str| true;
        let made = mosaics(&labels, 200, &any).unwrap();
        for mosaic in &made {
            let own = |i: usize| labels[mosaic.images[i]].as_ref() == Some(&mosaic.label);
            assert!((0..4).all(|i| own(i) == mosaic.own[i]), "{mosaic:?}");
            assert_eq!(mosaic.own.iter().filter(|own| **own).count(), 2);
            let mut images = mosaic.images.to_vec();
            images.sort_unstable();
            images.dedup();
            assert_eq!(images.len(), 4, "{mosaic:?}");
        }
        let upper_left = made.iter().filter(|mosaic| mosaic.own[0]).count();
        assert!((70..130).contains(&upper_left), "{upper_left}");
        let of = |label: &str| made.iter().filter(|m| m.label == label).count();
        assert_eq!((of("a"), of("b"), of("c")), (100, 100, 0));
        assert!(made.chunks(2).any(|two| two[0].label == "a") && made.chunks(2).any(|two| two[0].label == "b"));
        assert!(mosaics(&labels[..2], 1, &any).is_err());
        // A class that the model does not know is another one, and none that is explained.
        let known = mosaics(&labels, 20, &|label| label == "b").unwrap();
        assert!(known.iter().all(|m| m.label == "b") && known.iter().any(|m| m.images.contains(&0)));
        assert!(mosaics(&labels, 20, &|label| label == "c").is_err());
    }
}
