//! From one order of elements to the other.

use super::arena::Io;
use super::run::Work;
use super::values::{Image, Order};
use crate::engine::kernels::layout;
use crate::error::Result;
use crate::simd::Isa;

/// Changes the order of a batch of images.
pub struct Convert {
    /// Their extents.
    pub image: Image,
    /// The order that they get.
    pub to: Order,
}

impl Work for Convert {
    fn kernel(&self) -> &str {
        match self.to {
            Order::Planes => "to planes",
            Order::Blocked => "to blocks",
        }
    }

    fn run(&self, isa: Isa, mut io: Io<'_>) -> Result<()> {
        let (image, from, to) = (self.image, io.read[0], &mut *io.write[0]);
        let (planes, blocked) = (image.channels * image.places(), image.blocked());
        match self.to {
            Order::Blocked => from
                .chunks_exact(planes)
                .zip(to.chunks_exact_mut(blocked))
                .for_each(|(from, to)| layout::to_blocked(isa, from, image.channels, to)),
            Order::Planes => from
                .chunks_exact(blocked)
                .zip(to.chunks_exact_mut(planes))
                .for_each(|(from, to)| layout::to_planes(isa, from, image.channels, to)),
        }
        Ok(())
    }
}
