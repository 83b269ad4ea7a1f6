//! Chains of elementwise operations, run over a piece at a time so that what lies between two of them stays in
//! the first cache. Kernels run them on their results as an epilogue.

use std::mem::MaybeUninit;

use super::functions::{erf, exp, gelu, sigmoid, swish, tanh};
pub use super::links::{Activation, Along, Link, MAX_BESIDE, MAX_MASKS, MAX_OPERANDS, Op, REGISTERS, Source, Walk};
use crate::simd::{Isa, Kernel, LANES, Simd, Twice};

/// Vectors of a piece.
const PIECE: usize = 32;

/// A chain, and the shape it runs over: `outer` runs of `run` elements each.
#[derive(Clone, Debug)]
pub struct Chain {
    /// Operations in order.
    pub links: Vec<Link>,
    /// How each operand is read.
    pub walks: Vec<Walk>,
    /// Extents outside a run.
    pub outer: Vec<usize>,
    /// Elements of a run; a multiple of 16 where masks or lanes are used.
    pub run: usize,
}

/// The memory that a chain works on besides its output.
#[derive(Default)]
pub struct Operands<'a> {
    /// In the order of [`Chain::walks`].
    pub read: heapless::Vec<&'a [f32], MAX_OPERANDS>,
    /// Masks that are read or written, a bit per element.
    pub masks: heapless::Vec<Mask<'a>, MAX_MASKS>,
    /// What is written besides the output, element for element.
    pub beside: heapless::Vec<&'a mut [f32], MAX_BESIDE>,
}

/// A bit per element of the output.
pub enum Mask<'a> {
    /// Of an earlier chain.
    Read(&'a [u16]),
    /// To be written.
    Write(&'a mut [u16]),
}

impl Chain {
    /// Elements of the output.
    pub fn len(&self) -> usize {
        self.outer.iter().product::<usize>() * self.run
    }

    /// Whether an operand that goes element for element has as many elements as the output.
    pub fn covers(&self, walk: &Walk) -> bool {
        let mut stride = self.run;
        let whole = |(&extent, &step): (&usize, &usize)| {
            let fits = extent == 1 || step == stride;
            stride *= extent;
            fits
        };
        walk.along == Along::Elements && self.outer.iter().zip(&walk.strides).rev().all(whole)
    }

    /// Reads the output's own memory in place of an operand; the later ones move up.
    pub fn read_output_for(&mut self, operand: usize) {
        self.walks.remove(operand);
        for source in self.links.iter_mut().flat_map(|l| [&mut l.a, &mut l.b]) {
            match source {
                Source::Operand(o) if *o as usize == operand => *source = Source::Output,
                Source::Operand(o) if *o as usize > operand => *o -= 1,
                _ => {}
            }
        }
    }

    /// Runs the chain over `output`, which is the part of the whole that starts at `from`.
    pub fn run(&self, isa: Isa, from: usize, output: &mut [f32], operands: &mut Operands) {
        let mut done = 0;
        while done < output.len() {
            let at = from + done;
            let (run, inside) = (at / self.run, at % self.run);
            let count = (self.run - inside).min(output.len() - done);
            let bases: [usize; MAX_OPERANDS] = self.bases(run);
            isa.run(Run {
                chain: self,
                bases,
                inside,
                at,
                output: &mut output[done..done + count],
                operands: &mut *operands,
            });
            done += count;
        }
    }

    /// Where each operand's part for a run begins.
    fn bases(&self, run: usize) -> [usize; MAX_OPERANDS] {
        let mut bases = [0; MAX_OPERANDS];
        let mut rest = run;
        for (axis, extent) in self.outer.iter().enumerate().rev() {
            let index = rest % extent;
            rest /= extent;
            for (base, walk) in bases.iter_mut().zip(&self.walks) {
                *base += index * walk.strides[axis];
            }
        }
        bases
    }
}

/// `to[i] = f(a[i], b[i])` for `n` vectors. A macro, because a closure would not be compiled for the
/// instruction set.
macro_rules! each {
    ($a:ident, $b:ident, $to:ident, $n:ident, $f:expr) => {
        for i in 0..$n {
            #[allow(unused_variables)]
            let ($a, $b) = (S::load($a.0.add(i * $a.1)), S::load($b.0.add(i * $b.1)));
            S::store($to.add(i * LANES), $f);
        }
    };
}

/// `to[i] = f(a[i])` for `n` vectors and a function that is a long chain of operations; of the vectors it gives, the one
/// with this name.
macro_rules! smooth {
    ($a:ident, $to:ident, $n:ident, $f:ident $(, $part:tt)?) => {{
        for i in (0..$n & !1).step_by(2) {
            let pair = [S::load($a.0.add(i * $a.1)), S::load($a.0.add((i + 1) * $a.1))];
            let pair = $f::<Twice<S>>(pair) $(.$part)?;
            S::store($to.add(i * LANES), pair[0]);
            S::store($to.add((i + 1) * LANES), pair[1]);
        }
        if $n % 2 == 1 {
            S::store($to.add(($n - 1) * LANES), $f::<S>(S::load($a.0.add(($n - 1) * $a.1))) $(.$part)?);
        }
    }};
}

/// An intermediate value of a piece, on a cache line.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Register {
    _floats: [f32; PIECE * LANES],
}

type Registers = [MaybeUninit<Register>; REGISTERS];

/// One run of a chain, or a part of it.
struct Run<'a, 'b> {
    chain: &'a Chain,
    bases: [usize; MAX_OPERANDS],
    /// Elements of the run before this part.
    inside: usize,
    /// Elements of the whole before this part.
    at: usize,
    output: &'a mut [f32],
    operands: &'a mut Operands<'b>,
}

/// A pointer, and how far it moves per vector.
type Stream = (*const f32, usize);

impl Kernel for Run<'_, '_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(mut self) {
        // Not set to zero, which would take as long as a short chain: a link reads what an earlier one wrote.
        let mut registers: Registers = [const { MaybeUninit::uninit() }; REGISTERS];
        let total = self.output.len();
        // What a single link gives lies nowhere else.
        let piece = if self.chain.links.len() == 1 { total } else { PIECE * LANES };
        let mut from = 0;
        while from < total {
            let count = (total - from).min(piece);
            let vectors = count / LANES;
            if vectors > 0 {
                // SAFETY: whole vectors of this part.
                unsafe { self.piece::<S>(from, vectors, &mut registers) };
            }
            if !count.is_multiple_of(LANES) {
                // SAFETY: the rest is shorter than a vector.
                unsafe { self.rest::<S>(from + vectors * LANES, count % LANES, &mut registers) };
            }
            from += count;
        }
    }
}

impl Run<'_, '_> {
    /// Where an operand's elements for `from` on begin.
    #[inline(always)]
    fn place(&self, operand: usize, from: usize) -> usize {
        match self.chain.walks[operand].along {
            Along::Elements => self.bases[operand] + self.inside + from,
            Along::Lanes | Along::Constant => self.bases[operand],
        }
    }

    #[inline(always)]
    unsafe fn piece<S: Simd>(&mut self, from: usize, vectors: usize, registers: &mut Registers) {
        let output = self.output[from..from + vectors * LANES].as_mut_ptr();
        let mut splats = [[0.0f32; LANES]; 2];
        for (i, link) in self.chain.links.iter().enumerate() {
            let stream = |source: Source, splat: &mut [f32; LANES]| -> Stream {
                match source {
                    Source::Register(r) => (registers[r as usize].as_ptr().cast(), LANES),
                    Source::Output => (output.cast_const(), LANES),
                    Source::Number(v) => {
                        *splat = [v; LANES];
                        (splat.as_ptr(), 0)
                    }
                    Source::Operand(o) => {
                        let (o, at) = (o as usize, self.place(o as usize, from));
                        let values = self.operands.read[o];
                        match self.chain.walks[o].along {
                            Along::Elements => (values[at..at + vectors * LANES].as_ptr(), LANES),
                            Along::Lanes => (values[at..at + LANES].as_ptr(), 0),
                            Along::Constant => {
                                *splat = [values[at]; LANES];
                                (splat.as_ptr(), 0)
                            }
                        }
                    }
                }
            };
            let [first, second] = &mut splats;
            let (a, b) = (stream(link.a, first), stream(link.b, second));
            let last = i + 1 == self.chain.links.len();
            let to = if last { output } else { registers[link.to as usize].as_mut_ptr().cast() };
            // SAFETY: both streams and the target hold `vectors` vectors.
            unsafe { self.link::<S>(link.op, a, b, to, vectors, self.at + from) };
        }
    }

    /// Fewer elements than a vector: the operands are copied to whole vectors first.
    #[inline(always)]
    unsafe fn rest<S: Simd>(&mut self, from: usize, count: usize, registers: &mut Registers) {
        let mut output = [0.0; LANES];
        output[..count].copy_from_slice(&self.output[from..from + count]);
        for (i, link) in self.chain.links.iter().enumerate() {
            let fetch = |source: Source| -> [f32; LANES] {
                let mut lanes = [0.0; LANES];
                match source {
                    // SAFETY: an earlier link has written the first sixteen.
                    Source::Register(r) => unsafe { lanes = *registers[r as usize].as_ptr().cast() },
                    Source::Output => lanes = output,
                    Source::Number(v) => lanes = [v; LANES],
                    Source::Operand(o) => {
                        let (o, at) = (o as usize, self.place(o as usize, from));
                        let values = self.operands.read[o];
                        match self.chain.walks[o].along {
                            Along::Elements => lanes[..count].copy_from_slice(&values[at..at + count]),
                            Along::Lanes => lanes.copy_from_slice(&values[at..at + LANES]),
                            Along::Constant => lanes = [values[at]; LANES],
                        }
                    }
                }
                lanes
            };
            let (values, b) = (fetch(link.a), fetch(link.b));
            let mut to = [0.0; LANES];
            let (a, b) = ((values.as_ptr(), 0), (b.as_ptr(), 0));
            // What is written besides the output ends where the elements do.
            let op = match link.op {
                Op::Store(place) => {
                    self.stored(place, self.at + from, count).copy_from_slice(&values[..count]);
                    continue;
                }
                Op::Activate(function, Some(place)) => {
                    // SAFETY: one vector each.
                    unsafe { self.link::<S>(Op::Slope(function), a, b, to.as_mut_ptr(), 1, self.at + from) };
                    self.stored(place, self.at + from, count).copy_from_slice(&to[..count]);
                    Op::Activate(function, None)
                }
                op => op,
            };
            // SAFETY: one vector each.
            unsafe { self.link::<S>(op, a, b, to.as_mut_ptr(), 1, self.at + from) };
            match i + 1 == self.chain.links.len() {
                true => self.output[from..from + count].copy_from_slice(&to[..count]),
                // SAFETY: a register holds more than sixteen.
                false => unsafe { *registers[link.to as usize].as_mut_ptr().cast() = to },
            }
        }
    }

    /// One operation on `n` vectors, from element `at` of the whole on.
    #[inline(always)]
    unsafe fn link<S: Simd>(&mut self, op: Op, a: Stream, b: Stream, to: *mut f32, n: usize, at: usize) {
        // SAFETY: the caller's, for the streams; masks are sliced.
        unsafe {
            let zero = S::splat(0.0);
            match op {
                Op::Copy => each!(a, b, to, n, a),
                Op::Add => each!(a, b, to, n, S::add(a, b)),
                Op::Sub => each!(a, b, to, n, S::sub(a, b)),
                Op::Mul => each!(a, b, to, n, S::mul(a, b)),
                Op::Div => each!(a, b, to, n, S::div(a, b)),
                Op::Max => each!(a, b, to, n, S::max(a, b)),
                Op::Min => each!(a, b, to, n, S::min(a, b)),
                Op::Sqrt => each!(a, b, to, n, S::sqrt(a)),
                Op::Exp => smooth!(a, to, n, exp),
                Op::Sigmoid => smooth!(a, to, n, sigmoid),
                Op::Tanh => smooth!(a, to, n, tanh),
                Op::Erf => smooth!(a, to, n, erf),
                Op::Relu => each!(a, b, to, n, S::max(zero, a)),
                Op::Greater => each!(a, b, to, n, S::keep(S::splat(1.0), S::greater(a, b))),
                Op::Where => each!(a, b, to, n, S::keep(b, S::greater(a, zero))),
                Op::Unless => each!(a, b, to, n, S::keep(b, !S::greater(a, zero))),
                Op::Clip(low, high) => {
                    let (low, high) = (S::splat(low), S::splat(high));
                    each!(a, b, to, n, S::min(high, S::max(low, a)))
                }
                Op::ReluBits(mask) => {
                    let bits = self.written(mask, at, n);
                    for (i, bits) in bits.iter_mut().enumerate() {
                        let v = S::load(a.0.add(i * a.1));
                        *bits = S::greater(v, zero);
                        S::store(to.add(i * LANES), S::max(zero, v));
                    }
                }
                Op::ClipBits(mask, low, high) => {
                    let (low, high) = (S::splat(low), S::splat(high));
                    let bits = self.written(mask, at, n);
                    for (i, bits) in bits.iter_mut().enumerate() {
                        let v = S::load(a.0.add(i * a.1));
                        *bits = S::greater(v, low) & S::greater(high, v);
                        S::store(to.add(i * LANES), S::min(high, S::max(low, v)));
                    }
                }
                Op::Keep(mask) => {
                    for (i, &bits) in self.read(mask, at, n).iter().enumerate() {
                        S::store(to.add(i * LANES), S::keep(S::load(a.0.add(i * a.1)), bits));
                    }
                }
                Op::KeepPositive(mask) => {
                    for (i, &bits) in self.read(mask, at, n).iter().enumerate() {
                        S::store(to.add(i * LANES), S::keep(S::max(zero, S::load(a.0.add(i * a.1))), bits));
                    }
                }
                Op::Activate(Activation::Swish, None) => smooth!(a, to, n, swish, 0),
                Op::Activate(Activation::Gelu, None) => smooth!(a, to, n, gelu, 0),
                Op::Slope(Activation::Swish) => smooth!(a, to, n, swish, 1),
                Op::Slope(Activation::Gelu) => smooth!(a, to, n, gelu, 1),
                Op::Activate(function, Some(place)) => {
                    let slopes = self.stored(place, at, n * LANES).as_mut_ptr();
                    for i in (0..n).step_by(2) {
                        // The last of an odd number is done twice.
                        let j = (i + 1).min(n - 1);
                        let x = [S::load(a.0.add(i * a.1)), S::load(a.0.add(j * a.1))];
                        let (values, slope) = match function {
                            Activation::Swish => swish::<Twice<S>>(x),
                            Activation::Gelu => gelu::<Twice<S>>(x),
                        };
                        for (at, k) in [(i, 0), (j, 1)] {
                            S::store(to.add(at * LANES), values[k]);
                            S::store(slopes.add(at * LANES), slope[k]);
                        }
                    }
                }
                Op::Store(place) => {
                    let stored = self.stored(place, at, n * LANES).as_mut_ptr();
                    for i in 0..n {
                        S::store(stored.add(i * LANES), S::load(a.0.add(i * a.1)));
                    }
                }
                Op::Map(function, with) => {
                    for i in 0..n {
                        for lane in 0..LANES {
                            *to.add(i * LANES + lane) = function(*a.0.add(i * a.1 + lane), with);
                        }
                    }
                }
            }
        }
    }

    /// What is written besides the output, for `count` elements from `at` of the whole on.
    fn stored(&mut self, place: u8, at: usize, count: usize) -> &mut [f32] {
        &mut self.operands.beside[place as usize][at..at + count]
    }

    /// Bits of `n` vectors from element `at` of the whole on, to be written.
    fn written(&mut self, mask: u8, at: usize, n: usize) -> &mut [u16] {
        debug_assert!(at.is_multiple_of(LANES), "bits are counted from the beginning of the whole");
        let at = at / LANES;
        match &mut self.operands.masks[mask as usize] {
            Mask::Write(bits) => &mut bits[at..at + n],
            Mask::Read(_) => &mut [],
        }
    }

    fn read(&self, mask: u8, at: usize, n: usize) -> &[u16] {
        debug_assert!(at.is_multiple_of(LANES), "bits are counted from the beginning of the whole");
        let at = at / LANES;
        match &self.operands.masks[mask as usize] {
            Mask::Read(bits) => &bits[at..at + n],
            Mask::Write(bits) => &bits[at..at + n],
        }
    }
}
