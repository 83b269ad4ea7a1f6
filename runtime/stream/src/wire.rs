//! Values of a fixed number of bytes: what is kept of a stream between two runs, or sent from one machine to another.

/// Little-endian on every machine.
pub trait Wire: Sized {
    /// How many bytes it takes.
    const BYTES: usize;

    /// Writes it to the first of `out`'s bytes, and returns the rest. What has no room is not written.
    fn put<'a>(&self, out: &'a mut [u8]) -> &'a mut [u8];

    /// Reads it from the first of `bytes`, and returns the rest; none where they are too few or are no such value.
    fn get(bytes: &[u8]) -> Option<(Self, &[u8])>;
}

/// Numbers that know their bytes.
macro_rules! numbers {
    ($($number:ty),+) => {$(
        impl Wire for $number {
            const BYTES: usize = size_of::<$number>();

            fn put<'a>(&self, out: &'a mut [u8]) -> &'a mut [u8] {
                match out.split_first_chunk_mut() {
                    Some((own, rest)) => {
                        *own = self.to_le_bytes();
                        rest
                    }
                    None => &mut [],
                }
            }

            fn get(bytes: &[u8]) -> Option<($number, &[u8])> {
                let (own, rest) = bytes.split_first_chunk()?;
                Some((<$number>::from_le_bytes(*own), rest))
            }
        }
    )+};
}

numbers!(u64, f64, f32);

impl<T: Wire + Copy + Default, const N: usize> Wire for [T; N] {
    const BYTES: usize = N * T::BYTES;

    fn put<'a>(&self, mut out: &'a mut [u8]) -> &'a mut [u8] {
        for value in self {
            out = value.put(out);
        }
        out
    }

    fn get(mut bytes: &[u8]) -> Option<([T; N], &[u8])> {
        let mut all = [T::default(); N];
        for value in &mut all {
            (*value, bytes) = T::get(bytes)?;
        }
        Some((all, bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_is_got_and_too_few_bytes_are_nothing() {
        let mut bytes = [0; 40];
        let value = [1u64 << 60, 7, 0];
        assert_eq!(value.put(&mut bytes).len(), 16);
        (-0.1f64).put(&mut bytes[24..]);
        let (found, rest) = <[u64; 3]>::get(&bytes).unwrap();
        assert_eq!((found, f64::get(rest).unwrap().0), (value, -0.1));
        assert_eq!(<[u64; 3]>::get(&bytes[..23]), None);
    }
}
