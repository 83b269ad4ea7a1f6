//! Two vectors side by side: wide vectors of narrow registers. And a long function of one number is a chain in which every step
//! waits for the one before; with two such chains at hand the machine waits less.

use std::marker::PhantomData;

use super::Arithmetic;

/// Two vectors of `A`.
#[derive(Clone, Copy)]
pub struct Twice<A>(PhantomData<A>);

/// Every operation is done on both.
macro_rules! on_both {
    ($($name:ident($($argument:ident),+);)+) => {$(
        #[inline(always)]
        unsafe fn $name($($argument: Self::V),+) -> Self::V {
            // SAFETY: the caller's.
            unsafe { [A::$name($($argument[0]),+), A::$name($($argument[1]),+)] }
        }
    )+};
}

// SAFETY: what `A` needs.
unsafe impl<A: Arithmetic> Arithmetic for Twice<A> {
    type V = [A::V; 2];
    const WIDTH: usize = 2 * A::WIDTH;

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::V {
        // SAFETY: the caller's.
        unsafe { [A::load(from), A::load(from.add(A::WIDTH))] }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, [first, second]: Self::V) {
        // SAFETY: the caller's.
        unsafe {
            A::store(to, first);
            A::store(to.add(A::WIDTH), second);
        }
    }

    #[inline(always)]
    unsafe fn splat(v: f32) -> Self::V {
        // SAFETY: the caller's.
        unsafe { [A::splat(v); 2] }
    }

    on_both! {
        add(a, b);
        sub(a, b);
        mul(a, b);
        div(a, b);
        max(a, b);
        min(a, b);
        sqrt(a);
        fma(a, b, c);
        choose(a, b, yes, no);
        with_sign(size, sign);
        scale(v, n);
        round(a);
        exp2i(a);
    }
}
