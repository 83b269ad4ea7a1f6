//! Pictures: files to input tensors, and attributions to pictures.

pub mod blur;
pub mod colormap;
pub mod decode;
pub mod grid;
pub mod inpaint;
mod jpeg;
pub mod mosaic;
mod multigrid;
pub mod overlay;
pub mod preprocess;
pub mod resize;
pub mod slic;

pub use decode::{Picture, decode, decode_mask};
pub use grid::grid;
pub use overlay::{Style, draw};
pub use preprocess::{Prepared, prepare};
