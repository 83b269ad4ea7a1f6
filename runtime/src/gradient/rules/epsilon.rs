//! LRP's epsilon rule (Bach et al. 2015): `R_i = x_i sum over j of w_ij R_j / (z_j + epsilon sign z_j)`; biases absorb their
//! share. What is not a linear layer passes relevance on as it is.

use super::Rule;
use super::attention;
use super::linear::damped;
use super::reuse::{MOVES, own, own_for};
use crate::gradient::emit::Name;
use crate::gradient::known::LAYERS;
use crate::gradient::site::{AdjointFn, Refusal, Site};

/// Every op that relevance can pass.
pub const REST: Rule = Rule { name: "epsilon", covers: &[MOVES, WINNERS, PASSED, LINEAR, attention::FORMS] };

/// The winner takes all.
const WINNERS: &[(&str, AdjointFn)] = &[
    ("MaxPool", own),
    ("GlobalMaxPool", own),
    ("ReduceMax", own),
    ("ReduceMin", own),
    ("Max", own),
    ("Min", own),
    ("Where", own),
];

/// Element by element.
const PASSED: &[(&str, AdjointFn)] = &[
    ("Relu", pass),
    ("LeakyRelu", pass),
    ("PRelu", pass),
    ("Clip", pass),
    ("Elu", pass),
    ("Selu", pass),
    ("ThresholdedRelu", pass),
    ("Sigmoid", pass),
    ("HardSigmoid", pass),
    ("HardSwish", pass),
    ("Tanh", pass),
    ("Softplus", pass),
    ("Softsign", pass),
    ("Gelu", pass),
    ("Mish", pass),
    ("Erf", pass),
    ("Neg", pass),
    ("Abs", pass),
    ("Sqrt", pass),
    ("Exp", pass),
    ("Log", pass),
    ("Reciprocal", pass),
    ("Pow", pass),
    ("Sin", pass),
    ("Cos", pass),
    ("Atan", pass),
    ("Sinh", pass),
    ("Cosh", pass),
];

/// Sums with weights.
const LINEAR: &[(&str, AdjointFn)] = &[
    ("Conv", epsilon),
    ("ConvTranspose", epsilon),
    ("Add", epsilon),
    ("Sum", epsilon),
    ("Sub", epsilon),
    ("AveragePool", epsilon),
    ("GlobalAveragePool", epsilon),
    ("ReduceMean", epsilon),
    ("ReduceSum", epsilon),
    ("Resize", epsilon),
    ("BatchNormalization", epsilon),
];

fn pass(s: &mut Site) -> Result<(), Refusal> {
    let (g, x, y) = (s.g(), s.x_shape(0), s.y_shape());
    if x != y {
        return Err("it spreads its input over more values".into());
    }
    s.give(0, g);
    Ok(())
}

/// All to the one input that depends on the model's, which has the output's shape.
pub fn hand_on(s: &mut Site) -> Result<(), Refusal> {
    let g = s.g();
    let slot = (0..s.node.inputs.len()).find(|&slot| s.needs(slot)).ok_or("nothing depends on the input")?;
    s.give(slot, g);
    Ok(())
}

/// To every input in proportion to what it added to each output.
pub fn epsilon(s: &mut Site) -> Result<(), Refusal> {
    proportionally(s, 1.0, |_| true)
}

/// `share` of the relevance to each input among `signals`, in proportion to what it contributed.
pub fn proportionally(s: &mut Site, share: f32, signals: impl Fn(usize) -> bool) -> Result<(), Refusal> {
    let y = s.y();
    // Sums and means divide as any rule does: it is of layers that epsilon absorbs something.
    let is_layer = LAYERS.contains(&s.node.op.as_str());
    let epsilon = if is_layer { s.settings.epsilon } else { s.settings.stabiliser() };
    let ratio = damped(s, &y, epsilon);
    let ratio = s.emit.scale(&ratio, share);
    let given: Vec<(usize, Name)> = own_for(s, &ratio, vec![])?;
    for (slot, d) in given.into_iter().filter(|(slot, _)| signals(*slot)) {
        let x = s.x(slot);
        let relevance = s.emit.mul(&x, &d);
        s.give(slot, relevance);
    }
    Ok(())
}
