//! NumPy's `.npy` files of float32 tensors.

use std::path::Path;

use crate::error::{Error, Result};
use crate::files::{self, write_atomically};
use crate::onnx::tensor::element_count;
use crate::onnx::{DType, Tensor};

const MAGIC: &[u8] = b"\x93NUMPY";
/// NumPy aligns the data to this.
const ALIGN: usize = 64;

/// Reads a float tensor (float32, or float16 or float64, which are converted), in C order.
pub fn read(path: &Path) -> Result<Tensor> {
    parse(&files::read_input(path)?).map_err(|reason| Error::Input { path: path.into(), reason })
}

fn parse(bytes: &[u8]) -> std::result::Result<Tensor, String> {
    let rest = bytes.strip_prefix(MAGIC).ok_or("it is not a .npy file")?;
    let (version, rest) = rest.split_first_chunk::<2>().ok_or("its header is cut off")?;
    let (length, rest) = match version[0] {
        1 => rest.split_first_chunk::<2>().map(|(n, rest)| (u16::from_le_bytes(*n) as usize, rest)),
        2 | 3 => rest.split_first_chunk::<4>().map(|(n, rest)| (u32::from_le_bytes(*n) as usize, rest)),
        other => return Err(format!("its format version {other} is not known")),
    }
    .ok_or("its header is cut off")?;
    let (header, data) = rest.split_at_checked(length).ok_or("its header is cut off")?;
    let header = std::str::from_utf8(header).map_err(|_| "its header is not text")?;
    match field(header, "fortran_order").map(word) {
        Some("False") => {}
        Some("True") => return Err("it is stored in Fortran order; save it with numpy.ascontiguousarray".into()),
        _ => return Err("its header does not say in which order it is stored".into()),
    }
    let descr = field(header, "descr").ok_or("its header names no type")?;
    let dtype = match word(descr).trim_matches(['\'', '"']) {
        "<f4" => DType::F32,
        "<f2" => DType::F16,
        "<f8" => DType::F64,
        _ => return Err("its elements are not little-endian floats; save it with .astype('float32')".into()),
    };
    let shape = field(header, "shape").and_then(parse_shape).ok_or("its header has no shape")?;
    let wanted = element_count(&shape).and_then(|n| n.checked_mul(dtype.size())).ok_or("its shape is impossible")?;
    if data.len() != wanted {
        return Err(format!("it has {} bytes of data, but its shape {shape:?} wants {wanted}", data.len()));
    }
    let tensor = Tensor::from_bytes(dtype, &shape, data.to_vec()).ok_or("its data does not fit its shape")?;
    let values = tensor.to_f32().ok_or("its elements are not floats")?;
    Ok(Tensor::f32(&shape, &values))
}

/// What follows `'name':` in the header's dictionary.
fn field<'a>(header: &'a str, name: &str) -> Option<&'a str> {
    let at = header.find(&format!("'{name}'"))?;
    Some(header[at + name.len() + 2..].trim_start().strip_prefix(':')?.trim_start())
}

/// A value of the dictionary that is one word.
fn word(value: &str) -> &str {
    value.split([',', '}']).next().unwrap_or_default().trim_end()
}

fn parse_shape(text: &str) -> Option<Vec<usize>> {
    let inner = text.strip_prefix('(')?.split(')').next()?;
    inner.split(',').map(str::trim).filter(|s| !s.is_empty()).map(|s| s.parse().ok()).collect()
}

/// Writes a float32 tensor: complete, or not at all.
pub fn write(path: &Path, shape: &[usize], values: &[f32]) -> Result<()> {
    let extents: String = shape.iter().map(|d| format!("{d}, ")).collect();
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}), }}", extents.trim_end());
    let before = MAGIC.len() + 4;
    let padded = (before + header.len() + 1).next_multiple_of(ALIGN);
    header += &" ".repeat(padded - before - header.len() - 1);
    header.push('\n');
    let mut bytes = MAGIC.to_vec();
    bytes.extend([1, 0]);
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    write_atomically(path, &bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        for shape in [vec![], vec![3], vec![2, 1, 3]] {
            let values: Vec<f32> = (0..shape.iter().product::<usize>()).map(|i| i as f32 - 1.5).collect();
            let path = folder.path().join("t.npy");
            write(&path, &shape, &values).unwrap();
            assert_eq!(std::fs::read(&path).unwrap().len() % 4, 0);
            assert_eq!(read(&path).unwrap(), Tensor::f32(&shape, &values));
        }
    }

    #[test]
    fn damaged_files_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.npy");
        write(&path, &[2, 2], &[1.0; 4]).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for cut in [0, 5, 7, 9, 40, whole.len() - 1] {
            assert!(parse(&whole[..cut]).is_err(), "cut at {cut}");
        }
        let changed = |from: &str, to: &str| {
            let at = whole.windows(from.len()).position(|part| part == from.as_bytes()).unwrap();
            let mut bytes = whole.clone();
            bytes[at..at + from.len()].copy_from_slice(to.as_bytes());
            parse(&bytes).unwrap_err()
        };
        assert!(changed("'fortran_order'", "'fortran_orbit'").contains("order"));
        assert!(changed("False", "True ").contains("ascontiguousarray"));
        assert!(changed("False", "1    ").contains("order"));
        assert!(changed("'<f4', ", "'<f4x',").contains("floats"));
    }
}
