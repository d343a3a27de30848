//! Rows of COPY → temporary tables → the mirror: insert, update, delete.

pub(crate) mod bulk;
pub(crate) mod compare;
pub(crate) mod out_of_scope;
pub(crate) mod prune;
pub(crate) mod resource;
pub(crate) mod staged_tables;
pub(crate) mod table;
