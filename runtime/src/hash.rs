//! What identifies a file.

use sha2::{Digest, Sha256};

/// SHA-256 of the parts, one after the other, in hexadecimal.
pub fn sha256<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hasher = Sha256::new();
    parts.into_iter().for_each(|part| hasher.update(part));
    hasher.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

/// The first 64 bits of the SHA-256 of bytes: a number that depends on every one of them.
pub fn number(bytes: impl IntoIterator<Item = u8>) -> u64 {
    let bytes: Vec<u8> = bytes.into_iter().collect();
    let first = Sha256::digest(bytes).first_chunk::<8>().copied();
    first.map_or(0, u64::from_be_bytes)
}
