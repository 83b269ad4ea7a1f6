//! Convolutions and windows as nodes have them, and as the kernels want them.

use super::planner::Planner;
use super::values::Image;
use crate::engine::kernels::conv::{Conv, Source};
use crate::engine::kernels::depthwise::Depthwise;
use crate::engine::kernels::narrow::Narrow;
use crate::engine::kernels::phase::Phase;
use crate::engine::kernels::product::Packing;
use crate::engine::kernels::stored::Stored;
use crate::engine::kernels::winograd::{Kernels, Winograd};
use crate::engine::precision::Precision;
use crate::onnx::Node;
use crate::simd::{Isa, LANES, Lined};

/// Pairs of channels up to which the weights of Winograd's large tile, four times as many as there are, and of its small
/// one, not quite twice as many, are worth their memory.
const LARGE_TILE: usize = 256 * 256;
const SMALL_TILE: usize = 512 * 512;

/// A convolution's or transposed convolution's attributes, in two dimensions.
#[derive(Clone, PartialEq, Eq, Hash)]
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
    pub(super) fn phases(&self, output: [usize; 2]) -> Vec<Taps> {
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
                    phases.push(Taps { offset: [oy, ox], grid, taps });
                }
            }
        }
        phases
    }
}

/// The places of the output that meet the same weights.
pub(super) struct Taps {
    offset: [usize; 2],
    grid: [usize; 2],
    /// Which weight each tap is, and where it reads.
    taps: Vec<(usize, [isize; 2])>,
}

impl Taps {
    pub(super) fn with<W>(self, pack: impl Fn(&[(usize, [isize; 2])]) -> W) -> Phase<W> {
        let weights = pack(&self.taps);
        Phase { grid: self.grid, offset: self.offset, weights, taps: self.taps.into_iter().map(|t| t.1).collect() }
    }
}

/// A convolution or its transpose, as the node has it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Geometry {
    pub input: Image,
    pub output: Image,
    pub groups: usize,
    transposed: bool,
    window: Window,
    /// The weights' extents.
    weight: Vec<usize>,
}

impl Geometry {
    pub(super) fn of(planner: &Planner, node: &Node) -> Option<Geometry> {
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
        if input >= self.input.channels || output >= self.output.channels {
            return None;
        }
        let (mut from, mut to) = (input, output);
        if self.groups > 1 {
            let (ins, outs) = (self.input.channels / self.groups, self.output.channels / self.groups);
            if input / ins != output / outs {
                return None;
            }
            (from, to) = (input % ins, output % outs);
        }
        let (first, second) = if self.transposed { (input, to) } else { (output, from) };
        let taps = self.window.kernel[0] * self.window.kernel[1];
        Some((first * self.weight[1] + second) * taps + tap)
    }

    /// The weights from an input channel to the output channels of a block, which are zero before: one after the other where they
    /// lie evenly, for large models have many.
    fn gather(&self, weights: &[f32], input: usize, block: usize, tap: usize, lanes: &mut [f32]) {
        let first = block * LANES;
        if self.groups > 1 {
            for (lane, v) in lanes.iter_mut().enumerate() {
                *v = self.weight_at(input, first + lane, tap).map_or(0.0, |at| weights[at]);
            }
        } else if let Some(start) = self.weight_at(input, first, tap) {
            let taps = self.window.kernel[0] * self.window.kernel[1];
            let step = if self.transposed { taps } else { self.weight[1] * taps };
            let own = weights[start..].iter().step_by(step);
            lanes.iter_mut().zip(own).take(self.output.channels - first).for_each(|(v, w)| *v = *w);
        }
    }

    /// One, or one per offset of the output.
    fn phases(&self) -> Vec<Taps> {
        match self.transposed {
            true => self.window.phases(self.output.extents),
            false => {
                let taps = self.window.taps().into_iter().enumerate().collect();
                vec![Taps { offset: [0, 0], grid: self.output.extents, taps }]
            }
        }
    }

    fn steps(&self) -> ([usize; 2], [usize; 2]) {
        if self.transposed { ([1, 1], self.window.strides) } else { (self.window.strides, [1, 1]) }
    }

    /// Groups for the kernel, with their input and output blocks: as many are taken together as fill whole blocks.
    fn merged_groups(&self) -> Option<(usize, usize, usize)> {
        if self.groups == 1 {
            return Some((1, self.input.blocks(), self.output.blocks()));
        }
        let (ins, outs) = (self.input.channels / self.groups, self.output.channels / self.groups);
        let whole = |n: &usize| (n * ins).is_multiple_of(LANES) && (n * outs).is_multiple_of(LANES);
        let together = (1..=LANES).find(whole)?;
        let groups = self.groups.div_ceil(together);
        let (from, to) = (together * ins / LANES, together * outs / LANES);
        // The last may be short of channels, but not of a block.
        (groups * from == self.input.blocks() && groups * to == self.output.blocks()).then_some((groups, from, to))
    }

    pub(super) fn conv(&self, weights: &[f32], bias: &[f32], planes: bool, precision: Precision) -> Option<Conv> {
        let (groups, from, blocks) = self.merged_groups()?;
        let (source, ins) = match planes {
            true => (Source::Planes(self.input.channels), self.input.channels),
            false => (Source::Blocked(from), from * LANES),
        };
        let (stride, spread) = self.steps();
        let pack = |taps: &[(usize, [isize; 2])]| {
            let order = Packing { depth: taps.len() * ins, blocks };
            let mut packed = Lined::zeros(groups * order.len());
            for (group, packed) in packed.chunks_exact_mut(order.len()).enumerate() {
                for (block, k) in (0..blocks).flat_map(|block| (0..order.depth).map(move |k| (block, k))) {
                    let (tap, input) = match planes {
                        true => (k % taps.len(), k / taps.len()),
                        false => (k / ins, k % ins),
                    };
                    let lanes = &mut packed[order.at(k, block)..][..LANES];
                    self.gather(weights, group * ins + input, group * blocks + block, taps[tap].0, lanes);
                }
            }
            Stored::new(packed, precision.keeps_halves())
        };
        let phases = self.phases().into_iter().map(|taps| taps.with(pack));
        Some(Conv {
            halves: precision.multiplies_halves() && !planes,
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

    /// The tile of Winograd's algorithm, for 3x3 kernels without strides where that pays and its larger weights are not
    /// too many.
    pub(super) fn winograd_tile(&self, precision: Precision) -> Option<usize> {
        let square = self.window.kernel == [3, 3] && self.window.strides == [1, 1] && self.window.dilations == [1, 1];
        let (ins, outs) = (self.input.channels, self.output.channels);
        let extent = self.output.extents[0].min(self.output.extents[1]);
        if !square || ins < LANES || outs < LANES || extent < 4 || self.groups != 1 {
            return None;
        }
        match ins * outs {
            0..=LARGE_TILE if extent >= 8 => Some(4),
            // Taking halves to the points takes longer than the small tile saves.
            0..=SMALL_TILE if !precision.keeps_halves() => Some(2),
            _ => None,
        }
    }

    /// By Winograd's algorithm, where it has a tile.
    pub(super) fn winograd(&self, weights: &[f32], bias: &[f32], isa: Isa, precision: Precision) -> Option<Winograd> {
        let tile = self.winograd_tile(precision)?;
        let taps = self.phases().pop()?.taps;
        let first = |axis: usize| taps.iter().map(|t| t.1[axis]).min();
        let shift = [first(0)?, first(1)?];
        let (from, to) = (self.input.blocks(), self.output.blocks());
        let mut packed = Lined::zeros(from * to * LANES * LANES * taps.len());
        for (i, lanes) in packed.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
            let (input, block) = (i / taps.len() % (from * LANES), i / taps.len() / (from * LANES));
            let place = |tap: &&(usize, [isize; 2])| {
                let [y, x] = [tap.1[0] - shift[0], tap.1[1] - shift[1]];
                (3 * y + x) as usize == i % taps.len()
            };
            let (tap, _) = taps.iter().find(place)?;
            self.gather(weights, input, block, *tap, lanes);
        }
        let (input, output) = (self.input.extents, self.output.extents);
        let weights = Kernels::Plain(Stored::new(packed, precision.keeps_halves()));
        let mut conv = Winograd { tile, input, output, shift, from, to, weights, bias: padded(bias, to) };
        if !precision.keeps_halves() {
            conv.prepare(isa);
        }
        Some(conv)
    }

    /// Whether output channels would leave most lanes empty.
    pub(super) fn is_narrow(&self) -> bool {
        self.transposed && self.groups == 1 && self.output.channels < LANES / 2
    }

    pub(super) fn narrow(&self, weights: &[f32], bias: &[f32], planes: bool) -> Narrow {
        let (taps, channels) = (self.window.taps(), self.output.channels);
        let mut packed = Lined::zeros(self.input.blocks() * taps.len() * channels * LANES);
        for (i, lanes) in packed.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
            let (channel, tap) = (i % channels, i / channels % taps.len());
            let first = i / channels / taps.len() * LANES;
            for (lane, v) in lanes.iter_mut().enumerate() {
                *v = self.weight_at(first + lane, channel, tap).map_or(0.0, |at| weights[at]);
            }
        }
        Narrow {
            input: self.input.extents,
            source: if planes { Source::Planes(self.input.channels) } else { Source::Blocked(self.input.blocks()) },
            output: self.output.extents,
            channels,
            stride: self.window.strides,
            taps,
            weights: packed,
            bias: bias.to_vec(),
        }
    }

    pub(super) fn is_depthwise(&self) -> bool {
        self.groups > 1 && self.groups == self.input.channels && self.groups == self.output.channels
    }

    pub(super) fn depthwise(&self, weights: &[f32], bias: &[f32]) -> Depthwise {
        let (stride, spread) = self.steps();
        let taps_in_all = self.window.kernel[0] * self.window.kernel[1];
        let pack = |taps: &[(usize, [isize; 2])]| {
            let mut packed = Lined::zeros(self.input.blocks() * taps.len() * LANES);
            for (i, v) in packed.iter_mut().enumerate() {
                let channel = i / (taps.len() * LANES) * LANES + i % LANES;
                if channel < self.input.channels {
                    *v = weights[channel * taps_in_all + taps[i / LANES % taps.len()].0];
                }
            }
            packed
        };
        let sorted = |mut phase: Taps| {
            phase.taps.sort_by_key(|tap| tap.1);
            phase.with(pack)
        };
        let phases = self.phases().into_iter().map(sorted);
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
