//! Hashes in lower-case hex.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

/// Bytes in lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// A SHA-256.
pub type Hash = [u8; 32];

/// The hash that 64 hex digits name; None for any other text.
pub fn unhex(text: &str) -> Option<Hash> {
    let mut hash = Hash::default();
    let digits = |at: usize| text.get(2 * at..2 * at + 2);
    for (at, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(digits(at)?, 16).ok()?;
    }
    (text.len() == 2 * hash.len()).then_some(hash)
}

/// The first 16 hex digits of the SHA-256: names a file without revealing what it belongs to.
pub fn short(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes)[..8])
}

/// The same of several parts, which no other parts share by being split elsewhere.
pub fn short_of(parts: &[&str]) -> String {
    let mut bytes = Vec::new();
    for part in parts {
        bytes.extend(part.len().to_le_bytes());
        bytes.extend(part.as_bytes());
    }
    short(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_read_back() {
        let hash: Hash = Sha256::digest(b"users").into();
        assert_eq!(unhex(&hex(&hash)), Some(hash));
        for text in ["", "00", &"g".repeat(64), &"0".repeat(66), &"é".repeat(32)] {
            assert_eq!(unhex(text), None, "{text}");
        }
    }

    #[test]
    fn file_names_of_earlier_versions_stay() {
        assert_eq!(short(b"/srv/mirror/.cursus/pg"), "0829aed57f6fb070");
        assert_eq!(
            short_of(&["http://127.0.0.1:1", "id", "secret"]),
            "5a28c35c6a3d9400"
        );
        assert_ne!(short_of(&["ab", "c"]), short_of(&["a", "bc"]));
    }
}
