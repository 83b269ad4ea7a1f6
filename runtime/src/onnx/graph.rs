//! The graph in memory: named values, nodes in topological order, constants.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::node::Node;
use super::tensor::{DType, Tensor};
use crate::error::{Error, Result};

/// One axis of a graph input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dim {
    /// Known when the file was written.
    Fixed(usize),
    /// Named or unknown; given a value before the graph is typed.
    Symbol(String),
}

/// A graph input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// The value's name.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Extents, where the file gives them.
    pub dims: Option<Vec<Dim>>,
}

/// A function that nodes call by name, with a body in other ops.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Function {
    /// The op name that calls it.
    pub name: String,
    /// Its domain.
    pub domain: String,
    /// Formal inputs.
    pub inputs: Vec<String>,
    /// Formal outputs.
    pub outputs: Vec<String>,
    /// Attributes that a call may leave out.
    pub attributes: Vec<String>,
    /// The body, in topological order.
    pub nodes: Vec<Node>,
    /// Version of the standard ops in the body.
    pub opset: i64,
}

impl Function {
    /// Whether a call gives it all its inputs and takes all its outputs.
    pub fn is_called_in_full(&self, node: &Node) -> bool {
        let all = |actual: &[String], formal: &[String]| {
            actual.len() == formal.len() && actual.iter().all(|name| !name.is_empty())
        };
        all(&node.inputs, &self.inputs) && all(&node.outputs, &self.outputs)
    }
}

/// A model's graph.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// Version of the standard op set.
    pub opset: i64,
    /// What the caller feeds.
    pub inputs: Vec<Input>,
    /// Names of the results.
    pub outputs: Vec<String>,
    /// Constant values by name.
    pub constants: BTreeMap<String, Tensor>,
    /// In topological order once [`Graph::sort`] has run.
    pub nodes: Vec<Node>,
    /// Functions that nodes call, by (domain, name).
    pub functions: BTreeMap<(String, String), Function>,
    /// The file's `metadata_props`.
    pub metadata: BTreeMap<String, String>,
    /// Whether half-precision tensors were widened to float32 on reading.
    pub widened: bool,
}

impl Graph {
    /// The node that writes each value.
    pub fn producers(&self) -> HashMap<&str, usize> {
        let written = |(i, n)| outputs_of(n).map(move |o| (o, i));
        self.nodes.iter().enumerate().flat_map(written).collect()
    }

    /// The nodes that read each value.
    pub fn consumers(&self) -> HashMap<&str, Vec<usize>> {
        let mut readers: HashMap<&str, Vec<usize>> = HashMap::new();
        for (i, node) in self.nodes.iter().enumerate() {
            for input in inputs_of(node) {
                readers.entry(input).or_default().push(i);
            }
        }
        readers
    }

    /// How often each value is read, by the caller too.
    pub fn uses(&self) -> HashMap<String, usize> {
        let mut uses: HashMap<String, usize> = HashMap::new();
        let read = self.nodes.iter().flat_map(inputs_of).chain(self.outputs.iter().map(String::as_str));
        read.for_each(|name| *uses.entry(name.to_string()).or_default() += 1);
        uses
    }

    /// Gives every node a unique name, after its first output where it has none.
    pub fn name_nodes(&mut self) {
        let mut taken = HashSet::new();
        for (i, node) in self.nodes.iter_mut().enumerate() {
            if node.name.is_empty() {
                node.name = node.output(0).map_or_else(|| format!("{}_{i}", node.op), str::to_string);
            }
            while !taken.insert(node.name.clone()) {
                node.name = format!("{}_{i}", node.name);
            }
        }
    }

    /// The values that are there before any node runs.
    fn given(&self) -> HashSet<&str> {
        let inputs = self.inputs.iter().map(|input| input.name.as_str());
        self.constants.keys().map(String::as_str).chain(inputs).collect()
    }

    /// The node that writes each value.
    ///
    /// Errors: a value that is written twice, or is there already.
    pub fn sole_producers(&self) -> Result<HashMap<&str, usize>> {
        let (given, mut producer) = (self.given(), HashMap::new());
        for (i, node) in self.nodes.iter().enumerate() {
            for output in outputs_of(node) {
                if given.contains(output) || producer.insert(output, i).is_some() {
                    return Err(node.error(format!("writes '{output}', which is written elsewhere too")));
                }
            }
        }
        Ok(producer)
    }

    /// Puts the nodes in topological order, keeping the file's order where it can.
    ///
    /// Errors: a value written twice, a value nobody writes, a cycle.
    pub fn sort(&mut self) -> Result<()> {
        let (known, producer) = (self.given(), self.sole_producers()?);
        let mut waiting = vec![0usize; self.nodes.len()];
        let mut readers: Vec<Vec<usize>> = vec![vec![]; self.nodes.len()];
        for (i, node) in self.nodes.iter().enumerate() {
            for input in inputs_of(node) {
                if let Some(&p) = producer.get(input) {
                    readers[p].push(i);
                    waiting[i] += 1;
                } else if !known.contains(input) {
                    let reason = format!("reads '{input}', which is no input, initializer or node output");
                    return Err(node.error(reason));
                }
            }
        }
        if let Some(lost) =
            self.outputs.iter().find(|o| !known.contains(o.as_str()) && !producer.contains_key(o.as_str()))
        {
            return Err(Error::graph(format!("no node writes the output '{lost}'")));
        }
        let mut ready: BTreeSet<usize> = (0..waiting.len()).filter(|&i| waiting[i] == 0).collect();
        let mut order = Vec::with_capacity(self.nodes.len());
        while let Some(i) = ready.pop_first() {
            order.push(i);
            for &r in &readers[i] {
                waiting[r] -= 1;
                if waiting[r] == 0 {
                    ready.insert(r);
                }
            }
        }
        if let Some(stuck) = waiting.iter().position(|&w| w > 0) {
            return Err(self.nodes[stuck].error("is part of a cycle"));
        }
        let mut nodes: Vec<Option<Node>> = std::mem::take(&mut self.nodes).into_iter().map(Some).collect();
        self.nodes = order.into_iter().filter_map(|i| nodes[i].take()).collect();
        Ok(())
    }

    /// Drops nodes, constants and optional outputs that no output depends on.
    /// The nodes must be in topological order.
    pub fn prune(&mut self) {
        let mut wanted: HashSet<String> = self.outputs.iter().cloned().collect();
        let mut keep = vec![false; self.nodes.len()];
        for (i, node) in self.nodes.iter().enumerate().rev() {
            if outputs_of(node).any(|o| wanted.contains(o)) {
                keep[i] = true;
                wanted.extend(inputs_of(node).map(str::to_string));
            }
        }
        let mut kept = keep.into_iter();
        self.nodes.retain(|_| kept.next().unwrap_or(false));
        self.nodes.iter_mut().for_each(|node| drop_unread(node, |output| wanted.contains(output)));
        self.constants.retain(|name, _| wanted.contains(name));
    }
}

/// The names of the values a node reads, without the optional ones left out.
pub fn inputs_of(node: &Node) -> impl Iterator<Item = &str> {
    node.inputs.iter().map(String::as_str).filter(|s| !s.is_empty())
}

/// The names of the values a node writes, without the optional ones left out.
pub fn outputs_of(node: &Node) -> impl Iterator<Item = &str> {
    node.outputs.iter().map(String::as_str).filter(|s| !s.is_empty())
}

/// Leaves out the optional outputs of a node that nothing reads, so that they need not be computed.
pub fn drop_unread(node: &mut Node, is_read: impl Fn(&str) -> bool) {
    // The outputs of these are not optional, and neither is the first of any op.
    if ["Split", "TopK"].contains(&node.op.as_str()) {
        return;
    }
    for output in node.outputs.iter_mut().skip(1).filter(|o| !is_read(o)) {
        output.clear();
    }
    while node.outputs.len() > 1 && node.outputs.last().is_some_and(String::is_empty) {
        node.outputs.pop();
    }
}
