//! Constant tensors: element type, shape and little-endian bytes, from and to ONNX's `TensorProto`.

use std::hash::{Hash, Hasher};
use std::path::{Component, Path};
use std::sync::{Arc, Weak};

use half::{bf16, f16};
use tract_onnx::pb;

use crate::error::{Error, Result};

/// The element types that image models use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum DType {
    F32,
    F16,
    BF16,
    F64,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    Bool,
}

/// ONNX's number, our type, bytes per element.
const TYPES: &[(i32, DType, usize)] = &[
    (1, DType::F32, 4),
    (2, DType::U8, 1),
    (3, DType::I8, 1),
    (4, DType::U16, 2),
    (5, DType::I16, 2),
    (6, DType::I32, 4),
    (7, DType::I64, 8),
    (9, DType::Bool, 1),
    (10, DType::F16, 2),
    (11, DType::F64, 8),
    (12, DType::U32, 4),
    (13, DType::U64, 8),
    (16, DType::BF16, 2),
];

impl DType {
    /// The type with this number in ONNX's `TensorProto.DataType`.
    pub fn from_onnx(code: i32) -> Option<DType> {
        TYPES.iter().find(|t| t.0 == code).map(|t| t.1)
    }

    /// The number in ONNX's `TensorProto.DataType`.
    pub fn onnx(self) -> i32 {
        TYPES.iter().find(|t| t.1 == self).map_or(0, |t| t.0)
    }

    /// Bytes of one element.
    pub fn size(self) -> usize {
        TYPES.iter().find(|t| t.1 == self).map_or(1, |t| t.2)
    }

    /// Whether derivatives can pass through values of this type.
    pub fn is_float(self) -> bool {
        matches!(self, DType::F32 | DType::F16 | DType::BF16 | DType::F64)
    }
}

/// A constant: row-major, little-endian. Clones share the bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Element type.
    pub dtype: DType,
    /// Extent of each axis; empty for a scalar.
    pub shape: Vec<usize>,
    bytes: Arc<Vec<u8>>,
}

/// Which values a tensor has, without looking at them: the same for all its clones, and for no other tensor, also when it
/// is gone.
#[derive(Clone, Debug)]
pub struct Identity(DType, Weak<Vec<u8>>);

impl PartialEq for Identity {
    fn eq(&self, other: &Identity) -> bool {
        self.0 == other.0 && Weak::ptr_eq(&self.1, &other.1)
    }
}

impl Eq for Identity {}

impl Hash for Identity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Weak::as_ptr(&self.1).hash(state);
    }
}

impl Tensor {
    /// A tensor of `dtype` from its bytes; `None` where their number does not fit the shape.
    pub fn from_bytes(dtype: DType, shape: &[usize], bytes: Vec<u8>) -> Option<Tensor> {
        let wanted = element_count(shape)?.checked_mul(dtype.size())?;
        (bytes.len() == wanted).then(|| Tensor { dtype, shape: shape.to_vec(), bytes: bytes.into() })
    }

    /// A float32 tensor. The number of values must be the shape's.
    pub fn f32(shape: &[usize], values: &[f32]) -> Tensor {
        debug_assert_eq!(shape.iter().product::<usize>(), values.len());
        let mut bytes = vec![0; values.len() * 4];
        let (chunks, _) = bytes.as_chunks_mut();
        chunks.iter_mut().zip(values).for_each(|(bytes, value)| *bytes = value.to_le_bytes());
        Tensor { dtype: DType::F32, shape: shape.to_vec(), bytes: bytes.into() }
    }

    /// An int64 tensor. The number of values must be the shape's.
    pub fn i64(shape: &[usize], values: &[i64]) -> Tensor {
        debug_assert_eq!(shape.iter().product::<usize>(), values.len());
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Tensor { dtype: DType::I64, shape: shape.to_vec(), bytes: bytes.into() }
    }

    /// A float32 scalar.
    pub fn scalar(value: f32) -> Tensor {
        Tensor::f32(&[], &[value])
    }

    /// A one-dimensional int64 tensor.
    pub fn ints(values: &[i64]) -> Tensor {
        Tensor::i64(&[values.len()], values)
    }

    /// Which values they are.
    pub fn identity(&self) -> Identity {
        Identity(self.dtype, Arc::downgrade(&self.bytes))
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements, row-major, little-endian.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Generic over `read`, so that reading becomes a loop over whole vectors.
    fn each<const N: usize, T>(&self, read: impl Fn([u8; N]) -> T) -> Vec<T> {
        let (chunks, _) = self.bytes.as_chunks::<N>();
        chunks.iter().map(|c| read(*c)).collect()
    }

    /// The values as float32, widened or rounded; `None` for integers.
    pub fn to_f32(&self) -> Option<Vec<f32>> {
        Some(match self.dtype {
            DType::F32 => self.each(f32::from_le_bytes),
            DType::F16 => self.each(|b| f16::from_le_bytes(b).to_f32()),
            DType::BF16 => self.each(|b| bf16::from_le_bytes(b).to_f32()),
            DType::F64 => self.each(|b| f64::from_le_bytes(b) as f32),
            _ => return None,
        })
    }

    /// The value of a tensor of one float.
    pub fn number(&self) -> Option<f32> {
        if self.len() != 1 {
            return None;
        }
        self.to_f32().map(|values| values[0])
    }

    /// Whether they are floats of which none is negative, or not a number.
    pub fn is_nonnegative(&self) -> bool {
        match self.dtype {
            DType::F32 => self.bytes.as_chunks().0.iter().all(|bytes| f32::from_le_bytes(*bytes) >= 0.0),
            _ => self.to_f32().is_some_and(|values| values.iter().all(|v| *v >= 0.0)),
        }
    }

    /// Puts what `of` makes of its number and value in each one's place; leaves what is not float32.
    pub fn map_f32(&mut self, of: impl Fn(usize, f32) -> f32) {
        if self.dtype == DType::F32 {
            let (chunks, _) = Arc::make_mut(&mut self.bytes).as_chunks_mut();
            for (i, bytes) in chunks.iter_mut().enumerate() {
                *bytes = of(i, f32::from_le_bytes(*bytes)).to_le_bytes();
            }
        }
    }

    /// The values as int64; `None` for floats.
    pub fn to_i64(&self) -> Option<Vec<i64>> {
        Some(match self.dtype {
            DType::I64 => self.each(i64::from_le_bytes),
            DType::I32 => self.each(|b| i32::from_le_bytes(b) as i64),
            DType::I16 => self.each(|b| i16::from_le_bytes(b) as i64),
            DType::I8 => self.each(|b: [u8; 1]| b[0] as i8 as i64),
            DType::U64 => self.each(|b| u64::from_le_bytes(b) as i64),
            DType::U32 => self.each(|b| u32::from_le_bytes(b) as i64),
            DType::U16 => self.each(|b| u16::from_le_bytes(b) as i64),
            DType::U8 | DType::Bool => self.each(|b: [u8; 1]| b[0] as i64),
            _ => return None,
        })
    }

    /// The same values in float32 where they are floats of another width.
    pub fn widened(&self) -> Tensor {
        match self.dtype {
            DType::F16 | DType::BF16 => match self.to_f32() {
                Some(values) => Tensor::f32(&self.shape, &values),
                None => self.clone(),
            },
            _ => self.clone(),
        }
    }

    /// From a file's `TensorProto`. `folder` is where external data may lie.
    pub fn from_proto(mut proto: pb::TensorProto, folder: Option<&Path>) -> Result<Tensor> {
        // Weights are large: the bytes are taken, not copied.
        let raw = std::mem::take(&mut proto.raw_data);
        let name = &proto.name;
        let dtype = DType::from_onnx(proto.data_type)
            .ok_or_else(|| Error::tensor(name, format!("element type {} is not supported", proto.data_type)))?;
        let shape = proto
            .dims
            .iter()
            .map(|&d| usize::try_from(d).map_err(|_| Error::tensor(name, format!("has a negative extent {d}"))))
            .collect::<Result<Vec<usize>>>()?;
        let bytes: Vec<u8> = if proto.data_location() == pb::tensor_proto::DataLocation::External {
            let wanted = element_count(&shape).and_then(|count| count.checked_mul(dtype.size()));
            external_bytes(&proto, folder, wanted)?
        } else if !raw.is_empty() {
            raw
        } else {
            typed_bytes(&proto, dtype)
        };
        let found = bytes.len();
        Tensor::from_bytes(dtype, &shape, bytes).ok_or_else(|| {
            let reason = format!("has {found} bytes, which does not fit {dtype:?} of shape {shape:?}");
            Error::tensor(name, reason)
        })
    }

    /// As a `TensorProto` with its bytes inside.
    pub fn to_proto(&self, name: &str) -> pb::TensorProto {
        pb::TensorProto {
            name: name.to_string(),
            data_type: self.dtype.onnx(),
            dims: self.shape.iter().map(|&d| d as i64).collect(),
            raw_data: self.bytes.to_vec(),
            ..Default::default()
        }
    }
}

/// The product of the extents; `None` where it overflows.
pub fn element_count(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d))
}

/// The typed fields of a `TensorProto`, as bytes.
fn typed_bytes(proto: &pb::TensorProto, dtype: DType) -> Vec<u8> {
    let from_i32 =
        |size: usize| -> Vec<u8> { proto.int32_data.iter().flat_map(|v| v.to_le_bytes()[..size].to_vec()).collect() };
    match dtype {
        DType::F32 => proto.float_data.iter().flat_map(|v| v.to_le_bytes()).collect(),
        DType::F64 => proto.double_data.iter().flat_map(|v| v.to_le_bytes()).collect(),
        DType::I64 => proto.int64_data.iter().flat_map(|v| v.to_le_bytes()).collect(),
        DType::U64 => proto.uint64_data.iter().flat_map(|v| v.to_le_bytes()).collect(),
        DType::U32 => proto.uint64_data.iter().flat_map(|v| (*v as u32).to_le_bytes()).collect(),
        narrow => from_i32(narrow.size()),
    }
}

/// Reads external data, which must lie in the model's own folder.
fn external_bytes(proto: &pb::TensorProto, folder: Option<&Path>, wanted: Option<usize>) -> Result<Vec<u8>> {
    use std::io::{Read, Seek, SeekFrom};
    let name = &proto.name;
    let entry = |key: &str| proto.external_data.iter().find(|e| e.key == key).map(|e| e.value.as_str());
    let number = |key: &str| -> Result<Option<u64>> {
        entry(key)
            .map(|v| v.parse().map_err(|_| Error::tensor(name, format!("external data {key} '{v}' is not a number"))))
            .transpose()
    };
    let location = entry("location").ok_or_else(|| Error::tensor(name, "external data names no location"))?;
    let folder = folder.ok_or_else(|| Error::tensor(name, "external data, but the model did not come from a file"))?;
    let inside = Path::new(location).components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
    let path = folder.join(location);
    let escapes = || Error::tensor(name, format!("external data '{location}' lies outside the model's folder"));
    if !inside {
        return Err(escapes());
    }
    let read_error = |source| Error::Read { path: path.clone(), source };
    // A symbolic link may lead out of the folder too.
    let root = folder.canonicalize().map_err(read_error)?;
    if !path.canonicalize().map_err(read_error)?.starts_with(&root) {
        return Err(escapes());
    }
    let mut file = crate::files::open(&path)?;
    let available = file.metadata().map_err(read_error)?.len();
    let offset = number("offset")?.unwrap_or(0);
    let length = number("length")?.unwrap_or(available.saturating_sub(offset));
    if offset.checked_add(length).is_none_or(|end| end > available) {
        let reason = format!("external data wants bytes {offset}+{length} of '{location}', which has {available}");
        return Err(Error::tensor(name, reason));
    }
    // Before room is made for them.
    if wanted.is_none_or(|wanted| wanted as u64 != length) {
        let (shape, wanted) = (&proto.dims, wanted.map_or("an impossible number".into(), |wanted| wanted.to_string()));
        let reason = format!("external data has {length} bytes, but its shape {shape:?} wants {wanted}");
        return Err(Error::tensor(name, reason));
    }
    file.seek(SeekFrom::Start(offset)).map_err(read_error)?;
    let mut bytes = vec![0; length as usize];
    file.read_exact(&mut bytes).map_err(read_error)?;
    Ok(bytes)
}
