//! Convolutions, and the kernels that take an epilogue.

use std::sync::Arc;

use super::arena::{BufferId, Io};
use super::builder::ChainParts;
use super::geometry::Geometry;
use super::packs::{Packs, Weighted};
use super::planner::{Lowered, Planner};
use super::products::Products;
use super::run::{Numbers, Work, not_by_rows};
use super::values::{Image, Lazy, Order};
use crate::engine::kernels::chain::Operands;
use crate::engine::kernels::conv::Conv;
use crate::engine::kernels::depthwise::Depthwise;
use crate::engine::kernels::narrow::Narrow;
use crate::engine::kernels::norm::ChannelNorm;
use crate::engine::kernels::pool::MaxPool;
use crate::engine::kernels::reach::{Reach, Share};
use crate::engine::kernels::resample::Resample;
use crate::engine::kernels::winograd::Winograd;
use crate::error::Result;
use crate::onnx::{Node, Tensor};
use crate::simd::{Isa, LANES};

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
    /// A normalisation of each channel.
    Norm(ChannelNorm),
    /// An image whose rows and columns are sums of a few of another's.
    Resample(Resample),
    /// Matrix products, over planes.
    Products(Products),
}

impl Host {
    /// One that makes an image, blocked, of what it reads.
    pub fn of_image(kind: HostKind, reads: Vec<BufferId>, to: Image) -> Host {
        let (batch, floats) = (to.batch, to.batch * to.blocked());
        Host { reads, writes: vec![], kind, batch, floats, order: Order::Blocked }
    }

    /// Leaves `name` for later, so that the kernel can take an epilogue.
    pub fn postpone(self, planner: &mut Planner, name: &str) -> Result<Lowered> {
        let order = self.order;
        planner.postpone(name, Lazy::Host(Box::new(self)), order)
    }

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

impl HostWork {
    /// Runs the epilogue on a part of the result, from element `at` on.
    fn finish(&self, isa: Isa, at: usize, part: &mut [f32], operands: &mut Operands) {
        if let Some(parts) = &self.chain {
            parts.chain.run(isa, at, part, operands);
        }
    }
}

impl Work for HostWork {
    fn kernel(&self) -> &str {
        match &self.host.kind {
            HostKind::Conv(_) => "conv",
            HostKind::Winograd(_) => "winograd",
            HostKind::Depthwise(_) => "depthwise",
            HostKind::MaxPool(_) => "max pool",
            HostKind::MaxPoolGrad(_) => "max pool adjoint",
            HostKind::Norm(_) => "channel norm",
            HostKind::Resample(_) => "resample",
            HostKind::Products(_) => "matmul",
        }
    }

    fn flops(&self) -> u64 {
        let each = match &self.host.kind {
            HostKind::Conv(conv) => conv.flops(),
            HostKind::Winograd(conv) => conv.flops(),
            HostKind::Depthwise(conv) => conv.flops(),
            HostKind::Products(products) => products.flops(),
            HostKind::Resample(resample) => resample.flops(self.host.floats / self.host.batch),
            HostKind::MaxPool(_) | HostKind::MaxPoolGrad(_) | HostKind::Norm(_) => 0,
        };
        self.host.batch as u64 * each
    }

    fn scratch(&self) -> usize {
        match &self.host.kind {
            HostKind::Conv(conv) => conv.scratch(),
            HostKind::Winograd(conv) => conv.scratch(),
            HostKind::Resample(resample) => resample.scratch(),
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
            HostKind::MaxPool(_) | HostKind::MaxPoolGrad(_) | HostKind::Norm(_) | HostKind::Resample(_) => None,
        }
    }

    fn reach(&self) -> Option<Reach> {
        let reach = match &self.host.kind {
            HostKind::Conv(conv) => conv.reach(),
            HostKind::Depthwise(conv) => conv.reach(),
            HostKind::Winograd(conv) => Some(conv.reach()),
            HostKind::MaxPool(pool) if self.host.writes.is_empty() => Some(pool.reach()),
            _ => None,
        };
        reach.filter(|_| self.host.batch == 1)
    }

    fn run_part(&self, isa: Isa, io: Io<'_>, share: &Share) -> Result<()> {
        let (own, rest) = io.read.split_at(self.host.reads.len());
        let mut write = io.write.into_iter();
        let (Some(output), [image]) = (write.next(), own) else { return Err(not_by_rows(self.kernel())) };
        let mut operands = self.chain.as_ref().map(|parts| parts.lent(rest, write)).unwrap_or_default();
        let mut epilogue = |at: usize, part: &mut [f32]| self.finish(isa, at, part, &mut operands);
        match &self.host.kind {
            HostKind::Conv(conv) => conv.run_part(isa, image, output, share, io.scratch, &mut epilogue),
            HostKind::Depthwise(conv) => conv.run_part(isa, image, output, share, &mut epilogue),
            HostKind::Winograd(conv) => conv.run(isa, image, output, &share.area, io.scratch, &mut epilogue),
            HostKind::MaxPool(pool) => pool.forward(isa, image, output, &share.area, &mut [], &mut epilogue),
            _ => return Err(not_by_rows(self.kernel())),
        }
        Ok(())
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
        let mut operands = self.chain.as_ref().map(|parts| parts.lent(rest, write)).unwrap_or_default();
        let (from, to, noted) = (own[0].len() / host.batch, output.len() / host.batch, winners.len() / host.batch);
        for (i, output) in output.chunks_exact_mut(to).enumerate() {
            let image = &own[0][i * from..(i + 1) * from];
            let mut epilogue = |at: usize, part: &mut [f32]| self.finish(isa, i * to + at, part, &mut operands);
            match &host.kind {
                HostKind::Conv(conv) => conv.run(isa, image, output, scratch, &mut epilogue),
                HostKind::Winograd(conv) => {
                    conv.run(isa, image, output, &conv.reach().all(), scratch, &mut epilogue);
                }
                HostKind::Depthwise(conv) => conv.run(isa, image, output, &mut epilogue),
                HostKind::Norm(norm) => norm.run(isa, image, output, &mut epilogue),
                HostKind::Resample(resample) => resample.run(isa, image, output, scratch, &mut epilogue),
                HostKind::Products(products) => products.run(isa, own, output, scratch, &mut epilogue),
                HostKind::MaxPool(pool) => {
                    let winners = &mut winners[i * noted..(i + 1) * noted];
                    pool.forward(isa, image, output, &pool.reach().all(), winners, &mut epilogue);
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
    let Some(own) = Constants::of(planner, node) else { return Ok(Lowered::Not) };
    if geometry.is_narrow() {
        return narrow(planner, node, &geometry, &own);
    }
    // A few planes, as of an image, are read as they are: padding them to a block would be mostly zeros.
    let planes = geometry.groups == 1 && geometry.input.channels < LANES / 2 && !planner.is_blocked(input);
    let by_place = !planner.even.contains(output);
    let Some(kind) = kernel(planner.packs, &geometry, &own, planes, by_place) else { return Ok(Lowered::Not) };
    let read = if planes { planner.planes(input)? } else { planner.blocked(input)? };
    Host::of_image(kind, vec![read], geometry.output).postpone(planner, output)
}

/// A convolution's weights and bias.
struct Constants<'a> {
    weights: &'a Tensor,
    bias: Option<&'a Tensor>,
}

impl<'a> Constants<'a> {
    /// Those of a node, where they are constant floats.
    fn of(planner: &Planner<'a>, node: &Node) -> Option<Constants<'a>> {
        let constant = |name| planner.constant(name).filter(|tensor| tensor.dtype.is_float());
        let weights = constant(node.input(1)?)?;
        let bias = match node.input(2) {
            Some(name) => Some(constant(name)?),
            None => None,
        };
        Some(Constants { weights, bias })
    }

    /// What packs of them are known by.
    fn key(&self, geometry: &Geometry, planes: bool) -> Weighted {
        let (weights, bias) = (self.weights.identity(), self.bias.map(Tensor::identity));
        Weighted { geometry: geometry.clone(), weights, bias, planes }
    }

    /// The values; a bias that there is not has none.
    fn floats(&self) -> Option<[Vec<f32>; 2]> {
        Some([self.weights.to_f32()?, self.bias.map_or(Some(vec![]), Tensor::to_f32)?])
    }
}

/// The kernel that suits a convolution, packed unless it is known; none suits some groups. One that rounds by the place only
/// where it may.
fn kernel(packs: &mut Packs, geometry: &Geometry, own: &Constants, planes: bool, by_place: bool) -> Option<HostKind> {
    let (isa, precision, key) = (packs.isa, packs.precision, own.key(geometry, planes));
    if geometry.is_depthwise() {
        let pack = || own.floats().map(|[weights, bias]| Arc::new(geometry.depthwise(&weights, &bias)));
        return packs.depthwise.get(key, pack).map(HostKind::Depthwise);
    }
    if by_place && geometry.winograd_tile(precision).is_some() {
        let pack = || own.floats().and_then(|[weights, bias]| geometry.winograd(&weights, &bias, isa, precision));
        return packs.winograd.get(key, || pack().map(Arc::new)).map(HostKind::Winograd);
    }
    let pack = || own.floats().and_then(|[weights, bias]| geometry.conv(&weights, &bias, planes, precision));
    packs.conv.get(key, || pack().map(Arc::new)).map(HostKind::Conv)
}

/// Straight to planes: its result is what leaves the network, and takes no epilogue.
fn narrow(planner: &mut Planner, node: &Node, geometry: &Geometry, own: &Constants) -> Result<Lowered> {
    let (input, output) = (node.input(0).unwrap_or_default(), node.output(0).unwrap_or_default());
    let planes = !planner.is_blocked(input);
    let pack = || own.floats().map(|[weights, bias]| Arc::new(geometry.narrow(&weights, &bias, planes)));
    let Some(kernel) = planner.packs.narrow.get(own.key(geometry, planes), pack) else { return Ok(Lowered::Not) };
    let (read, from) = match planes {
        true => (planner.planes(input)?, geometry.input.channels * geometry.input.places()),
        false => (planner.blocked(input)?, geometry.input.blocked()),
    };
    let to = geometry.output.channels * geometry.output.places();
    let images = geometry.output.batch;
    let write = planner.buffer(images * to);
    planner.step(output, Box::new(NarrowWork { kernel, images, from, to }), vec![read], vec![write]);
    planner.set(output, Order::Planes, write)?;
    Ok(Lowered::Done)
}

/// A transposed convolution to a few planes, of so many images; floats of one that is read, and written.
struct NarrowWork {
    kernel: Arc<Narrow>,
    images: usize,
    from: usize,
    to: usize,
}

impl Work for NarrowWork {
    fn kernel(&self) -> &str {
        "narrow conv"
    }

    fn flops(&self) -> u64 {
        self.images as u64 * self.kernel.flops()
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

    fn reach(&self) -> Option<Reach> {
        (self.images == 1).then(|| self.kernel.reach())
    }

    fn run_part(&self, isa: Isa, mut io: Io<'_>, share: &Share) -> Result<()> {
        self.kernel.run_part(isa, io.read[0], io.write[0], share, io.scratch);
        Ok(())
    }

    fn run(&self, isa: Isa, mut io: Io<'_>) -> Result<()> {
        let images = io.read[0].chunks_exact(self.from).zip(io.write[0].chunks_exact_mut(self.to));
        images.for_each(|(from, to)| self.kernel.run(isa, from, to, io.scratch));
        Ok(())
    }
}
