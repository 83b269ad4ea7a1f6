//! Writes a line of metadata into an ONNX file and leaves every other byte as it is: fields that this program does not know
//! stay, and so do the model's own.

use prost::Message;
use prost::encoding::{WireType, decode_key, encode_key, encode_varint, skip_field};
use tract_onnx::pb::StringStringEntryProto;

use crate::error::{Error, Result};

/// The field of a ModelProto that holds metadata.
const METADATA: u32 = 14;

/// The bytes of the model `name` with `key = value` among its metadata, in place of what `key` was before.
///
/// Errors: bytes that are no sequence of protobuf fields.
pub fn with_metadata(bytes: &[u8], name: &str, key: &str, value: &str) -> Result<Vec<u8>> {
    let refuse =
        |e: prost::DecodeError| Error::NotOnnx { model: name.into(), reason: format!("it does not decode: {e}") };
    let (mut rest, mut out) = (bytes, Vec::with_capacity(bytes.len() + key.len() + value.len() + 32));
    while !rest.is_empty() {
        let field = rest;
        let (number, kind) = decode_key(&mut rest).map_err(refuse)?;
        if number == METADATA && kind == WireType::LengthDelimited {
            let entry = StringStringEntryProto::decode_length_delimited(&mut rest).map_err(refuse)?;
            if entry.key == key {
                continue;
            }
        } else {
            skip_field(kind, number, &mut rest, Default::default()).map_err(refuse)?;
        }
        out.extend_from_slice(&field[..field.len() - rest.len()]);
    }
    let entry = StringStringEntryProto { key: key.into(), value: value.into() };
    encode_key(METADATA, WireType::LengthDelimited, &mut out);
    encode_varint(entry.encoded_len() as u64, &mut out);
    entry.encode_raw(&mut out);
    Ok(out)
}
