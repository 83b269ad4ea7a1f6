//! Writes a line of metadata into an ONNX file and leaves every other byte as it is: fields that this program does not know
//! stay, and so do the model's own.

use prost::encoding::{WireType, bytes, decode_key, encode_key, encode_varint, skip_field};
use prost::{DecodeError, Message};
use tract_onnx::pb::StringStringEntryProto;

use crate::error::{Error, Result};

/// The field of a ModelProto that holds metadata.
const METADATA: u32 = 14;

/// The bytes of the model `name` with `key = value` among its metadata, in place of what `key` was before.
///
/// Errors: bytes that are no sequence of protobuf fields.
pub fn with_metadata(model: &[u8], name: &str, key: &str, value: &str) -> Result<Vec<u8>> {
    let refuse = |e: DecodeError| Error::NotOnnx { model: name.into(), reason: format!("it does not decode: {e}") };
    let (mut rest, mut out) = (model, Vec::with_capacity(model.len() + key.len() + value.len() + 32));
    while !rest.is_empty() {
        let field = rest;
        let (number, kind) = decode_key(&mut rest).map_err(refuse)?;
        if number == METADATA && kind == WireType::LengthDelimited {
            let mut entry = vec![];
            bytes::merge(kind, &mut entry, &mut rest, Default::default()).map_err(refuse)?;
            if key_of(&entry).map_err(refuse)? == key.as_bytes() {
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

/// The field of a StringStringEntryProto that is its key.
const KEY: u32 = 1;

/// The key of a line of metadata, which may be in any encoding, as may what it says.
fn key_of(mut entry: &[u8]) -> std::result::Result<Vec<u8>, DecodeError> {
    let mut key = vec![];
    while !entry.is_empty() {
        match decode_key(&mut entry)? {
            (KEY, kind) => bytes::merge(kind, &mut key, &mut entry, Default::default())?,
            (number, kind) => skip_field(kind, number, &mut entry, Default::default())?,
        }
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(key: &[u8], value: &[u8]) -> Vec<u8> {
        let own = [&[0x0a, key.len() as u8], key, &[0x12, value.len() as u8], value].concat();
        [&[0x72, own.len() as u8][..], &own].concat()
    }

    #[test]
    fn a_line_replaces_its_own_key_alone_and_others_may_be_in_any_encoding() {
        let (foreign, field) = (line(b"maker", b"M\xfcller"), vec![0x08, 0x0a]);
        let before = [&foreign[..], &field, &line(b"card", b"old")].concat();
        let after = with_metadata(&before, "m", "card", "new").unwrap();
        assert_eq!(after, [&foreign[..], &field, &line(b"card", b"new")].concat());
        assert!(with_metadata(&before[..before.len() - 1], "m", "card", "new").is_err(), "cut short");
    }
}
