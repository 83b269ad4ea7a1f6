//! The walk backwards, node by node.

use std::collections::HashMap;

use crate::error::{Error, Result};
use crate::onnx::{Attr, DType, Dim, Fact, Facts, Input, TypedGraph};

use super::composite::{Composite, Kind, Start};
use super::coverage::{self, Path};
use super::emit::{Emit, Name};
use super::graph::{GradientGraph, Spec, TapOutputs};
use super::head::Link;
use super::implicit::implicit_bias;
use super::known::Known;
use super::names;
use super::rules::epsilon::hand_on;
use super::rules::reveal_cancel::{by_sign, is_function};
use super::settings::Settings;
use super::site::{AdjointFn, Parts, Refusal, Site};
use super::target::{Score, Target};
use super::twin::Twin;

/// One walk: what it knows, and what it has appended so far.
pub struct Walk<'a> {
    typed: &'a TypedGraph,
    path: &'a Path,
    composite: &'a Composite,
    settings: &'a Settings,
    known: Known,
    pub twin: Twin,
    pub emit: Emit,
    cotangents: HashMap<String, Name>,
    /// Of the part that takes from a value, where it is another than its cotangent.
    minus: HashMap<String, Name>,
    parts: HashMap<String, Parts>,
    apart: Option<(usize, usize)>,
    /// What ops write, and their implicit biases times its cotangent, where those are wanted.
    implicit: Option<Vec<(String, Name)>>,
    ruled: usize,
    probabilities: Option<Name>,
}

/// Runs an adjoint; once for each part of the output's difference where each has a multiplier and the adjoint does not take
/// both.
fn both_parts(site: &mut Site, adjoint: AdjointFn) -> std::result::Result<(), Refusal> {
    adjoint(site)?;
    if let Some(minus) = site.minus.take() {
        let plus = std::mem::take(&mut site.given);
        site.cotangents[0] = Some(minus);
        adjoint(site)?;
        site.given_minus = std::mem::replace(&mut site.given, plus);
    }
    Ok(())
}

impl<'a> Walk<'a> {
    pub fn new(typed: &'a TypedGraph, path: &'a Path, spec: &'a Spec) -> Walk<'a> {
        Walk {
            typed,
            path,
            composite: spec.composite,
            settings: &spec.settings,
            known: Known::of(typed, path),
            twin: Twin::default(),
            emit: Emit::new(typed.graph.clone()),
            cotangents: HashMap::new(),
            minus: HashMap::new(),
            parts: HashMap::new(),
            apart: None,
            implicit: spec.implicit_biases.then(Vec::new),
            ruled: 0,
            probabilities: None,
        }
    }

    /// What the walk begins with: the cotangent of the logits, or of their probabilities, or relevance.
    pub fn seed(&mut self, target: &Target, score: Score) -> Result<()> {
        let dims = target.shape.iter().map(|&d| Dim::Fixed(d)).collect();
        self.emit.graph.inputs.push(Input { name: names::SEED.into(), dtype: DType::F32, dims: Some(dims) });
        let start = match (self.composite.kind, score) {
            (Kind::Gradient, Score::Probability) => self.through_probability(target)?,
            (_, Score::Probability) if target.head.link != Link::Done => {
                let reason = format!("the composite '{}' explains logits, not probabilities", self.composite.name);
                return Err(Error::usage(reason));
            }
            (Kind::Relevance(Start::Logit), _) => self.emit.mul(names::SEED, &target.logits),
            (Kind::Relevance(Start::PositiveLogit), _) => {
                let positive = self.emit.op("Relu", &[&target.logits]);
                self.emit.mul(names::SEED, &positive)
            }
            _ => names::SEED.into(),
        };
        self.cotangents.insert(target.logits.clone(), start);
        Ok(())
    }

    /// The cotangent of the logits, where the seed is that of probabilities.
    fn through_probability(&mut self, target: &Target) -> Result<Name> {
        let (p, cotangent) = match target.head.link {
            Link::Done => return Ok(names::SEED.into()),
            Link::None => return Err(Error::usage("the model's scores have no probabilities; explain the logit")),
            Link::Sigmoid => self.through_sigmoid(target),
            Link::Softmax => self.through_softmax(target)?,
        };
        if let Some(implicit) = &mut self.implicit {
            // What the function has beside its slope.
            let own = self.emit.mul(names::SEED, &p);
            let slope = self.emit.mul(&cotangent, &target.logits);
            implicit.push((target.logits.clone(), self.emit.sub(&own, &slope)));
        }
        self.probabilities = Some(p);
        Ok(cotangent)
    }

    /// `p (1 - p) s`, with what is left of one as exact as the rest.
    fn through_sigmoid(&mut self, target: &Target) -> (Name, Name) {
        let p = self.emit.op("Sigmoid", &[&target.logits]);
        let below = self.emit.op("Neg", &[&target.logits]);
        let rest = self.emit.op("Sigmoid", &[&below]);
        let seed = self.emit.mul(names::SEED, &p);
        let cotangent = self.emit.mul(&seed, &rest);
        (p, cotangent)
    }

    /// The cotangent of the logits, where the seed is that of `p = softmax`: `p (s - sum of p s)`, for `s` the seed less a number.
    /// That of a class of more than half is taken: what is left for one that the model is sure of is the sum of the others, and not
    /// one less nearly one.
    fn through_softmax(&mut self, target: &Target) -> Result<(Name, Name)> {
        let axis = target.head.choice.and_then(|choice| choice.axis(&target.shape));
        let axis = axis.ok_or_else(|| Error::usage("which of the model's scores compete is not known"))?;
        let attributes = vec![("axis", Attr::Int(axis as i64))];
        let p = self.emit.op_with("Softmax", &[&target.logits], attributes);
        let [zero, half] = [0.0, 0.5].map(|v| self.emit.scalar(v));
        let is_most = self.emit.op("Greater", &[&p, &half]);
        let of_most = self.emit.op("Where", &[&is_most, names::SEED, &zero]);
        let less = self.emit.reduce("ReduceSum", &of_most, &[axis]);
        let seed = self.emit.sub(names::SEED, &less);
        let weighed = self.emit.mul(&seed, &p);
        let mean = self.emit.reduce("ReduceSum", &weighed, &[axis]);
        let apart = self.emit.sub(&seed, &mean);
        let cotangent = self.emit.mul(&p, &apart);
        Ok((p, cotangent))
    }

    /// The parts of every difference that has any, for composites that tell them apart.
    pub fn tell_apart(&mut self) -> Result<()> {
        let Some(parts) = self.composite.parts else { return Ok(()) };
        let typed = self.typed;
        for (index, node) in typed.graph.nodes.iter().enumerate().filter(|(index, _)| self.path.between[*index]) {
            let Some(form) = parts(&node.op) else { continue };
            let mut site = self.site(index, vec![]);
            let told = form(&mut site).map(|()| site.own_parts);
            let told =
                told.map_err(|reason| Error::NoAdjoint { gaps: vec![coverage::gap(node, self.path, reason)] })?;
            self.parts.extend(told.map(|parts| (node.outputs[0].clone(), parts)));
        }
        let between = typed.graph.nodes.iter().zip(&self.path.between).filter(|(_, between)| **between);
        let functions = between.map(|(node, _)| node).filter(|node| is_function(&node.op));
        let known = |x: Option<&str>| x.is_some_and(|x| self.parts.contains_key(x));
        self.apart = Some((functions.clone().filter(|node| known(node.input(0))).count(), functions.count()));
        Ok(())
    }

    pub fn run(&mut self) -> Result<()> {
        let mut gaps = vec![];
        let wants_implicit = self.implicit.is_some();
        for (index, node) in self.typed.graph.nodes.iter().enumerate().rev() {
            node.outputs.iter().for_each(|output| self.settle(output));
            let cotangents: Vec<Option<Name>> = node.outputs.iter().map(|o| self.cotangents.get(o).cloned()).collect();
            if !self.path.between[index] || cotangents.iter().all(Option::is_none) {
                continue;
            }
            if node.op != "Split" && cotangents.iter().skip(1).any(Option::is_some) {
                gaps.push(coverage::gap(node, self.path, "a further output of it is read on the way".into()));
                continue;
            }
            let Some(adjoint) = self.adjoint(index) else { continue };
            self.ruled += self.composite.rule(&node.op).is_some() as usize;
            let mut site = self.site(index, cotangents);
            match both_parts(&mut site, adjoint) {
                Ok(()) => {
                    let bias = wants_implicit.then(|| implicit_bias(&mut site)).flatten();
                    let (given, given_minus) = (site.given, site.given_minus);
                    bias.into_iter().for_each(|bias| self.collect_implicit(&node.outputs[0], bias));
                    for (i, (slot, cotangent)) in given.into_iter().enumerate() {
                        let minus = given_minus.get(i).map(|(_, name)| name.clone());
                        self.collect(&node.inputs[slot], cotangent, minus);
                    }
                }
                Err(reason) => gaps.push(coverage::gap(node, self.path, reason)),
            }
        }
        gaps.reverse();
        if gaps.is_empty() { Ok(()) } else { Err(Error::NoAdjoint { gaps }) }
    }

    /// What is appended for a node. What normalises the input is no part of the network for composites that begin with a rule of
    /// their own: shares of a pixel and of a mean, of which one is taken from the other, can be anything.
    fn adjoint(&self, index: usize) -> Option<AdjointFn> {
        match self.composite.first.is_some() && self.known.prepares(index) {
            true => Some(hand_on),
            false => self.composite.adjoint(&self.typed.graph.nodes[index].op, self.known.is_first(index)),
        }
    }

    fn site(&mut self, index: usize, cotangents: Vec<Option<Name>>) -> Site<'_> {
        let node = &self.typed.graph.nodes[index];
        Site {
            node,
            emit: &mut self.emit,
            index,
            facts: &self.typed.facts,
            cotangents,
            active: node.inputs.iter().map(|i| self.path.active.contains(i)).collect(),
            given: vec![],
            known: &self.known,
            settings: self.settings,
            twin: &self.twin,
            instead: vec![],
            parts: &self.parts,
            own_parts: None,
            minus: node.output(0).and_then(|y| self.minus.get(y).cloned()),
            given_minus: vec![],
        }
    }

    /// Adds to the cotangent of a value; what nobody differentiates for is dropped.
    fn collect(&mut self, value: &str, cotangent: Name, minus: Option<Name>) {
        if !self.path.active.contains(value) {
            return;
        }
        let earlier = self.cotangents.get(value).cloned();
        let earlier_minus = self.minus.get(value).cloned();
        let mut sum = |earlier: &Option<Name>, more: &str| match earlier {
            Some(earlier) => self.emit.collect(earlier, more),
            None => more.to_string(),
        };
        // A multiplier that was given alone is that of both parts.
        if minus.is_some() || earlier_minus.is_some() {
            let minus = sum(&earlier_minus.or(earlier.clone()), minus.as_ref().unwrap_or(&cotangent));
            self.minus.insert(value.to_string(), minus);
        }
        let plus = sum(&earlier, &cotangent);
        self.cotangents.insert(value.to_string(), plus);
    }

    /// Adds to the implicit biases: of logits that a smooth op writes there are its own and the softmax's.
    fn collect_implicit(&mut self, value: &str, bias: Name) {
        let Some(implicit) = &mut self.implicit else { return };
        match implicit.iter_mut().find(|(name, _)| name == value) {
            Some((_, sum)) => *sum = self.emit.add(sum, &bias),
            None => implicit.push((value.to_string(), bias)),
        }
    }

    /// Leaves a value that has no parts one multiplier.
    fn settle(&mut self, value: &str) {
        if self.parts.contains_key(value) {
            return;
        }
        let plus = self.cotangents.get(value).cloned();
        if let (Some(plus), Some(minus)) = (plus, self.minus.remove(value)) {
            let one = by_sign(&mut self.emit, (value, &self.twin.of(value)), &plus, &minus);
            self.cotangents.insert(value.to_string(), one);
        }
    }

    pub fn finish(mut self, spec: &Spec, input: String, target: Target) -> Result<GradientGraph> {
        let mut facts = Facts::new();
        let typed = self.typed;
        for name in typed.graph.outputs.iter().chain(typed.graph.inputs.iter().map(|i| &i.name)) {
            facts.extend(typed.facts.get(name).map(|f| (name.clone(), f.clone())));
        }
        facts.insert(names::SEED.into(), Fact::f32(&target.shape));
        let baseline = (self.composite.kind == Kind::Difference).then(|| names::BASELINE.to_string());
        facts.extend(baseline.iter().map(|name| (name.clone(), typed.facts[&input].clone())));
        let mut publish = |emit: &mut Emit, from: &str, to: String, fact: Fact| {
            emit.rename(from, &to);
            emit.graph.outputs.push(to.clone());
            facts.insert(to, fact);
        };
        let logits = match (&self.probabilities, typed.graph.outputs.contains(&target.logits)) {
            (Some(p), _) => {
                publish(&mut self.emit, p, names::PROBABILITIES.into(), Fact::f32(&target.shape));
                names::PROBABILITIES.into()
            }
            (None, true) => target.logits.clone(),
            (None, false) => {
                publish(&mut self.emit, &target.logits, names::LOGITS.into(), Fact::f32(&target.shape));
                names::LOGITS.into()
            }
        };
        let mut wanted: Vec<&String> = spec.taps.iter().collect();
        wanted.extend(spec.input_gradient.then_some(&input));
        for value in &wanted {
            self.parts.remove(*value);
            self.settle(value);
        }
        for value in wanted {
            let Some(cotangent) = self.cotangents.get(value).cloned() else {
                return Err(unreached(value, &target, self.path));
            };
            publish(&mut self.emit, &cotangent, format!("{}{value}", names::GRAD), typed.facts[value].clone());
        }
        let mut taps = vec![];
        for layer in &spec.taps {
            let (value, gradient) = (format!("{}{layer}", names::VALUE), format!("{}{layer}", names::GRAD));
            publish(&mut self.emit, layer, value.clone(), typed.facts[layer].clone());
            taps.push(TapOutputs { layer: layer.clone(), value, gradient });
        }
        for (value, bias) in self.implicit.take().into_iter().flatten() {
            let output = format!("{}{value}", names::IMPLICIT);
            publish(&mut self.emit, &bias, output.clone(), typed.facts[&value].clone());
            taps.push(TapOutputs { layer: value, value: output.clone(), gradient: output });
        }
        let mut graph = self.emit.graph;
        graph.metadata.insert(names::FORMAT.into(), names::FORMAT_VERSION.into());
        graph.metadata.insert(names::COMPOSITE.into(), spec.composite.name.into());
        graph.metadata.insert(names::TARGET.into(), target.logits.clone());
        graph.sort()?;
        graph.prune();
        Ok(GradientGraph {
            graph,
            facts,
            seed: names::SEED.into(),
            baseline,
            logits,
            input_gradient: spec.input_gradient.then(|| format!("{}{input}", names::GRAD)),
            input,
            taps,
            composite: spec.composite.name.into(),
            flat: self.path.flat.clone(),
            ruled: self.ruled,
            softened: 0,
            apart: self.apart,
            head: if self.probabilities.is_some() { target.head.done() } else { target.head },
        })
    }
}

/// What is wrong where a source of the target has no derivative.
pub fn unreached(source: &str, target: &Target, path: &Path) -> Error {
    let mut reason = format!("the target '{}' has no derivative with respect to '{source}'", target.logits);
    if let Some((node, op)) = path.flat.first() {
        reason += &format!(": node '{node}' ({op}) is flat");
    }
    Error::NoTarget { reason }
}
