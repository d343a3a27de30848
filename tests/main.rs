//! Every promise of the program, kept through its binary, against the simulator and a real PostgreSQL.
//!
//! Each module states the promises of one side; each test is named after one of them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

/// The machinery: a cluster, simulators, a working directory that runs the binary.
#[allow(dead_code, reason = "it serves modules that come and go")]
mod support;

/// The main job: the mirror is what the API shows.
mod mirror;

/// Whatever is wrong is told, and nothing is lost.
mod bad_input;
/// Staged files that are locked, damaged or cut short.
mod bad_staging;
/// The command line explains itself.
mod help;
