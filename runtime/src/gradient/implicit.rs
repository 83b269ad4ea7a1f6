//! What an op gives beside its slope, `y - J x`: the implicit bias that FullGrad counts where an op is not a line through zero.

use super::biases::of_channels;
use super::emit::Name;
use super::known::{HOMOGENEOUS, LINEAR};
use super::site::Site;
use crate::onnx::Tensor;

/// How an op's implicit bias comes about.
enum Form {
    /// So many times its output.
    Output(f32),
    /// Its output, less each input times its slope.
    BesideSlope,
    /// Its output, where that is an input which does not depend on the model's.
    Constants,
}

/// The implicit bias of a site, times the cotangent of its output, after the site's true adjoint has run. Of the output's
/// shape; none for ops that are lines through zero in what depends on the input, and for ones of which it is not known place
/// by place.
pub(super) fn implicit_bias(site: &mut Site) -> Option<Name> {
    let active: Vec<usize> = (0..site.node.inputs.len()).filter(|&i| site.needs(i)).collect();
    let form = form(&site.node.op, &active)?;
    let (g, y) = (site.g(), own_output(site));
    match form {
        Form::Output(factor) => {
            let product = site.emit.mul(&g, &y);
            Some(site.emit.scale(&product, factor))
        }
        Form::Constants => {
            let constant = constants(site)?;
            let product = site.emit.mul(&g, &y);
            Some(site.emit.mul(&product, &constant))
        }
        Form::BesideSlope => {
            let alike = active.iter().all(|&i| site.x_shape(i) == site.y_shape());
            alike.then(|| {
                let product = site.emit.mul(&g, &y);
                site.given.clone().iter().filter(|(slot, _)| active.contains(slot)).fold(
                    product,
                    |sum, (slot, cotangent)| {
                        let x = site.x(*slot);
                        let slope = site.emit.mul(cotangent, &x);
                        site.emit.sub(&sum, &slope)
                    },
                )
            })
        }
    }
}

fn form(op: &str, active: &[usize]) -> Option<Form> {
    match (op, active) {
        ("Concat" | "Where", _) => Some(Form::Constants),
        (op, _) if LINEAR.contains(&op) || HOMOGENEOUS.contains(&op) => None,
        ("Conv" | "ConvTranspose" | "Gemm" | "MatMul" | "Mul" | "Einsum", [_]) | ("Div", [0]) => None,
        // A product of two has twice its value as its slope along them; a quotient of two has none.
        ("Conv" | "ConvTranspose" | "Gemm" | "MatMul" | "Mul" | "Einsum", [_, _]) => Some(Form::Output(-1.0)),
        ("Div", [1]) => Some(Form::Output(2.0)),
        ("Div", _) => Some(Form::Output(1.0)),
        _ => Some(Form::BesideSlope),
    }
}

/// One where the output is a constant's, zero elsewhere, as far as it is; none where it is nowhere.
fn constants(site: &mut Site) -> Option<Name> {
    let is_constant = |site: &Site, slot: usize| !site.needs(slot);
    if site.node.op == "Where" {
        let sides = [is_constant(site, 1), is_constant(site, 2)];
        let [of, otherwise] = sides.map(|is_constant| site.emit.scalar(f32::from(u8::from(is_constant))));
        return sides.contains(&true).then(|| site.emit.op("Where", &[&site.x(0), &of, &otherwise]));
    }
    let (axis, shape) = (site.axis("axis", 0).ok()?, site.y_shape());
    let parts = (0..site.node.inputs.len()).map(|slot| (is_constant(site, slot), site.x_shape(slot)[axis]));
    let along: Vec<f32> =
        parts.flat_map(|(is_constant, len)| std::iter::repeat_n(f32::from(u8::from(is_constant)), len)).collect();
    let mut extents = vec![1; shape.len()];
    extents[axis] = along.len();
    along.contains(&1.0).then(|| site.emit.constant(Tensor::f32(&extents, &along)))
}

/// The output without what counts as a bias of its own.
fn own_output(site: &mut Site) -> Name {
    let (y, shape) = (site.y(), site.y_shape());
    let Some(bias) = site.constant(2).cloned() else { return y };
    match site.node.op.as_str() {
        "LayerNormalization" => site.emit.sub(&y, &site.x(2)),
        "InstanceNormalization" | "GroupNormalization" => {
            let Some(bias) = of_channels(&bias, shape[1]) else { return y };
            let mut extents = vec![1; shape.len()];
            extents[1] = shape[1];
            let bias = site.emit.constant(Tensor::f32(&extents, &bias));
            site.emit.sub(&y, &bias)
        }
        _ => y,
    }
}
