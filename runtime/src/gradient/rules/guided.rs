//! Guided backpropagation (Springenberg et al. 2014): `R_in = R_out * 1[z > 0] * 1[R_out > 0]`.

use super::Rule;
use super::reuse::own;
use crate::gradient::functions::GUIDED_RELU_GRAD;
use crate::gradient::site::{Refusal, Site};

/// On Relu, as in the paper.
pub const RELU: Rule = Rule { name: "guided", covers: &[&[("Relu", relu)]] };

/// On what stands for a Relu in other models.
pub const RECTIFIERS: Rule = Rule {
    name: "guided-rectifiers",
    covers: &[&[("Clip", rectified), ("LeakyRelu", rectified), ("PRelu", rectified)]],
};

fn relu(s: &mut Site) -> Result<(), Refusal> {
    let (g, x) = (s.g(), s.x(0));
    let dx = s.emit.call(&GUIDED_RELU_GRAD, &[&g, &x]);
    s.give(0, dx);
    Ok(())
}

/// The op's own gradient, of the positive part of the cotangent.
fn rectified(s: &mut Site) -> Result<(), Refusal> {
    let g = s.g();
    s.cotangents[0] = Some(s.emit.op("Relu", &[&g]));
    own(s)
}
