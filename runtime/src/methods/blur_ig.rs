//! Blur integrated gradients (Xu, Venugopalan and Sundararajan 2020): the gradient integrated along the path from a blurred
//! image to the sharp one: `A = sum over i of df/dx(L(s_i)) * (L(s_i) - L(s_i+1))`, `L(s)` the image blurred by a Gaussian
//! of deviation `s` pixels. No baseline is put in: detail appears as the blur goes.

use std::ops::ControlFlow;

use super::path::{MAX_STEPS, Path, Step, Visit, integrate, passes};
use super::{Entry, Extents, Method, Outcome, Parameter, Params, Passes, Properties, Task};
use crate::error::Result;
use crate::image::blur::{Border, gaussian};

pub(super) const ENTRY: Entry = Entry {
    name: "blur-ig",
    aliases: &["blur-integrated-gradients"],
    summary: "the gradient integrated from a blurred image to the sharp one",
    paper: "Xu et al. 2020",
    properties: Properties { complete: true, linear_exact: false, stochastic: false, signed: true },
    parameters: &[
        Parameter { name: "steps", default: "100", help: "gradients along the path" },
        Parameter { name: "max-sigma", default: "50", help: "the strongest blur's deviation, in pixels" },
        Parameter {
            name: "schedule",
            default: "linear",
            help: "equal steps of the deviation (linear) or of its square (variance)",
        },
        Parameter { name: "border", default: "reflect", help: "what lies beside the image: reflect or zero" },
        Parameter {
            name: "compat",
            default: "none",
            help: "pair: as PAIR's saliency package, with zeros beside the image and a derivative for each step, which does \
                   not add up",
        },
    ],
    build: |params| Ok(Box::new(BlurIg(Blur::parse(params)?))),
};

struct BlurIg(Blur);

impl Method for BlurIg {
    fn passes(&self, _model: Extents) -> Passes {
        passes(&self.0)
    }

    fn explain(&self, task: &mut Task) -> Result<Outcome> {
        integrate(&self.0, task)
    }
}

/// Where a step's gradient is taken, and what its way is.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    /// Halfway, and the way between the ends.
    Middle,
    /// At the blurred end, and the way between the ends.
    Start,
    /// At the sharp end, and the derivative there by a small difference.
    Pair,
}

/// PAIR's small difference of the deviation.
const DIFFERENCE: f64 = 0.01;

/// The path.
pub(super) struct Blur {
    steps: u32,
    max_sigma: f64,
    variance: bool,
    border: Border,
    form: Form,
}

impl Blur {
    /// From the parameters of the method.
    pub fn parse(params: &Params) -> Result<Blur> {
        let variance = match params.text("schedule") {
            "linear" => false,
            "variance" => true,
            _ => return Err(params.refuse("schedule", "linear or variance")),
        };
        let (border, form) = match (params.text("compat"), params.text("border")) {
            ("none", "reflect") => (Border::Reflect, Form::Middle),
            ("none", "zero") => (Border::Zero, Form::Middle),
            ("pair", _) => (Border::Zero, Form::Pair),
            ("none", _) => return Err(params.refuse("border", "reflect or zero")),
            _ => return Err(params.refuse("compat", "none or pair")),
        };
        let max_sigma = params.size("max-sigma")?;
        Ok(Blur { steps: params.whole("steps", 1, MAX_STEPS)?, max_sigma, variance, border, form })
    }

    /// With gradients at its points, and not between them.
    pub fn at_its_points(self) -> Blur {
        Blur { form: Form::Start, ..self }
    }

    /// The deviation after so many steps from the strongest.
    fn sigma(&self, steps: f64) -> f64 {
        let left = 1.0 - steps / self.steps as f64;
        self.max_sigma * if self.variance { left.max(0.0).sqrt() } else { left }
    }
}

impl Path for Blur {
    fn steps(&self) -> u32 {
        self.steps
    }

    fn walk(&self, task: &mut Task, visit: Visit) -> Result<Vec<f32>> {
        let (input, seed) = (task.input, task.seed);
        let (layout, extents) = task.image("blur-ig")?;
        let blurred = |sigma: f64| gaussian(input, layout, extents, sigma, self.border);
        let taken = |i: usize| match self.form {
            Form::Middle => self.sigma(i as f64 + 0.5),
            Form::Start => self.sigma(i as f64),
            Form::Pair => self.sigma(i as f64 + 1.0),
        };
        let make = |i: usize, point: &mut [f32]| point.copy_from_slice(&blurred(taken(i)));
        let start = blurred(self.max_sigma);
        let (mut from, mut moved) = (start.clone(), vec![0.0f64; input.len()]);
        task.gradients_at(self.steps as usize, &make, &mut |i, pass| {
            let (to, scale) = match self.form {
                Form::Pair => {
                    from = blurred(taken(i) + DIFFERENCE);
                    (blurred(taken(i)), (self.sigma(i as f64) - taken(i)) / DIFFERENCE)
                }
                _ => (blurred(self.sigma(i as f64 + 1.0)), 1.0),
            };
            let way = moved.iter_mut().zip(to.iter().zip(&from));
            way.for_each(|(moved, (&to, &from))| *moved = (to as f64 - from as f64) * scale);
            visit(Step { value: pass.target(seed), gradient: pass.input, moved: &moved });
            from = to;
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(start)
    }
}
