#![doc = include_str!("../README.md")]

// In reading order: what a run is made of, then its two halves, then the command line.
mod clock;
pub mod config;
mod convert;
mod dotenv;
mod embedded_files;
mod error_chain;
mod hash;
mod key_arg;
mod limits;
pub mod name;
pub mod plan;
mod pointer;
mod template;
mod trusted;

pub mod api;
pub mod extract;
pub mod forecast;
pub mod proof;
pub mod staging;
mod walk;

pub mod database;
pub mod diff;
pub(crate) mod load;
pub mod migrate;

pub mod cli;
pub mod commands;
mod context;
pub mod exit;
pub mod failpoint;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod pipeline;
mod printable;
mod progress;
mod project;
pub mod report;
mod settings;
