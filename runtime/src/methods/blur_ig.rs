//! Blur integrated gradients (Xu, Venugopalan and Sundararajan 2020): the gradient integrated along the path from a blurred
//! image to the sharp one: `A = sum over i of df/dx(L(s_i)) * (L(s_i) - L(s_i+1))`, `L(s)` the image blurred by a Gaussian
//! of deviation `s` pixels. No baseline is put in: detail appears as the blur goes.

use std::ops::ControlFlow;

use super::path::{LEAST, Last, MAX_STEPS, Path, Step, Visit, integrate, passes};
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

    fn least(&self, _model: Extents) -> Passes {
        LEAST
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

    /// The deviation at so large a part of the way from the strongest.
    fn sigma(&self, part: f64) -> f64 {
        let left = 1.0 - part;
        self.max_sigma * if self.variance { left.max(0.0).sqrt() } else { left }
    }
}

impl Path for Blur {
    fn steps(&self) -> u32 {
        self.steps
    }

    fn start(&self, task: &Task) -> Result<Vec<f32>> {
        let (layout, extents) = task.image("blur-ig")?;
        Ok(gaussian(task.input, layout, extents, self.max_sigma, self.border))
    }

    fn walk(&self, task: &mut Task, start: &[f32], steps: u32, visit: Visit) -> Result<bool> {
        let (input, seed) = (task.input, task.seed);
        let (layout, extents) = task.image("blur-ig")?;
        let blurred = |sigma: f64| gaussian(input, layout, extents, sigma, self.border);
        let sigma = |steps_done: f64| self.sigma(steps_done / steps as f64);
        let taken = |i: usize| match self.form {
            Form::Middle => sigma(i as f64 + 0.5),
            Form::Start => sigma(i as f64),
            Form::Pair => sigma(i as f64 + 1.0),
        };
        let make = |i: usize, point: &mut [f32]| point.copy_from_slice(&blurred(taken(i)));
        let (mut from, mut moved, mut last) = (start.to_vec(), vec![0.0f64; input.len()], Last::default());
        task.gradients_at(steps as usize, &make, &mut |i, pass| {
            let (to, scale) = match self.form {
                Form::Pair => {
                    from = blurred(taken(i) + DIFFERENCE);
                    (blurred(taken(i)), (sigma(i as f64) - taken(i)) / DIFFERENCE)
                }
                _ => (blurred(sigma(i as f64 + 1.0)), 1.0),
            };
            way(&mut moved, &from, &to, scale);
            let value = pass.target(seed);
            visit(Step { value, gradient: pass.input, moved: &moved });
            last.note(value, pass.input);
            from = to;
            Ok(ControlFlow::Continue(()))
        })?;
        if last.taken < steps {
            way(&mut moved, &from, input, 1.0);
            last.jump(&moved, visit);
        }
        Ok(last.taken == steps)
    }
}

/// `(to - from) * scale`
fn way(moved: &mut [f64], from: &[f32], to: &[f32], scale: f64) {
    let both = moved.iter_mut().zip(to.iter().zip(from));
    both.for_each(|(moved, (&to, &from))| *moved = (to as f64 - from as f64) * scale);
}
