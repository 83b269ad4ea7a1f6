//! Whatever a stream is split into, and in whatever order its parts are merged, the result is that of the whole, and survives
//! its bytes.

use std::fmt::Debug;

use proptest::collection::vec;
use proptest::prelude::*;
use whyline_stream::groups::Groups;
use whyline_stream::histogram::Histogram;
use whyline_stream::moments::Moments;
use whyline_stream::pearson::Pearson;
use whyline_stream::reservoir::Reservoir;
use whyline_stream::scores::Scores;
use whyline_stream::table::Table;
use whyline_stream::top::Top;
use whyline_stream::undefined::Undefined;
use whyline_stream::wire::Wire;

/// Samples, each with the number of the part it goes to.
fn parted<T: Debug>(sample: impl Strategy<Value = T>) -> impl Strategy<Value = Vec<(usize, T)>> {
    vec((0..PARTS, sample), 0..80)
}

const PARTS: usize = 4;

/// The whole, and the merged parts: the last one first.
fn both<T, S: Default>(samples: &[(usize, T)], push: impl Fn(&mut S, &T), merge: impl Fn(&mut S, &S)) -> (S, S) {
    let (mut whole, mut merged) = (S::default(), S::default());
    samples.iter().for_each(|(_, sample)| push(&mut whole, sample));
    for number in (0..PARTS).rev() {
        let mut part = S::default();
        samples.iter().filter(|(own, _)| *own == number).for_each(|(_, sample)| push(&mut part, sample));
        merge(&mut merged, &part);
    }
    (whole, merged)
}

fn survives<T: Wire + PartialEq + Debug>(value: &T) {
    let mut bytes = vec![0u8; T::BYTES];
    assert!(value.put(&mut bytes).is_empty());
    let (read, rest) = T::get(&bytes).unwrap();
    assert!(rest.is_empty());
    assert_eq!(read, *value);
    assert!(T::get(&bytes[..T::BYTES - 1]).is_none());
}

fn near(a: f64, b: f64) -> bool {
    a == b || (a - b).abs() <= 1e-9 * (1.0 + a.abs().max(b.abs()))
}

proptest! {
    #[test]
    fn moments(samples in parted(-1e3..1e3)) {
        let (whole, merged) = both(&samples, |s: &mut Moments, v| s.push(*v), Moments::merge);
        prop_assert_eq!(whole.count(), merged.count());
        prop_assert!(near(whole.mean(), merged.mean()) && near(whole.variance(), merged.variance()));
        survives(&merged);
    }

    #[test]
    fn groups(samples in parted((0..6usize, -1e3..1e3))) {
        let (whole, merged) = both(&samples, |s: &mut Groups<6>, (group, v)| assert!(s.push(*group, *v)), Groups::merge);
        let (own, same) = (whole.mean(), merged.mean());
        prop_assert_eq!(own.count(), same.count());
        prop_assert!(near(own.mean(), same.mean()) && near(own.standard_error(), same.standard_error()));
        survives(&merged);
    }

    #[test]
    fn correlations(samples in parted((-10.0..10.0, -10.0..10.0))) {
        let (whole, merged) = both(&samples, |s: &mut Pearson, (a, b)| s.push(*a, *b), Pearson::merge);
        match (whole.correlation(), merged.correlation()) {
            (Some(a), Some(b)) => prop_assert!((a - b).abs() < 1e-9),
            (a, b) => prop_assert_eq!(a, b),
        }
        survives(&merged);
    }

    #[test]
    fn scores(samples in parted((0..20usize, -1.0..1.0))) {
        let push = |s: &mut Scores, (kind, value): &(usize, f64)| {
            s.push(Undefined::ALL.get(*kind).map_or(Ok(*value), |reason| Err(*reason)));
        };
        let (whole, merged) = both(&samples, push, Scores::merge);
        prop_assert!(whole.undefined().eq(merged.undefined()));
        prop_assert_eq!(whole.moments().count(), merged.moments().count());
        prop_assert!(near(whole.moments().mean(), merged.moments().mean()));
        survives(&merged);
    }

    /// The same counts, also where there are more pairs than room.
    #[test]
    fn tables(samples in parted((0..12u64, 0..3u64))) {
        let (whole, merged) = both(&samples, |s: &mut Table<9>, (l, c)| s.push(*l, *c), Table::merge);
        prop_assert_eq!(&whole, &merged);
        let (shares, alone) = whole.agreement(false);
        prop_assert_eq!(shares.count() + alone + whole.dropped(), samples.len() as u64);
        survives(&merged);
    }

    #[test]
    fn reservoirs(samples in parted(any::<u64>())) {
        let push = |s: &mut Reservoir<u64, 7>, v: &u64| s.push(*v, v.wrapping_mul(3));
        let (whole, merged) = both(&samples, push, Reservoir::merge);
        prop_assert_eq!(&whole, &merged);
        let mut least: Vec<u64> = samples.iter().map(|(_, v)| *v).collect();
        least.sort_unstable();
        prop_assert!(whole.items().copied().eq(least.into_iter().take(7).map(|v| v.wrapping_mul(3))));
        survives(&merged);
    }

    #[test]
    fn largest(samples in parted((0..500u32, -3..3i32))) {
        let push = |s: &mut Top<5>, (i, v): &(u32, i32)| s.push(*i, *v as f32);
        let (whole, merged) = both(&samples, push, Top::merge);
        prop_assert_eq!(&whole, &merged);
        let mut all: Vec<(i32, u32)> = samples.iter().map(|(_, (i, v))| (-v, *i)).collect();
        all.sort_unstable();
        prop_assert!(whole.largest().iter().map(|(i, v)| (-*v as i32, *i)).eq(all.into_iter().take(5)));
    }

    #[test]
    fn histograms(samples in parted((-1.0f32..1.0, any::<bool>()))) {
        let push = |s: &mut Areas, (v, m): &(f32, bool)| s.0.push(*v, *m);
        let (whole, merged) = both(&samples, push, |own: &mut Areas, other| own.0.merge(&other.0));
        prop_assert_eq!(whole.0.area(), merged.0.area());
    }
}

struct Areas(Histogram<16>);

impl Default for Areas {
    fn default() -> Self {
        Areas(Histogram::new(-1.0, 1.0))
    }
}
