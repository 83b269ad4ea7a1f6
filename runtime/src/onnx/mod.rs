//! ONNX files: read, check, bring to one form, type and write. Knows nothing of gradients or engines.

pub mod card;
pub mod graph;
pub mod half_weights;
pub mod infer;
pub mod inline;
pub mod layout;
pub mod metadata;
pub mod node;
pub mod perturb;
pub mod places;
pub mod read;
pub mod resize;
mod sound;
pub mod tensor;
pub mod upgrade;
pub mod weights;
pub mod write;

pub use card::Card;
pub use graph::{Dim, Function, Graph, Input};
pub use infer::{Fact, Facts, Known, Operators, TypedGraph, fix_shapes, type_graph};
pub use layout::Layout;
pub use node::{Attr, Node};
pub use perturb::{Change, Shuffles, WeightNoise, layers};
pub use places::Places;
pub use read::{Model, parse_model, parse_model_keeping, read_model, read_model_keeping};
pub use tensor::{DType, Tensor};
pub use write::write_model;
