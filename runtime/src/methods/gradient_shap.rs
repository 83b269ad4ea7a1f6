//! GradientSHAP (Lundberg and Lee 2017, as the SHAP and Captum packages have it): expected gradients of noisy copies of the
//! input: `A = mean of (x~ - x') * df/dx(x' + t (x~ - x'))` with `x~ = x + noise`. Without noise it is expected gradients.
//!
//! By default 50 draws. Map: the input's shape, in the target's unit. Cost: `samples` gradients.

use super::expected_gradients::{Expected, PLACES, TOLERANCE};
use super::{Entry, Family, Parameter, Properties};
use crate::baseline;

pub(super) const ENTRY: Entry = Entry {
    name: "gradient-shap",
    aliases: &["gradientshap"],
    family: Family::Path,
    summary: "expected gradients of noisy copies of the input",
    paper: "Lundberg and Lee 2017",
    properties: Properties { complete: false, linear_exact: true, stochastic: true, signed: true },
    parameters: &[
        Parameter { name: "samples", default: "50", help: "random points" },
        Parameter { name: "sigma", default: "0", help: "the noise's deviation, as a part of the input's range" },
        Parameter { name: "seed", default: "0", help: "of the draws" },
        PLACES,
        TOLERANCE,
        baseline::PARAMETER,
    ],
    build: |params| Ok(Box::new(Expected::parse(params, params.size("sigma")? as f32)?)),
};
