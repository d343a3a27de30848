//! Ids as keyed hashes, by a key that nobody keeps.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::hash::hex;
use crate::random;

/// Bytes of a hash that are kept. Two of ten million people share a hash of this length with a probability of 2⁻⁸²: it is not checked.
const LENGTH: usize = 16;

/// The hashes of one bundle.
///
/// A hash is a text of 32 hex digits, not a number: many programs read whole numbers of 64 bits as floating point, as soon as a
/// column has a null, and then two people become one. The key is in memory only, and goes with the process.
pub(super) struct Pseudonyms(Hmac<Sha256>);

impl Pseudonyms {
    /// Those of a new key; none if the system gives no random bytes.
    pub(super) fn new() -> Option<Self> {
        Hmac::new_from_slice(&random::bytes::<32>()?).ok().map(Self)
    }

    /// The hash of an id. The same id of another kind has another hash.
    pub(super) fn of(&self, kind: &str, id: &str) -> String {
        let mut mac = self.0.clone();
        // No kind has the separator in its name.
        for part in [kind, ":", id] {
            mac.update(part.as_bytes());
        }
        hex(&mac.finalize().into_bytes()[..LENGTH])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_of_its_bundle_its_kind_and_its_id() {
        let (one, other) = (Pseudonyms::new().unwrap(), Pseudonyms::new().unwrap());
        let hash = one.of("person", "12");
        assert_eq!((hash.len(), &hash), (32, &one.of("person", "12")));
        for different in [
            one.of("person", "1"),
            one.of("person", "21"),
            one.of("team", "12"),
            other.of("person", "12"),
        ] {
            assert_ne!(hash, different);
        }
    }
}
