#![doc = include_str!("../README.md")]

// In reading order: what a run is made of, then its two halves, then the command line.
pub mod assets;
mod chain;
mod clock;
pub mod config;
pub mod dotenv;
mod hash;
pub mod key;
mod list;
pub mod name;
mod number;
pub mod plan;
pub mod pointer;
pub mod template;
pub mod trusted;

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
pub mod exit;
pub mod failpoint;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod printable;
pub mod progress;
pub mod project;
pub mod report;
pub mod settings;
