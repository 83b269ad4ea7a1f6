//! Convolutions: the adjoint of one kind is the other kind, with the same weights.

use crate::gradient::emit::Name;
use crate::gradient::site::{AdjointFn, Refusal, Site};
use crate::onnx::{Attr, Node, Tensor};

pub const TABLE: &[(&str, AdjointFn)] = &[("Conv", conv), ("ConvTranspose", conv_transpose)];

/// The sliding of a kernel along each spatial axis.
#[derive(Clone, Debug)]
pub struct Window {
    pub kernel: Vec<usize>,
    pub strides: Vec<usize>,
    pub dilations: Vec<usize>,
    /// Zeros before the first element of each axis.
    pub before: Vec<i64>,
    /// Zeros after the last; fewer than the windows reach where they overhang (`ceil_mode`).
    pub after: Vec<i64>,
}

impl Window {
    /// Reads a node that slides from `input` to `output` extents.
    pub fn of(node: &Node, kernel: &[usize], input: &[usize], output: &[usize]) -> Result<Window, Refusal> {
        let axes = kernel.len();
        let listed = |name: &str| -> Vec<usize> {
            node.ints(name).map_or_else(|| vec![1; axes], |v| v.iter().map(|&d| d.max(1) as usize).collect())
        };
        let (strides, dilations) = (listed("strides"), listed("dilations"));
        if [input.len(), output.len(), strides.len(), dilations.len()].iter().any(|&n| n != axes) {
            return Err("its attributes don't fit its input's rank".into());
        }
        if kernel.iter().chain(input).chain(output).any(|&d| d == 0) {
            return Err("its input, kernel or output is empty".into());
        }
        let mut window =
            Window { kernel: kernel.to_vec(), strides, dilations, before: vec![0; axes], after: vec![0; axes] };
        match node.text("auto_pad", "NOTSET") {
            "NOTSET" => {
                if let Some(pads) = node.ints("pads") {
                    if pads.len() != 2 * axes {
                        return Err("its pads don't fit its input's rank".into());
                    }
                    window.before = pads[..axes].to_vec();
                    window.after = pads[axes..].to_vec();
                }
            }
            "VALID" => {}
            mode @ ("SAME_UPPER" | "SAME_LOWER") => {
                for axis in 0..axes {
                    let reach = ((output[axis] - 1) * window.strides[axis] + window.reach(axis)) as i64;
                    let total = (reach - input[axis] as i64).max(0);
                    // The odd one goes after the end, or before the start.
                    window.before[axis] = if mode == "SAME_UPPER" { total / 2 } else { total - total / 2 };
                    window.after[axis] = total - window.before[axis];
                }
            }
            other => return Err(format!("auto_pad '{other}' is not known")),
        }
        Ok(window)
    }

    /// Elements that one window spans.
    pub fn reach(&self, axis: usize) -> usize {
        (self.kernel[axis] - 1) * self.dilations[axis] + 1
    }

    /// The attributes of the transposed convolution from `output` extents back to exactly `input` extents.
    pub fn transposed(&self, input: &[usize], output: &[usize], group: i64) -> Vec<(&'static str, Attr)> {
        let (mut pads, mut overhang, mut extra) = (self.before.clone(), vec![], vec![]);
        for axis in 0..self.kernel.len() {
            let reached = ((output[axis] - 1) * self.strides[axis] + self.reach(axis)) as i64;
            let after = reached - self.before[axis] - input[axis] as i64;
            overhang.push(after.max(0));
            extra.push((-after).max(0));
        }
        pads.extend(overhang);
        vec![
            ("strides", ints(&self.strides)),
            ("dilations", ints(&self.dilations)),
            ("kernel_shape", ints(&self.kernel)),
            ("pads", Attr::Ints(pads)),
            ("output_padding", Attr::Ints(extra)),
            ("group", Attr::Int(group)),
        ]
    }
}

fn ints(values: &[usize]) -> Attr {
    Attr::Ints(values.iter().map(|&v| v as i64).collect())
}

fn conv(s: &mut Site) -> Result<(), Refusal> {
    s.constant_only(1, "weight")?;
    s.constant_only(2, "bias")?;
    let (x, w, y) = (s.x_shape(0), s.x_shape(1), s.y_shape());
    let window = Window::of(s.node, &w[2..], &x[2..], &y[2..])?;
    let group = s.node.int("group", 1);
    if let Some(dx) = turned(s, &window, group as usize) {
        s.give(0, dx);
        return Ok(());
    }
    let attributes = window.transposed(&x[2..], &y[2..], group);
    let (g, w) = (s.g(), s.x(1));
    let dx = s.emit.op_with("ConvTranspose", &[&g, &w], attributes);
    s.give(0, dx);
    Ok(())
}

/// The same as a convolution with the weights turned about, where windows lie side by side; of volumes, which no kernel of ours is
/// for, and whose transposed convolutions tract takes ten times as long for.
fn turned(s: &mut Site, window: &Window, group: usize) -> Option<Name> {
    let (x, y, shape) = (s.x_shape(0), s.y_shape(), s.x_shape(1));
    if shape.len() != 5 || window.strides.iter().any(|&stride| stride != 1) {
        return None;
    }
    let reach = |axis: usize| window.reach(axis) as i64 - 1;
    let before: Vec<i64> = (0..3).map(|axis| reach(axis) - window.before[axis]).collect();
    let after: Vec<i64> =
        (0..3).map(|axis| x[axis + 2] as i64 + reach(axis) - y[axis + 2] as i64 - before[axis]).collect();
    if before.iter().chain(&after).any(|&pad| pad < 0) {
        return None;
    }
    let (outputs, inputs, taps) = (shape[0] / group, shape[1], shape[2..].iter().product::<usize>());
    let weights = s.constant(1)?.to_f32()?;
    let mut about = vec![0.0; weights.len()];
    for (i, &weight) in weights.iter().enumerate() {
        let (filter, input, tap) = (i / (inputs * taps), i / taps % inputs, i % taps);
        let (of, output) = (filter / outputs, filter % outputs);
        about[((of * inputs + input) * outputs + output) * taps + taps - 1 - tap] = weight;
    }
    let shape = [&[group * inputs, outputs], &shape[2..]].concat();
    let w = s.emit.constant(Tensor::f32(&shape, &about));
    let attributes = vec![
        ("dilations", ints(&window.dilations)),
        ("kernel_shape", ints(&window.kernel)),
        ("pads", Attr::Ints([before, after].concat())),
        ("group", Attr::Int(group as i64)),
    ];
    let g = s.g();
    Some(s.emit.op_with("Conv", &[&g, &w], attributes))
}

fn conv_transpose(s: &mut Site) -> Result<(), Refusal> {
    s.constant_only(1, "weight")?;
    s.constant_only(2, "bias")?;
    let (x, w, y) = (s.x_shape(0), s.x_shape(1), s.y_shape());
    // Seen backwards, the kernel slides over y and ends up at x.
    let window = Window::of(s.node, &w[2..], &y[2..], &x[2..])?;
    let mut pads = window.before.clone();
    for axis in 0..window.kernel.len() {
        let reached = ((x[axis + 2] - 1) * window.strides[axis] + window.reach(axis)) as i64;
        pads.push(reached - window.before[axis] - y[axis + 2] as i64);
    }
    let g = s.g();
    // Output padding means that the last rows of y were reached by no window.
    let rank = x.len();
    let mut cut = vec![0; rank];
    for axis in 0..window.kernel.len() {
        let after = &mut pads[window.kernel.len() + axis];
        cut[axis + 2] = (*after).min(0);
        *after = (*after).max(0);
    }
    let g = s.emit.pad_or_cut(&g, &y, &vec![0; rank], &cut);
    let attributes = vec![
        ("strides", ints(&window.strides)),
        ("dilations", ints(&window.dilations)),
        ("kernel_shape", ints(&window.kernel)),
        ("pads", Attr::Ints(pads)),
        ("group", Attr::Int(s.node.int("group", 1))),
    ];
    let w = s.x(1);
    let dx = s.emit.op_with("Conv", &[&g, &w], attributes);
    s.give(0, dx);
    Ok(())
}
