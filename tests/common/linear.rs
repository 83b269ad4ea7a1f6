//! Shared by the tests of metrics: a linear model, whose scores are known, and what metrics say of its maps.
#![allow(dead_code)]

use std::ops::{ControlFlow, Range};

use whyline_runtime::engine::{Gradient, Make, Take};
use whyline_runtime::error::Result;
use whyline_runtime::gradient::head::Head;
use whyline_runtime::metrics::{
    Entry, Explained, Grid, Observation, Observed, Observer, Sample, Score, Subject, Wants, find, quantus,
};
use whyline_runtime::onnx::{Change, Layout};
use whyline_runtime::params::Given;
use whyline_runtime::rng::Rng;
use whyline_stream::order::descending;

pub const GRID: Grid = Grid { layout: Some(Layout::ChannelsFirst), channels: 2, height: 20, width: 18 };

/// How many values a map has, and an input.
pub const FEATURES: usize = GRID.height * GRID.width;
pub const LEN: usize = GRID.channels * FEATURES;

/// What most tests explain.
const FIRST: Explained = Explained { class: 0, against: None };

/// The feature of a row and a column.
pub fn at(row: usize, column: usize) -> usize {
    row * GRID.width + column
}

/// The places of a map's values, the largest first.
pub fn order_of(map: &[f32]) -> Vec<u32> {
    let mut order = vec![0; map.len()];
    descending(map, &mut vec![0; map.len()], &mut order);
    order
}

pub fn drawn(draw: u64, len: usize) -> Vec<f32> {
    (0..len as u64).map(|i| Rng::new(5, draw).normal(i)).collect()
}

/// So many values, all zero but for these.
pub fn marked(len: usize, values: &[(usize, f32)]) -> Vec<f32> {
    let mut all = vec![0.0; len];
    values.iter().for_each(|&(place, value)| all[place] = value);
    all
}

pub fn one_hot() -> Vec<f32> {
    marked(FEATURES, &[(7, 1.0)])
}

/// The map of weights and an input.
pub type MapOf<'a> = &'a dyn Fn(&[f32], &[f32]) -> Vec<f32>;

pub fn product(w: &[f32], x: &[f32]) -> Vec<f32> {
    let elements: Vec<f32> = w.iter().zip(x).map(|(w, x)| w * x).collect();
    GRID.sums(&elements)
}

pub fn gradient(w: &[f32], _: &[f32]) -> Vec<f32> {
    GRID.sums(w)
}

/// Logits `w . x` for each class, explained by a function of weights and input, and what was asked of it.
pub struct Linear<'a> {
    pub weights: Vec<Vec<f32>>,
    pub map: MapOf<'a>,
    pub forwards: u64,
    pub explanations: u64,
}

impl<'a> Linear<'a> {
    /// Of a class with these weights, and one without any.
    pub fn of(weights: &[f32], map: MapOf<'a>) -> Linear<'a> {
        let weights = vec![weights.to_vec(), vec![0.0; weights.len()]];
        Linear { weights, map, forwards: 0, explanations: 0 }
    }

    pub fn logits(&self, input: &[f32]) -> Vec<f32> {
        let dot = |w: &Vec<f32>| w.iter().zip(input).map(|(w, x)| *w as f64 * *x as f64).sum::<f64>() as f32;
        self.weights.iter().map(dot).collect()
    }

    fn weights_of(&self, Explained { class, against }: Explained) -> Vec<f32> {
        let other = |i: usize| against.map_or(0.0, |other| self.weights[other][i]);
        self.weights[class].iter().enumerate().map(|(i, w)| w - other(i)).collect()
    }
}

impl Subject for Linear<'_> {
    fn forwards(&mut self, count: usize, make: Make, take: Take) -> Result<()> {
        let mut point = vec![f32::NAN; self.weights[0].len()];
        for i in 0..count {
            make(i, &mut point);
            self.forwards += 1;
            let logits = self.logits(&point);
            if matches!(take(i, Gradient { logits: &logits, input: &[] })?, ControlFlow::Break(())) {
                break;
            }
        }
        Ok(())
    }

    fn explain(&mut self, input: &[f32], explained: Explained) -> Result<Vec<f32>> {
        self.explanations += 1;
        Ok((self.map)(&self.weights_of(explained), input))
    }

    fn layers(&self) -> usize {
        1
    }

    /// The one layer, turned round, or what it takes off first; a linear model's gradient sees nothing of that.
    fn explain_changed(
        &mut self,
        change: &Change,
        _: Option<&Change>,
        input: &[f32],
        explained: Explained,
    ) -> Result<Vec<f32>> {
        self.explanations += 1;
        let mut weights = self.weights_of(explained);
        if matches!(change, Change::Shuffled { layers, .. } if *layers == (0..1)) {
            weights.reverse();
        }
        Ok((self.map)(&weights, input))
    }

    /// The input's two halves, added up.
    fn representation(&mut self, input: &[f32], _: Option<&str>) -> Result<Vec<f32>> {
        self.forwards += 1;
        let (a, b) = input.split_at(input.len() / 2);
        Ok(a.iter().zip(b).map(|(a, b)| a + b).collect())
    }
}

/// A linear model of several layers that notes what it is asked: the points, and which layers are shuffled with which seed.
pub struct Noted<'a> {
    pub model: Linear<'a>,
    pub layers: usize,
    pub points: Vec<Vec<f32>>,
    pub shuffled: Vec<(Range<usize>, u64)>,
}

impl<'a> Noted<'a> {
    pub fn of(weights: &[f32], map: MapOf<'a>) -> Noted<'a> {
        Noted { model: Linear::of(weights, map), layers: 3, points: vec![], shuffled: vec![] }
    }
}

impl Subject for Noted<'_> {
    fn forwards(&mut self, count: usize, make: Make, take: Take) -> Result<()> {
        for i in 0..count {
            let mut point = vec![f32::NAN; self.model.weights[0].len()];
            make(i, &mut point);
            self.points.push(point);
        }
        self.model.forwards(count, make, take)
    }

    fn explain(&mut self, input: &[f32], explained: Explained) -> Result<Vec<f32>> {
        self.model.explain(input, explained)
    }

    fn layers(&self) -> usize {
        self.layers
    }

    fn explain_changed(
        &mut self,
        change: &Change,
        next: Option<&Change>,
        input: &[f32],
        explained: Explained,
    ) -> Result<Vec<f32>> {
        if let Change::Shuffled { layers, seed } = change {
            self.shuffled.push((layers.clone(), *seed));
        }
        self.model.explain_changed(change, next, input, explained)
    }

    fn representation(&mut self, input: &[f32], layer: Option<&str>) -> Result<Vec<f32>> {
        self.model.representation(input, layer)
    }
}

/// A metric with parameters; Quantus's where they say so.
pub fn built(metric: &str, given: &[(&str, &str)]) -> (&'static Entry, Box<dyn Observer>) {
    let own = find(metric).unwrap();
    let entry = if given.contains(&("compat", "quantus")) { quantus::of(own, 1) } else { own };
    let given: Given = given.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    (entry, (entry.build)(&entry.params(&given).unwrap()).unwrap())
}

/// An input with its map and the places of the map's values; what else a sample has is nothing, unless a test says more.
pub fn sample<'a>(
    subject: &'a mut dyn Subject,
    (input, map, order): (&'a [f32], &'a [f32], &'a [u32]),
    logits: &'a [f32],
) -> Sample<'a> {
    Sample {
        subject,
        input,
        grid: GRID,
        explained: FIRST,
        logits,
        head: Head::softmax(logits.len()),
        completeness: None,
        map,
        elements: None,
        order,
        mask: None,
        mosaic: false,
        draw: 11,
        priority: 11,
        standard_error: None,
        baselines: &[],
    }
}

/// An input with its map, and its mask if it has one.
pub type Of<'a> = (&'a [f32], &'a [f32], Option<&'a [bool]>);

pub fn score_of(subject: &mut Linear, metric: &str, given: &[(&str, &str)], of: Of) -> Score {
    score_within(subject, metric, given, of, None)
}

pub fn score_within(
    subject: &mut Linear,
    metric: &str,
    given: &[(&str, &str)],
    of: Of,
    standard_error: Option<f64>,
) -> Score {
    score_explaining(FIRST, subject, metric, given, of, standard_error)
}

pub fn score_explaining(
    explained: Explained,
    subject: &mut Linear,
    metric: &str,
    given: &[(&str, &str)],
    (input, map, mask): Of,
    standard_error: Option<f64>,
) -> Score {
    let (entry, metric) = built(metric, given);
    let (logits, order) = (subject.logits(input), order_of(map));
    (subject.forwards, subject.explanations) = (0, 0);
    let mosaic = entry.wants == Wants::Mosaic;
    let plain = sample(&mut *subject, (input, map, &order), &logits);
    let observed = metric.observe(&mut Sample { explained, mask, mosaic, standard_error, ..plain });
    let bound = metric.cost(&GRID);
    assert!(subject.forwards <= bound.forward, "{}: {} forward passes", entry.name, subject.forwards);
    assert!(subject.explanations <= bound.explanations, "{}: {} explanations", entry.name, subject.explanations);
    score_in(observed.unwrap())
}

/// The score that was noted.
pub fn score_in(observed: Observed) -> Score {
    observed.map(|observed| match observed {
        Observation::Score(score) | Observation::Grouped { score, .. } => score,
        Observation::Hit { hit, .. } => f64::from(u8::from(hit)),
        other => panic!("{other:?} is no score"),
    })
}

/// What a metric says of a class with these weights, of an input and its own map.
pub fn scored(metric: &str, given: &[(&str, &str)], (w, x): (&[f32], &[f32]), map: MapOf) -> Score {
    score_of(&mut Linear::of(w, map), metric, given, (x, &map(w, x), None))
}

/// What a metric of the map alone says of it, and of a mask that marks these places.
pub fn located(metric: &str, given: &[(&str, &str)], map: &[f32], places: &[usize]) -> Score {
    let mask: Vec<bool> = (0..FEATURES).map(|place| places.contains(&place)).collect();
    score_of(&mut Linear::of(&[0.0; LEN], &product), metric, given, (&[1.0; LEN], map, Some(&mask)))
}

/// A model of two classes; of it and an input, what the metric says of the exact map.
pub fn exact(metric: &str, given: &[(&str, &str)], map: MapOf) -> f64 {
    scored(metric, given, (&drawn(1, LEN), &drawn(2, LEN)), map).unwrap()
}

/// That a score is there and is this number, to rounding.
#[track_caller]
pub fn near(found: Score, wanted: f64) {
    let is_near = found.is_ok_and(|score| (score - wanted).abs() <= 1e-5 * wanted.abs().max(1.0));
    assert!(is_near, "{found:?} for {wanted}");
}

/// These parameters, of the logit where what is removed becomes zero: of a linear model the logit then falls by what was removed.
pub fn of_sums<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [&[("output", "logit"), ("baseline", "zero")], more].concat()
}

/// Of metrics that compare samples: the score of samples, each a map and the class that the model predicts.
pub fn compared(metric: &str, given: &[(&str, &str)], samples: &[(Vec<f32>, usize)]) -> (Option<f64>, u64) {
    let (_, metric) = built(metric, given);
    let mut tally = metric.tally();
    for (number, (map, class)) in samples.iter().enumerate() {
        let (mut subject, number) = (Linear::of(&[0.0], &product), number as u64);
        let (logits, order) = (marked(3, &[(*class, 1.0)]), order_of(map));
        let explained = Explained { class: *class, against: None };
        let plain = sample(&mut subject, (&[], map, &order), &logits);
        tally.push(metric.observe(&mut Sample { explained, draw: number, priority: number, ..plain }).unwrap());
    }
    let scores = tally.scores();
    let undefined = scores.undefined().map(|(_, count)| count).sum();
    ((scores.moments().count() > 0).then(|| scores.moments().mean()), undefined)
}

/// Which features of a point are not those of the input.
pub fn changed(point: &[f32], input: &[f32]) -> Vec<usize> {
    (0..FEATURES).filter(|&i| [i, FEATURES + i].iter().any(|&place| point[place] != input[place])).collect()
}
