//! Puts a chain together: its links, what it reads, and how each operand goes along.

use super::arena::BufferId;
use super::dense::Host;
use super::planner::Beside;
use super::values::{Image, Order};
use crate::engine::kernels::chain::{
    Along, Chain, Link, MAX_BESIDE, MAX_MASKS, MAX_OPERANDS, Mask, Op, Operands, REGISTERS, Source, Walk,
};
use crate::error::{Error, Result};
use crate::simd::LANES;

/// Registers that may hold a value to the end of a chain.
const MAX_PINNED: usize = 2;

/// A chain under construction.
pub(super) struct Builder {
    pub(super) order: Order,
    pub(super) shape: Vec<usize>,
    pub(super) links: Vec<Link>,
    operands: Vec<(BufferId, Vec<usize>)>,
    /// Buffers of bits, and whether they are written.
    masks: Vec<(BufferId, bool)>,
    /// Slopes that are written besides the result.
    pub(super) beside: Vec<Beside>,
    busy: [bool; REGISTERS],
    pub(super) host: Option<Box<Host>>,
    /// Nodes whose values stay in their registers to the end, because they are read several times.
    pinned: Vec<(usize, u8)>,
    /// Where the node at hand leaves its bits.
    pub(super) bits: Option<BufferId>,
    /// The value, read several times, whose kernel this chain is to become the epilogue of.
    pub(super) absorbs: Option<String>,
    /// Whether that turned out to be impossible.
    pub(super) failed: bool,
    /// Whether what is being compiled will be compiled again for another reader.
    pub(super) again: bool,
    /// Whether no other node's links may go before.
    pub(super) alone: bool,
    /// Operands, masks and slopes that the nodes whose inputs are being compiled will add.
    pub(super) pending: (usize, usize, usize),
}

impl Builder {
    pub(super) fn new(order: Order, shape: Vec<usize>) -> Builder {
        let (links, operands, masks) = (vec![], vec![], vec![]);
        let busy = [false; REGISTERS];
        Builder {
            order,
            shape,
            links,
            operands,
            masks,
            beside: vec![],
            busy,
            host: None,
            pinned: vec![],
            bits: None,
            absorbs: None,
            failed: false,
            again: false,
            alone: false,
            pending: (0, 0, 0),
        }
    }

    /// Whether the chain may become the epilogue of a kernel whose result is read so many times.
    pub(super) fn takes(&self, absorbed: bool, uses: usize) -> bool {
        self.host.is_none() && if self.absorbs.is_some() { absorbed } else { uses == 1 }
    }

    /// Whether another node's links can be taken in: each needs three operands, a mask and two registers at most.
    pub(super) fn has_room(&self) -> bool {
        let free = self.busy.iter().filter(|b| !**b).count();
        let (operands, masks) = (self.operands.len() + self.pending.0, self.masks.len() + self.pending.1);
        let writes = self.beside.len() + self.pending.2 < MAX_BESIDE;
        !self.alone && operands + 3 <= MAX_OPERANDS && masks < MAX_MASKS && free > 3 && writes
    }

    pub(super) fn operand(&mut self, id: BufferId, shape: Vec<usize>) -> Source {
        let known = self.operands.iter().position(|(i, s)| *i == id && *s == shape);
        let at = known.unwrap_or_else(|| {
            self.operands.push((id, shape));
            self.operands.len() - 1
        });
        Source::Operand(at as u8)
    }

    pub(super) fn mask(&mut self, id: BufferId, written: bool) -> u8 {
        self.masks.push((id, written));
        (self.masks.len() - 1) as u8
    }

    /// A link whose arguments nobody reads again.
    pub(super) fn link(&mut self, op: Op, a: Source, b: Source) -> Result<Source> {
        self.free(a);
        self.free(b);
        self.link_kept(op, a, b)
    }

    /// Says that nobody reads a value again.
    pub(super) fn free(&mut self, source: Source) {
        if let Source::Register(r) = source
            && !self.pinned.iter().any(|p| p.1 == r)
        {
            self.busy[r as usize] = false;
        }
    }

    /// Keeps a node's value, where registers suffice.
    pub(super) fn pin(&mut self, node: usize, source: Source) {
        if let Source::Register(r) = source
            && self.pinned.len() < MAX_PINNED
        {
            self.pinned.push((node, r));
        }
    }

    /// A node's value, if it was kept.
    pub(super) fn known(&self, node: usize) -> Option<Source> {
        self.pinned.iter().find(|p| p.0 == node).map(|p| Source::Register(p.1))
    }

    /// The link that gives an activation and its slope at once, where there is one.
    pub(super) fn both(&mut self, value: Option<Op>, slope: Option<Op>, beside: &Beside) -> Option<Op> {
        match (value, slope) {
            (Some(Op::Activate(function, None)), Some(Op::Slope(other))) if function == other => {
                self.beside.push(beside.clone());
                Some(Op::Activate(function, Some(self.beside.len() as u8 - 1)))
            }
            _ => None,
        }
    }

    /// Writes a slope, which the chain has computed, to its buffer.
    pub(super) fn keep(&mut self, value: Source, slope: Beside) -> Result<()> {
        self.link(Op::Store(self.beside.len() as u8), value, value).map(|unused| self.free(unused))?;
        self.beside.push(slope);
        Ok(())
    }

    /// A link whose arguments are read again.
    pub(super) fn link_kept(&mut self, op: Op, a: Source, b: Source) -> Result<Source> {
        let free = self.busy.iter().position(|b| !b);
        let to = free.ok_or_else(|| Error::Plan { reason: "an elementwise chain needs too many registers".into() })?;
        self.busy[to] = true;
        self.links.push(Link { op, a, b, to: to as u8 });
        Ok(Source::Register(to as u8))
    }

    /// The chain over the whole of an image, or over planes.
    pub(super) fn finish(self, image: Option<Image>) -> ChainParts {
        let (outer, run, walks) = match image {
            Some(image) => blocked_walks(image, &self.operands),
            None => plane_walks(&self.shape, &self.operands),
        };
        let chain = Chain { links: self.links, walks, outer, run };
        let operands = self.operands.into_iter().map(|(id, _)| id).collect();
        let beside = self.beside.into_iter().map(|slope| slope.buffer).collect();
        ChainParts { chain, operands, masks: self.masks, beside }
    }
}

type Walks = (Vec<usize>, usize, Vec<Walk>);

/// Runs are the planes of a block.
fn blocked_walks(image: Image, operands: &[(BufferId, Vec<usize>)]) -> Walks {
    let (run, blocks) = (image.places() * LANES, image.blocks());
    let whole = [image.batch, image.channels, image.extents[0], image.extents[1]];
    let walk = |(_, shape): &(BufferId, Vec<usize>)| {
        if *shape == whole {
            return Walk { along: Along::Elements, strides: vec![blocks * run, run] };
        }
        let batched = shape.len() == 4 && shape[0] == image.batch && image.batch > 1;
        Walk { along: Along::Lanes, strides: vec![if batched { blocks * LANES } else { 0 }, LANES] }
    };
    (vec![image.batch, blocks], run, operands.iter().map(walk).collect())
}

/// Runs are the longest ends of the shape along which every operand either goes along or stays.
fn plane_walks(shape: &[usize], operands: &[(BufferId, Vec<usize>)]) -> Walks {
    let rank = shape.len();
    let aligned: Vec<Vec<usize>> =
        operands.iter().map(|(_, s)| [vec![1; rank - s.len()], s.clone()].concat()).collect();
    let even = |from: usize| {
        let goes = |s: &Vec<usize>| s[from..] == shape[from..] || s[from..].iter().all(|&d| d == 1);
        aligned.iter().all(goes)
    };
    let from = (0..rank).find(|&from| even(from)).unwrap_or(rank);
    let walk = |s: &Vec<usize>| {
        let mut strides = vec![0; rank];
        let mut stride = 1;
        for axis in (0..rank).rev() {
            strides[axis] = if s[axis] == 1 { 0 } else { stride };
            stride *= s[axis];
        }
        let constant = s[from..].iter().all(|&d| d == 1) && shape[from..].iter().any(|&d| d != 1);
        strides.truncate(from);
        Walk { along: if constant { Along::Constant } else { Along::Elements }, strides }
    };
    (shape[..from].to_vec(), shape[from..].iter().product(), aligned.iter().map(walk).collect())
}

/// A chain with the buffers it works on.
pub struct ChainParts {
    /// What is computed.
    pub chain: Chain,
    pub(super) operands: Vec<BufferId>,
    masks: Vec<(BufferId, bool)>,
    beside: Vec<BufferId>,
}

impl ChainParts {
    /// What a step that runs it reads and writes, besides its own.
    pub fn buffers(&self) -> (Vec<BufferId>, Vec<BufferId>) {
        let masks = |written: bool| self.masks.iter().filter(move |m| m.1 == written).map(|m| m.0);
        let reads = self.operands.iter().copied().chain(masks(false)).collect();
        (reads, masks(true).chain(self.beside.iter().copied()).collect())
    }

    /// The operands, from what was lent in the order of [`ChainParts::buffers`].
    pub fn lent<'a>(&self, read: &[&'a [f32]], write: impl Iterator<Item = &'a mut [f32]>) -> Operands<'a> {
        let (operands, bits) = read.split_at(self.operands.len());
        let (mut bits, mut write) = (bits.iter(), write);
        let mut lent = Operands { read: operands.iter().copied().collect(), ..Operands::default() };
        for (_, written) in &self.masks {
            let mask = match written {
                true => write.next().map(|w| Mask::Write(bytemuck::cast_slice_mut(w))),
                false => bits.next().map(|r| Mask::Read(bytemuck::cast_slice(r))),
            };
            // As many as were counted when the plan was made.
            if let Some(mask) = mask {
                let _ = lent.masks.push(mask);
            }
        }
        for stored in write.take(self.beside.len()) {
            let _ = lent.beside.push(stored);
        }
        lent
    }
}
