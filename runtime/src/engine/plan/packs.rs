//! Weights packed for kernels, by what they are packed from, so that plans share them: the forward and the gradient plan
//! of a model, plans for several methods, and plans of models that differ in other layers.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Weak};

use super::bands::Bands;
use super::fold_scales::Folds;
use super::geometry::Geometry;
use super::values::{Image, Order};
use crate::engine::kernels::conv::Conv;
use crate::engine::kernels::depthwise::Depthwise;
use crate::engine::kernels::matmul::Panels;
use crate::engine::kernels::narrow::Narrow;
use crate::engine::kernels::stored::Stored;
use crate::engine::kernels::winograd::Winograd;
use crate::engine::operators::Types;
use crate::engine::precision::Precision;
use crate::onnx::tensor::Identity;
use crate::simd::Isa;

/// What is packed for one instruction set in one precision, while a plan holds it, and what it was packed from where that is
/// no constant of the model.
pub struct Packs {
    pub(super) precision: Precision,
    pub(super) isa: Isa,
    pub(in crate::engine) bands: Bands,
    pub(in crate::engine) types: Types,
    pub(in crate::engine) folds: Folds,
    pub(super) conv: Pool<Weighted, Conv>,
    pub(super) depthwise: Pool<Weighted, Depthwise>,
    pub(super) narrow: Pool<Weighted, Narrow>,
    pub(super) winograd: Pool<Weighted, Winograd>,
    pub(super) panels: Pool<(Identity, Panels), Stored>,
    pub(super) constants: Pool<(Identity, Order, Option<Image>), [f32]>,
}

/// A convolution that weights are packed for.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Weighted {
    pub geometry: Geometry,
    pub weights: Identity,
    pub bias: Option<Identity>,
    /// Whether its input comes as planes.
    pub planes: bool,
}

impl Packs {
    /// None yet.
    pub fn new(precision: Precision, isa: Isa) -> Packs {
        let precision = precision.here(isa);
        Packs {
            precision,
            isa,
            bands: Bands::default(),
            types: Types::default(),
            folds: Folds::default(),
            conv: Pool::default(),
            depthwise: Pool::default(),
            narrow: Pool::default(),
            winograd: Pool::default(),
            panels: Pool::default(),
            constants: Pool::default(),
        }
    }

    /// The same for plans whose steps go by rows at other times: to the same bytes.
    pub fn with_bands(self, bands: Bands) -> Packs {
        Packs { bands, ..self }
    }

    /// The same, with what is known of nodes' types.
    pub fn knowing(self, types: Types) -> Packs {
        Packs { types, ..self }
    }

    /// Bytes of what is kept for plans to come.
    pub fn bytes(&self) -> usize {
        self.folds.bytes()
    }

    /// How numbers are kept and multiplied on this machine.
    pub fn precision(&self) -> Precision {
        self.precision
    }
}

/// What is there as long as somebody else holds it.
pub(super) struct Pool<K, T: ?Sized>(HashMap<K, Weak<T>>);

impl<K, T: ?Sized> Default for Pool<K, T> {
    fn default() -> Self {
        Pool(HashMap::new())
    }
}

impl<K: Eq + Hash, T: ?Sized> Pool<K, T> {
    /// What is known by this key, or is made now.
    pub fn get(&mut self, key: K, make: impl FnOnce() -> Option<Arc<T>>) -> Option<Arc<T>> {
        if let Some(known) = self.0.get(&key).and_then(Weak::upgrade) {
            return Some(known);
        }
        let made = make()?;
        self.0.insert(key, Arc::downgrade(&made));
        Some(made)
    }
}
