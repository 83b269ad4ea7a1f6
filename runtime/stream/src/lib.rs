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

#[cfg(test)]
mod tests {
    use crate::moments::Moments;
    use crate::pearson::Pearson;
    use crate::reservoir::Reservoir;
    use crate::scores::Scores;
    use crate::table::Table;
    use crate::wire::Wire;

    /// Numbers from 0 to 1, as good as drawn, the same ones every time.
    pub fn uniforms() -> impl FnMut() -> f64 {
        let mut state = 9u64;
        move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f64 / (1u64 << 24) as f64
        }
    }

    /// Whatever bytes are read: they are refused, or what they give takes more without overflowing.
    #[test]
    fn any_bytes_are_refused_or_can_be_gone_on_with() {
        fn tried<T: Wire>(go_on: impl Fn(&mut T)) {
            for fill in [0x00, 0x01, 0x3f, 0x7f, 0x80, 0xff] {
                for ones in 0..T::BYTES / 8 {
                    let mut bytes = [fill; 1024];
                    bytes[8 * ones..][..8].fill(0xff);
                    if let Some((mut value, _)) = T::get(&bytes[..T::BYTES]) {
                        go_on(&mut value);
                    }
                }
            }
        }
        tried::<Moments>(|m| {
            m.push(1.0);
            m.merge(&m.clone());
            assert!(m.standard_error() >= 0.0);
        });
        tried::<Pearson>(|p| {
            p.push(1.0, 2.0);
            p.merge(&p.clone());
            assert!(p.correlation().is_none_or(|r| r.abs() <= 1.0));
        });
        tried::<Scores>(|s| {
            s.push(Ok(1.0));
            s.push(Ok(f64::NAN));
            s.merge(&s.clone());
        });
        tried::<Reservoir<u64, 3>>(|r| {
            r.push(1, 2);
            r.merge(&r.clone());
        });
        tried::<Table<4>>(|t| {
            t.push(1, 2);
            t.merge(&t.clone());
        });
    }
}
