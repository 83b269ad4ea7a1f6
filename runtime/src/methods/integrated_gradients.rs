//! Integrated gradients (Sundararajan, Taly and Yan 2017):
//! `A = (x - x') * integral over t in [0, 1] of df/dx at x' + t (x - x')`.

use whyline_stream::quadrature::{MAX_NODES, Rule};

use super::path::Baseline;
use super::{Entry, Method, Outcome, Parameter, Passes, Properties, Task};
use crate::attribution::{Attribution, Completeness};
use crate::error::Result;

pub(super) const ENTRY: Entry = Entry {
    name: "integrated-gradients",
    aliases: &["ig"],
    summary: "the gradient integrated from a baseline to the input, times their difference",
    paper: "Sundararajan et al. 2017",
    properties: Properties { complete: true, linear_exact: true, stochastic: false, signed: true },
    parameters: &[
        Parameter { name: "steps", default: "50", help: "gradients along the path" },
        Parameter {
            name: "rule",
            default: "gauss-legendre",
            help: "where they are taken: gauss-legendre, midpoint, left, right, trapezoid",
        },
        Parameter { name: "baseline", default: "zero", help: "where the path starts: zero, mean, or a number" },
    ],
    build: |params| {
        let rule = Rule::named(params.text("rule"))
            .ok_or_else(|| params.refuse("rule", "gauss-legendre, midpoint, left, right or trapezoid"))?;
        let steps = params.whole("steps", rule.least(), MAX_NODES)?;
        Ok(Box::new(IntegratedGradients { steps, rule, baseline: Baseline::parse(params)? }))
    },
};

struct IntegratedGradients {
    steps: u32,
    rule: Rule,
    baseline: Baseline,
}

impl Method for IntegratedGradients {
    fn passes(&self) -> Passes {
        Passes { forward: 2, gradient: self.steps as u64 }
    }

    fn explain(&self, task: &mut Task) -> Result<Outcome> {
        let baseline = self.baseline.values(task)?;
        // In f64: a sum of many float32 gradients would lose what the completeness gap measures.
        let mut integral = vec![0.0f64; task.input.len()];
        let input = task.input;
        let node = |i: usize| self.rule.node(i as u32, self.steps);
        let make = |i: usize, point: &mut [f32]| {
            let (t, _) = node(i);
            for (p, (&x, &b)) in point.iter_mut().zip(input.iter().zip(&baseline)) {
                *p = (b as f64 + t * (x as f64 - b as f64)) as f32;
            }
        };
        task.gradients_at(self.steps as usize, &make, &mut |i, gradient| {
            let (_, weight) = node(i);
            for (sum, &g) in integral.iter_mut().zip(gradient.input) {
                *sum += weight * g as f64;
            }
            Ok(())
        })?;
        let difference = task.target_at(task.input)? - task.target_at(&baseline)?;
        let values: Vec<f32> = integral
            .iter()
            .zip(task.input.iter().zip(&baseline))
            .map(|(sum, (&x, &b))| (sum * (x as f64 - b as f64)) as f32)
            .collect();
        let attribution = Attribution::features(values, task.session.input_shape());
        let completeness = Some(Completeness::new(attribution.sum(), difference));
        Ok(Outcome { attribution, completeness })
    }
}
