//! Convolutions, and the kernels that take an epilogue.

use std::sync::Arc;

use super::arena::{BufferId, Io};
use super::elementwise::ChainParts;
use super::planner::{Lowered, Planner};
use super::run::Work;
use super::values::{Image, Lazy, Order};
use crate::engine::kernels::chain::Operands;
use crate::engine::kernels::conv::{Conv, Phase, Source};
use crate::engine::kernels::depthwise::Depthwise;
use crate::engine::kernels::pool::MaxPool;
use crate::engine::simd::{Isa, LANES};
use crate::error::Result;
use crate::onnx::Node;

/// A kernel that works on an image and takes an epilogue.
pub struct Host {
    /// What it reads: the image, then what else.
    pub reads: Vec<BufferId>,
    /// What it writes besides its result.
    pub writes: Vec<BufferId>,
    /// What it computes.
    pub kind: HostKind,
    /// Floats of one image that is read.
    pub from: usize,
    /// What it gives.
    pub to: Image,
}

/// What a host computes.
pub enum HostKind {
    /// A convolution.
    Conv(Arc<Conv>),
    /// A convolution of each channel by itself.
    Depthwise(Arc<Depthwise>),
    /// A max pool; notes the winners where it writes two buffers.
    MaxPool(MaxPool),
    /// Its adjoint.
    MaxPoolGrad(MaxPool),
}

impl Host {
    /// Emits the kernel, with a chain that makes `name` of its result.
    pub fn emit(self, planner: &mut Planner, name: &str, chain: Option<ChainParts>) -> Result<()> {
        let output = planner.buffer(self.to.batch * self.to.blocked());
        let (mut reads, mut writes) = (self.reads.clone(), vec![output]);
        writes.extend(&self.writes);
        if let Some(chain) = &chain {
            let (more_reads, more_writes) = chain.buffers();
            reads.extend(more_reads);
            writes.extend(more_writes);
        }
        planner.step(name, Box::new(HostWork { host: self, chain }), reads, writes);
        planner.set(name, Order::Blocked, output)
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
            HostKind::Depthwise(_) => "depthwise",
            HostKind::MaxPool(_) => "max pool",
            HostKind::MaxPoolGrad(_) => "max pool adjoint",
        }
    }

    fn flops(&self) -> u64 {
        self.host.to.batch as u64
            * match &self.host.kind {
                HostKind::Conv(conv) => conv.flops(),
                HostKind::Depthwise(conv) => conv.flops(),
                _ => 0,
            }
    }

    fn scratch(&self) -> usize {
        match &self.host.kind {
            HostKind::Conv(conv) => conv.scratch(),
            _ => 0,
        }
    }

    fn weight_bytes(&self) -> usize {
        match &self.host.kind {
            HostKind::Conv(conv) => conv.weight_bytes(),
            HostKind::Depthwise(conv) => conv.weight_bytes(),
            _ => 0,
        }
    }

    fn run(&self, isa: Isa, io: Io<'_>) -> Result<()> {
        let host = &self.host;
        let (own, rest) = io.read.split_at(host.reads.len());
        let mut write = io.write.into_iter();
        let Some(output) = write.next() else { return Ok(()) };
        let extra = if host.writes.is_empty() { None } else { write.next() };
        let mut operands = match &self.chain {
            Some(parts) => parts.lent(rest, write),
            None => Operands::default(),
        };
        let winners: &mut [u16] = extra.map_or(&mut [], |w| bytemuck::cast_slice_mut(w));
        let to = host.to.blocked();
        let noted = winners.len() / host.to.batch;
        for (i, output) in output.chunks_exact_mut(to).enumerate() {
            let image = &own[0][i * host.from..(i + 1) * host.from];
            let mut epilogue = |at: usize, part: &mut [f32]| {
                if let Some(parts) = &self.chain {
                    parts.chain.run(isa, i * to + at, part, &mut operands);
                }
            };
            match &host.kind {
                HostKind::Conv(conv) => conv.run(isa, image, output, io.scratch, &mut epilogue),
                HostKind::Depthwise(conv) => conv.run(isa, image, output, &mut epilogue),
                HostKind::MaxPool(pool) => {
                    pool.forward(isa, image, output, &mut winners[i * noted..(i + 1) * noted], &mut epilogue);
                }
                HostKind::MaxPoolGrad(pool) => {
                    let winners: &[u16] = bytemuck::cast_slice(own[1]);
                    let noted = winners.len() / host.to.batch;
                    pool.backward(isa, image, &winners[i * noted..(i + 1) * noted], output, &mut epilogue);
                }
            }
        }
        Ok(())
    }
}

/// A convolution's or transposed convolution's attributes, in two dimensions.
pub struct Window {
    /// Kernel rows and columns.
    pub kernel: [usize; 2],
    /// Steps.
    pub strides: [usize; 2],
    /// Steps within the kernel.
    pub dilations: [usize; 2],
    /// Padding before.
    pub before: [i64; 2],
}

impl Window {
    /// Reads them off a node, with padding by `auto_pad` where it says so.
    pub fn of(node: &Node, kernel: [usize; 2], input: [usize; 2], output: [usize; 2]) -> Option<Window> {
        let pair = |name: &str| match node.ints(name) {
            Some(&[a, b]) if a > 0 && b > 0 => Some([a as usize, b as usize]),
            Some(_) => None,
            None => Some([1, 1]),
        };
        let (strides, dilations) = (pair("strides")?, pair("dilations")?);
        let mut before = [0; 2];
        match node.text("auto_pad", "NOTSET") {
            "NOTSET" => {
                if let Some(pads) = node.ints("pads") {
                    before = [*pads.first()?, *pads.get(1)?];
                }
            }
            "VALID" => {}
            auto => {
                for axis in 0..2 {
                    let reach = ((output[axis] - 1) * strides[axis] + (kernel[axis] - 1) * dilations[axis] + 1) as i64;
                    let total = (reach - input[axis] as i64).max(0);
                    before[axis] = if auto == "SAME_LOWER" { total - total / 2 } else { total / 2 };
                }
            }
        }
        Some(Window { kernel, strides, dilations, before })
    }

    /// Where each tap of a forward window reads, row by row.
    pub fn taps(&self) -> Vec<[isize; 2]> {
        let shift = |axis: usize, k: usize| (k * self.dilations[axis]) as isize - self.before[axis] as isize;
        let rows = 0..self.kernel[0];
        rows.flat_map(|ky| (0..self.kernel[1]).map(move |kx| [shift(0, ky), shift(1, kx)])).collect()
    }

    /// The phases of the adjoint: per offset of the output, which weights it meets and where they read.
    fn phases(&self, output: [usize; 2]) -> Vec<([usize; 2], [usize; 2], Vec<(usize, [isize; 2])>)> {
        let along = |axis: usize, offset: usize| -> Vec<(usize, isize)> {
            let stride = self.strides[axis] as i64;
            (0..self.kernel[axis])
                .filter_map(|k| {
                    let from = offset as i64 + self.before[axis] - (k * self.dilations[axis]) as i64;
                    (from.rem_euclid(stride) == 0).then(|| (k, from.div_euclid(stride) as isize))
                })
                .collect()
        };
        let mut phases = vec![];
        for oy in 0..self.strides[0].min(output[0]) {
            for ox in 0..self.strides[1].min(output[1]) {
                let (rows, columns) = (along(0, oy), along(1, ox));
                let taps: Vec<_> = rows
                    .iter()
                    .flat_map(|&(ky, dy)| columns.iter().map(move |&(kx, dx)| (ky * self.kernel[1] + kx, [dy, dx])))
                    .collect();
                if !taps.is_empty() {
                    let grid = [(output[0] - oy).div_ceil(self.strides[0]), (output[1] - ox).div_ceil(self.strides[1])];
                    phases.push(([oy, ox], grid, taps));
                }
            }
        }
        phases
    }
}

/// A convolution or its transpose, as the node has it.
struct Geometry {
    input: Image,
    output: Image,
    groups: usize,
    transposed: bool,
    window: Window,
    /// The weights' extents.
    weight: Vec<usize>,
}

impl Geometry {
    fn of(planner: &Planner, node: &Node) -> Option<Geometry> {
        let transposed = node.op == "ConvTranspose";
        let input = planner.image(node.input(0)?)?;
        let output = planner.image(node.output(0)?)?;
        let weight = planner.constant(node.input(1)?)?.shape.clone();
        let kernel = [*weight.get(2)?, *weight.get(3)?];
        if transposed && node.text("auto_pad", "NOTSET") != "NOTSET" {
            return None;
        }
        let window = Window::of(node, kernel, input.extents, output.extents)?;
        let groups = usize::try_from(node.int("group", 1)).ok()?;
        Some(Geometry { input, output, groups, transposed, window, weight })
    }

    /// The place of the weight from an input to an output channel, both within the whole; none across groups.
    fn weight_at(&self, input: usize, output: usize, tap: usize) -> Option<usize> {
        let (ins, outs) = (self.input.channels / self.groups, self.output.channels / self.groups);
        if input >= self.input.channels || output >= self.output.channels || input / ins != output / outs {
            return None;
        }
        let (first, second) = match self.transposed {
            true => (input, output % outs),
            false => (output, input % ins),
        };
        let taps = self.window.kernel[0] * self.window.kernel[1];
        Some((first * self.weight[1] + second) * taps + tap)
    }

    /// Per phase: its offset, its grid, and which weight each tap is and where it reads.
    fn phases(&self) -> Vec<([usize; 2], [usize; 2], Vec<(usize, [isize; 2])>)> {
        match self.transposed {
            true => self.window.phases(self.output.extents),
            false => vec![([0, 0], self.output.extents, self.window.taps().into_iter().enumerate().collect())],
        }
    }

    fn steps(&self) -> ([usize; 2], [usize; 2]) {
        if self.transposed { ([1, 1], self.window.strides) } else { (self.window.strides, [1, 1]) }
    }

    /// Groups for the kernel: narrow ones are taken together, sixteen channels at a time.
    fn merged_groups(&self) -> Option<usize> {
        let (ins, outs) = (self.input.channels / self.groups, self.output.channels / self.groups);
        if self.groups == 1 || (ins % LANES == 0 && outs % LANES == 0) {
            return Some(self.groups);
        }
        let together = ins == outs && LANES % ins == 0 && self.input.channels % LANES == 0;
        together.then_some(self.input.channels / LANES)
    }

    fn conv(&self, weights: &[f32], bias: &[f32], planes: bool) -> Option<Conv> {
        let groups = self.merged_groups()?;
        let blocks = (self.output.channels / groups).div_ceil(LANES);
        let (source, ins) = match planes {
            true => (Source::Planes(self.input.channels), self.input.channels),
            false => {
                let blocks = (self.input.channels / groups).div_ceil(LANES);
                (Source::Blocked(blocks), blocks * LANES)
            }
        };
        let (stride, spread) = self.steps();
        let pack = |taps: &[(usize, [isize; 2])]| {
            let mut packed = vec![0.0; groups * blocks * taps.len() * ins * LANES];
            let mut lanes = packed.chunks_exact_mut(LANES);
            for block in 0..groups * blocks {
                let group = block / blocks;
                let first = group * (self.input.channels / groups);
                for k in 0..taps.len() * ins {
                    let (tap, input) = match planes {
                        true => (k % taps.len(), k / taps.len()),
                        false => (k / ins, k % ins),
                    };
                    let Some(lanes) = lanes.next() else { break };
                    for (lane, v) in lanes.iter_mut().enumerate() {
                        if let Some(at) = self.weight_at(first + input, block * LANES + lane, taps[tap].0) {
                            *v = weights[at];
                        }
                    }
                }
            }
            packed
        };
        let phases = self.phases().into_iter().map(|(offset, grid, taps)| Phase {
            grid,
            offset,
            weights: pack(&taps),
            taps: taps.into_iter().map(|t| t.1).collect(),
        });
        Some(Conv {
            input: self.input.extents,
            output: self.output.extents,
            source,
            blocks,
            groups,
            stride,
            spread,
            phases: phases.collect(),
            bias: padded(bias, self.output.blocks()),
        })
    }

    fn is_depthwise(&self) -> bool {
        self.groups > 1 && self.groups == self.input.channels && self.groups == self.output.channels
    }

    fn depthwise(&self, weights: &[f32], bias: &[f32]) -> Depthwise {
        let (stride, spread) = self.steps();
        let taps_in_all = self.window.kernel[0] * self.window.kernel[1];
        let pack = |taps: &[(usize, [isize; 2])]| {
            let mut packed = vec![0.0; self.input.blocks() * taps.len() * LANES];
            for (i, v) in packed.iter_mut().enumerate() {
                let channel = i / (taps.len() * LANES) * LANES + i % LANES;
                if channel < self.input.channels {
                    *v = weights[channel * taps_in_all + taps[i / LANES % taps.len()].0];
                }
            }
            packed
        };
        let phases = self.phases().into_iter().map(|(offset, grid, taps)| Phase {
            grid,
            offset,
            weights: pack(&taps),
            taps: taps.into_iter().map(|t| t.1).collect(),
        });
        Depthwise {
            input: self.input.extents,
            output: self.output.extents,
            blocks: self.input.blocks(),
            stride,
            spread,
            phases: phases.collect(),
            bias: padded(bias, self.output.blocks()),
        }
    }
}

/// Values per channel, padded to blocks; none stay none.
fn padded(values: &[f32], blocks: usize) -> Vec<f32> {
    let mut padded = values.to_vec();
    if !values.is_empty() {
        padded.resize(blocks * LANES, 0.0);
    }
    padded
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
    // A few planes, as of an image, are read as they are: padding them to a block would be mostly zeros.
    let planes = geometry.groups == 1 && geometry.input.channels < LANES / 2 && !planner.is_blocked(input);
    let kind = if geometry.is_depthwise() {
        let pack = || Arc::new(geometry.depthwise(&weights, &bias));
        HostKind::Depthwise(planner.packs.depthwise.entry(node.name.clone()).or_insert_with(pack).clone())
    } else {
        let key = format!("{}{}", node.name, if planes { "/planes" } else { "" });
        if !planner.packs.conv.contains_key(&key) {
            let Some(conv) = geometry.conv(&weights, &bias, planes) else { return Ok(Lowered::Not) };
            planner.packs.conv.insert(key.clone(), Arc::new(conv));
        }
        HostKind::Conv(planner.packs.conv[&key].clone())
    };
    let (read, from) = match planes {
        true => (planner.planes(input)?, geometry.input.channels * geometry.input.places()),
        false => (planner.blocked(input)?, geometry.input.blocked()),
    };
    let host = Host { reads: vec![read], writes: vec![], kind, from, to: geometry.output };
    planner.postpone(output, Lazy::Host(Box::new(host)), Order::Blocked)
}
