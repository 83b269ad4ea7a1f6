//! Where an adjoint works: one forward node, the cotangents of its outputs, and the graph to append to.

use std::collections::HashMap;

use crate::onnx::{Fact, Facts, Node, Tensor};

use super::emit::{Emit, Name};
use super::known::Known;
use super::settings::Settings;
use super::twin::Twin;

/// Why an adjoint does not cover a node.
pub type Refusal = String;

/// Appends the adjoint of one node: reads cotangents with [`Site::g`], hands results to [`Site::give`].
pub type AdjointFn = fn(&mut Site) -> Result<(), Refusal>;

/// In place of a slot: the node's first output.
pub const OUTPUT: usize = usize::MAX;

/// One forward node, seen from its adjoint.
pub struct Site<'a> {
    /// The forward node.
    pub node: &'a Node,
    /// The graph to append to.
    pub emit: &'a mut Emit,
    /// The forward node's place in the graph, for adjoints that want another of its outputs.
    pub(super) index: usize,
    pub(super) facts: &'a Facts,
    pub(super) cotangents: Vec<Option<Name>>,
    pub(super) active: Vec<bool>,
    pub(super) given: Vec<(usize, Name)>,
    /// What is known of the model's values.
    pub known: &'a Known,
    /// The numbers that rules go by.
    pub settings: &'a Settings,
    pub(super) twin: &'a Twin,
    /// Values in place of the node's own, by slot.
    pub(super) instead: Vec<(usize, Name)>,
    /// Of values that have any.
    pub(super) parts: &'a HashMap<String, Parts>,
    /// Those of the node's output.
    pub(super) own_parts: Option<Parts>,
    /// The multiplier of what takes from the first output, where it is another than the cotangent.
    pub(super) minus: Option<Name>,
    pub(super) given_minus: Vec<(usize, Name)>,
}

/// A difference from the baseline in two parts, for rules that tell them apart.
#[derive(Clone, Debug)]
pub struct Parts {
    /// What adds to the value.
    pub plus: Name,
    /// What takes from it.
    pub minus: Name,
}

impl Site<'_> {
    /// The cotangent of the first output.
    pub fn g(&mut self) -> Name {
        self.cotangent(0)
    }

    /// The cotangent of the i-th output; zeros where nothing depends on it.
    pub fn cotangent(&mut self, i: usize) -> Name {
        match self.cotangents.get(i).cloned().flatten() {
            Some(name) => name,
            None => {
                let shape = self.shape_of(self.node.outputs.get(i).map_or("", |o| o.as_str()));
                self.emit.zeros(&shape)
            }
        }
    }

    /// The name of the i-th input.
    pub fn x(&self, i: usize) -> Name {
        self.value(i, self.node.input(i))
    }

    fn value(&self, slot: usize, own: Option<&str>) -> Name {
        let instead = self.instead.iter().find(|(of, _)| *of == slot).map(|(_, name)| name.as_str());
        instead.or(own).unwrap_or_default().to_string()
    }

    /// The counterpart of a value at the baseline.
    pub fn reference(&self, value: &str) -> Name {
        self.twin.of(value)
    }

    /// The parts of a value's difference, if it has any.
    pub fn parts(&self, value: &str) -> Option<Parts> {
        self.parts.get(value).cloned()
    }

    /// Says what the parts of the first output are.
    pub fn set_parts(&mut self, parts: Parts) {
        self.own_parts = Some(parts);
    }

    /// The multiplier of what takes from the first output, where it is another than that of what adds to it. A rule that
    /// does not take it is run once for each.
    pub fn take_minus(&mut self) -> Option<Name> {
        self.minus.take()
    }

    /// Adds a multiplier of what takes from the i-th input, where another was given for what adds to it.
    pub fn give_minus(&mut self, i: usize, multiplier: Name) {
        self.given_minus.push((i, multiplier));
    }

    /// The name of the first output.
    pub fn y(&self) -> Name {
        self.value(OUTPUT, self.node.output(0))
    }

    /// Extents of the i-th input.
    pub fn x_shape(&self, i: usize) -> Vec<usize> {
        self.shape_of(self.node.input(i).unwrap_or_default())
    }

    /// Extents of the first output.
    pub fn y_shape(&self) -> Vec<usize> {
        self.shape_of(self.node.output(0).unwrap_or_default())
    }

    fn shape_of(&self, name: &str) -> Vec<usize> {
        self.facts.get(name).map(|f| f.shape.clone()).unwrap_or_default()
    }

    /// Whether the i-th input depends on what is differentiated for.
    pub fn needs(&self, i: usize) -> bool {
        self.active.get(i).copied().unwrap_or(false)
    }

    /// Refuses where the i-th input depends on what is differentiated for.
    pub fn constant_only(&self, i: usize, what: &str) -> Result<(), Refusal> {
        if self.needs(i) { Err(format!("its {what} depends on the input")) } else { Ok(()) }
    }

    /// The i-th input's value, where that is constant.
    pub fn constant(&self, i: usize) -> Option<&Tensor> {
        self.emit.graph.constants.get(self.node.input(i)?)
    }

    /// The integers of the i-th input, which must be constant.
    pub fn const_ints(&self, i: usize, what: &str) -> Result<Vec<i64>, Refusal> {
        self.constant(i).and_then(Tensor::to_i64).ok_or_else(|| format!("its {what} are not constant"))
    }

    /// The axis an integer attribute names, counted in the first input.
    pub fn axis(&self, attribute: &str, default: i64) -> Result<usize, Refusal> {
        self.axis_of(self.node.int(attribute, default))
    }

    /// The axis of the first input that an index means.
    pub fn axis_of(&self, index: i64) -> Result<usize, Refusal> {
        let fact = Fact::f32(&self.x_shape(0));
        fact.axis(index).ok_or_else(|| format!("its input has no axis {index}"))
    }

    /// Adds a cotangent to the i-th input.
    pub fn give(&mut self, i: usize, cotangent: Name) {
        self.given.push((i, cotangent));
    }

    /// Adds a cotangent, of the output's shape, to an input that was broadcast to the output.
    pub fn give_broadcast(&mut self, i: usize, cotangent: Name) {
        let (from, to) = (self.y_shape(), self.x_shape(i));
        let summed = self.emit.sum_to(&cotangent, &from, &to);
        self.give(i, summed);
    }

    /// Gives the first input the cotangent times `slope`: the adjoint of an elementwise function.
    pub fn give_slope(&mut self, slope: &str) -> Result<(), Refusal> {
        let g = self.g();
        let dx = self.emit.mul(&g, slope);
        self.give(0, dx);
        Ok(())
    }

    /// Makes the forward node write its i-th output too, and returns that value's name.
    pub fn forward_output(&mut self, i: usize) -> Name {
        self.output_of(self.index, i)
    }

    /// The same of the node's copy at the baseline.
    pub fn reference_output(&mut self, i: usize) -> Name {
        self.output_of(self.twin.node(self.index).unwrap_or(self.index), i)
    }

    fn output_of(&mut self, index: usize, i: usize) -> Name {
        let node = &mut self.emit.graph.nodes[index];
        if node.outputs.len() <= i {
            node.outputs.resize(i + 1, String::new());
        }
        if node.outputs[i].is_empty() {
            node.outputs[i] = format!("why.{}.{i}", node.outputs[0]);
        }
        node.outputs[i].clone()
    }
}
