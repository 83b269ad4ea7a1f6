//! Deconvnet (Zeiler and Fergus 2014): `R_in = R_out * 1[R_out > 0]`, whatever the activation was.

use super::Rule;
use crate::gradient::site::{Refusal, Site};

/// On Relu, as in the paper.
pub const RELU: Rule = Rule { name: "deconvnet", covers: &[&[("Relu", relu)]] };

fn relu(s: &mut Site) -> Result<(), Refusal> {
    let g = s.g();
    let positive = s.emit.op("Relu", &[&g]);
    s.give(0, positive);
    Ok(())
}
