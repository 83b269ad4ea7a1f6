//! Numbers that need neither std nor an allocator: quadrature nodes and running statistics.

#![no_std]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod adaptive;
pub mod moments;
pub mod quadrature;
