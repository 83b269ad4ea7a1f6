//! Numbers that need neither std nor an allocator: quadrature nodes, running statistics, and what metrics
//! keep of a stream of samples, in a fixed number of bytes.

#![no_std]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod adaptive;
pub mod budget;
pub mod curve;
pub mod groups;
pub mod histogram;
pub mod moments;
pub mod order;
pub mod pearson;
pub mod quadrature;
pub mod refined;
pub mod reservoir;
pub mod scores;
pub mod sketch;
pub mod spread;
pub mod table;
pub mod top;
pub mod undefined;
pub mod wire;
