//! Numbers with units.

use std::time::Duration;

/// A time, as in 20ms, 1.5s or 2min.
pub fn time(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let seconds = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "min" => 60.0,
        _ => return Err("write a number with us, ms, s or min".into()),
    };
    let value = number.trim().parse::<f64>().ok().filter(|v| *v >= 0.0).map(|v| v * seconds);
    value
        .and_then(|v| Duration::try_from_secs_f64(v).ok())
        .ok_or_else(|| "write a number with its unit, as in 20ms".to_string())
}

/// Bytes, as in 64MiB, 64MB, 1.5GiB or 65536.
pub fn bytes(text: &str) -> Result<usize, String> {
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kb" => 1e3,
        "m" | "mb" => 1e6,
        "g" | "gb" => 1e9,
        "kib" => 1024.0,
        "mib" => 1024.0 * 1024.0,
        "gib" => 1024.0 * 1024.0 * 1024.0,
        _ => return Err("write a number with B, kB, MB, GB, KiB, MiB or GiB".into()),
    };
    match number.trim().parse::<f64>() {
        Ok(v) if v >= 0.0 && v.is_finite() => Ok((v * factor) as usize),
        _ => Err("write a number with its unit, as in 64MiB".into()),
    }
}

/// A number, or one divided by another, as in 1/255.
pub fn quotient(text: &str) -> Result<f32, String> {
    let number = |text: &str| text.trim().parse::<f64>().ok();
    let value = match text.split_once('/') {
        Some((dividend, divisor)) => number(dividend).zip(number(divisor)).map(|(a, b)| a / b),
        None => number(text),
    };
    value.map(|value| value as f32).ok_or_else(|| "write a number, or two as in 1/255".to_string())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{bytes, quotient, time};

    #[test]
    fn times_are_read_with_their_units() {
        assert_eq!(time("20ms"), Ok(Duration::from_millis(20)));
        assert_eq!(time("1.5 s"), Ok(Duration::from_millis(1500)));
        for wrong in ["", "20", "ms", "-1s", "nan s", "1e300min", "5 h"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn quotients_are_read_as_such() {
        assert_eq!(
            (quotient("1/255"), quotient(" -0.5"), quotient("224 / 256")),
            (Ok(1.0 / 255.0), Ok(-0.5), Ok(0.875))
        );
        for wrong in ["", "1/", "/2", "a", "1/2/3"] {
            assert!(quotient(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_are_read_with_their_units() {
        assert_eq!(bytes("65536"), Ok(65536));
        assert_eq!(bytes("64MiB"), Ok(64 << 20));
        assert_eq!(bytes("1.5 kB"), Ok(1500));
        for wrong in ["", "MiB", "-1", "12 parsecs", "nan", "inf"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }
}
