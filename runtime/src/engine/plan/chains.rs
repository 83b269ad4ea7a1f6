//! Chains that are steps of their own.

use super::arena::Io;
use super::builder::ChainParts;
use super::run::{Work, not_by_rows};
use super::values::{Image, Order};
use crate::engine::kernels::chain::{Along, Walk};
use crate::engine::kernels::phase::{Reach, Share};
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

    /// Floats of a row of the image in one of its planes.
    fn line(&self, image: Image) -> usize {
        if self.order == Order::Blocked { image.extents[1] * LANES } else { image.extents[1] }
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
        let image = self.image?;
        let ([rows, _], line) = (image.extents, self.line(image));
        Some(Reach { input: rows, output: rows, line, adds: false, whole: true, stride: 1, spread: 1, taps: [0, 0] })
    }

    fn run_rows(&self, isa: Isa, io: Io<'_>, share: &Share) -> Result<()> {
        let mut write = io.write.into_iter();
        let (Some(output), Some(image)) = (write.next(), self.image) else { return Err(not_by_rows(self.kernel())) };
        let (rows, line, mut lent) = (image.extents[0], self.line(image), self.parts.lent(&io.read, write));
        for plane in (0..output.len()).step_by(rows * line) {
            let part = plane + share.rows.start * line..plane + share.rows.end * line;
            self.parts.chain.run(isa, part.start, &mut output[part], &mut lent);
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
