//! Hashes in lower-case hex.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

/// Bytes in lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// The first 16 hex digits of the SHA-256: names a file without telling what it belongs to.
pub(crate) fn short(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes)[..8])
}

/// The same of several parts, which no other parts share by being split elsewhere.
pub(crate) fn short_of(parts: &[&str]) -> String {
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
    fn the_names_that_earlier_versions_gave_to_files_stay() {
        assert_eq!(short(b"/srv/mirror/.cursus/pg"), "0829aed57f6fb070");
        assert_eq!(
            short_of(&["http://127.0.0.1:1", "id", "secret"]),
            "5a28c35c6a3d9400"
        );
        assert_ne!(short_of(&["ab", "c"]), short_of(&["a", "bc"]));
    }
}
