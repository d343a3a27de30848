//! The tables of `pipeline` in which loads are recorded: one file for each thing that is kept.

pub(crate) mod backlog;
pub(crate) mod change_months;
pub(crate) mod dangling;
pub(crate) mod derives;
pub(crate) mod drift;
pub(crate) mod erasures;
pub(crate) mod exports;
pub(crate) mod held_deletes;
pub(crate) mod loads;
pub(crate) mod loads_by_run;
pub(crate) mod pre_load_state;
pub(crate) mod quarantine;
pub(crate) mod row_changes;
pub(crate) mod row_history;
pub(crate) mod schemas;
