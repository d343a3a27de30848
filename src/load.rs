//! Staged runs → the mirror. Knows nothing of HTTP.
//!
//! A run is loaded in one transaction, each resource in a savepoint of its own: readers never see half of a run, and a
//! resource that cannot be loaded does not take the others with it. The phases, in order:
//!
//! | phase | where |
//! |---|---|
//! | which runs are not loaded yet | `pending` |
//! | open the schema: trust, lock, rights, migrations, tables joined with the catalogue | `schema_loader`, `lock`, `check`, `mappings` |
//! | load run after run, each in its transaction (`--dry-run`: all in one that is rolled back) | `session`, `transaction` |
//! | load one run: call all of the following | `run_loader` |
//! | admit: refuse a run of another source | `run_loader::admit_run`, `check::admission`, `check::source` |
//! | decode staged pages into rows of COPY | `decode` |
//! | merge, resource by resource: retry orphans whose parents have come, fill temporary tables, reject rows, insert, update | `run_loader::repairs`, `repair::retry_quarantined`, `merge::staged_tables`, `merge::compare`, `merge::resource`, `merge::table` |
//! | prune: delete what a complete read lacks, within the prune limit | `merge::prune`, `merge::out_of_scope` |
//! | retry rows that refer to rows of their own table | `run_loader::repairs`, `repair::retry_quarantined` |
//! | apply approvals of held deletes | `run_loader::repairs`, `repair::approvals` |
//! | run the derived statements | `run_loader::derive` |
//! | bind the schema to its source, record the load | `run_loader::admit_run`, `run_loader::record_load`, `ledger` |
//!
//! The modules: [`decode`] (pages to rows, no SQL), `merge` (rows to tables), `ledger` (what is recorded of loads, in the
//! schema `pipeline`), `repair` (retry, approvals), `explain` (where a row comes from), `replay` (staged runs into another
//! schema, and into the mirror). They use `cell` (JSON values as COPY fields), `sql` (the text of all statements) and `check`
//! (what is checked before anything is written).

pub(crate) mod cell;
mod check;
mod counts;
pub(crate) mod decode;
mod erase;
mod error;
mod explain;
mod ledger;
mod lock;
mod mapping;
mod mappings;
mod merge;
mod options;
mod other_source;
mod pending;
mod personal;
mod progress;
mod repair;
mod replay;
mod run_loader;
mod schema_loader;
mod session;
mod sql;
mod transaction;

pub(crate) use check::rights::{Look, lacking, limits, refuse_lacking};
pub(crate) use check::side::Side;
pub(crate) use check::source::look_ahead;
pub(crate) use check::trust::{check_schema, check_tables};
pub(crate) use counts::TableCounts;
pub(crate) use erase::{FoundRows, HeldRow};
pub(crate) use error::LoadError;
pub(crate) use explain::at::{RowAt, explain_at};
pub(crate) use explain::explain;
pub(crate) use explain::origin::{ExplainError, Explained, Origin};
pub(crate) use ledger::backlog::{
    Backlog, TableBacklog, backlog, has_ledger, held_runs, quarantined_runs,
};
pub(crate) use ledger::drift::{Drift, DriftEntry, drifts};
pub(crate) use ledger::erasures::read as erased;
#[cfg(feature = "parquet")]
pub(crate) use ledger::exports::record_lasting_export;
pub(crate) use ledger::exports::{Export, record_export};
pub(crate) use ledger::held_deletes::{HeldDeletes, Kept, held, held_keys, kept_rows};
pub(crate) use ledger::loads::{Loaded, LoadedResource, loaded};
pub(crate) use ledger::loads_by_run::{LedgerLoad, ledger_loads};
pub(crate) use ledger::quarantine::{
    Entry, QuarantineGroup, drop_entries, entries, quarantine_groups,
};
pub(crate) use mapping::{INGESTED_AT, Mapping};
pub(crate) use mappings::mappings;
pub(crate) use options::Options;
pub(crate) use other_source::OtherSource;
pub(crate) use pending::{Pending, Renumbered, history, pending, renumbered, runs_to_read};
pub(crate) use personal::column_roles;
pub(crate) use progress::LoadProgress;
pub(crate) use repair::retry_quarantined::Retried;
pub(crate) use replay::error::ReplayError;
pub(crate) use replay::groups::{Group, GroupState, groups, mirror_mappings};
pub(crate) use replay::rebuild::{Rebuilt, Scratch};
pub(crate) use replay::rebuild_history::{KeptHistory, RebuiltHistory};
pub(crate) use replay::scope::{ReplayScope, with_parents};
pub(crate) use replay::scratch::{HISTORY, REBUILD, Scratches};
pub(crate) use run_loader::LoadedRun;
pub(crate) use schema_loader::{SchemaLoader, prepared};
pub(crate) use session::Session;

#[cfg(test)]
mod tests;
