//! whyline's runtime: why did the model decide that?
//!
//! Data flows one way. [`onnx`] reads a model into one typed form; [`gradient`] derives from it the graph of
//! its input gradient, which is again an ONNX file; [`engine`] makes either ready to run as a session;
//! [`methods`] turn passes of a session into an attribution; [`image`] turns pictures into inputs and
//! attributions into pictures; [`record`] says how a map came about. Nothing to the right knows what is to
//! its left: a method knows no graph, and a picture no method.
//!
//! [`explain`] joins the stages.

#![deny(unsafe_code)]
#![warn(missing_docs)]

mod asked;
pub mod attribution;
pub mod baseline;
pub mod bench;
pub mod calibrate;
pub mod engine;
pub mod error;
pub mod evaluate;
pub mod explain;
pub mod files;
pub mod flops;
pub mod gradient;
mod hash;
pub mod image;
pub mod inspect;
mod load;
pub mod methods;
pub mod metrics;
pub mod npy;
pub mod onnx;
pub mod params;
mod prepare;
mod probe;
pub mod record;
pub mod rng;
mod simd;
pub mod state;
pub mod validate;
mod values;
pub mod variants;

pub use error::{Error, Kind, Result};

/// Compiles the example that README shows.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
