//! Values that are others, read at other strides: transposes, slices and reshapes follow each other without moving anything.
//! Matrix products and joins read them where they are; for whoever else reads what comes of it they are moved, in one go.

use std::collections::HashSet;

use super::arena::BufferId;
use super::planner::{Lowered, Planner};
use super::shapes::{move_planes, strides};
use super::values::{Lazy, Order};
use crate::engine::kernels::moves::Move;
use crate::error::Result;
use crate::onnx::{Graph, Node};

/// A value whose elements are those of another one in ONNX's order.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// Of which value.
    pub of: String,
    /// Where its first element is there.
    pub from: usize,
    /// From one element to the next there, along each axis.
    pub strides: Vec<usize>,
    /// What each element is multiplied by.
    pub factor: f32,
}

impl View {
    /// With the axes in another order.
    pub fn permuted(mut self, perm: &[usize]) -> View {
        self.strides = perm.iter().map(|&axis| self.strides[axis]).collect();
        self
    }

    /// From these places on, of every so many elements one.
    pub fn cut(mut self, first: &[usize], steps: &[usize]) -> View {
        self.from += first.iter().zip(&self.strides).map(|(first, stride)| first * stride).sum::<usize>();
        // Where there is but one, the step may be anything.
        self.strides.iter_mut().zip(steps).for_each(|(stride, step)| *stride = stride.saturating_mul(*step));
        self
    }

    /// Of shape `shape`, in another shape of as many elements; none where that takes another stride within an axis.
    pub fn reshaped(mut self, shape: &[usize], to: &[usize]) -> Option<View> {
        let mut runs = runs(shape, &self.strides).into_iter().rev();
        let (mut left, mut stride) = (1, 1);
        let mut next = vec![0; to.len()];
        for (axis, &extent) in to.iter().enumerate().rev().filter(|(_, extent)| **extent != 1) {
            if left == 1 {
                (left, stride) = runs.next()?;
            }
            if left % extent != 0 {
                return None;
            }
            next[axis] = stride;
            (left, stride) = (left / extent, stride * extent);
        }
        self.strides = next;
        Some(self)
    }

    /// Whether it is the whole value as it is, of so many elements.
    fn is_whole(&self, shape: &[usize], elements: usize) -> bool {
        let one = match runs(shape, &self.strides)[..] {
            [] => true,
            [(_, stride)] => stride == 1,
            _ => false,
        };
        one && self.from == 0 && self.factor == 1.0 && shape.iter().product::<usize>() == elements
    }
}

/// Extents with their strides, those of one left out, and those joined that lie behind each other.
pub fn runs(shape: &[usize], strides: &[usize]) -> Vec<(usize, usize)> {
    let mut runs: Vec<(usize, usize)> = vec![];
    for (&extent, &stride) in shape.iter().zip(strides).filter(|(extent, _)| **extent != 1) {
        match runs.last_mut() {
            Some(last) if last.1 == extent * stride => *last = (last.0 * extent, stride),
            _ => runs.push((extent, stride)),
        }
    }
    runs
}

/// A view is read where it is if what it is of, which is kept as long, has at most so many times its elements: the queries of an
/// attention are a third of what they were computed with.
const MOST: usize = 3;

/// The values that only such nodes read as need not have them moved.
pub fn read_in_place<'a>(graph: &'a Graph, outputs: &[String]) -> HashSet<&'a str> {
    let is_number = |name: &String| graph.constants.get(name).is_some_and(|tensor| tensor.len() == 1);
    let mut values: HashSet<&str> = graph.nodes.iter().flat_map(|node| &node.outputs).map(String::as_str).collect();
    outputs.iter().for_each(|output| _ = values.remove(output.as_str()));
    // Those that read a value come behind it.
    for node in graph.nodes.iter().rev() {
        let scales =
            || node.inputs.iter().any(is_number) && node.output(0).is_some_and(|output| values.contains(output));
        let slots = match node.op.as_str() {
            _ if !node.domain.is_empty() => 0,
            "MatMul" | "Concat" => usize::MAX,
            "Gemm" => 2,
            "Transpose" | "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" | "Slice" | "Split" | "Gather" => 1,
            "Mul" if scales() => 2,
            _ => 0,
        };
        node.inputs.iter().skip(slots).for_each(|input| _ = values.remove(input.as_str()));
    }
    values
}

impl Planner<'_> {
    /// A value as a view: of another one where it has not been computed yet and is one, else of itself.
    fn viewed(&self, name: &str) -> Result<View> {
        if let Some((Lazy::View(view), _)) = self.values.get(name).and_then(|value| value.lazy.as_ref()) {
            return Ok(view.clone());
        }
        Ok(View { of: name.to_string(), from: 0, strides: strides(&self.fact(name)?.shape), factor: 1.0 })
    }

    /// The same for readers that multiply by its factor: what is only multiplied by a number is a view, too.
    pub(super) fn viewed_before_factor(&self, name: &str) -> Result<View> {
        if let Some((Lazy::Elementwise(node), Order::Planes)) = self.values.get(name).and_then(|v| v.lazy.as_ref())
            && let Some((of, factor)) = self.scaled(&self.graph.nodes[*node], name)
        {
            let view = self.viewed(of)?;
            // Factors one after the other round off one after the other.
            if view.factor == 1.0 {
                return Ok(View { factor, ..view });
            }
        }
        self.viewed(name)
    }

    /// What the view `output` is to be made of: with a factor if nobody wants it moved, which would take a step for that.
    pub(super) fn viewed_for(&self, output: &str, input: &str) -> Result<View> {
        match self.in_place.contains(output) {
            true => self.viewed_before_factor(input),
            false => self.viewed(input),
        }
    }

    /// What a node multiplies by which number, where that is all that it does.
    fn scaled<'n>(&self, node: &'n Node, output: &str) -> Option<(&'n str, f32)> {
        let (a, b) = (node.input(0)?, node.input(1)?);
        let (scaled, factor) = match (self.number(node, 0), self.number(node, 1)) {
            (None, Some(factor)) => (a, factor),
            (Some(factor), None) => (b, factor),
            _ => return None,
        };
        let (own, value) = (self.values.get(scaled)?, self.values.get(output)?);
        // A kernel or a chain that is still to come does that on the way.
        let is_there = matches!(own.lazy, None | Some((Lazy::View(_), _)));
        let alone = node.op == "Mul" && node.domain.is_empty() && !self.masks.wanted(output);
        (is_there && alone && factor.is_finite() && own.fact == value.fact).then_some((scaled, factor))
    }

    /// Where the elements of a view are, which have not been moved, with the first one's place there and the strides.
    pub(super) fn planes_of_view(&mut self, name: &str) -> Result<(BufferId, usize, Vec<usize>)> {
        let view = self.viewed(name)?;
        match view.factor == 1.0 {
            true => Ok((self.planes(&view.of)?, view.from, view.strides)),
            false => Ok((self.planes(name)?, 0, strides(&self.fact(name)?.shape))),
        }
    }

    /// Makes a value a view, which is moved at once if a reader wants that.
    pub(super) fn look(&mut self, output: &str, view: View) -> Result<Lowered> {
        let (shape, of) = (self.fact(output)?.shape.clone(), &self.fact(&view.of)?.shape);
        if view.is_whole(&shape, of.iter().product()) {
            let id = self.planes(&view.of)?;
            self.set(output, Order::Planes, id)?;
            return Ok(Lowered::Done);
        }
        let elements = shape.iter().product::<usize>();
        match self.in_place.contains(output) && of.iter().product::<usize>() <= MOST * elements {
            true => self.postpone(output, Lazy::View(view), Order::Planes),
            false => emit(self, view, output),
        }
    }

    /// Gives a view another shape, where that moves nothing and nobody wants it moved: once it is, all shapes are the same.
    pub(super) fn reshape_view(&mut self, input: &str, output: &str) -> Result<bool> {
        if !self.in_place.contains(output) {
            return Ok(false);
        }
        let (own, to) = (&self.fact(input)?.shape, &self.fact(output)?.shape);
        let view = self.viewed_for(output, input)?;
        match view.reshaped(own, to).filter(|view| view.of != input) {
            Some(view) => self.look(output, view).map(|_| true),
            None => Ok(false),
        }
    }
}

/// Emits the move that makes a value of a view.
pub fn emit(planner: &mut Planner, view: View, output: &str) -> Result<Lowered> {
    let to = planner.fact(output)?.shape.clone();
    let moved = Move { from: view.from, to: 0, reads: view.strides, writes: strides(&to), extents: to };
    move_planes(planner, &view.of, output, moved, view.factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Places that a view reads, one after the other.
    fn places(view: &View, shape: &[usize]) -> Vec<usize> {
        let all = strides(shape);
        let axes = || shape.iter().zip(&all).zip(&view.strides);
        let place = |i: usize| axes().map(|((extent, own), stride)| i / own % extent * stride).sum::<usize>();
        (0..shape.iter().product()).map(|i| view.from + place(i)).collect()
    }

    #[test]
    fn views_of_views_read_the_same_elements() {
        // The heads of an attention: columns by what they are of, head and lane.
        let all = View { of: "x".into(), from: 0, strides: strides(&[5, 24]), factor: 1.0 };
        let split = all.reshaped(&[5, 24], &[5, 1, 3, 2, 4]).unwrap();
        let keys = split.permuted(&[2, 1, 3, 0, 4]).cut(&[1, 0, 0, 0, 0], &[1; 5]);
        let (shape, matrices) = ([1, 1, 2, 5, 4], [2, 5, 4]);
        let keys = keys.reshaped(&shape, &matrices).unwrap();
        let expected: Vec<usize> = (0..40)
            .map(|i| (i / 20, i / 4 % 5, i % 4))
            .map(|(head, row, lane)| row * 24 + 8 + head * 4 + lane)
            .collect();
        assert_eq!(places(&keys, &matrices), expected);
        let turned = keys.clone().permuted(&[0, 2, 1]);
        assert_eq!(turned.strides, [4, 1, 24]);
        assert_eq!(turned.clone().permuted(&[0, 2, 1]), keys);
        // Heads beside lanes lie apart from each other, rows beside heads do not lie behind each other.
        assert_eq!(keys.clone().reshaped(&matrices, &[2, 20]), None);
        assert_eq!(turned.reshaped(&[2, 4, 5], &[8, 5]).unwrap().strides, [1, 24]);
        let every_other = View { of: "x".into(), from: 0, strides: vec![8, 1], factor: 1.0 }.cut(&[1, 1], &[2, 3]);
        assert_eq!(places(&every_other, &[2, 2]), [9, 12, 25, 28]);
    }

    #[test]
    fn reshapes_keep_the_order_of_elements() {
        let of = |strides: &[usize]| View { of: "x".into(), from: 3, strides: strides.to_vec(), factor: 1.0 };
        let shapes: [&[usize]; 7] = [&[12], &[3, 4], &[4, 3], &[2, 6], &[1, 12, 1], &[2, 3, 2], &[3, 2, 2, 1]];
        let views =
            [(of(&[1]), vec![12]), (of(&[8, 2]), vec![3, 4]), (of(&[1, 6, 3]), vec![3, 2, 2]), (of(&[7]), vec![12])];
        let mut reshaped = 0;
        for (view, shape) in &views {
            for to in shapes {
                if let Some(other) = view.clone().reshaped(shape, to) {
                    reshaped += 1;
                    assert_eq!(places(&other, to), places(view, shape), "{view:?} {shape:?} as {to:?}");
                }
            }
        }
        assert_eq!(reshaped, 7 + 7 + 2 + 7, "what lies in two runs keeps them apart");
        assert_eq!(of(&[5]).reshaped(&[1], &[1, 1]).unwrap().strides, [0, 0]);
    }

    #[test]
    fn a_view_of_all_is_none() {
        let is_whole = |from, strides: &[usize], shape: &[usize], elements| {
            View { of: "x".into(), from, strides: strides.to_vec(), factor: 1.0 }.is_whole(shape, elements)
        };
        assert!(is_whole(0, &[4, 9, 1], &[3, 1, 4], 12));
        assert!(is_whole(0, &[0, 0], &[1, 1], 1));
        assert!(!is_whole(0, &[1, 3], &[3, 4], 12), "turned");
        assert!(!is_whole(0, &[4, 1], &[3, 4], 16), "the first rows of several");
        assert!(!is_whole(4, &[1], &[1], 8));
    }
}
