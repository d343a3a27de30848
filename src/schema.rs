//! A schema described for people and for other programs: one model, read from the catalogue, and a writer for each format.
//! Reads no rows.

mod checks;
mod dbml;
mod dot;
mod markdown;
mod model;
mod names;
mod prisma;
mod typescript;

pub(crate) use model::{Model, read};
pub(crate) use {
    dbml::write as dbml, dot::write as dot, markdown::write as markdown, prisma::write as prisma,
    typescript::write as typescript,
};
