//! What chains are made of: operations, where each reads, and how operands go along.

/// Intermediate values that a chain can hold.
pub const REGISTERS: usize = 8;

/// Operands that a chain can read.
pub const MAX_OPERANDS: usize = 10;

/// Masks that a chain can read and write.
pub const MAX_MASKS: usize = 4;

/// Values besides its result that a chain can write.
pub const MAX_BESIDE: usize = 4;

/// Where a link reads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Source {
    /// An intermediate value.
    Register(u8),
    /// What the output holds before the chain runs.
    Output,
    /// The operand of this number.
    Operand(u8),
    /// One number.
    Number(f32),
}

/// What a link computes of `a`, or of `a` and `b`.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub enum Op {
    Copy,
    Add,
    Sub,
    Mul,
    Div,
    Max,
    Min,
    Sqrt,
    Exp,
    Sigmoid,
    Tanh,
    Erf,
    Relu,
    /// One where `a > b`, else zero.
    Greater,
    /// `b` where `a` is not zero, else zero.
    Where,
    /// `b` where `a` is zero, else zero.
    Unless,
    /// `a` cut to the range.
    Clip(f32, f32),
    /// `max(a, 0)`, and a bit where `a > 0` into the mask of this number.
    ReluBits(u8),
    /// `a` cut to the range, and a bit where it lies inside into the mask of this number.
    ClipBits(u8, f32, f32),
    /// `a` where the mask of this number has a bit, else zero.
    Keep(u8),
    /// The positive part of `a` where the mask of this number has a bit, else zero.
    KeepPositive(u8),
    /// The function of `a`; its slope goes to what is written besides the output, in the place of this number.
    Activate(Activation, Option<u8>),
    /// The function's slope.
    Slope(Activation),
    /// `a` goes to what is written besides the output, in the place of this number; gives nothing to read.
    Store(u8),
    /// Any function of one number, with two parameters.
    Map(fn(f32, [f32; 2]) -> f32, [f32; 2]),
}

/// Smooth activations, whose slopes come at little more than their values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x sigmoid(x)`
    Swish,
    /// `x` times the normal distribution's cumulative function.
    Gelu,
}

/// One operation.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// What is computed.
    pub op: Op,
    /// First argument.
    pub a: Source,
    /// Second argument, where the operation takes two.
    pub b: Source,
    /// The register that takes the result; that of the last link is the output.
    pub to: u8,
}

/// How an operand goes along with the innermost run of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Along {
    /// Element for element.
    Elements,
    /// The same sixteen again and again.
    Lanes,
    /// One number throughout.
    Constant,
}

/// How an operand is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walk {
    /// Within a run.
    pub along: Along,
    /// From one run to the next, along each outer extent.
    pub strides: Vec<usize>,
}
