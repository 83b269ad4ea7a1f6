//! Chains that are steps of their own.

use super::arena::Io;
use super::builder::ChainParts;
use super::run::{Work, not_by_rows};
use super::values::{Image, Order};
use crate::engine::kernels::chain::{Along, Walk};
use crate::engine::kernels::reach::{Axis, Reach, Share};
use crate::error::Result;
use crate::simd::{Isa, LANES};

/// A chain on its own.
pub struct ChainWork {
    parts: ChainParts,
    /// The one image that it goes over, where it does, and in which order.
    image: Option<Image>,
    order: Order,
}

impl ChainWork {
    /// Of a value that may be an image, in this order.
    pub fn new(parts: ChainParts, image: Option<Image>, order: Order) -> ChainWork {
        ChainWork { parts, image: image.filter(|image| image.batch == 1), order }
    }

    /// Floats of a place of the image in one of its planes.
    fn lanes(&self) -> usize {
        if self.order == Order::Blocked { LANES } else { 1 }
    }
}

impl Work for ChainWork {
    fn kernel(&self) -> &str {
        "chain"
    }

    fn may_overwrite(&self) -> Vec<usize> {
        let whole = |w: &Walk| w.along == Along::Elements && self.parts.chain.covers(w);
        (0..self.parts.chain.walks.len()).filter(|&i| whole(&self.parts.chain.walks[i])).collect()
    }

    fn overwrite(&mut self, operand: usize) {
        self.parts.operands.remove(operand);
        self.parts.chain.read_output_for(operand);
    }

    fn reach(&self) -> Option<Reach> {
        let [rows, columns] = self.image?.extents.map(Axis::same);
        Some(Reach { rows, columns, adds: false, whole: true })
    }

    fn run_part(&self, isa: Isa, io: Io<'_>, share: &Share) -> Result<()> {
        let mut write = io.write.into_iter();
        let (Some(output), Some(image), Some(reach)) = (write.next(), self.image, self.reach()) else {
            return Err(not_by_rows(self.kernel()));
        };
        assert!(reach.fits(&reach.share(share.area.clone())), "a chain reaches outside its image");
        let (lanes, mut lent) = (self.lanes(), self.parts.lent(&io.read, write));
        for plane in (0..output.len()).step_by(image.places() * lanes) {
            for span in share.area.spans(image.extents[1]) {
                let part = plane + span.start * lanes..plane + span.end * lanes;
                self.parts.chain.run(isa, part.start, &mut output[part], &mut lent);
            }
        }
        Ok(())
    }

    fn run(&self, isa: Isa, io: Io<'_>) -> Result<()> {
        let mut write = io.write.into_iter();
        let Some(output) = write.next() else { return Ok(()) };
        self.parts.chain.run(isa, 0, output, &mut self.parts.lent(&io.read, write));
        Ok(())
    }
}
