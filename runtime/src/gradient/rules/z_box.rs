//! LRP's z-box rule (Montavon et al. 2017) for a layer whose input lies between bounds `l` and `h`:
//! `R_i = sum over j of (x_i w_ij - l_i w_ij+ - h_i w_ij-) R_j / sum over i of the same`; a bias cancels out.

use super::Rule;
use super::linear::{Layer, quotient};
use crate::gradient::emit::Name;
use crate::gradient::site::{Refusal, Site};
use crate::onnx::Tensor;

/// On layers with weights.
pub const ALL: Rule =
    Rule { name: "z-box", covers: &[&[("Conv", z_box), ("ConvTranspose", z_box), ("Gemm", z_box), ("MatMul", z_box)]] };

fn z_box(s: &mut Site) -> Result<(), Refusal> {
    Layer::or_epsilon(s, |s, layer| {
        let x = layer.input(s);
        let (low, high) = (bound(s, layer, false), bound(s, layer, true));
        let parts =
            vec![layer.part(s, x, |w| w), layer.part(s, low, |w| -w.max(0.0)), layer.part(s, high, |w| -w.min(0.0))];
        let z = layer.run(s, &parts, None);
        let ratio = quotient(s, &z);
        let relevance = layer.share_out(s, parts, &ratio)?;
        layer.give(s, relevance);
        Ok(())
    })
}

/// The input's bounds: what the card's darkest and brightest pixels become, one for every channel or for all.
fn bound(s: &mut Site, layer: &Layer, high: bool) -> Name {
    let bounds = &s.settings.bounds;
    // What a convolution reads has its channels in front, also where the model's input does not.
    let axis = if ["Conv", "ConvTranspose"].contains(&s.node.op.as_str()) { 1 } else { bounds.axis };
    let values = if high { bounds.high.clone() } else { bounds.low.clone() };
    let shape = layer.input_shape(s);
    let mut extents = vec![1; shape.len()];
    let fits = axis < shape.len() && shape[axis] == values.len();
    if fits {
        extents[axis] = values.len();
    }
    let all = values
        .iter()
        .copied()
        .fold(if high { f32::NEG_INFINITY } else { f32::INFINITY }, |a: f32, b| if high { a.max(b) } else { a.min(b) });
    let constant = s.emit.constant(Tensor::f32(&extents, if fits { &values } else { std::slice::from_ref(&all) }));
    s.emit.expand(&constant, &shape)
}
