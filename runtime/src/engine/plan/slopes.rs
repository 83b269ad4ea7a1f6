//! Slopes of smooth activations, computed on the way forward.
//!
//! On the way back an activation's cotangent `g` is multiplied by the activation's slope. Where the activation is
//! written in several ops, their adjoints give a sum of such products: `g s + (g x) (s (1 - s))` for `y = x s` with
//! `s = sigmoid(x)`. It becomes one product, `g (s + x (s (1 - s)))`, and if the slope is made of the same single value
//! as `y`, it is moved in front of `y`, so that one chain can compute both: the exponential is taken once, and
//! what is kept for the way back is the slope in place of `x`.

use std::collections::{HashMap, HashSet};

use super::activations::recognise;
use crate::onnx::graph::{inputs_of, outputs_of};
use crate::onnx::{Graph, Node};

/// Ops that take long enough for their results to be kept.
const COSTLY: &[&str] = &["Cos", "Erf", "Exp", "Gelu", "Log", "Mish", "Sigmoid", "Sin", "Softplus", "Tanh"];

/// Ops that activations are written in besides.
const CHEAP: &[&str] = &["Add", "Div", "Mul", "Neg", "Pow", "Reciprocal", "Sub"];

/// Activations by the value they give, each with the value that is its slope.
pub type Slopes = HashMap<String, String>;

/// Makes products of sums, moves slopes in front of their activations, and puts one node in place of those known. `seed`
/// is where the way back begins, and `logits` where the way forward ends.
pub fn hoist_slopes(graph: &mut Graph, seed: &str, logits: &str) -> Slopes {
    let late = reached(graph, seed);
    factor_sums(graph, &late);
    let needed = leading_to(graph, logits);
    let (producers, trees) = (graph.producers(), Trees::new(graph));
    let activations = activations(graph, &trees, &needed);
    let mut slopes = Slopes::new();
    let mut moved: HashMap<usize, Vec<usize>> = HashMap::new();
    for node in graph.nodes.iter().filter(|n| n.op == "Mul" && n.outputs.iter().any(|o| late.contains(o))) {
        let Some(slope) = inputs_of(node).find(|i| !late.contains(*i)) else { continue };
        let Tree { leaf: Some(leaf), costly: true } = trees.of(slope) else { continue };
        let (Some(&from), Some(&at)) = (producers.get(slope), activations.get(leaf)) else { continue };
        let value = graph.nodes[at].outputs[0].clone();
        let own = own_nodes(graph, &producers, from, &needed);
        // A slope that is made of the activation itself comes after it, and is cheap: `y (1 - y)`.
        let after = own.iter().any(|&i| inputs_of(&graph.nodes[i]).any(|input| input == value));
        if needed[from] || after || slopes.contains_key(&value) || slopes.values().any(|s| s == slope) {
            continue;
        }
        slopes.insert(value, slope.to_string());
        moved.insert(at, own);
    }
    let ends = activations.values().map(|&at| graph.nodes[at].outputs[0].clone());
    let known: Vec<String> = ends.chain(slopes.values().cloned()).collect();
    move_in_front(graph, &moved);
    recognise(graph, &known);
    slopes
}

/// The values that depend on `start`.
fn reached(graph: &Graph, start: &str) -> HashSet<String> {
    let mut reached = HashSet::from([start.to_string()]);
    for node in &graph.nodes {
        if inputs_of(node).any(|i| reached.contains(i)) {
            reached.extend(outputs_of(node).map(str::to_string));
        }
    }
    reached
}

/// Which nodes `end` depends on.
fn leading_to(graph: &Graph, end: &str) -> Vec<bool> {
    let mut wanted = HashSet::from([end]);
    let mut needed = vec![false; graph.nodes.len()];
    for (i, node) in graph.nodes.iter().enumerate().rev() {
        if outputs_of(node).any(|o| wanted.contains(o)) {
            needed[i] = true;
            wanted.extend(inputs_of(node));
        }
    }
    needed
}

/// By the value that it is made of: the last elementwise node on the way forward.
fn activations<'a>(graph: &'a Graph, trees: &Trees<'a>, needed: &[bool]) -> HashMap<&'a str, usize> {
    let mut last = HashMap::new();
    for (i, node) in graph.nodes.iter().enumerate().filter(|(i, _)| needed[*i]) {
        let Some(output) = node.output(0) else { continue };
        if let Some(leaf) = trees.of(output).leaf.filter(|leaf| *leaf != output) {
            last.insert(leaf, i);
        }
    }
    last
}

/// What a value is made of by elementwise ops.
#[derive(Clone, Copy)]
pub struct Tree<'a> {
    /// The only value that is no number, itself where no op is passed; none for a number.
    pub leaf: Option<&'a str>,
    /// Whether an op on the way takes long.
    pub costly: bool,
}

/// The trees of a graph's values.
pub struct Trees<'a> {
    graph: &'a Graph,
    producers: HashMap<&'a str, usize>,
    known: HashMap<&'a str, Tree<'a>>,
}

impl<'a> Trees<'a> {
    pub fn new(graph: &'a Graph) -> Trees<'a> {
        let mut trees = Trees { graph, producers: graph.producers(), known: HashMap::new() };
        // In the nodes' order, so that nothing is deep.
        for output in graph.nodes.iter().flat_map(outputs_of) {
            let tree = trees.find(output);
            trees.known.insert(output, tree);
        }
        trees
    }

    pub fn of(&self, value: &'a str) -> Tree<'a> {
        self.known.get(value).copied().unwrap_or_else(|| self.leaf(value))
    }

    /// A value whose ops, if it has any, are not passed.
    fn leaf(&self, value: &'a str) -> Tree<'a> {
        let number = self.graph.constants.get(value).is_some_and(|tensor| tensor.len() == 1);
        Tree { leaf: Some(value).filter(|_| !number), costly: false }
    }

    /// The tree of a value whose node's inputs are known.
    fn find(&self, value: &'a str) -> Tree<'a> {
        let Some(node) = self.producers.get(value).map(|&i| &self.graph.nodes[i]) else { return self.leaf(value) };
        let op = node.op.as_str();
        if !node.domain.is_empty() || !(COSTLY.contains(&op) || CHEAP.contains(&op)) {
            return self.leaf(value);
        }
        let mut whole = Tree { leaf: None, costly: COSTLY.contains(&op) };
        for part in inputs_of(node).map(|input| self.of(input)) {
            whole.costly |= part.costly;
            if part.leaf.is_some() && whole.leaf.is_some() && part.leaf != whole.leaf {
                return self.leaf(value);
            }
            whole.leaf = whole.leaf.or(part.leaf);
        }
        whole
    }
}

/// The nodes that only `node` and what reads it depend on, in order.
fn own_nodes(graph: &Graph, producers: &HashMap<&str, usize>, node: usize, needed: &[bool]) -> Vec<usize> {
    let (mut open, mut own) = (vec![node], HashSet::from([node]));
    while let Some(at) = open.pop() {
        let before = inputs_of(&graph.nodes[at]).filter_map(|i| producers.get(i)).copied();
        open.extend(before.filter(|&b| !needed[b] && own.insert(b)));
    }
    let mut own: Vec<usize> = own.into_iter().collect();
    own.sort_unstable();
    own
}

/// Puts the listed nodes in front of the node of each entry.
fn move_in_front(graph: &mut Graph, moved: &HashMap<usize, Vec<usize>>) {
    let mut nodes: Vec<Option<Node>> = std::mem::take(&mut graph.nodes).into_iter().map(Some).collect();
    for at in 0..nodes.len() {
        for &before in moved.get(&at).into_iter().flatten() {
            graph.nodes.extend(nodes[before].take());
        }
        graph.nodes.extend(nodes[at].take());
    }
}

/// Makes `g (a + b)` of `g a + g b`, where only `g` depends on the seed.
fn factor_sums(graph: &mut Graph, late: &HashSet<String>) {
    let mut nodes: Vec<Node> = Vec::with_capacity(graph.nodes.len());
    let mut written: HashMap<String, usize> = HashMap::new();
    let uses = graph.uses();
    for node in std::mem::take(&mut graph.nodes) {
        let terms = |name: &String| term(&nodes, &written, late, &uses, name);
        let both = match (node.op.as_str(), &node.inputs[..]) {
            ("Add", [a, b]) if late.contains(a) && late.contains(b) => terms(a).zip(terms(b)),
            _ => None,
        };
        match both {
            Some((mut a, mut b)) if a.cotangent == b.cotangent => {
                let number = |name: &String| graph.constants.get(name).is_some_and(|tensor| tensor.len() == 1);
                if let Some(node) = written.get(&a.cotangent).map(|&i| &nodes[i])
                    && let Some((inner, factor)) = product(node, late).filter(|(_, factor)| number(factor))
                    && uses.get(&a.cotangent) == Some(&2)
                {
                    // Nothing else reads the cotangent, so what it is times a number may as well be the terms'.
                    for term in [&mut a, &mut b] {
                        term.cotangent = inner.clone();
                        term.factors.push((node.op.clone(), factor.clone()));
                    }
                }
                factored(&node, &a, &b, &mut nodes);
            }
            _ => nodes.push(node),
        }
        if let Some(node) = nodes.last() {
            written.extend(outputs_of(node).map(|o| (o.to_string(), nodes.len() - 1)));
        }
    }
    graph.nodes = nodes;
    graph.prune();
}

/// What depends on the seed in a product, or quotient, and what it is multiplied with, or divided by.
fn product<'a>(node: &'a Node, late: &HashSet<String>) -> Option<(&'a String, &'a String)> {
    match (node.op.as_str(), &node.inputs[..]) {
        ("Mul", [a, b]) if late.contains(a) != late.contains(b) => Some(if late.contains(a) { (a, b) } else { (b, a) }),
        ("Div", [a, b]) if late.contains(a) && !late.contains(b) => Some((a, b)),
        _ => None,
    }
}

/// A product of a cotangent and factors that do not depend on the seed.
struct Term {
    cotangent: String,
    /// The ops, Mul, or Div by the value; the first is a Mul.
    factors: Vec<(String, String)>,
}

/// The term that a value is; it and what it is made of are read nowhere else.
fn term(
    nodes: &[Node],
    written: &HashMap<String, usize>,
    late: &HashSet<String>,
    uses: &HashMap<String, usize>,
    name: &str,
) -> Option<Term> {
    let (mut cotangent, mut factors) = (name.to_string(), vec![]);
    while uses.get(&cotangent) == Some(&1) {
        let Some(node) = written.get(&cotangent).map(|&i| &nodes[i]) else { break };
        let Some((inner, factor)) = product(node, late) else { break };
        factors.push((node.op.clone(), factor.clone()));
        cotangent = inner.clone();
    }
    factors.reverse();
    (factors.first()?.0 == "Mul").then_some(Term { cotangent, factors })
}

/// Pushes the nodes of `cotangent (a + b)` in place of the sum `node`.
fn factored(node: &Node, a: &Term, b: &Term, nodes: &mut Vec<Node>) {
    let binary = |name: String, op: &str, inputs: [String; 2], output: String| Node {
        name,
        op: op.into(),
        inputs: inputs.into(),
        outputs: vec![output],
        ..Node::default()
    };
    let mut product = |term: &Term, side: &str| {
        let mut value = term.factors[0].1.clone();
        for (i, (op, factor)) in term.factors.iter().enumerate().skip(1) {
            let name = format!("{}/slope {side}{i}", node.outputs[0]);
            nodes.push(binary(name.clone(), op, [value, factor.clone()], name.clone()));
            value = name;
        }
        value
    };
    let sides = [product(a, "a"), product(b, "b")];
    let slope = format!("{}/slope", node.outputs[0]);
    nodes.push(binary(slope.clone(), "Add", sides, slope.clone()));
    nodes.push(binary(node.name.clone(), "Mul", [a.cotangent.clone(), slope], node.outputs[0].clone()));
}
