#![doc = include_str!("../README.md")]

pub use cursus_api as api;
pub use cursus_base::failpoint;
use cursus_base::{clock, convert, error_chain, hash, list_limits, mutex, printable, trusted};

// In reading order: what a run is made of, then its two halves, then the command line.
pub mod config;
mod dotenv;
mod embedded_files;
mod key_arg;
pub mod name;
mod notify;
mod pack_files;
mod person;
mod plan;
mod pointer;
mod random;
mod template;

pub mod extract;
mod forecast;
mod proof;
#[cfg(feature = "remote")]
mod remote;
pub mod staging;
mod walk;

mod change_feed;
pub mod database;
mod diff;
mod export;
pub(crate) mod load;
mod migrate;
#[cfg(feature = "parquet")]
mod parquet;
mod schema;

pub mod cli;
pub mod commands;
mod context;
pub mod exit;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod pipeline;
mod progress;
mod project;
pub mod report;
mod scope_lookup;
mod serve;
mod settings;
mod status;
mod table;
