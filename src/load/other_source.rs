//! The refusal of a run that was read from another source than the one that fills the schema.

use std::fmt;

use crate::convert::counted;

/// Refused: two sources that do not go into one schema.
#[derive(Clone, Debug)]
pub(crate) struct OtherSource {
    /// The first of the runs; none: the one that would be read.
    pub(crate) run: Option<String>,
    /// Runs after it of which the same is true.
    pub(crate) more: u64,
    pub(crate) schema: String,
    /// What the run is read with.
    pub(crate) reads: String,
    /// What the schema is filled from.
    pub(crate) holds: String,
    /// Their staging directory is the one that the schema is filled from.
    pub(crate) is_same_staging: bool,
}

impl OtherSource {
    /// Whether the same is true of both.
    pub(crate) fn is_alike(&self, other: &Self) -> bool {
        (&self.schema, &self.reads, &self.holds) == (&other.schema, &other.reads, &other.holds)
    }
}

impl fmt::Display for OtherSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.run, self.more) {
            (None, _) => f.write_str("this project reads")?,
            (Some(run), 0) => write!(f, "the run {run} read")?,
            (Some(run), more) => {
                write!(
                    f,
                    "the run {run} and {} after it read",
                    counted(more, "run")
                )?;
            }
        }
        let (done, command) = match self.run {
            Some(_) => ("written", "load"),
            None => ("read or written", "run"),
        };
        let instead = match self.run {
            Some(_) if self.is_same_staging => {
                "move what is not to be loaded out of the staging directory"
            }
            _ => "use another schema (`schema` under [database])",
        };
        write!(
            f,
            " {}, but the schema {} holds {}: nothing was {done}, since each would delete what the other does not show; {instead}, or \
             rebind the schema with `cursus {command} --adopt`",
            self.reads, self.schema, self.holds
        )
    }
}
