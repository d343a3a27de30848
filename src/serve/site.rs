//! All that an answer is made of.

use super::access::Access;
use super::documents::Documents;

pub(super) struct Site {
    pub(super) access: Access,
    pub(super) documents: Documents,
}
