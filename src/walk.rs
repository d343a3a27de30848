//! Finding the mapped values of a record in one walk over its JSON text.
//!
//! Pointers are compiled into a tree; what no pointer wants is skipped without being built. A found value
//! stays a slice of the page's text until its type is known.

mod elements;
mod stream;
mod walker;

pub(crate) use elements::{Element, Elements};
pub(crate) use stream::{LARGEST_RECORD, StreamError};
pub(crate) use walker::{Place, Slots, Walker};
