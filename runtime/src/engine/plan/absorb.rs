//! Finds a kernel's result that is read several times, itself or what is made of it, but only within one tree of elementwise
//! nodes: the tree can be that kernel's epilogue, and the result itself is never stored.

use std::collections::{HashMap, HashSet};

use super::elementwise::read_in_links;
use super::planner::Planner;
use super::values::{Lazy, Order};

/// The kernel's result that the tree of `root` may take in.
pub fn absorbable(planner: &Planner, root: usize, order: Order, shape: &[usize]) -> Option<String> {
    let tree = Tree::new(planner, root, order, shape);
    let is_read_twice = |name: &String| tree.reads[name] > 1;
    let fits = |name: &&String| {
        let kernel = planner.values.get(*name).is_some_and(|v| {
            let host = matches!(&v.lazy, Some((Lazy::Host(_), o)) if *o == order);
            host && v.fact.shape == shape
        });
        let twice = || tree.found.iter().any(|value| is_read_twice(value) && is_made_of(planner, value, name));
        kernel && twice() && tree.is_closed(planner, name)
    };
    tree.found.iter().find(fits).cloned()
}

/// Whether a postponed value is made of `leaf`, by way of postponed elementwise nodes.
pub fn is_made_of(planner: &Planner, name: &str, leaf: &str) -> bool {
    name == leaf
        || match planner.values.get(name).map(|v| &v.lazy) {
            Some(Some((Lazy::Elementwise(index), _))) => {
                read_in_links(planner, &planner.graph.nodes[*index]).any(|input| is_made_of(planner, input, leaf))
            }
            _ => false,
        }
}

/// The postponed elementwise nodes below one of them.
struct Tree {
    /// Values read in the tree, in the order of their first reading.
    found: Vec<String>,
    /// How often each is read.
    reads: HashMap<String, usize>,
}

impl Tree {
    fn new(planner: &Planner, root: usize, order: Order, shape: &[usize]) -> Tree {
        let mut tree = Tree { found: vec![], reads: HashMap::new() };
        let (mut open, mut seen) = (vec![root], HashSet::from([root]));
        while let Some(index) = open.pop() {
            // The slope of an activation is computed with it.
            open.extend(planner.beside.get(&index).map(|slope| slope.node).filter(|&node| seen.insert(node)));
            for input in read_in_links(planner, &planner.graph.nodes[index]) {
                if !tree.reads.contains_key(input) {
                    tree.found.push(input.clone());
                }
                *tree.reads.entry(input.clone()).or_default() += 1;
                if let Some(value) = planner.values.get(input)
                    && let Some((Lazy::Elementwise(next), o)) = &value.lazy
                    && *o == order
                    && value.fact.shape == shape
                    && seen.insert(*next)
                {
                    open.push(*next);
                }
            }
        }
        tree
    }

    /// Whether everything that is made of `leaf` is read in the tree alone; bits of what is inside it are asked for from outside, and
    /// would have it computed again.
    fn is_closed(&self, planner: &Planner, leaf: &str) -> bool {
        let inside = |name: &String| {
            let is_read_here = planner.values.get(name).is_some_and(|v| self.reads.get(name) == Some(&v.uses));
            is_read_here && !planner.masks.wanted(name)
        };
        self.found.iter().all(|name| !is_made_of(planner, name, leaf) || inside(name))
    }
}
