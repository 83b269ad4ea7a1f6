//! Integrated Hessians (Janizek et al. 2021): how a region's attribution depends on every other feature. Of integrated
//! gradients' attribution of the region, `Gamma_j = sum over i in the region of IG_i(IG_j)`, which add up over `j` to that
//! attribution. As a single integral over the path, with `t = a b` for the two path places of the definition:
//! `Gamma_ij = integral of -ln t [t D_i D_j d2f/dx_i dx_j + (i = j) D_i df/dx_i] dt`, `D = x - x'`.
//!
//! Second derivatives are differences of gradients over a small step of the region. A network of Relu has none but at kinks,
//! which such steps cross here and there: of many units few places give the shape of the map and many its sum, and the gap says
//! how far that is. `softplus` makes such a network smooth, as the paper does; that is then what is explained. By `kinks` the
//! jumps `dg` of the gradient between places count instead, as `-t ln t (D_i dg_i)(D_j dg_j) / (dg . D)`: exact where one unit
//! switches between two places, and of convolutional networks, where many do, no more than a sum that is right.
//!
//! By default 64 places, for the strongest of 8 by 8 regions. Map: the input's shape, in the target's unit: the rows of
//! the region's features, added up. Cost: `2 steps` gradients, half of that by kinks, and one to find the region.

use whyline_stream::quadrature::{MAX_NODES, Rule};

use super::path::{between, outcome};
use super::{Entry, Extents, Family, Method, Needs, Outcome, Parameter, Passes, Properties, Task};
use crate::baseline::{self, Baseline, FILE};
use crate::error::{Error, Result};
use crate::gradient::Settings;
use crate::gradient::composite::GRADIENT;
use crate::onnx::Layout;

pub(super) const ENTRY: Entry = Entry {
    name: "integrated-hessians",
    aliases: &["ih"],
    family: Family::Interaction,
    summary: "how the attribution of a region depends on every other feature",
    paper: "Janizek et al. 2021",
    properties: Properties { complete: false, linear_exact: false, stochastic: false, signed: true },
    parameters: &[
        Parameter { name: "steps", default: "64", help: "places along the path" },
        Parameter {
            name: "region",
            default: "top",
            help: "row,column,height,width in pixels of the input; an image file that marks its pixels; or top: of a grid of \
                   8 by 8 regions the one with the largest gradient times difference",
        },
        Parameter {
            name: "form",
            default: "differences",
            help: "differences of two gradients at each place; or kinks, for networks of few Relu",
        },
        Parameter {
            name: "softplus",
            default: "0",
            help: "ln(1 + exp(b z)) / b with this b in the place of every Relu, as the paper does with 10; the larger, the \
                   nearer to the model; 0 leaves them. Max pools keep their kinks: look at the gap",
        },
        baseline::PARAMETER,
    ],
    build: |params| {
        let form = match params.text("form") {
            "kinks" => Form::Kinks,
            "differences" => Form::Differences,
            _ => return Err(params.refuse("form", "kinks or differences")),
        };
        let text = params.text("region");
        let numbers: Option<Vec<usize>> = text.split(',').map(|n| n.trim().parse().ok()).collect();
        let region = match numbers.as_deref() {
            Some(&[row, column, height, width]) if height > 0 && width > 0 => {
                Region::Rectangle(Rectangle { row, column, height, width })
            }
            _ if text == "top" => Region::Top,
            _ if text.starts_with(FILE) => Region::Marked,
            _ => return Err(params.refuse("region", "top, row,column,height,width, or an image file that exists")),
        };
        let softplus = Some(params.size("softplus")? as f32).filter(|sharpness| *sharpness > 0.0);
        let (steps, baseline) = (params.whole("steps", 1, MAX_NODES)?, Baseline::parse(params)?);
        Ok(Box::new(IntegratedHessians { steps, region, form, softplus, baseline }))
    },
};

/// Regions along each side, of which the strongest is taken.
const GRID: usize = 8;

/// The step of differences of gradients, as a part of the values; in f32 the best compromise of rounding and curvature.
const DIFFERENCE: f64 = 3e-3;

/// Of a jump's size, below which its sum along the path says nothing of a direction: several units have switched, and their jumps
/// nearly cancel.
const LEAST: f64 = 0.1;

#[derive(Clone, Copy, PartialEq)]
enum Form {
    Kinks,
    Differences,
}

#[derive(Clone, Copy, PartialEq)]
enum Region {
    /// The strongest of a grid.
    Top,
    Rectangle(Rectangle),
    /// By the caller.
    Marked,
}

/// In pixels.
#[derive(Clone, Copy, PartialEq)]
struct Rectangle {
    row: usize,
    column: usize,
    height: usize,
    width: usize,
}

impl Rectangle {
    fn lies_within(self, height: usize, width: usize) -> bool {
        let ends = |from: usize, extent: usize, most: usize| from.checked_add(extent).is_some_and(|end| end <= most);
        ends(self.row, self.height, height) && ends(self.column, self.width, width)
    }
}

struct IntegratedHessians {
    steps: u32,
    region: Region,
    form: Form,
    softplus: Option<f32>,
    baseline: Baseline,
}

impl Method for IntegratedHessians {
    fn needs(&self) -> Needs {
        let needs = Needs::of(&GRADIENT);
        Needs { settings: Settings { softplus: self.softplus, ..needs.settings }, ..needs }
    }

    fn passes(&self, _model: Extents) -> Passes {
        let each = if self.form == Form::Kinks { 1 } else { 2 };
        Passes { forward: 0, gradient: each * self.steps as u64 + (self.region == Region::Top) as u64 }
    }

    fn explain(&self, task: &mut Task) -> Result<Outcome> {
        let baseline = self.baseline.values(&task.origin())?;
        let way: Vec<f64> = task.input.iter().zip(&baseline).map(|(&x, &b)| x as f64 - b as f64).collect();
        let inside = self.inside(task, &way)?;
        let (row, attribution) = match self.form {
            Form::Kinks => self.by_kinks(task, &baseline, &way, &inside)?,
            Form::Differences => self.by_differences(task, &baseline, &way, &inside)?,
        };
        Ok(outcome(task, &row, attribution))
    }
}

impl IntegratedHessians {
    /// Whether each feature is of the region.
    fn inside(&self, task: &mut Task, way: &[f64]) -> Result<Vec<bool>> {
        let (layout, (channels, height, width)) = task.image("integrated-hessians")?;
        let pixel = |i: usize| match layout {
            Layout::ChannelsFirst => i % (height * width),
            Layout::ChannelsLast => i / channels % (height * width),
        };
        let region = match self.region {
            Region::Rectangle(r) if r.lies_within(height, width) => r,
            Region::Rectangle(r) => {
                let from = format!("{} x {} pixels from {}, {}", r.height, r.width, r.row, r.column);
                return Err(Error::usage(format!("the region has {from}, but the input {height} x {width}")));
            }
            Region::Marked => {
                let marked = task.region.filter(|marked| marked.iter().any(|m| *m));
                let marked = marked.ok_or_else(|| Error::usage("the region's image marks no pixel: none is bright"))?;
                return Ok((0..way.len()).map(|i| marked[pixel(i)]).collect());
            }
            Region::Top => {
                let input = task.input;
                let gradient = task.gradient_at(input)?.input;
                let mut sums = vec![0.0f64; GRID * GRID];
                for (i, (&g, way)) in gradient.iter().zip(way).enumerate() {
                    let (row, column) = (pixel(i) / width, pixel(i) % width);
                    sums[row * GRID / height * GRID + column * GRID / width] += g as f64 * way;
                }
                let best = (0..sums.len()).fold(0, |best, i| if sums[i].abs() > sums[best].abs() { i } else { best });
                let edge = |cell: usize, extent: usize| (cell * extent).div_ceil(GRID);
                let (row, column) = (best / GRID, best % GRID);
                Rectangle {
                    row: edge(row, height),
                    column: edge(column, width),
                    height: edge(row + 1, height) - edge(row, height),
                    width: edge(column + 1, width) - edge(column, width),
                }
            }
        };
        let within = |p: usize| {
            (region.row..region.row + region.height).contains(&(p / width))
                && (region.column..region.column + region.width).contains(&(p % width))
        };
        Ok((0..way.len()).map(|i| within(pixel(i))).collect())
    }

    /// Gradients in the middle of equal cells, with the jumps between neighbours put at the cells' ends.
    fn by_kinks(&self, task: &mut Task, baseline: &[f32], way: &[f64], inside: &[bool]) -> Result<(Vec<f64>, f64)> {
        // Of `-ln t` from zero.
        let primitive = |t: f64| if t > 0.0 { t * (1.0 - t.ln()) } else { 0.0 };
        let (input, steps) = (task.input, self.steps as f64);
        let (mut row, mut attribution) = (vec![0.0f64; way.len()], 0.0);
        let (mut point, mut before) = (input.to_vec(), vec![]);
        for step in 0..self.steps {
            let (begin, end) = (step as f64 / steps, (step as f64 + 1.0) / steps);
            between(baseline, input, (begin + end) / 2.0, &mut point);
            let gradient = task.gradient_at(&point)?.input;
            let along = gradient.iter().zip(way).map(|(&g, way)| g as f64 * way);
            let slopes: Vec<f64> = along.collect();
            let weight = primitive(end) - primitive(begin);
            for i in (0..way.len()).filter(|&i| inside[i]) {
                row[i] += weight * slopes[i];
                attribution += (end - begin) * slopes[i];
            }
            if step > 0 {
                jump(&mut row, &slopes, &before, inside, primitive(begin) - begin);
            }
            before = slopes;
        }
        Ok((row, attribution))
    }

    /// The Hessian's product with the region's way, by central differences of gradients. Nodes are those of Gauss and
    /// Legendre in the root of `t`, which has no singularity.
    fn by_differences(
        &self,
        task: &mut Task,
        baseline: &[f32],
        way: &[f64],
        inside: &[bool],
    ) -> Result<(Vec<f64>, f64)> {
        let input = task.input;
        let (mut row, mut attribution) = (vec![0.0f64; way.len()], 0.0);
        let largest = way.iter().zip(inside).filter(|(_, inside)| **inside).fold(0.0, |m: f64, (w, _)| m.max(w.abs()));
        if largest == 0.0 {
            return Ok((row, 0.0));
        }
        let mut point = input.to_vec();
        for step in 0..self.steps {
            let (root, weight) = Rule::GaussLegendre.node(step, self.steps);
            let (t, weight) = (root * root, 2.0 * root * weight);
            between(baseline, input, t, &mut point);
            let size = point.iter().fold(0.0f32, |m, v| m.max(v.abs())) as f64;
            let h = DIFFERENCE * (1.0 + size) / largest;
            let moved = |sign: f64| -> Vec<f32> {
                let by = |i: usize| if inside[i] { sign * h * way[i] } else { 0.0 };
                point.iter().enumerate().map(|(i, &p)| (p as f64 + by(i)) as f32).collect()
            };
            let ahead = task.gradient_at(&moved(1.0))?.input.to_vec();
            let behind = task.gradient_at(&moved(-1.0))?.input;
            let log = -t.ln();
            for i in 0..way.len() {
                let (a, b) = (ahead[i] as f64, behind[i] as f64);
                row[i] += weight * log * t * way[i] * (a - b) / (2.0 * h);
                if inside[i] {
                    let slope = way[i] * (a + b) / 2.0;
                    row[i] += weight * log * slope;
                    attribution += weight * slope;
                }
            }
        }
        Ok((row, attribution))
    }
}

/// A jump of the slopes: to each feature in proportion to its part of it, or where the parts cancel, to the region itself.
fn jump(row: &mut [f64], after: &[f64], before: &[f64], inside: &[bool], weight: f64) {
    let parts = || after.iter().zip(before).map(|(a, b)| a - b);
    let (whole, size) = parts().fold((0.0, 0.0), |(sum, size): (f64, f64), p| (sum + p, size + p.abs()));
    let region: f64 = parts().zip(inside).filter(|(_, inside)| **inside).map(|(p, _)| p).sum();
    for (row, (part, &inside)) in row.iter_mut().zip(parts().zip(inside)) {
        *row += match whole.abs() > LEAST * size {
            true => weight * region * part / whole,
            false if inside => weight * part,
            false => 0.0,
        };
    }
}
