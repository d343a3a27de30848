//! Staged pages → rows of binary COPY, on threads of their own. Knows no SQL.

pub(crate) mod decoder;
pub(crate) mod field_search;
pub(crate) mod missing_keys;
pub(crate) mod pages;
pub(crate) mod record_locator;
pub(crate) mod row;
pub(crate) mod shape;
pub(crate) mod types;
