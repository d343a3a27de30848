//! Every promise of the program, kept through its binary, against the simulator and a real PostgreSQL.
//!
//! Each module states the promises of one side; each test is named after one of them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

/// The machinery: a cluster, simulators, a working directory that runs the binary.
mod support;

// In reading order.

/// The main job: the mirror is what the API shows, after full runs and deltas.
mod mirror;

/// Packs of further tables, and views.
mod packs;

/// What other programs find on the disk.
mod staging;

/// The last run, the age of everything, and what is not known.
mod status;

/// What a monitoring system reads.
mod monitoring;

/// Pages for a browser: who may see them, and what they show when things go wrong.
mod serve;

/// The same pages, as HTML.
mod serve_pages;

/// The campus, in pictures.
mod campus_page;
mod panel_pages;

/// The page of changes: what it finds, how fast, and for whom.
mod changes_page;

/// Notifications of how commands end.
mod notify;

/// What a terminal, a log and a program get.
mod terminal;

/// Staged runs into the mirror, by every way.
mod loading;

/// The staged runs once more, and nothing older over what is newer.
mod replay;
mod replay_finish;
mod replay_groups;

/// The mirror brought to what the staged runs give.
mod rebuild;

/// Random histories.
mod histories;

/// How rows were, kept by loads and rebuilt.
mod history;

/// What loads have changed, and how it is read.
mod changes;

/// Faults of the program itself.
mod panics;

/// From nothing to a directory that works.
mod setup;

/// Connections that do not come about.
mod connections;

/// What a run will cost.
mod plan;

/// Runs that ended before their time.
mod resume;

/// A key that others use up, and tokens that are revoked.
mod throttled;

/// `run` as a service.
mod watch;

/// What a service reads again, and what it notifies.
mod service;

/// Killed anywhere, and run again.
mod killed;

/// Disks that are full or closed, and files that go.
mod disk;

/// Clocks that are set.
mod clocks;

/// What differs between two schemas, or the mirror and a run.
mod diff;

/// Where rows come from.
mod explain;

/// The shape of the API's records.
mod drift;

/// Old runs that nobody needs any more.
mod gc;

/// The stage in an object store.
mod remote;

/// The same in a bucket, with a count of requests.
mod bucket;

/// The same in the object stores of other programs.
mod stores;

/// Resources that are read once for each id of another.
mod fan_out;

/// Rejected rows.
mod quarantine;

/// Rows whose parents are missing, and their retry.
mod orphans;

/// Statements that derive columns.
mod derives;

/// Rows that refer to rows.
mod families;

/// Loads that are tried out.
mod dry_run;

/// The prune limit.
mod prune_limit;

/// Deletes that a person approves.
mod prune;

/// Rows that stay although they left the API.
mod kept;

/// What depends on a resource that failed.
mod dependents;

/// Triggers, rules and policies of the database.
mod intercepted;

/// Other roles in the same database.
mod roles;

/// One schema, one source.
mod sources;

/// Whatever the API does wrong: complete, or a sentence.
mod faults;

/// What an extraction takes.
mod memory;

/// The rate limits, among all programs that use a key.
mod limits;

/// Bad input: each a sentence, and nothing is lost.
mod bad_input;

/// A database that goes away.
mod cut_off;

/// A database behind a pooler.
mod pooler;

/// Encryption and passwords on the way to the database.
mod tls;

/// Staged files that are locked, damaged or cut short.
mod bad_staging;

/// A table that several resources feed: people as the enrolments show them.
mod people;

/// Records that no table was made for.
mod bad_records;

/// Nulls and values of another type where the API documents something else.
mod nulls;

/// The database in trouble while a load is under way.
mod bad_server;

/// A command line that is not understood.
mod usage;

/// Two at once: one works, the other is refused or waits.
mod two_at_once;

/// Signals: the end in time, and how to resume.
mod signals;

/// Staged files that somebody has changed.
mod tampered;

/// Journals of both formats.
mod journals;

/// What others write commands nothing here.
mod hostile;

/// A person is erased, and stays so.
mod erasure;

/// How far an erasure reaches: copies, changes, what was left behind, and who works beside it.
mod erasure_reach;

/// A person's records and rows are removed, and stay so.
mod erasure_drop;

/// A bundle for those who may not have people's data.
mod export;

/// Secrets and people are printed and kept nowhere.
mod secrets;

/// What a role may do, and where the mirror is.
mod rights;

/// The tables described, and what is documented of them.
mod schema;
/// Questions of people, and what they may not do.
mod sql;
/// What others on the machine could have written.
mod trusted_files;

/// Machines without a home, and directories with odd names.
mod odd_places;

/// What people read.
mod commands;

/// The demonstration, which touches nothing but its own.
mod demo;

/// Reads while rows come, go and change.
mod completeness;

/// Rows without a date, and ids that are no numbers.
mod odd_rows;

/// Named reads of a resource.
mod reads;

/// Packs that are shipped, on a simulated campus.
mod shipped_packs;

/// Views, on data made by hand.
mod views;

/// Pages that a slow server gives in halves.
mod smaller_pages;

/// Deltas, their windows and their cursor.
mod deltas;

/// Fresh machines, and what the scripts bring.
mod scripts;

/// What an operator does, as the manual says it.
mod operations;

/// What `make lint` finds.
mod lints;

/// What is shipped.
mod packaging;
