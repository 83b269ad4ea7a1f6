//! What the planner knows of a value while it lowers.

use super::arena::BufferId;
use super::dense::Host;
use super::views::View;
use crate::onnx::{DType, Fact};
use crate::simd::LANES;

/// The order of a value's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Order {
    /// As ONNX has it.
    Planes,
    /// `[image][channel / 16][row][column][16]`; lanes beyond the channels hold anything finite.
    Blocked,
}

/// A value that is not computed yet.
pub enum Lazy {
    /// An elementwise node, by index.
    Elementwise(usize),
    /// A kernel that takes an epilogue.
    Host(Box<Host>),
    /// Another one, at other strides.
    View(View),
}

/// A value of the graph.
pub struct Value {
    /// Its type.
    pub fact: Fact,
    /// How many reads are left, as an output too.
    pub uses: usize,
    /// Where it lies in ONNX's order.
    pub planes: Option<BufferId>,
    /// Where it lies blocked.
    pub blocked: Option<BufferId>,
    /// How it will be computed, and in which order.
    pub lazy: Option<(Lazy, Order)>,
}

impl Value {
    /// The order that the value comes in without a conversion.
    pub fn order(&self) -> Order {
        match &self.lazy {
            Some((_, order)) => *order,
            None if self.blocked.is_some() => Order::Blocked,
            None => Order::Planes,
        }
    }
}

/// An image batch: what blocked kernels work on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Image {
    /// Images.
    pub batch: usize,
    /// Channels.
    pub channels: usize,
    /// Rows and columns.
    pub extents: [usize; 2],
}

impl Image {
    /// The image that a float32 value of four axes is.
    pub fn of(fact: &Fact) -> Option<Image> {
        match (fact.dtype, fact.shape.as_slice()) {
            (DType::F32, &[batch, channels, h, w]) if batch * channels * h * w > 0 => {
                Some(Image { batch, channels, extents: [h, w] })
            }
            _ => None,
        }
    }

    /// Rows times columns.
    pub fn places(&self) -> usize {
        self.extents[0] * self.extents[1]
    }

    /// Blocks of channels.
    pub fn blocks(&self) -> usize {
        self.channels.div_ceil(LANES)
    }

    /// Floats of one image, blocked.
    pub fn blocked(&self) -> usize {
        self.blocks() * self.places() * LANES
    }
}
