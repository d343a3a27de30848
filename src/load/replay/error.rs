//! Why a replay or a rebuild did not happen.

use crate::load::error::LoadError;

/// Why a replay did not happen. Nothing was changed then.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReplayError {
    #[error(
        "{0} is the schema of the mirror, and a replay does not load into it: name another schema, or let \
         `cursus replay --rebuild` bring the mirror to what the staged runs give"
    )]
    Live(String),
    #[error(
        "the schema {0} is not empty, and no replay has made it; name another one, or drop it if nobody needs it"
    )]
    Foreign(String),
    #[error(
        "the schema {0} is not empty, and cursus has not made it, but needs its name; rename it, or drop it if nobody needs it"
    )]
    Taken(String),
    #[error("`{0}` is too long for the name of a schema: give the mirror a shorter one")]
    Long(String),
    #[error(
        "the schema {0} was made by a replay that differs in --from, --select, --allow-prune, pipeline.toml, a \
         migration or the version of cursus, and the two would mix; name another schema, or drop this one"
    )]
    Other(String),
    #[error(
        "the schema {schema} holds the run {run} already, which comes after the one named by --to; name another \
         schema, or drop this one"
    )]
    Further { schema: String, run: String },
    #[error(
        "the mirror was not rebuilt: no complete full read of {} is among the runs, so what they lack is not known to \
         be absent; read it in full (`cursus run --full --select …`), or leave it, and what it follows, out with --select", .0.join(", ")
    )]
    Unproven(Vec<String>),
    /// The mirror has what is not staged.
    #[error(
        "the mirror was not rebuilt: {resource} is loaded up to the run {run}, and the staged runs end before it; to go \
         back on purpose, name the last run with --to"
    )]
    Behind {
        resource: String,
        /// The newest run loaded.
        run: String,
    },
    /// The mirror has what is not staged.
    #[error(
        "the history was not rebuilt: {resource} is loaded up to the run {run}, and the staged runs do not give that"
    )]
    HistoryBehind {
        resource: String,
        /// The newest run loaded.
        run: String,
    },
    /// The loads were made with `--allow-prune`, or with another prune limit.
    #[error(
        "the history was not rebuilt: deletes that loads have made in {} are held when the runs are loaded again, so the rows would live on; \
         run `cursus history rebuild --allow-prune`", .0.join(", ")
    )]
    HistoryHeld(Vec<String>),
    #[error(
        "the mirror was not rebuilt: {} are not in what the staged runs give, more than the prune limit allows. \
         What they give is in {}; to delete the rows, run `cursus replay --rebuild --allow-prune`",
        tables.join(", "),
        scratches.join(", ")
    )]
    TooMany {
        /// `250 of 500 rows of users`.
        tables: Vec<String>,
        /// The schemas with the other rows.
        scratches: Vec<String>,
    },
    /// A sentence for each group.
    #[error("the mirror was not rebuilt: {}", .0.join("; "))]
    Groups(Vec<String>),
    #[error("there is no group {number}: `cursus replay --plan` lists {groups}")]
    NoGroup { number: usize, groups: String },
    #[error(
        "the schema {0} is not as the migrations make it, so the groups are not known; run `cursus replay --plan` first"
    )]
    Unplanned(String),
    #[error(transparent)]
    Load(#[from] LoadError),
}
