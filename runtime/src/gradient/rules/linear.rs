//! Shared by LRP's rules for layers with weights: the layer run with other inputs and weights, and its adjoint.

use crate::gradient::emit::Name;
use crate::gradient::site::{Refusal, Site};
use crate::onnx::Tensor;

use super::epsilon::REST;
use super::reuse::own_for;

/// A layer with constant weights.
pub struct Layer {
    /// The slot of what the weights are applied to.
    signal: usize,
    /// The slot of the weights.
    weight: usize,
    weights: Tensor,
    bias: Option<Tensor>,
}

/// An input with weights that it is to meet.
pub struct Part {
    input: Name,
    weight: Name,
}

/// Which part of a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// What is above zero.
    Plus,
    /// What is below.
    Minus,
}

impl Sign {
    /// The part.
    pub fn of(self, value: f32) -> f32 {
        match self {
            Sign::Plus => value.max(0.0),
            Sign::Minus => value.min(0.0),
        }
    }
}

impl Layer {
    /// Runs `rule` where the node is a layer with constant weights; a product of two signals goes by the epsilon rule.
    pub fn or_epsilon(s: &mut Site, rule: fn(&mut Site, &Layer) -> Result<(), Refusal>) -> Result<(), Refusal> {
        match Layer::of(s)? {
            Some(layer) => rule(s, &layer),
            None => REST.form(&s.node.op).ok_or("it has no rule")?(s),
        }
    }

    /// The node as a layer, if its weights are constant.
    pub fn of(s: &Site) -> Result<Option<Layer>, Refusal> {
        let weight = if s.needs(0) { 1 } else { 0 };
        let Some(weights) = s.constant(weight).cloned() else { return Ok(None) };
        if s.node.op == "Gemm" && s.needs(2) {
            return Err("its addend depends on the input".into());
        }
        let bias = match s.node.input(2).is_some() {
            true => Some(s.constant(2).cloned().ok_or("its bias is not constant")?),
            false => None,
        };
        Ok(Some(Layer { signal: 1 - weight, weight, weights, bias }))
    }

    /// The name of what the weights are applied to.
    pub fn input(&self, s: &Site) -> Name {
        s.x(self.signal)
    }

    /// Its extents.
    pub fn input_shape(&self, s: &Site) -> Vec<usize> {
        s.x_shape(self.signal)
    }

    /// The input's positive or negative part; `None` where that is zero all over.
    pub fn clamped(&self, s: &mut Site, sign: Sign) -> Option<Name> {
        let x = self.input(s);
        let is_nonnegative = s.known.is_nonnegative(&x);
        match sign {
            Sign::Plus if is_nonnegative => Some(x),
            Sign::Plus => Some(s.emit.op("Relu", &[&x])),
            Sign::Minus if is_nonnegative => None,
            Sign::Minus => {
                let zero = s.emit.scalar(0.0);
                Some(s.emit.op("Min", &[&x, &zero]))
            }
        }
    }

    /// Ones in the input's shape.
    pub fn ones(&self, s: &mut Site) -> Name {
        let (one, shape) = (s.emit.scalar(1.0), self.input_shape(s));
        s.emit.expand(&one, &shape)
    }

    /// An input beside weights made of this layer's.
    pub fn part(&self, s: &mut Site, input: Name, of: impl Fn(f32) -> f32) -> Part {
        Part { input, weight: changed(s, &self.weights, of) }
    }

    /// The bias, changed.
    pub fn bias(&self, s: &mut Site, of: impl Fn(f32) -> f32) -> Option<Name> {
        self.bias.as_ref().map(|bias| changed(s, bias, of))
    }

    /// The layer's outputs for some parts, added up, with a bias.
    pub fn run(&self, s: &mut Site, parts: &[Part], bias: Option<Name>) -> Name {
        let mut sum: Option<Name> = None;
        for part in parts {
            let mut node = s.node.clone();
            node.inputs[self.signal] = part.input.clone();
            node.inputs[self.weight] = part.weight.clone();
            node.inputs.truncate(2);
            node.inputs.extend(bias.clone().filter(|_| sum.is_none()));
            let output = s.emit.again(&node);
            sum = Some(match sum {
                Some(sum) => s.emit.add(&sum, &output),
                None => output,
            });
        }
        sum.unwrap_or_else(|| {
            let shape = s.y_shape();
            s.emit.zeros(&shape)
        })
    }

    /// What each part's input gets of `ratio`, the relevance by what it is shared out by: `input * J'(ratio)`, added up.
    pub fn share_out(&self, s: &mut Site, parts: Vec<Part>, ratio: &str) -> Result<Option<Name>, Refusal> {
        let mut sum: Option<Name> = None;
        for part in parts {
            let instead = vec![(self.signal, part.input.clone()), (self.weight, part.weight)];
            let given = own_for(s, ratio, instead)?;
            for (_, d) in given.into_iter().filter(|(slot, _)| *slot == self.signal) {
                let relevance = s.emit.mul(&part.input, &d);
                sum = Some(match sum {
                    Some(sum) => s.emit.add(&sum, &relevance),
                    None => relevance,
                });
            }
        }
        Ok(sum)
    }

    /// Hands relevance to the input.
    pub fn give(&self, s: &mut Site, relevance: Option<Name>) {
        if let Some(relevance) = relevance {
            s.give(self.signal, relevance);
        }
    }
}

fn changed(s: &mut Site, tensor: &Tensor, of: impl Fn(f32) -> f32) -> Name {
    let values: Vec<f32> = tensor.to_f32().unwrap_or_default().into_iter().map(of).collect();
    s.emit.constant(Tensor::f32(&tensor.shape, &values))
}

/// `R / z`, kept from dividing by zero.
pub fn quotient(s: &mut Site, z: &str) -> Name {
    damped(s, z, s.settings.stabiliser())
}

/// `R / (z + epsilon sign z)`, where the sign of zero is plus.
pub fn damped(s: &mut Site, z: &str, epsilon: f32) -> Name {
    let (g, zero) = (s.g(), s.emit.scalar(0.0));
    // Not `Less`: tract's executor loses one of two that read the same.
    let negative = s.emit.op("Greater", &[&zero, z]);
    let (below, above) = (s.emit.scalar(-epsilon), s.emit.scalar(epsilon));
    let shift = s.emit.op("Where", &[&negative, &below, &above]);
    let stable = s.emit.add(z, &shift);
    s.emit.div(&g, &stable)
}
