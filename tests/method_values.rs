//! Methods' parameters, each seen to do what it says: on a polynomial, by values that are known.

mod common;
#[path = "common/polynomial.rs"]
mod polynomial;

use common::normal;
use polynomial::*;
use whyline_runtime::engine::Session;
use whyline_runtime::gradient::Settings;
use whyline_runtime::methods::find;

/// What two noisy copies' gradients deviate by is known from those of one, and of both.
#[test]
fn the_variance_is_the_mean_square_of_what_draws_deviate_by() {
    let of = |name: &str, samples: &str| map(name, &[("samples", samples), ("sigma", "0.2")], 0.3);
    let (first, mean) = (of("smoothgrad", "1"), of("smoothgrad", "2"));
    let squares: Vec<f32> = first.iter().zip(&mean).map(|(first, mean)| (first - mean).powi(2)).collect();
    assert_close(&of("vargrad", "2"), &squares, 1e-4);
    let both: Vec<f32> = mean.iter().zip(&squares).map(|(mean, square)| mean * mean + square).collect();
    assert_close(&of("smoothgrad-squared", "2"), &both, 1e-4);
    assert!(squares.iter().any(|v| *v > 1e-3));
}

/// Where weights have next to no noise, copies of the model are so many more copies of the input, and not the same ones again.
#[test]
fn noise_of_the_input_is_drawn_anew_for_every_noisy_model() {
    let of = |models: &str| {
        let given = [("models", models), ("samples", "2"), ("weight-sigma", "1e-7"), ("sigma", "0.2")];
        map("fusiongrad", &given, 0.3)
    };
    let (one, two) = (of("1"), of("2"));
    let apart = one.iter().zip(&two).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(apart > 1e-2, "{apart}");
}

/// Of a linear model the map of one draw is its weights times the noisy input less the baseline.
#[test]
fn the_noise_of_gradient_shap_is_a_part_of_the_inputs_range() {
    let (w, x) = (Polynomial::new(0.0).w, normal(LEN, 3));
    let deviation = |sigma: &str| {
        let of = |seed| [("samples", "1"), ("baseline", "zero"), ("sigma", sigma), ("seed", seed)];
        let maps = ["1", "2", "3", "4", "5", "6", "7", "8"].map(|seed| map("gradient-shap", &of(seed), 0.0));
        let seen: Vec<usize> = (0..LEN).filter(|&i| w[i].abs() > 0.1).collect();
        let noise = |map: &[f32], i: usize| (map[i] / w[i] - x[i]) as f64;
        let squares = maps.iter().flat_map(|map| seen.iter().map(|&i| noise(map, i).powi(2)));
        (squares.sum::<f64>() / (maps.len() * seen.len()) as f64).sqrt()
    };
    let range = x.iter().fold(f32::MIN, |a, b| a.max(*b)) - x.iter().fold(f32::MAX, |a, b| a.min(*b));
    for sigma in [0.05, 0.2] {
        let found = deviation(&sigma.to_string()) / (sigma * range as f64);
        assert!((found - 1.0).abs() < 0.15, "{sigma}: {found} of what it should be");
    }
    assert!(deviation("0") < 1e-5);
}

/// One step of an ascent of a linear model of two classes: `2 p q |w|` of the step, with the probabilities where it begins.
#[test]
fn a_step_of_an_adversarial_ascent_is_a_part_of_the_inputs_range() {
    let x = normal(LEN, 3);
    let mut linear = Polynomial::new(0.0);
    let logits = linear.forward(&x).unwrap().to_vec();
    let p = 1.0 / (1.0 + (logits[1] - logits[0]).exp());
    // The tests' inputs are bounded by 9 on either side.
    let step = 0.004 * 18.0;
    let expected: Vec<f32> = linear.w.iter().map(|w| 2.0 * p * (1.0 - p) * w.abs() * step).collect();
    assert_close(&map("agi", &[("steps", "1"), ("step-size", "0.004")], 0.0), &expected, 1e-5);
}

/// Whatever the path, the map adds up to what is lost on the way to the baseline that was asked for.
#[test]
fn idgi_begins_at_the_baseline_that_is_asked_for() {
    let (x, mut polynomial) = (normal(LEN, 3), Polynomial::new(0.3));
    let mut value = |x: &[f32]| polynomial.forward(x).unwrap()[0];
    for path in ["straight", "guided"] {
        for (baseline, at) in [("zero", 0.0), ("0.75", 0.75)] {
            let found = map("idgi", &[("path", path), ("baseline", baseline), ("steps", "20")], 0.3);
            let (sum, lost) = (found.iter().sum::<f32>(), value(&x) - value(&[at; LEN]));
            assert!((sum - lost).abs() < 1e-3 * lost.abs(), "{path} from {baseline}: {sum} for {lost}");
        }
    }
}

#[test]
fn score_cam_keeps_what_is_negative_where_it_is_told_to() {
    let of = |relu: &str| map("score-cam", &[("relu", relu)], 0.3);
    let (all, positive) = (of("false"), of("true"));
    assert!(all.iter().any(|v| *v < 0.0));
    assert_close(&positive, &all.iter().map(|v| v.max(0.0)).collect::<Vec<f32>>(), 1e-6);
}

/// What a rule goes by is asked of the model's preparation.
#[test]
fn parameters_of_rules_reach_the_backward_pass() {
    let settings = |name: &str, given: &[(&str, &str)]| build(find(name).unwrap(), given).needs().settings;
    let plain = Settings::default();
    let lrp = settings("lrp", &[("epsilon", "0.5"), ("gamma", "0.75"), ("alpha", "3")]);
    assert_eq!((lrp.epsilon, lrp.gamma, lrp.alpha), (0.5, 0.75, 3.0));
    assert!(plain.epsilon != 0.5 && plain.gamma != 0.75 && plain.alpha != 3.0);
    assert_eq!(settings("rectgrad", &[("percentile", "40")]).percentile, 40.0);
    let composite = |ops: &str| build(find("guided-backprop").unwrap(), &[("ops", ops)]).needs().composite.name;
    assert_eq!((composite("relu"), composite("rectifiers")), ("guided", "guided-rectifiers"));
}
