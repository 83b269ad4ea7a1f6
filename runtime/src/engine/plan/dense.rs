//! Convolutions, and the kernels that take an epilogue.

use std::sync::Arc;

use super::arena::{BufferId, Io};
use super::builder::ChainParts;
use super::geometry::Geometry;
use super::planner::{Lowered, Planner};
use super::products::Products;
use super::run::{Numbers, Work};
use super::values::{Lazy, Order};
use crate::engine::kernels::chain::Operands;
use crate::engine::kernels::conv::Conv;
use crate::engine::kernels::depthwise::Depthwise;
use crate::engine::kernels::narrow::Narrow;
use crate::engine::kernels::pool::MaxPool;
use crate::engine::kernels::winograd::Winograd;
use crate::engine::simd::{Isa, LANES};
use crate::error::Result;
use crate::onnx::Node;

/// A kernel that takes an epilogue.
pub struct Host {
    /// What it reads before what the epilogue reads.
    pub reads: Vec<BufferId>,
    /// What it writes besides its result.
    pub writes: Vec<BufferId>,
    /// What it computes.
    pub kind: HostKind,
    /// Images, which are computed one after the other.
    pub batch: usize,
    /// Floats of the result.
    pub floats: usize,
    /// Their order.
    pub order: Order,
}

/// What a host computes.
pub enum HostKind {
    /// A convolution.
    Conv(Arc<Conv>),
    /// A 3x3 convolution by Winograd's algorithm.
    Winograd(Arc<Winograd>),
    /// A convolution of each channel by itself.
    Depthwise(Arc<Depthwise>),
    /// A max pool; notes the winners where it writes two buffers.
    MaxPool(MaxPool),
    /// Its adjoint.
    MaxPoolGrad(MaxPool),
    /// Matrix products, over planes.
    Products(Products),
}

impl Host {
    /// Emits the kernel, with a chain that makes `name` of its result.
    pub fn emit(self, planner: &mut Planner, name: &str, chain: Option<ChainParts>) -> Result<()> {
        let (output, order) = (planner.buffer(self.floats), self.order);
        let (mut reads, mut writes) = (self.reads.clone(), vec![output]);
        writes.extend(&self.writes);
        if let Some(chain) = &chain {
            let (more_reads, more_writes) = chain.buffers();
            reads.extend(more_reads);
            writes.extend(more_writes);
        }
        planner.step(name, Box::new(HostWork { host: self, chain }), reads, writes);
        planner.set(name, order, output)
    }
}

/// A host with its epilogue.
struct HostWork {
    host: Host,
    chain: Option<ChainParts>,
}

impl Work for HostWork {
    fn kernel(&self) -> &str {
        match &self.host.kind {
            HostKind::Conv(_) => "conv",
            HostKind::Winograd(_) => "winograd",
            HostKind::Depthwise(_) => "depthwise",
            HostKind::MaxPool(_) => "max pool",
            HostKind::MaxPoolGrad(_) => "max pool adjoint",
            HostKind::Products(_) => "matmul",
        }
    }

    fn flops(&self) -> u64 {
        let each = match &self.host.kind {
            HostKind::Conv(conv) => conv.flops(),
            HostKind::Winograd(conv) => conv.flops(),
            HostKind::Depthwise(conv) => conv.flops(),
            HostKind::Products(products) => products.flops(),
            HostKind::MaxPool(_) | HostKind::MaxPoolGrad(_) => 0,
        };
        self.host.batch as u64 * each
    }

    fn scratch(&self) -> usize {
        match &self.host.kind {
            HostKind::Conv(conv) => conv.scratch(),
            HostKind::Winograd(conv) => conv.scratch(),
            HostKind::Products(products) => products.scratch(),
            _ => 0,
        }
    }

    fn weights(&self) -> Option<(usize, usize)> {
        match &self.host.kind {
            HostKind::Conv(conv) => Some((Arc::as_ptr(conv) as usize, conv.weight_bytes())),
            HostKind::Winograd(conv) => Some((Arc::as_ptr(conv) as usize, conv.weight_bytes())),
            HostKind::Depthwise(conv) => Some((Arc::as_ptr(conv) as usize, conv.weight_bytes())),
            HostKind::Products(products) => products.weights(),
            _ => None,
        }
    }

    fn numbers(&self) -> Option<Numbers> {
        match &self.host.kind {
            HostKind::Conv(conv) => {
                let kept = conv.phases.iter().any(|p| p.weights.is_half());
                Some(Numbers::of(kept, conv.halves))
            }
            HostKind::Winograd(conv) => Some(Numbers::of(conv.keeps_halves(), false)),
            HostKind::Depthwise(_) => Some(Numbers::Floats),
            HostKind::Products(products) => products.numbers(),
            HostKind::MaxPool(_) | HostKind::MaxPoolGrad(_) => None,
        }
    }

    fn run(&self, isa: Isa, io: Io<'_>) -> Result<()> {
        let (host, scratch) = (&self.host, io.scratch);
        let (own, rest) = io.read.split_at(host.reads.len());
        let mut write = io.write.into_iter();
        let Some(output) = write.next() else { return Ok(()) };
        let winners: &mut [u16] = match host.writes.is_empty() {
            true => &mut [],
            false => write.next().map_or(&mut [], |w| bytemuck::cast_slice_mut(w)),
        };
        let mut operands = match &self.chain {
            Some(parts) => parts.lent(rest, write),
            None => Operands::default(),
        };
        let (from, to, noted) = (own[0].len() / host.batch, output.len() / host.batch, winners.len() / host.batch);
        for (i, output) in output.chunks_exact_mut(to).enumerate() {
            let image = &own[0][i * from..(i + 1) * from];
            let mut epilogue = |at: usize, part: &mut [f32]| {
                if let Some(parts) = &self.chain {
                    parts.chain.run(isa, i * to + at, part, &mut operands);
                }
            };
            match &host.kind {
                HostKind::Conv(conv) => conv.run(isa, image, output, scratch, &mut epilogue),
                HostKind::Winograd(conv) => conv.run(isa, image, output, scratch, &mut epilogue),
                HostKind::Depthwise(conv) => conv.run(isa, image, output, &mut epilogue),
                HostKind::Products(products) => products.run(isa, own, output, scratch, &mut epilogue),
                HostKind::MaxPool(pool) => {
                    let winners = &mut winners[i * noted..(i + 1) * noted];
                    pool.forward(isa, image, output, winners, &mut epilogue);
                }
                HostKind::MaxPoolGrad(pool) => {
                    let winners: &[u16] = bytemuck::cast_slice(own[1]);
                    let noted = winners.len() / host.batch;
                    pool.backward(isa, image, &winners[i * noted..(i + 1) * noted], output, &mut epilogue);
                }
            }
        }
        Ok(())
    }
}

/// Leaves a convolution for later, so that it can take an epilogue.
pub fn lower(planner: &mut Planner, node: &Node, _: usize) -> Result<Lowered> {
    if !node.domain.is_empty() || !["Conv", "ConvTranspose"].contains(&node.op.as_str()) {
        return Ok(Lowered::Not);
    }
    let (Some(geometry), Some(input), Some(output)) = (Geometry::of(planner, node), node.input(0), node.output(0))
    else {
        return Ok(Lowered::Not);
    };
    let constant = |slot: usize| node.input(slot).map(|name| planner.constant(name).and_then(|t| t.to_f32()));
    let (Some(Some(weights)), Some(bias)) = (constant(1), constant(2).unwrap_or(Some(vec![]))) else {
        return Ok(Lowered::Not);
    };
    if geometry.is_narrow() {
        return narrow(planner, node, &geometry, &weights, &bias);
    }
    // A few planes, as of an image, are read as they are: padding them to a block would be mostly zeros.
    let planes = geometry.groups == 1 && geometry.input.channels < LANES / 2 && !planner.is_blocked(input);
    let kind = if geometry.is_depthwise() {
        let pack = || Arc::new(geometry.depthwise(&weights, &bias));
        HostKind::Depthwise(planner.packs.depthwise.entry(node.name.clone()).or_insert_with(pack).clone())
    } else if let Some(conv) = winograd(planner, node, &geometry, &weights, &bias) {
        HostKind::Winograd(conv)
    } else {
        let key = format!("{}{}", node.name, if planes { "/planes" } else { "" });
        if !planner.packs.conv.contains_key(&key) {
            let Some(conv) = geometry.conv(&weights, &bias, planes, planner.packs.precision) else {
                return Ok(Lowered::Not);
            };
            planner.packs.conv.insert(key.clone(), Arc::new(conv));
        }
        HostKind::Conv(planner.packs.conv[&key].clone())
    };
    let read = if planes { planner.planes(input)? } else { planner.blocked(input)? };
    let (batch, floats) = (geometry.output.batch, geometry.output.batch * geometry.output.blocked());
    let host = Host { reads: vec![read], writes: vec![], kind, batch, floats, order: Order::Blocked };
    planner.postpone(output, Lazy::Host(Box::new(host)), Order::Blocked)
}

/// The kernel for a 3x3 convolution that is worth it.
fn winograd(
    planner: &mut Planner,
    node: &Node,
    geometry: &Geometry,
    weights: &[f32],
    bias: &[f32],
) -> Option<Arc<Winograd>> {
    if let Some(known) = planner.packs.winograd.get(&node.name) {
        return Some(known.clone());
    }
    let conv = Arc::new(geometry.winograd(weights, bias, planner.isa, planner.packs.precision)?);
    planner.packs.winograd.insert(node.name.clone(), conv.clone());
    Some(conv)
}

/// Straight to planes: its result is what leaves the network, and takes no epilogue.
fn narrow(planner: &mut Planner, node: &Node, geometry: &Geometry, weights: &[f32], bias: &[f32]) -> Result<Lowered> {
    let (input, output) = (node.input(0).unwrap_or_default(), node.output(0).unwrap_or_default());
    let planes = !planner.is_blocked(input);
    let pack = || Arc::new(geometry.narrow(weights, bias, planes));
    let kernel = planner.packs.narrow.entry(node.name.clone()).or_insert_with(pack).clone();
    let (read, from) = match planes {
        true => (planner.planes(input)?, geometry.input.channels * geometry.input.places()),
        false => (planner.blocked(input)?, geometry.input.blocked()),
    };
    let to = geometry.output.channels * geometry.output.places();
    let write = planner.buffer(geometry.output.batch * to);
    planner.step(output, Box::new(NarrowWork { kernel, from, to }), vec![read], vec![write]);
    planner.set(output, Order::Planes, write)?;
    Ok(Lowered::Done)
}

/// A transposed convolution to a few planes; floats of one image that is read, and written.
struct NarrowWork {
    kernel: Arc<Narrow>,
    from: usize,
    to: usize,
}

impl Work for NarrowWork {
    fn kernel(&self) -> &str {
        "narrow conv"
    }

    fn flops(&self) -> u64 {
        self.kernel.flops()
    }

    fn scratch(&self) -> usize {
        self.kernel.scratch()
    }

    fn weights(&self) -> Option<(usize, usize)> {
        Some((Arc::as_ptr(&self.kernel) as usize, self.kernel.weight_bytes()))
    }

    fn numbers(&self) -> Option<Numbers> {
        Some(Numbers::Floats)
    }

    fn run(&self, isa: Isa, mut io: Io<'_>) -> Result<()> {
        let images = io.read[0].chunks_exact(self.from).zip(io.write[0].chunks_exact_mut(self.to));
        images.for_each(|(from, to)| self.kernel.run(isa, from, to, io.scratch));
        Ok(())
    }
}
