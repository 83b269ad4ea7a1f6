//! Blur integrated gradients (Xu, Venugopalan and Sundararajan 2020): the gradient integrated along the path from a blurred
//! image to the sharp one: `A = sum over i of df/dx(L(s_i)) * (L(s_i) - L(s_i+1))`, `L(s)` the image blurred by a Gaussian
//! of deviation `s` pixels. No baseline is put in: detail appears as the blur goes. Adaptive nodes count with the mean of the
//! gradients at both ends of each part of the way.
//!
//! By default 100 steps from 50 pixels. Map: the input's shape, in the target's unit; it adds up to `f(x) - f(L(50))`.
//! Cost: `steps` gradients, twice as many blurs, and two forward passes; adaptive nodes keep their gradients and
//! images, and take no forward pass.

use std::ops::ControlFlow;

use whyline_stream::adaptive::Cell;

use super::path::{LEAST, Last, MAX_STEPS, Path, Step, Visit, integrate, outcome, passes};
use super::refine::{Kept, Refining, TOLERANCE, refine};
use super::{Entry, Extents, Family, Method, Outcome, Parameter, Params, Passes, Properties, Task};
use crate::baseline::WIDEST;
use crate::error::Result;
use crate::image::blur::{Border, gaussian};

pub(super) const ENTRY: Entry = Entry {
    name: "blur-ig",
    aliases: &["blur-integrated-gradients"],
    family: Family::Path,
    summary: "the gradient integrated from a blurred image to the sharp one",
    paper: "Xu et al. 2020",
    properties: Properties { complete: true, linear_exact: false, stochastic: false, signed: true },
    parameters: &[
        Parameter { name: "steps", default: "100", help: "gradients along the path" },
        Parameter {
            name: "rule",
            default: "middle",
            help: "where they are taken: in the middle of equal steps; or adaptive: up to 1,024 where \
                   the gradients differ",
        },
        TOLERANCE,
        Parameter { name: "max-sigma", default: "50", help: "the strongest blur's deviation, in pixels" },
        Parameter {
            name: "schedule",
            default: "linear",
            help: "equal steps of the deviation (linear) or of its square (variance); PAIR's then begins with a square of \
                   max-sigma",
        },
        Parameter {
            name: "border",
            default: "auto",
            help: "what lies beside the image: reflect or zero; reflect by default, but zero for a compat",
        },
        Parameter {
            name: "compat",
            default: "none",
            help: "pair: as PAIR's saliency package, with zeros beside the image and a derivative for each step, which does \
                   not add up",
        },
    ],
    build: |params| {
        let refining = match params.text("rule") {
            "adaptive" if params.text("compat") != "none" => return Err(params.refuse("rule", "middle with a compat")),
            "adaptive" => Some(Refining::parse(params)?),
            "middle" if params.size("tolerance")? > 0.0 => {
                return Err(params.refuse("tolerance", "0 unless the rule is adaptive"));
            }
            "middle" => None,
            _ => return Err(params.refuse("rule", "middle or adaptive")),
        };
        Ok(Box::new(BlurIg { blur: Blur::parse(params)?, refining }))
    },
};

struct BlurIg {
    blur: Blur,
    refining: Option<Refining>,
}

impl Method for BlurIg {
    fn passes(&self, _model: Extents) -> Passes {
        match self.refining {
            None => passes(&self.blur),
            Some(how) => Passes { forward: 0, gradient: how.steps as u64 },
        }
    }

    fn least(&self, _model: Extents) -> Passes {
        self.refining.map_or(LEAST, |_| Passes { forward: 0, gradient: Refining::LEAST })
    }

    fn keeps(&self, model: Extents) -> usize {
        // A gradient and the blurred image that it was taken at.
        self.refining.map_or(0, |how| how.keeps(2 * model.input))
    }

    fn explain(&self, task: &mut Task) -> Result<Outcome> {
        match self.refining {
            None => integrate(&self.blur, task),
            Some(how) => self.blur.refined(task, how),
        }
    }
}

/// Along any path.
struct Nodes<'a> {
    point: &'a (dyn Fn(f64, &mut [f32]) + Sync),
    points: Vec<Vec<f32>>,
    gradients: Vec<Vec<f32>>,
}

impl Nodes<'_> {
    /// What the part of the way between two nodes gives each feature.
    fn shares(&self, from: usize, to: usize) -> impl Iterator<Item = f64> {
        let moved = self.points[to].iter().zip(&self.points[from]).map(|(&to, &from)| to as f64 - from as f64);
        let mean = self.gradients[to].iter().zip(&self.gradients[from]).map(|(&a, &b)| 0.5 * (a as f64 + b as f64));
        moved.zip(mean).map(|(moved, mean)| moved * mean)
    }
}

impl Kept for Nodes<'_> {
    fn keep(&mut self, place: f64, gradient: &[f32]) {
        let mut point = vec![0.0; gradient.len()];
        (self.point)(place, &mut point);
        self.points.push(point);
        self.gradients.push(gradient.to_vec());
    }

    fn cell(&self, from: usize, to: usize) -> Cell {
        let moved = self.points[to].iter().zip(&self.points[from]).map(|(to, from)| to - from);
        let apart = self.gradients[to].iter().zip(&self.gradients[from]).map(|(to, from)| to - from);
        let doubt = moved.zip(apart).map(|(moved, apart)| (moved * apart).abs() as f64).sum();
        Cell { trapezoid: self.shares(from, to).sum(), doubt }
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
            ("none", "auto" | "reflect") => (Border::Reflect, Form::Middle),
            ("none", "zero") => (Border::Zero, Form::Middle),
            ("pair", "auto" | "zero") => (Border::Zero, Form::Pair),
            ("pair", _) => return Err(params.refuse("border", "zero with the compat pair")),
            ("none", _) => return Err(params.refuse("border", "reflect or zero")),
            _ => return Err(params.refuse("compat", "none or pair")),
        };
        let max_sigma = params.size("max-sigma")?;
        if max_sigma > WIDEST {
            return Err(params.refuse("max-sigma", &format!("{WIDEST} at most")));
        }
        Ok(Blur { steps: params.whole("steps", 1, MAX_STEPS)?, max_sigma, variance, border, form })
    }

    /// With gradients at its points, and not between them.
    pub fn at_its_points(self) -> Blur {
        Blur { form: Form::Start, ..self }
    }

    /// With nodes where the output changes.
    fn refined(&self, task: &mut Task, how: Refining) -> Result<Outcome> {
        let (layout, extents) = task.image("blur-ig")?;
        let input = task.input;
        let point = |part: f64, to: &mut [f32]| {
            to.copy_from_slice(&gaussian(input, layout, extents, self.sigma(part), self.border));
        };
        let mut kept = Nodes { point: &point, points: vec![], gradients: vec![] };
        let (nodes, status) = refine(task, how, &point, &mut kept)?;
        let mut sum = vec![0.0f64; input.len()];
        for (from, to) in nodes.cells() {
            sum.iter_mut().zip(kept.shares(from, to)).for_each(|(sum, share)| *sum += share);
        }
        Ok(Outcome { status, ..outcome(task, &sum, nodes.change()) })
    }

    /// The deviation at so large a part of the way from the strongest.
    fn sigma(&self, part: f64) -> f64 {
        let left = (1.0 - part).max(0.0);
        match (self.variance, self.form) {
            (false, _) => self.max_sigma * left,
            (true, Form::Pair) => (self.max_sigma * left).sqrt(),
            (true, _) => self.max_sigma * left.sqrt(),
        }
    }
}

impl Path for Blur {
    fn steps(&self) -> u32 {
        self.steps
    }

    fn start(&self, task: &Task) -> Result<Vec<f32>> {
        let (layout, extents) = task.image("blur-ig")?;
        Ok(gaussian(task.input, layout, extents, self.sigma(0.0), self.border))
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
