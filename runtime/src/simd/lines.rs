//! Memory that begins on a line of the cache: a vector that lies across two lines takes two reads.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use bytemuck::{Pod, Zeroable};

use super::LANES;

/// A line, which is a vector of floats.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct Line([f32; LANES]);

// SAFETY: sixteen floats fill sixty-four bytes, and any bits are floats.
unsafe impl Zeroable for Line {}
// SAFETY: as above.
unsafe impl Pod for Line {}

/// Numbers that begin on a line.
#[derive(Clone, Debug)]
pub struct Lined<T> {
    lines: Vec<Line>,
    len: usize,
    numbers: PhantomData<T>,
}

impl<T: Pod> Lined<T> {
    /// All zero.
    pub fn zeros(len: usize) -> Lined<T> {
        let lines = vec![Line::zeroed(); (len * size_of::<T>()).div_ceil(size_of::<Line>())];
        Lined { lines, len, numbers: PhantomData }
    }
}

impl<T: Pod> FromIterator<T> for Lined<T> {
    fn from_iter<I: IntoIterator<Item = T>>(numbers: I) -> Lined<T> {
        Vec::from_iter(numbers).into()
    }
}

impl<T: Pod> From<Vec<T>> for Lined<T> {
    fn from(numbers: Vec<T>) -> Lined<T> {
        let mut lined = Lined::zeros(numbers.len());
        lined.copy_from_slice(&numbers);
        lined
    }
}

impl<T: Pod> Deref for Lined<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &bytemuck::cast_slice(&self.lines)[..self.len]
    }
}

impl<T: Pod> DerefMut for Lined<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.len]
    }
}
