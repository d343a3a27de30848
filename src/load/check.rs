//! What is checked before anything is written: rights, the source of the runs, who else can change the schema.

pub(crate) mod admission;
pub(crate) mod rights;
pub(crate) mod side;
pub(crate) mod source;
pub(crate) mod trust;
